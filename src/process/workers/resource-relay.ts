/**
 * The parent's end of the control-plane stream: takes batches, keeps the resources of the revision
 * in force as bytes (it decodes nothing), and has all workers do the same at the same time.
 *
 *     stage ──> every worker stages, answers with what it cannot take
 *     commit ─> once all have staged, every worker commits, answers with why it cannot
 *
 * Invariants:
 * - One step at a time, in order. So no worker is ahead of another by more than one commit.
 * - All workers of a step must give the same answer; one that does otherwise is dismissed, and its
 *   replacement starts from what is in force. (They run the same code on the same bytes.)
 * - A worker that is still loading holds up nobody, unless no other is there.
 * - After a refused commit nothing is staged, here or in a worker: the client starts anew from what
 *   is held. What a worker cannot take is not held.
 */
import { log } from "../../kit/log.ts";
import type {
  EncodedResource,
  ResourceSink,
  ResourceType,
  RevisionStamp,
} from "../../wire/resource.ts";
import { type PackedResources, packs } from "./packed-resources.ts";

/** A worker, as the relay sees it. An answer of undefined: it is gone. */
export interface RelayWorker {
  stage(
    type: ResourceType,
    upserted: PackedResources,
    removed: readonly string[],
  ): Promise<readonly string[] | undefined>;
  commit(revision: RevisionStamp): Promise<{ readonly refusal: string | undefined } | undefined>;
  /** It has done otherwise than the others. */
  dismiss(why: string): void;
}

/** What changes of one type: a resource, or its removal. */
type Changes = Map<string, EncodedResource | undefined>;

const NOTHING: PackedResources = {
  names: [],
  versions: [],
  ends: new Uint32Array(0),
  bytes: new Uint8Array(0),
};

function stageChanges(worker: RelayWorker, type: ResourceType, changes: Changes) {
  const removed = [...changes].filter(([, change]) => change === undefined).map(([name]) => name);
  const upserted = [...changes.values()].filter((change) => change !== undefined);
  return parts(upserted, removed).map(([part, gone]) => worker.stage(type, part, gone));
}

/** The messages that a change is sent as. */
function parts(
  upserted: readonly EncodedResource[],
  removed: readonly string[],
): (readonly [PackedResources, readonly string[]])[] {
  const packed = [...packs(upserted)].map((part) => [part, []] as const);
  return removed.length === 0 ? packed : [[NOTHING, removed], ...packed];
}

export class ResourceRelay implements ResourceSink {
  readonly types: readonly ResourceType[];
  readonly #log = log("workers");
  readonly #held = new Map<ResourceType, Map<string, EncodedResource>>();
  readonly #staged = new Map<ResourceType, Changes>();
  /** The value: it has the revision in force. */
  readonly #workers = new Map<RelayWorker, boolean>();
  #revision: RevisionStamp | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor(types: readonly ResourceType[]) {
    this.types = types;
    for (const type of types) {
      this.#held.set(type, new Map());
      this.#staged.set(type, new Map());
    }
  }

  /** The revision in force. */
  get revision(): RevisionStamp | undefined {
    return this.#revision;
  }

  versions(type: ResourceType): ReadonlyMap<string, string> {
    const versions = new Map<string, string>();
    for (const [name, { version }] of this.#held.get(type) ?? []) versions.set(name, version);
    for (const [name, change] of this.#staged.get(type) ?? []) {
      if (change === undefined) versions.delete(name);
      else versions.set(name, change.version);
    }
    return versions;
  }

  stage(
    type: ResourceType,
    upserted: readonly EncodedResource[],
    removed: readonly string[],
  ): Promise<readonly string[]> {
    return this.#inTurn(async () => {
      const messages = parts(upserted, removed);
      const answers = await this.#askAll(async (worker) => {
        const staged = messages.map(([part, gone]) => worker.stage(type, part, gone));
        return (await Promise.all(staged)).flatMap((problems) => problems ?? []);
      });
      const problems = [...new Set(answers.flat())];
      const changes = this.#staged.get(type)!;
      for (const name of removed) changes.set(name, undefined);
      for (const resource of upserted) {
        if (problems.some((problem) => problem.startsWith(`${resource.name}: `))) continue;
        // A copy: the bytes may be part of a large message that would be kept with them.
        changes.set(resource.name, { ...resource, bytes: new Uint8Array(resource.bytes) });
      }
      return problems;
    });
  }

  commit(revision: RevisionStamp): Promise<string | undefined> {
    return this.#inTurn(async () => {
      let decide: (isTaken: boolean) => void = () => {};
      const decided = new Promise<boolean>((resolve) => {
        decide = resolve;
      });
      const answers = await this.#askAll(async (worker) => {
        const answer = await worker.commit(revision);
        if (answer === undefined) return undefined;
        // Also of a worker that nobody waits for.
        void decided.then((isTaken) => this.#compare(worker, isTaken, answer.refusal));
        return answer;
      });
      // Those that have committed cannot go back: one that has decides for all.
      const isTaken = answers.length === 0 || answers.some(({ refusal }) => refusal === undefined);
      if (isTaken) this.#take(revision);
      decide(isTaken);
      if (!isTaken) await this.#unstage();
      return isTaken ? undefined : answers[0]!.refusal;
    });
  }

  /** A new worker: gets all that is in force. Resolves when it has it, or is gone. */
  async join(worker: RelayWorker): Promise<void> {
    let loading: Promise<void> | undefined;
    await this.#inTurn(async () => {
      this.#workers.set(worker, false);
      loading = this.#load(worker);
    });
    await loading;
  }

  leave(worker: RelayWorker): void {
    this.#workers.delete(worker);
  }

  async #load(worker: RelayWorker): Promise<void> {
    const asked: Promise<unknown>[] = [];
    for (const [type, resources] of this.#held) {
      for (const part of packs(resources.values())) asked.push(worker.stage(type, part, []));
    }
    const committed = this.#revision && worker.commit(this.#revision);
    for (const [type, changes] of this.#staged) asked.push(...stageChanges(worker, type, changes));
    await Promise.all(asked);
    const answer = await committed;
    if (answer !== undefined) this.#compare(worker, true, answer.refusal);
  }

  /**
   * Asks every worker, and waits for those that have the revision in force; without any, for those
   * that are loading it.
   */
  async #askAll<T>(ask: (worker: RelayWorker) => Promise<T | undefined>): Promise<T[]> {
    const isAnyLive = [...this.#workers.values()].includes(true);
    const asked = [...this.#workers].map(async ([worker, isLive]) => {
      const asking = ask(worker);
      return isLive || !isAnyLive ? await asking : undefined;
    });
    return (await Promise.all(asked)).filter((answer) => answer !== undefined);
  }

  #compare(worker: RelayWorker, isTaken: boolean, refusal: string | undefined): void {
    if (!this.#workers.has(worker)) return;
    if (isTaken === (refusal === undefined)) {
      if (isTaken) this.#workers.set(worker, true);
      return;
    }
    const why = refusal ?? "it took what the others refused";
    this.#log.error({ why }, "a worker differs from the others and is replaced");
    this.#workers.delete(worker);
    worker.dismiss(why);
  }

  /** Stages what is held in the place of what is staged, whatever workers have kept of it. */
  async #unstage(): Promise<void> {
    for (const [type, changes] of this.#staged) {
      const held = this.#held.get(type)!;
      const undone: Changes = new Map([...changes.keys()].map((name) => [name, held.get(name)]));
      changes.clear();
      if (undone.size === 0) continue;
      await this.#askAll(async (worker) => {
        await Promise.all(stageChanges(worker, type, undone));
        return true;
      });
    }
  }

  #take(revision: RevisionStamp): void {
    this.#revision = revision;
    for (const [type, changes] of this.#staged) {
      const held = this.#held.get(type)!;
      for (const [name, change] of changes) {
        if (change === undefined) held.delete(name);
        else held.set(name, change);
      }
      changes.clear();
    }
  }

  #inTurn<T>(step: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(step);
    this.#last = turn.catch(() => {});
    return turn;
  }
}
