/**
 * Beside istiod: the mesh as Waystone's control plane sends it, with istiod's word on workloads.
 *
 *     control plane ─ mesh ──────┐
 *                                ├─ of workloads that both know: istiod's ─> sink
 *     istiod's WDS ─ workloads ──┘
 *
 * A workload is then as istiod's ztunnels see it: its identity, whether it takes tunnels, whether
 * it is healthy. What only our control plane says of it (extensions) stays on it. Until istiod has
 * said anything, and while it is away, what is known is in force.
 *
 * What istiod says is committed by itself, but never between the parts of a revision of ours.
 */
import { decodeAddress, withExtensionsOf } from "../wire/address.ts";
import { contentVersion, ResourceDigest } from "../wire/digest.ts";
import {
  type EncodedResource,
  RESOURCE_TYPES,
  type ResourceSink,
  type ResourceType,
  type RevisionStamp,
} from "../wire/resource.ts";

const { address } = RESOURCE_TYPES;

type Versions = Map<ResourceType, Map<string, string>>;

export class WorkloadSplice {
  /** Fed by Waystone's control plane. */
  readonly mesh: ResourceSink;
  /** Fed by istiod. */
  readonly workloads: ResourceSink;
  readonly #sink: ResourceSink;
  /** What our control plane has sent, and what that amounts to. */
  readonly #sent: Versions = new Map();
  #sentDigest = new ResourceDigest();
  /** What the sink holds or has staged. */
  readonly #held: Versions = new Map();
  readonly #heldDigest = new ResourceDigest();
  /** Held, and not sent again since everything was asked for anew. */
  readonly #stale = new Map<ResourceType, Set<string>>();
  readonly #refused = new Set<string>();
  /** Addresses as our control plane has them, by name. */
  readonly #ours = new Map<string, EncodedResource>();
  /** Workloads as istiod has them, by uid; services of its own are only known by version. */
  readonly #theirs = new Map<string, EncodedResource>();
  readonly #theirVersions = new Map<string, string>();
  /** To be handed on with the next revision of ours. */
  readonly #waiting = new Set<string>();
  #revision: RevisionStamp | undefined;
  #isStaging = false;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(sink: ResourceSink) {
    this.#sink = sink;
    const inTurn =
      <A extends unknown[], R>(work: (...args: A) => Promise<R>) =>
      (...args: A): Promise<R> => {
        const result = this.#turn.then(() => work(...args));
        this.#turn = result.catch(() => {});
        return result;
      };
    this.mesh = {
      types: sink.types,
      versions: (type) => this.#sent.get(type) ?? new Map(),
      stage: inTurn((type, upserted, removed) => this.#stage(type, upserted, removed)),
      commit: inTurn((stamp) => this.#commit(stamp)),
    };
    this.workloads = {
      types: [address],
      versions: () => this.#theirVersions,
      stage: inTurn((_type, upserted, removed) => this.#takeTheirs(upserted, removed)),
      // It has no revisions.
      commit: async () => undefined,
    };
    for (const type of sink.types) {
      for (const [name, version] of sink.versions(type)) {
        mapOf(this.#held, type).set(name, version);
        this.#heldDigest.add(type, name, version);
        setOf(this.#stale, type).add(name);
      }
    }
  }

  async #stage(
    type: ResourceType,
    upserted: readonly EncodedResource[],
    removed: readonly string[],
  ): Promise<readonly string[]> {
    this.#isStaging = true;
    for (const name of removed) this.#setSent(type, name, undefined);
    for (const { name, version } of upserted) this.#setSent(type, name, version);
    if (type === address) {
      for (const name of removed) this.#ours.delete(name);
      for (const resource of upserted) this.#ours.set(resource.name, resource);
    }
    const isTheirs = (name: string) => type === address && this.#theirs.has(name);
    const changed = upserted.map((one) => (isTheirs(one.name) ? this.#spliced(one.name)! : one));
    const problems = await this.#pass(
      type,
      changed,
      removed.filter((name) => !isTheirs(name)),
    );
    for (const problem of problems) {
      const [name = ""] = problem.split(": ", 1);
      this.#refused.add(name);
      this.#setSent(type, name, undefined);
    }
    for (const { name } of upserted) {
      if (this.#sent.get(type)?.has(name)) this.#refused.delete(name);
    }
    return problems;
  }

  async #commit(stamp: RevisionStamp): Promise<string | undefined> {
    if (this.#sentDigest.toString() !== stamp.digest) {
      const refused = [...this.#refused].slice(0, 10);
      this.#refused.clear();
      if (refused.length > 0) return `without the refused ${refused.join(", ")} it is not whole`;
      this.#forget();
      return "what was sent does not amount to this revision";
    }
    this.#refused.clear();
    for (const [type, names] of this.#stale) {
      const gone = [...names].filter((name) => !(type === address && this.#theirs.has(name)));
      await this.#pass(type, [], gone);
    }
    this.#stale.clear();
    this.#isStaging = false;
    this.#revision = stamp;
    await this.#passTheirs([...this.#waiting]);
    this.#waiting.clear();
    return await this.#sink.commit({ id: stamp.id, digest: this.#heldDigest.toString() });
  }

  /** Everything is to be sent again. */
  #forget(): void {
    for (const [type, versions] of this.#sent) {
      for (const name of versions.keys()) setOf(this.#stale, type).add(name);
    }
    this.#sent.clear();
    this.#sentDigest = new ResourceDigest();
    this.#ours.clear();
  }

  #setSent(type: ResourceType, name: string, version: string | undefined): void {
    const versions = mapOf(this.#sent, type);
    setVersion(versions, this.#sentDigest, type, name, version);
    this.#stale.get(type)?.delete(name);
  }

  /** To the sink, noting what it then holds. */
  async #pass(
    type: ResourceType,
    upserted: readonly EncodedResource[],
    removed: readonly string[],
  ): Promise<readonly string[]> {
    if (upserted.length === 0 && removed.length === 0) return [];
    const held = mapOf(this.#held, type);
    const before = new Map(upserted.map(({ name }) => [name, held.get(name)]));
    const set = (name: string, version: string | undefined) =>
      setVersion(held, this.#heldDigest, type, name, version);
    for (const name of removed) set(name, undefined);
    for (const { name, version } of upserted) set(name, version);
    const problems = await this.#sink.stage(type, upserted, removed);
    // What it does not take, it has as before.
    for (const problem of problems) {
      const [name = ""] = problem.split(": ", 1);
      set(name, before.get(name));
    }
    return problems;
  }

  async #takeTheirs(
    upserted: readonly EncodedResource[],
    removed: readonly string[],
  ): Promise<readonly string[]> {
    const problems: string[] = [];
    const touched = new Set<string>();
    for (const name of removed) {
      this.#theirVersions.delete(name);
      if (this.#theirs.delete(name)) touched.add(name);
    }
    for (const resource of upserted) {
      const { name, version, bytes } = resource;
      try {
        const decoded = decodeAddress(bytes);
        if (decoded.kind === "workload") {
          if (decoded.workload.uid !== name)
            throw new Error(`it calls itself ${decoded.workload.uid}`);
          this.#theirs.set(name, resource);
          touched.add(name);
        }
        this.#theirVersions.set(name, version);
      } catch (caught) {
        problems.push(`${name}: ${(caught as Error).message}`);
      }
    }
    for (const name of touched) this.#waiting.add(name);
    if (this.#revision === undefined || this.#isStaging || touched.size === 0) return problems;
    await this.#passTheirs([...this.#waiting]);
    this.#waiting.clear();
    await this.#sink.commit({ id: this.#revision.id, digest: this.#heldDigest.toString() });
    return problems;
  }

  async #passTheirs(names: readonly string[]): Promise<void> {
    const held = this.#held.get(address);
    const upserted: EncodedResource[] = [];
    const removed: string[] = [];
    for (const name of names) {
      const now = this.#spliced(name);
      if (now === undefined && held?.has(name)) removed.push(name);
      if (now !== undefined && held?.get(name) !== now.version) upserted.push(now);
    }
    await this.#pass(address, upserted, removed);
  }

  /** A workload as it is to be; undefined: nobody knows it. */
  #spliced(name: string): EncodedResource | undefined {
    const theirs = this.#theirs.get(name);
    const ours = this.#ours.get(name);
    if (theirs === undefined) return ours;
    const bytes = withExtensionsOf(theirs.bytes, ours?.bytes);
    // An older istiod gives no versions.
    return { ...theirs, version: contentVersion(bytes), bytes };
  }
}

function setVersion(
  versions: Map<string, string>,
  digest: ResourceDigest,
  type: ResourceType,
  name: string,
  version: string | undefined,
): void {
  const before = versions.get(name);
  if (before !== undefined) digest.remove(type, name, before);
  if (version === undefined) versions.delete(name);
  else {
    versions.set(name, version);
    digest.add(type, name, version);
  }
}

function mapOf(maps: Versions, type: ResourceType): Map<string, string> {
  let map = maps.get(type);
  if (map === undefined) {
    map = new Map();
    maps.set(type, map);
  }
  return map;
}

function setOf(sets: Map<ResourceType, Set<string>>, type: ResourceType): Set<string> {
  let set = sets.get(type);
  if (set === undefined) {
    set = new Set();
    sets.set(type, set);
  }
  return set;
}
