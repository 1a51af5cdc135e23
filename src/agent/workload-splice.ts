/**
 * Beside istiod: the mesh as Waystone's control plane sends it, with istiod's workloads in the
 * place of ours, so that a waypoint sees Pods exactly as istiod's ztunnels do.
 *
 *     control plane ─ stage, judged … commit ─┐
 *                                             ├─ changed, committed at once ─> sink
 *     istiod's WDS ─ each response ───────────┘
 *
 * Until istiod has sent its first response ours are in force; from then on a workload that istiod
 * does not have is not there, and the last ones stay while it is away. What only our control plane
 * says of a workload (its origin) stays on it. Services, routes and policies are always ours.
 *
 * Nothing stays staged in the sink: a batch of ours is judged as it comes and kept here until its
 * revision. So istiod is heard also when our control plane died in the middle of one.
 */
import { type DecodedAddress, withOriginOf } from "../wire/address.ts";
import { contentVersion } from "../wire/digest.ts";
import {
  type EncodedResource,
  RESOURCE_TYPES,
  type ResourceSink,
  type ResourceType,
  type RevisionStamp,
} from "../wire/resource.ts";
import { decodeResource } from "./decode-resource.ts";
import { ResourceLedger } from "./resource-ledger.ts";

const { address } = RESOURCE_TYPES;

type Changes = Map<string, EncodedResource | undefined>;

/**
 * istiod puts the whole mesh into one response (50,000 workloads: 3 s of work): between so many of
 * them traffic has a turn.
 */
const SLICE = 250;

export class WorkloadSplice {
  /** Fed by Waystone's control plane. */
  readonly mesh: ResourceSink;
  /** Fed by istiod. */
  readonly workloads: ResourceSink;
  readonly #sink: ResourceSink;
  /** What our control plane has sent. */
  readonly #sent = new ResourceLedger();
  /** Of that, what is yet to be committed. */
  readonly #pending = new Map<ResourceType, Changes>();
  /** Refused since the last commit: why a digest cannot be right. */
  readonly #refused = new Set<string>();
  /** With the next commit what our control plane has not sent is gone. */
  #isAnew = true;
  readonly #held = new ResourceLedger();
  /** Workloads, by uid. */
  readonly #ours = new Map<string, EncodedResource>();
  readonly #theirs = new Map<string, EncodedResource>();
  /** Of all that istiod has sent: its services are known by name only. */
  readonly #theirVersions = new Map<string, string>();
  #hasTheirs = false;
  #revision: RevisionStamp | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(sink: ResourceSink) {
    this.#sink = sink;
    this.mesh = {
      types: sink.types,
      versions: (type) => this.#sent.of(type),
      stage: (...batch) => this.#judge(...batch),
      commit: (stamp) => this.#inTurn(() => this.#commit(stamp)),
    };
    this.workloads = {
      types: [address],
      versions: () => this.#theirVersions,
      stage: (_type, upserted, removed) => this.#inTurn(() => this.#take(upserted, removed)),
      // It has no revisions.
      commit: () => undefined,
    };
    for (const type of sink.types) {
      for (const [name, version] of sink.versions(type)) this.#held.set(type, name, version);
    }
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {});
    return result;
  }

  /** A part of a batch of ours. What is taken here the sink takes too: it decodes by the same. */
  #judge(
    type: ResourceType,
    upserted: readonly EncodedResource[],
    removed: readonly string[],
  ): readonly string[] {
    const problems: string[] = [];
    const pending: Changes = this.#pending.get(type) ?? new Map();
    this.#pending.set(type, pending);
    for (const name of removed) {
      this.#sent.set(type, name, undefined);
      pending.set(name, undefined);
    }
    for (const resource of upserted) {
      const { name, version, bytes } = resource;
      try {
        if (version === "" || this.#sent.of(type).get(name) !== version) {
          decodeResource(type, name, bytes);
          this.#sent.set(type, name, version);
          pending.set(name, kept(resource));
        }
        this.#refused.delete(name);
      } catch (caught) {
        this.#refused.add(name);
        problems.push(`${name}: ${(caught as Error).message}`);
      }
    }
    return problems;
  }

  async #commit(stamp: RevisionStamp): Promise<string | undefined> {
    if (this.#sent.digest !== stamp.digest) {
      const refused = [...this.#refused].slice(0, 10);
      this.#refused.clear();
      if (refused.length > 0) return `without the refused ${refused.join(", ")} it is not whole`;
      // Everything is to be sent again; until then what is in force stays so.
      this.#sent.clear();
      this.#pending.clear();
      this.#isAnew = true;
      return "what was sent does not amount to this revision";
    }
    this.#refused.clear();
    for (const type of this.#sink.types) await this.#apply(type);
    this.#pending.clear();
    this.#isAnew = false;
    this.#revision = stamp;
    return await this.#seal(stamp);
  }

  /** A type's changes of a revision of ours. */
  async #apply(type: ResourceType): Promise<void> {
    const changes: Changes = this.#pending.get(type) ?? new Map();
    const names = new Set(changes.keys());
    if (this.#isAnew) {
      const isAddress = type === address;
      const others = isAddress ? [...this.#ours.keys(), ...this.#theirs.keys()] : [];
      for (const name of [...this.#held.of(type).keys(), ...others]) names.add(name);
    }
    await this.#pass(type, names, (name) => {
      const change = changes.get(name);
      return type === address ? this.#taken(name, change) : change;
    });
  }

  /** Notes what our control plane says of an address. Returns what is to be in its place. */
  #taken(name: string, change: EncodedResource | undefined): EncodedResource | undefined {
    if (change === undefined) this.#ours.delete(name);
    else if (isWorkload(decodeResource(address, name, change.bytes))) this.#ours.set(name, change);
    else return change;
    return this.#spliced(name);
  }

  /** A response of istiod's. */
  async #take(
    upserted: readonly EncodedResource[],
    removed: readonly string[],
  ): Promise<readonly string[]> {
    const problems: string[] = [];
    const touched = new Set<string>(this.#hasTheirs ? [] : this.#ours.keys());
    this.#hasTheirs = true;
    for (const name of removed) {
      this.#theirVersions.delete(name);
      if (this.#theirs.delete(name)) touched.add(name);
    }
    let count = 0;
    for (const resource of upserted) {
      const { name, version, bytes } = resource;
      if (++count % SLICE === 0) await othersHaveATurn();
      try {
        const before = this.#theirs.get(name);
        // An older istiod gives no versions, and sends all of it again to whoever comes back.
        const isNews = before === undefined || Buffer.compare(before.bytes, bytes) !== 0;
        // Of its services only the judgement is wanted.
        if (isNews && isWorkload(decodeResource(address, name, bytes))) {
          this.#theirs.set(name, kept(resource));
          touched.add(name);
        }
        this.#theirVersions.set(name, version);
      } catch (caught) {
        problems.push(`${name}: ${(caught as Error).message}`);
      }
    }
    // What comes before the first revision of ours is taken in with it.
    if (this.#revision === undefined) return problems;
    const isChanged = await this.#pass(address, touched, (name) => this.#spliced(name));
    if (isChanged) await this.#seal(this.#revision);
    return problems;
  }

  /** A workload as it is to be; undefined: it is not there. */
  #spliced(name: string): EncodedResource | undefined {
    const theirs = this.#theirs.get(name);
    const ours = this.#ours.get(name);
    if (theirs === undefined) return this.#hasTheirs ? undefined : ours;
    const bytes = withOriginOf(theirs.bytes, ours?.bytes);
    // Not istiod's version: older ones give none.
    return { ...theirs, version: contentVersion(bytes), bytes };
  }

  /** To the sink, where it is news; undefined: it is gone. False: nothing was. */
  async #pass(
    type: ResourceType,
    names: ReadonlySet<string>,
    now: (name: string) => EncodedResource | undefined,
  ): Promise<boolean> {
    let isChanged = false;
    let slice: (readonly [string, EncodedResource | undefined])[] = [];
    let left = names.size;
    for (const name of names) {
      slice.push([name, now(name)]);
      if (--left > 0 && slice.length < SLICE) continue;
      if (await this.#passSlice(type, slice)) isChanged = true;
      slice = [];
      if (left > 0) await othersHaveATurn();
    }
    return isChanged;
  }

  async #passSlice(
    type: ResourceType,
    changes: Iterable<readonly [string, EncodedResource | undefined]>,
  ): Promise<boolean> {
    const held = this.#held.of(type);
    const upserted: EncodedResource[] = [];
    const removed: string[] = [];
    for (const [name, change] of changes) {
      if (change === undefined) {
        if (held.has(name)) removed.push(name);
      } else if (held.get(name) !== change.version) upserted.push(change);
    }
    if (upserted.length === 0 && removed.length === 0) return false;
    const refused = await this.#sink.stage(type, upserted, removed);
    const isRefused = (name: string) => refused.some((text) => text.startsWith(`${name}: `));
    for (const name of removed) this.#held.set(type, name, undefined);
    for (const { name, version } of upserted) {
      if (!isRefused(name)) this.#held.set(type, name, version);
    }
    return true;
  }

  #seal({ id }: RevisionStamp): string | undefined | Promise<string | undefined> {
    return this.#sink.commit({ id, digest: this.#held.digest });
  }
}

function isWorkload(decoded: unknown): boolean {
  return (decoded as DecodedAddress).kind === "workload";
}

/** A copy: the bytes may be part of a large message that would be kept with them. */
function kept(resource: EncodedResource): EncodedResource {
  return { ...resource, bytes: new Uint8Array(resource.bytes) };
}

function othersHaveATurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
