/**
 * The scopes of the waypoints that are connected, by Gateway: made when the first replica asks, and
 * given up with the last. What is different in the mesh is found once, for all of them.
 */
import type { JsonObject } from "@bufbuild/protobuf";
import { differences } from "../../kit/sharded-map.ts";
import type { Service } from "../../model/service.ts";
import type { Index, Snapshot } from "../../model/snapshot.ts";
import type { Workload } from "../../model/workload.ts";
import type { ResourceBatch, ResourceSource } from "../../wire/resource.ts";
import type { MeshResources } from "./mesh-resources.ts";
import { SourceWorkloads } from "./source-workloads.ts";
import { type MeshChanges, WaypointScope, waypointOf } from "./waypoint-scope.ts";

/** Who a client says it is. */
export interface ClientNode {
  readonly id: string;
  readonly metadata?: JsonObject | undefined;
}

/** Names of services or workloads by the waypoint that they are bound to. */
class Bound<V extends Service | Workload> {
  readonly #names = new Map<string, Set<string>>();

  constructor(index: Index<V>) {
    for (const [name, value] of index.entries()) this.#set(name, value, true);
  }

  follow(before: Index<V>, changes: Iterable<readonly [string, V | undefined]>): void {
    for (const [name, value] of changes) {
      this.#set(name, before.get(name), false);
      this.#set(name, value, true);
    }
  }

  #set(name: string, value: V | undefined, isThere: boolean): void {
    const key = waypointOf(value);
    if (key === undefined) return;
    const names = this.#names.get(key) ?? new Set();
    if (isThere) names.add(name);
    else names.delete(name);
    if (names.size > 0) this.#names.set(key, names);
    else this.#names.delete(key);
  }

  to(key: string, index: Index<V>): (readonly [string, V | undefined])[] {
    return [...(this.#names.get(key) ?? [])].map((name) => [name, index.get(name)]);
  }
}

/** What all scopes share: kept from the first one on. */
interface Shared {
  readonly sources: SourceWorkloads;
  readonly services: Bound<Service>;
  readonly workloads: Bound<Workload>;
}

const GATEWAY = /^[^/]{1,253}\/[^/]{1,253}$/;

export class WaypointScopes {
  readonly #mesh: MeshResources;
  readonly #scopes = new Map<string, WaypointScope>();
  #shared: Shared | undefined;
  #snapshot: Snapshot;

  constructor(mesh: MeshResources) {
    this.#mesh = mesh;
    this.#snapshot = mesh.snapshot;
  }

  /**
   * For a waypoint that says which Gateway it is an instance of; undefined: whoever it is, it is
   * sent the whole mesh. It is no secret, and no credential.
   */
  of({ id, metadata }: ClientNode): ResourceSource | undefined {
    const key = metadata?.GATEWAY;
    if (!id.startsWith("waypoint~") || typeof key !== "string" || !GATEWAY.test(key)) {
      return undefined;
    }
    return this.#scopes.get(key) ?? this.#open(key);
  }

  #open(key: string): WaypointScope {
    const mesh = this.#mesh;
    const now = mesh.snapshot;
    const shared = this.#shared ?? this.#begin();
    const onUnused = () => this.#scopes.delete(key);
    const all: MeshChanges = {
      now,
      services: shared.services.to(key, now.services),
      workloads: shared.workloads.to(key, now.workloads),
      ...{ endpoints: [], targets: [], resources: [], sources: new Map() },
    };
    const { sources } = shared;
    const scope = new WaypointScope({ key, mesh, sources, onUnused }, all);
    this.#scopes.set(key, scope);
    return scope;
  }

  #begin(): Shared {
    const now = this.#mesh.snapshot;
    const shared = {
      sources: new SourceWorkloads(now.workloads),
      services: new Bound(now.services),
      workloads: new Bound(now.workloads),
    };
    this.#shared = shared;
    this.#snapshot = now;
    this.#mesh.subscribe((batch) => this.#follow(shared, batch));
    return shared;
  }

  #follow(shared: Shared, { upserted, removed }: ResourceBatch): void {
    const [before, now] = [this.#snapshot, this.#mesh.snapshot];
    this.#snapshot = now;
    const workloads = differences(before.workloads, now.workloads);
    const services = differences(before.services, now.services);
    shared.services.follow(before.services, services);
    shared.workloads.follow(before.workloads, workloads);
    const sources = shared.sources.take(workloads);
    if (this.#scopes.size === 0) return;
    const changes: MeshChanges = {
      now,
      ...{ workloads, services },
      endpoints: differences(before.endpoints, now.endpoints),
      targets: new Set([
        ...differences(before.routes, now.routes).keys(),
        ...differences(before.policies, now.policies).keys(),
      ]),
      resources: [...upserted, ...removed],
      sources,
    };
    for (const scope of [...this.#scopes.values()]) scope.take(changes);
  }
}
