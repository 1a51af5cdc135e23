/**
 * What one waypoint is sent: what it serves, and who its clients may be.
 *
 *     bound services, bound workloads ─┬─ targets: Gateway, GatewayClass, each bound service
 *                                      │      └─ their routes, policies, authentications
 *                                      │              └─ services named there (backends, mirrors,
 *     its own front, services of       │                  authorizers)
 *     bound workloads ─────────────────┴─> services ─> the workloads behind them
 *     everybody else ─────────────────────> as source workloads (`source-workloads.ts`)
 *
 * One for all replicas of a waypoint. It is never computed anew: it follows what is different in
 * the mesh, so a change costs what it touches. Its revision moves only when something in it does.
 */
import type { Endpoint, Service } from "../../model/service.ts";
import type { Snapshot } from "../../model/snapshot.ts";
import type { Workload } from "../../model/workload.ts";
import { ResourceDigest } from "../../wire/digest.ts";
import { SETTINGS_NAME } from "../../wire/mesh.ts";
import {
  type EncodedResource,
  RESOURCE_TYPES,
  type ResourceBatch,
  type ResourceIndex,
  type ResourceSource,
  type ResourceType,
  type RevisionStamp,
} from "../../wire/resource.ts";
import { namedServices } from "./named-services.ts";
import { References } from "./references.ts";
import type { ResourceChange, SourceWorkloads } from "./source-workloads.ts";

const { address, waypoint, policies, authentications, routes, settings } = RESOURCE_TYPES;
/** By what they are attached to. */
const TARGETED: readonly ResourceType[] = [policies, authentications, routes];

/** From one state of the mesh to the next. */
export interface MeshChanges {
  readonly now: Snapshot;
  readonly services: Iterable<readonly [string, Service | undefined]>;
  readonly workloads: Iterable<readonly [string, Workload | undefined]>;
  readonly endpoints: Iterable<readonly [string, readonly Endpoint[] | undefined]>;
  /** To which other routes or policies are attached. */
  readonly targets: Iterable<string>;
  /** What is encoded otherwise than before, or gone. */
  readonly resources: Iterable<{ readonly type: ResourceType; readonly name: string }>;
  readonly sources: ReadonlyMap<string, ResourceChange>;
}

export interface WaypointScopeOptions {
  /** `<ns>/<name>` of the Gateway; there need not be one. */
  readonly key: string;
  /** All resources of the mesh, as they are when `take` is called. */
  readonly mesh: Pick<ResourceSource, "resources" | "revision">;
  readonly sources: SourceWorkloads;
  /** Nobody follows it any more. */
  readonly onUnused: () => void;
}

export class WaypointScope implements ResourceSource {
  readonly #options: WaypointScopeOptions;
  readonly #services = new References();
  readonly #workloads = new References();
  readonly #targets = new Set<string>();
  /** Targets that are new, gone, or have other routes or policies. */
  #touchedTargets = new Set<string>();
  #className: string | undefined;
  readonly #own = new Map<ResourceType, Map<string, EncodedResource>>();
  /** Of what is its own, less the source workloads whose place that takes. */
  readonly #digest = new ResourceDigest();
  readonly #listeners = new Set<(batch: ResourceBatch) => void>();
  #revision: RevisionStamp;

  /** `all`: what is bound to it, as one change from nothing. */
  constructor(options: WaypointScopeOptions, all: MeshChanges) {
    this.#options = options;
    this.#setTarget(`Gateway/${options.key}`, true);
    this.#apply(all);
    this.#revision = this.#stamp(options.mesh.revision.id);
  }

  get revision(): RevisionStamp {
    return this.#revision;
  }

  resources(type: ResourceType): ResourceIndex {
    const own = this.#ownOf(type);
    return type === address ? new Overlay(own, this.#options.sources.resources) : own;
  }

  subscribe(listener: (batch: ResourceBatch) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      if (this.#listeners.delete(listener) && this.#listeners.size === 0) this.#options.onUnused();
    };
  }

  take(changes: MeshChanges): void {
    const { upserted, removed } = this.#apply(changes);
    if (upserted.length === 0 && removed.length === 0) return;
    this.#revision = this.#stamp(changes.now.revision);
    const batch = { revision: this.#revision, upserted, removed };
    for (const listener of [...this.#listeners]) listener(batch);
  }

  #stamp(id: number): RevisionStamp {
    return { id, digest: this.#options.sources.digest.plus(this.#digest).toString() };
  }

  #apply(changes: MeshChanges): Pick<ResourceBatch, "upserted" | "removed"> {
    this.#followBindings(changes);
    const { now, resources, sources } = changes;
    for (const target of changes.targets) {
      if (this.#targets.has(target)) this.#touchedTargets.add(target);
    }
    const targets = this.#touchedTargets;
    this.#touchedTargets = new Set();
    for (const target of targets) {
      const isThere = this.#targets.has(target);
      this.#services.set(`by ${target}`, isThere ? namedServices(now, target) : []);
    }
    const services = this.#services.takeTouched();
    this.#followEndpoints(changes, services);

    const placing = new Placing(sources, this.#options.sources.resources, this.#digest);
    for (const name of services) this.#place(address, name, placing);
    for (const name of this.#workloads.takeTouched()) this.#place(address, name, placing);
    for (const name of targets) for (const type of TARGETED) this.#place(type, name, placing);
    this.#place(waypoint, this.#options.key, placing);
    this.#place(settings, SETTINGS_NAME, placing);
    for (const { type, name } of resources) this.#place(type, name, placing);
    return placing.finish();
  }

  /** What is bound to the waypoint, and what follows from the Gateway itself. */
  #followBindings({ services, workloads, now }: MeshChanges): void {
    const { key } = this.#options;
    for (const [name, service] of services) {
      const isBound = waypointOf(service) === key;
      this.#services.set(`bound ${name}`, isBound ? [name] : []);
      this.#setTarget(`Service/${name}`, isBound);
    }
    for (const [uid, workload] of workloads) {
      const isBound = waypointOf(workload) === key;
      this.#workloads.set(`bound ${uid}`, isBound ? [uid] : []);
      // They say what its ports speak.
      this.#services.set(`of ${uid}`, isBound ? [...workload!.services.keys()] : []);
    }
    const own = now.waypoints.get(key);
    this.#services.set("front", own === undefined ? [] : [own.service]);
    if (own?.className === this.#className) return;
    if (this.#className !== undefined) this.#setTarget(`GatewayClass/${this.#className}`, false);
    if (own !== undefined) this.#setTarget(`GatewayClass/${own.className}`, true);
    this.#className = own?.className;
  }

  #setTarget(target: string, isThere: boolean): void {
    if (this.#targets.has(target) === isThere) return;
    if (isThere) this.#targets.add(target);
    else this.#targets.delete(target);
    this.#touchedTargets.add(target);
  }

  #followEndpoints({ endpoints, now }: MeshChanges, services: Iterable<string>): void {
    const uidsOf = (service: string) =>
      (now.endpoints.get(service) ?? []).map(({ workloadUid }) => workloadUid);
    for (const service of services) {
      const isThere = this.#services.has(service);
      this.#workloads.set(`behind ${service}`, isThere ? uidsOf(service) : []);
    }
    for (const [service] of endpoints) {
      if (!this.#services.has(service)) continue;
      this.#workloads.set(`behind ${service}`, uidsOf(service));
    }
  }

  #wants(type: ResourceType, name: string): boolean {
    if (type === address) return this.#services.has(name) || this.#workloads.has(name);
    if (type === waypoint) return name === this.#options.key;
    if (type === settings) return true;
    return TARGETED.includes(type) && this.#targets.has(name);
  }

  #place(type: ResourceType, name: string, placing: Placing): void {
    const own = this.#ownOf(type);
    const before = own.get(name);
    const isWanted = this.#wants(type, name);
    const after = isWanted ? this.#options.mesh.resources(type).get(name) : undefined;
    if (before === after) return;
    if (after === undefined) own.delete(name);
    else own.set(name, after);
    placing.replace(type, name, before, after);
  }

  #ownOf(type: ResourceType): Map<string, EncodedResource> {
    let own = this.#own.get(type);
    if (own === undefined) {
      own = new Map();
      this.#own.set(type, own);
    }
    return own;
  }
}

/** The waypoint that it is bound to. */
export function waypointOf(owner: Service | Workload | undefined): string | undefined {
  const binding = owner?.waypoint;
  return binding?.state === "bound" ? binding.waypoint : undefined;
}

/** What one change comes to: for the clients, and for the digest. */
class Placing {
  readonly #changed: ReadonlyMap<string, ResourceChange>;
  readonly #sources: ReadonlyMap<string, EncodedResource>;
  readonly #digest: ResourceDigest;
  readonly #upserted: EncodedResource[] = [];
  readonly #removed: { readonly type: ResourceType; readonly name: string }[] = [];
  readonly #placed = new Set<string>();

  constructor(
    changed: ReadonlyMap<string, ResourceChange>,
    sources: ReadonlyMap<string, EncodedResource>,
    digest: ResourceDigest,
  ) {
    this.#changed = changed;
    this.#sources = sources;
    this.#digest = digest;
  }

  /** What is the scope's own under that name. */
  replace(
    type: ResourceType,
    name: string,
    before: EncodedResource | undefined,
    after: EncodedResource | undefined,
  ): void {
    if (before !== undefined) this.#digest.remove(type, name, before.version);
    if (after !== undefined) this.#digest.add(type, name, after.version);
    if (type !== address) {
      this.#emit(type, name, before, after);
      return;
    }
    this.#placed.add(name);
    const source = this.#sources.get(name);
    const sourceBefore = this.#changed.has(name) ? this.#changed.get(name)!.before : source;
    if (before !== undefined) this.#count(sourceBefore, 1);
    if (after !== undefined) this.#count(source, -1);
    this.#emit(type, name, before ?? sourceBefore, after ?? source);
  }

  /**
   * Adds what has become of source workloads. Where something of the scope's own takes the place of
   * one it is different, too, and has been placed: it says all that the other does.
   */
  finish(): Pick<ResourceBatch, "upserted" | "removed"> {
    for (const [name, { before, after }] of this.#changed) {
      if (!this.#placed.has(name)) this.#emit(address, name, before, after);
    }
    return { upserted: this.#upserted, removed: this.#removed };
  }

  /** A source workload whose place is taken counts less: the digest of all of them has it. */
  #count(source: EncodedResource | undefined, sign: 1 | -1): void {
    if (source === undefined) return;
    if (sign === 1) this.#digest.add(address, source.name, source.version);
    else this.#digest.remove(address, source.name, source.version);
  }

  #emit(
    type: ResourceType,
    name: string,
    before: EncodedResource | undefined,
    after: EncodedResource | undefined,
  ): void {
    if (after !== undefined) {
      if (after.version !== before?.version) this.#upserted.push(after);
    } else if (before !== undefined) this.#removed.push({ type, name });
  }
}

/** The scope's own over the source workloads. */
class Overlay implements ResourceIndex {
  readonly #own: ReadonlyMap<string, EncodedResource>;
  readonly #sources: ReadonlyMap<string, EncodedResource>;

  constructor(
    own: ReadonlyMap<string, EncodedResource>,
    sources: ReadonlyMap<string, EncodedResource>,
  ) {
    this.#own = own;
    this.#sources = sources;
  }

  get(name: string): EncodedResource | undefined {
    return this.#own.get(name) ?? this.#sources.get(name);
  }

  has(name: string): boolean {
    return this.#own.has(name) || this.#sources.has(name);
  }

  *keys(): Generator<string> {
    yield* this.#own.keys();
    for (const name of this.#sources.keys()) if (!this.#own.has(name)) yield name;
  }

  *values(): Generator<EncodedResource> {
    for (const name of this.keys()) yield this.get(name)!;
  }
}
