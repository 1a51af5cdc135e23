/**
 * The mesh as resources: each encoded once when it changes, for all clients.
 *
 * A swap of the Snapshot costs what is different in it. When a service comes back under a name that
 * it had before, or begins to take unhealthy instances, the workloads behind it are sent again: a
 * ztunnel that drops a service, or passes over an instance, keeps nothing of it (protocols.md §8).
 */
import { differences } from "../../kit/sharded-map.ts";
import type { Service } from "../../model/service.ts";
import type { Index, Snapshot, SnapshotSource } from "../../model/snapshot.ts";
import type { Workload } from "../../model/workload.ts";
import { encodeServiceAddress, encodeWorkloadAddress } from "../../wire/address.ts";
import { encodeAuthorization } from "../../wire/authorization.ts";
import { contentVersion, ResourceDigest } from "../../wire/digest.ts";
import {
  encodeAuthentications,
  encodePolicies,
  encodeRoutes,
  encodeSettings,
  encodeWaypoint,
  SETTINGS_NAME,
} from "../../wire/mesh.ts";
import {
  type EncodedResource,
  RESOURCE_TYPES,
  type ResourceBatch,
  type ResourceSource,
  type ResourceType,
  type RevisionStamp,
} from "../../wire/resource.ts";
import type { EncodingOptions } from "../../wire/service.ts";

const NOTHING: ReadonlyMap<string, EncodedResource> = new Map();

export class MeshResources implements ResourceSource {
  readonly #byType = new Map<ResourceType, Map<string, EncodedResource>>();
  readonly #digest = new ResourceDigest();
  readonly #listeners = new Set<(batch: ResourceBatch) => void>();
  readonly #unsubscribe: () => void;
  #revision: RevisionStamp;
  #snapshot: Snapshot;

  constructor(snapshots: SnapshotSource) {
    this.#snapshot = snapshots.current;
    this.#revision = { id: snapshots.current.revision, digest: "" };
    this.#take(snapshots.current, undefined);
    this.#unsubscribe = snapshots.subscribe((now, previous) => {
      const batch = this.#take(now, previous);
      for (const listener of [...this.#listeners]) listener(batch);
    });
  }

  get revision(): RevisionStamp {
    return this.#revision;
  }

  /** What the resources of now are made from. */
  get snapshot(): Snapshot {
    return this.#snapshot;
  }

  resources(type: ResourceType): ReadonlyMap<string, EncodedResource> {
    return this.#byType.get(type) ?? NOTHING;
  }

  subscribe(listener: (batch: ResourceBatch) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#unsubscribe();
    this.#listeners.clear();
  }

  #take(now: Snapshot, previous: Snapshot | undefined): ResourceBatch {
    const changes = new Changes(this.#byType, this.#digest);
    const options = encodingOptions(now);
    const before = previous && encodingOptions(previous);
    const isEncodedAnew =
      before?.network !== options.network || before.ignoresUnusable !== options.ignoresUnusable;
    const { address, authorization, waypoint, policies, authentications, routes, settings } =
      RESOURCE_TYPES;
    changes.take(authorization, previous?.l4Policies, now.l4Policies, encodeAuthorization);
    changes.take(waypoint, previous?.waypoints, now.waypoints, encodeWaypoint);
    changes.take(policies, previous?.policies, now.policies, encodePolicies);
    changes.take(
      authentications,
      previous?.authentications,
      now.authentications,
      encodeAuthentications,
    );
    changes.take(routes, previous?.routes, now.routes, encodeRoutes);
    const service = (value: Service) => encodeServiceAddress(value, options);
    const workload = (value: Workload) => encodeWorkloadAddress(value, options);
    changes.take(address, previous?.services, now.services, service);
    changes.take(address, previous?.workloads, now.workloads, workload);
    if (previous !== undefined && isEncodedAnew) {
      for (const [key, value] of now.services.entries()) {
        changes.upsert(address, key, service(value));
      }
      for (const [uid, value] of now.workloads.entries()) {
        changes.upsert(address, uid, workload(value));
      }
    }
    if (now.settings !== previous?.settings) {
      changes.upsert(settings, SETTINGS_NAME, encodeSettings(now.settings));
    }
    if (previous !== undefined) touchEndpoints(now, previous, changes);
    this.#snapshot = now;
    this.#revision = { id: now.revision, digest: this.#digest.toString() };
    return changes.batch(this.#revision);
  }
}

/** Workloads behind services that are new, or take other instances than before. */
function touchEndpoints(now: Snapshot, previous: Snapshot, changes: Changes): void {
  for (const [key, service] of differences(previous.services, now.services)) {
    if (service === undefined) continue;
    const before = previous.services.get(key)?.loadBalancing.healthPolicy;
    if (service.loadBalancing.healthPolicy === before) continue;
    for (const { workloadUid } of now.endpoints.get(key) ?? []) {
      changes.touch(RESOURCE_TYPES.address, workloadUid);
    }
  }
}

function encodingOptions({ settings }: Snapshot): EncodingOptions {
  return { network: settings.network, ignoresUnusable: settings.compatibility === "istio" };
}

const EMPTY: Pick<Index<never>, "get" | "entries"> = {
  get: () => undefined,
  *entries() {},
};

/** What one swap comes to. */
class Changes {
  readonly #byType: Map<ResourceType, Map<string, EncodedResource>>;
  readonly #digest: ResourceDigest;
  readonly #upserted = new Map<string, EncodedResource>();
  readonly #removed: { type: ResourceType; name: string }[] = [];

  constructor(byType: Map<ResourceType, Map<string, EncodedResource>>, digest: ResourceDigest) {
    this.#byType = byType;
    this.#digest = digest;
  }

  take<V>(
    type: ResourceType,
    before: Index<V> | undefined,
    now: Index<V>,
    encode: (value: V) => Uint8Array,
  ): void {
    for (const [name, value] of differences<V>(before ?? EMPTY, now)) {
      if (value === undefined) this.#remove(type, name);
      else this.upsert(type, name, encode(value));
    }
  }

  upsert(type: ResourceType, name: string, bytes: Uint8Array): void {
    const version = contentVersion(bytes);
    const held = this.#of(type);
    const before = held.get(name);
    // The model's value is another one, but on the wire it is the same.
    if (before?.version === version) return;
    if (before !== undefined) this.#digest.remove(type, name, before.version);
    const resource = { type, name, version, bytes };
    held.set(name, resource);
    this.#digest.add(type, name, version);
    this.#upserted.set(`${type} ${name}`, resource);
  }

  #remove(type: ResourceType, name: string): void {
    const held = this.#of(type);
    const before = held.get(name);
    if (before === undefined) return;
    held.delete(name);
    this.#digest.remove(type, name, before.version);
    this.#removed.push({ type, name });
  }

  /** Sent again as it is. */
  touch(type: ResourceType, name: string): void {
    const resource = this.#of(type).get(name);
    if (resource !== undefined) this.#upserted.set(`${type} ${name}`, resource);
  }

  batch(revision: RevisionStamp): ResourceBatch {
    return { revision, upserted: [...this.#upserted.values()], removed: this.#removed };
  }

  #of(type: ResourceType): Map<string, EncodedResource> {
    let held = this.#byType.get(type);
    if (held === undefined) {
      held = new Map();
      this.#byType.set(type, held);
    }
    return held;
  }
}
