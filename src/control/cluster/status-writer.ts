/**
 * Writes statuses: of each object that was told of, what it is to say, if it does not say so.
 *
 * Each write names the version of the object that it was made from, so that nothing of others is
 * lost; one that comes too late is made anew from the newer version. An object is written to at
 * most twice a second, however often somebody else changes it back.
 */
import { setMaxListeners } from "node:events";
import { KINDS, type KindName } from "../../api/kinds.ts";
import { Backoff, pause } from "../../kit/backoff.ts";
import { type Logger, log } from "../../kit/log.ts";
import type { ServedKind } from "../source/kubernetes/discovery.ts";
import type { Observed } from "../source/kubernetes/kind-store.ts";
import { isRefusal, type KubeClient, type Refusal } from "../source/kubernetes/kube-client.ts";
import { mergedStatus, type WantedStatus } from "./status-merge.ts";

export interface StatusWriterOptions {
  readonly client: Pick<KubeClient, "write">;
  /** What the server told last. */
  readonly observed: (kind: KindName, key: string) => Observed | undefined;
  /** Where the kind is; undefined: it is not. */
  readonly served: (kind: KindName) => Promise<ServedKind | undefined>;
  /** Undefined: nothing of its status is ours. */
  readonly wanted: (kind: KindName, key: string) => WantedStatus | undefined;
  readonly fieldManager: string;
  /** The server has taken one. */
  readonly onWritten?: () => void;
  /** Until it aborts. */
  readonly signal: AbortSignal;
  readonly logger?: Logger;
}

const PARALLEL_WRITES = 8;
const BETWEEN_WRITES_MS = 500;
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 30_000;
const FORBIDDEN_RETRY_MS = 60_000;

interface Target {
  readonly kind: KindName;
  readonly key: string;
}

export class StatusWriter {
  readonly #options: StatusWriterOptions;
  readonly #log: Logger;
  /** Waiting for a turn, oldest first. */
  readonly #dirty = new Map<string, Target>();
  readonly #inFlight = new Set<string>();
  /** Their turn comes by itself. */
  readonly #waiting = new Set<string>();
  /** Not to be written before. */
  readonly #notBefore = new Map<string, number>();
  readonly #paths = new Map<KindName, ServedKind>();
  readonly #told = new Set<string>();
  readonly #backoff = new Backoff({ firstMs: RETRY_FIRST_MS, maxMs: RETRY_MAX_MS });
  #isAway = false;
  #running = 0;
  #written = 0;

  constructor(options: StatusWriterOptions) {
    this.#options = options;
    this.#log = options.logger ?? log("status");
    // One for each object that waits.
    setMaxListeners(0, options.signal);
  }

  /** How many writes the server has taken. */
  get written(): number {
    return this.#written;
  }

  /** True: nothing waits and nothing is under way. */
  get isIdle(): boolean {
    return this.#dirty.size === 0 && this.#inFlight.size === 0 && this.#running === 0;
  }

  /** The object, or what its status is to say, may be another one. */
  touch(kind: KindName, key: string): void {
    if (this.#options.signal.aborted) return;
    this.#dirty.set(`${kind}/${key}`, { kind, key });
    while (this.#running < Math.min(PARALLEL_WRITES, this.#dirty.size)) void this.#work();
  }

  async #work(): Promise<void> {
    const { signal } = this.#options;
    this.#running++;
    try {
      while (!signal.aborted) {
        const found = this.#next();
        if (found === undefined) return;
        const [id, target] = found;
        this.#inFlight.add(id);
        try {
          await this.#write(id, target);
        } catch (caught) {
          if (signal.aborted) return;
          this.#again(id, target, this.#away((caught as Error).message));
        } finally {
          this.#inFlight.delete(id);
        }
      }
    } finally {
      this.#running--;
    }
  }

  #next(): [string, Target] | undefined {
    for (const [id, target] of this.#dirty) {
      if (this.#inFlight.has(id)) continue;
      this.#dirty.delete(id);
      return [id, target];
    }
    return undefined;
  }

  /** The turn comes after a while; what was touched meanwhile is one with it. */
  #again(id: string, target: Target, afterMs: number): void {
    const { signal } = this.#options;
    this.#notBefore.set(id, performance.now() + afterMs);
    if (this.#waiting.has(id)) return;
    this.#waiting.add(id);
    void pause(afterMs, signal).then(() => {
      this.#waiting.delete(id);
      if (!signal.aborted) this.touch(target.kind, target.key);
    });
  }

  async #write(id: string, target: Target): Promise<void> {
    const { kind, key } = target;
    const { observed, wanted, client, fieldManager, signal } = this.#options;
    const now = observed(kind, key);
    const status = wanted(kind, key);
    if (now === undefined || status === undefined) {
      this.#notBefore.delete(id);
      return;
    }
    const parts = mergedStatus(now.status, status, timestamp());
    if (parts === undefined) return;
    const waitMs = (this.#notBefore.get(id) ?? 0) - performance.now();
    if (waitMs > 0) {
      this.#again(id, target, waitMs);
      return;
    }
    const path = await this.#pathOf(kind, key);
    if (path === undefined) return;
    const body = { metadata: { resourceVersion: now.version }, status: parts };
    const answer = await client.write("merge", `${path}/status`, { fieldManager }, body, signal);
    if (isRefusal(answer)) this.#refused(id, target, answer);
    else {
      this.#written++;
      this.#options.onWritten?.();
      this.#isAway = false;
      this.#backoff.reset();
      this.#notBefore.set(id, performance.now() + BETWEEN_WRITES_MS);
      this.#told.delete(`${kind} forbidden`);
    }
  }

  #refused(id: string, target: Target, refusal: Refusal): void {
    const { kind, key } = target;
    const { status, message, retryAfterMs } = refusal;
    switch (status) {
      case 404:
        // It is gone, or its kind is: there is news of that on the way.
        this.#paths.delete(kind);
        return;
      case 409:
        this.#again(id, target, BETWEEN_WRITES_MS);
        return;
      case 403:
        this.#tellOnce(`${kind} forbidden`, { kind, reason: message }, "may not write statuses");
        this.#again(id, target, FORBIDDEN_RETRY_MS);
        return;
      case 400:
      case 422:
        this.#tellOnce(
          `${id} ${message}`,
          { object: `${kind} ${key}`, reason: message },
          "a status was refused",
        );
        return;
    }
    this.#again(id, target, Math.max(retryAfterMs, this.#away(`${status} ${message}`)));
  }

  /** Tells how long to wait. */
  #away(reason: string): number {
    if (!this.#isAway) this.#log.warn({ reason }, "statuses cannot be written; it is tried again");
    this.#isAway = true;
    return this.#backoff.next();
  }

  #tellOnce(what: string, fields: object, message: string): void {
    if (this.#told.has(what)) return;
    if (this.#told.size > 1000) this.#told.clear();
    this.#told.add(what);
    this.#log.warn(fields, message);
  }

  async #pathOf(kind: KindName, key: string): Promise<string | undefined> {
    let served = this.#paths.get(kind);
    if (served === undefined) {
      served = await this.#options.served(kind);
      if (served === undefined) return undefined;
      this.#paths.set(kind, served);
    }
    return objectPath(served, KINDS[kind].isNamespaced ? key : `/${key}`);
  }
}

/** Of `namespace/name`; `/name` stands in no namespace. */
function objectPath({ path, plural }: ServedKind, key: string): string {
  const slash = key.indexOf("/");
  const [namespace, name] = [key.slice(0, slash), key.slice(slash + 1)];
  if (namespace === "") return `${path}/${name}`;
  return `${path.slice(0, -plural.length)}namespaces/${namespace}/${plural}/${name}`;
}

/** Kubernetes' times have no parts of a second. */
function timestamp(): string {
  return `${new Date().toISOString().slice(0, 19)}Z`;
}
