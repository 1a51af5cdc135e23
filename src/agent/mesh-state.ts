/**
 * What a proxy holds of the mesh: the resources that its control plane has sent, as a Snapshot.
 *
 *     stage (decode, check) ─ stage ─ … ─ commit: same digest? ─yes─> one new Snapshot
 *                                                     └─no──> refused; all is asked for again
 *
 * Decoding happens once, on arrival, and what cannot be decoded is refused there by name. What is
 * staged has no effect before the commit, and stays staged when the stream breaks: the server is
 * told of it, and sends what is new since then. Values that did not change keep their identity,
 * also when they are sent again: the same version is the same content.
 */
import { ShardedMap } from "../kit/sharded-map.ts";
import { addressOwners, endpointsOf } from "../model/endpoints.ts";
import type { RequestAuthentication } from "../model/request-authentication.ts";
import type { AttachedRoute } from "../model/route.ts";
import type { AuthorizationPolicy, L4Policy } from "../model/rule.ts";
import type { Endpoint, Service } from "../model/service.ts";
import { DEFAULT_SETTINGS, type MeshSettings } from "../model/settings.ts";
import type { AddressOwners, Snapshot, SnapshotSource } from "../model/snapshot.ts";
import type { Waypoint } from "../model/waypoint.ts";
import type { Workload } from "../model/workload.ts";
import type { DecodedAddress } from "../wire/address.ts";
import {
  type EncodedResource,
  RESOURCE_TYPES,
  type ResourceSink,
  type ResourceType,
  type RevisionStamp,
} from "../wire/resource.ts";
import { Buckets } from "./buckets.ts";
import { decodeResource } from "./decode-resource.ts";
import { ResourceLedger } from "./resource-ledger.ts";

const { address, authorization, waypoint, policies, authentications, routes, settings, revision } =
  RESOURCE_TYPES;

interface Indexes {
  workloads: ShardedMap<Workload>;
  services: ShardedMap<Service>;
  endpoints: ShardedMap<readonly Endpoint[]>;
  addresses: ShardedMap<AddressOwners>;
  waypoints: ShardedMap<Waypoint>;
  policies: ShardedMap<readonly AuthorizationPolicy[]>;
  authentications: ShardedMap<readonly RequestAuthentication[]>;
  l4Policies: ShardedMap<L4Policy>;
  l4PoliciesByNamespace: ShardedMap<readonly L4Policy[]>;
  routes: ShardedMap<readonly AttachedRoute[]>;
}

type MeshSnapshot = Snapshot & Readonly<Indexes>;

export class MeshState implements ResourceSink, SnapshotSource {
  readonly types = [
    ...[authorization, settings, waypoint, policies, authentications, routes],
    ...[address, revision],
  ];
  /** Of what is held and staged together. */
  readonly #ledger = new ResourceLedger();
  /** Decoded values by type and name; undefined: it is gone. */
  readonly #staged = new Map<ResourceType, Map<string, unknown>>();
  /** Names refused since the last commit: why a digest cannot be right. */
  readonly #refused = new Set<string>();
  readonly #listeners = new Set<(now: Snapshot, previous: Snapshot) => void>();
  readonly #endpoints = new Buckets<Endpoint>();
  readonly #workloadsByAddress = new Buckets<Workload>();
  readonly #servicesByAddress = new Buckets<Service>();
  readonly #policiesByNamespace = new Buckets<L4Policy>();
  #current: MeshSnapshot = {
    revision: 0,
    settings: DEFAULT_SETTINGS,
    workloads: ShardedMap.empty(),
    services: ShardedMap.empty(),
    endpoints: ShardedMap.empty(),
    addresses: ShardedMap.empty(),
    waypoints: ShardedMap.empty(),
    policies: ShardedMap.empty(),
    authentications: ShardedMap.empty(),
    l4Policies: ShardedMap.empty(),
    l4PoliciesByNamespace: ShardedMap.empty(),
    routes: ShardedMap.empty(),
  };

  get current(): Snapshot {
    return this.#current;
  }

  subscribe(listener: (now: Snapshot, previous: Snapshot) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  versions(type: ResourceType): ReadonlyMap<string, string> {
    return this.#ledger.of(type);
  }

  stage(
    type: ResourceType,
    upserted: readonly EncodedResource[],
    removed: readonly string[],
  ): readonly string[] {
    const problems: string[] = [];
    const staged = mapOf(this.#staged, type);
    for (const name of removed) {
      this.#ledger.set(type, name, undefined);
      staged.set(name, undefined);
    }
    for (const { name, version, bytes } of upserted) {
      try {
        // A server that gives no versions says "".
        if (version === "" || this.#ledger.of(type).get(name) !== version) {
          staged.set(name, decodeResource(type, name, bytes));
          this.#ledger.set(type, name, version);
        }
        this.#refused.delete(name);
      } catch (caught) {
        this.#refused.add(name);
        problems.push(`${name}: ${caught instanceof Error ? caught.message : caught}`);
      }
    }
    return problems;
  }

  commit(stamp: RevisionStamp): string | undefined {
    if (this.#ledger.digest !== stamp.digest) {
      const refused = [...this.#refused].slice(0, 10);
      this.#refused.clear();
      if (refused.length > 0) return `without the refused ${refused.join(", ")} it is not whole`;
      this.#forget();
      return "what was sent does not amount to this revision";
    }
    this.#refused.clear();
    const previous = this.#current;
    this.#current = this.#applied(stamp.id);
    this.#staged.clear();
    for (const listener of [...this.#listeners]) listener(this.#current, previous);
    return undefined;
  }

  /** Everything is to be sent again; what then does not come is gone with the next commit. */
  #forget(): void {
    for (const type of this.types) {
      const staged = mapOf(this.#staged, type);
      for (const name of this.#ledger.of(type).keys()) staged.set(name, undefined);
    }
    this.#ledger.clear();
  }

  #applied(id: number): MeshSnapshot {
    const before = this.#current;
    const services = before.services.edit();
    const workloads = before.workloads.edit();
    for (const [name, value] of this.#changes<DecodedAddress>(address)) {
      // One name space for both: a name may even change what it stands for.
      const service = value?.kind === "service" ? value.service : undefined;
      const workload = value?.kind === "workload" ? value.workload : undefined;
      this.#indexService(name, before.services.get(name), service);
      this.#indexWorkload(name, before.workloads.get(name), workload);
      put(services, name, service);
      put(workloads, name, workload);
    }
    const l4Policies = before.l4Policies.edit();
    for (const [name, policy] of this.#changes<L4Policy>(authorization)) {
      this.#indexPolicy(name, before.l4Policies.get(name), policy);
      put(l4Policies, name, policy);
    }
    const sent = this.#changes<MeshSettings>(settings).values().next().value;
    return {
      revision: id,
      settings: sent ?? before.settings,
      services: services.finish(),
      workloads: workloads.finish(),
      l4Policies: l4Policies.finish(),
      endpoints: grouped(before.endpoints, this.#endpoints),
      addresses: this.#addresses(before.addresses),
      l4PoliciesByNamespace: grouped(before.l4PoliciesByNamespace, this.#policiesByNamespace),
      waypoints: this.#edited(before.waypoints, waypoint),
      policies: this.#edited(before.policies, policies),
      authentications: this.#edited(before.authentications, authentications),
      routes: this.#edited(before.routes, routes),
    };
  }

  #changes<V>(type: ResourceType): ReadonlyMap<string, V | undefined> {
    return (this.#staged.get(type) ?? new Map()) as ReadonlyMap<string, V | undefined>;
  }

  #edited<V>(index: ShardedMap<V>, type: ResourceType): ShardedMap<V> {
    const edit = index.edit();
    for (const [name, value] of this.#changes<V>(type)) put(edit, name, value);
    return edit.finish();
  }

  #indexService(key: string, before: Service | undefined, now: Service | undefined): void {
    for (const vip of before?.addresses ?? []) this.#servicesByAddress.set(vip, key, undefined);
    for (const vip of now?.addresses ?? []) this.#servicesByAddress.set(vip, key, now);
  }

  #indexWorkload(uid: string, before: Workload | undefined, now: Workload | undefined): void {
    for (const ip of addressesOf(before)) this.#workloadsByAddress.set(ip, uid, undefined);
    for (const ip of addressesOf(now)) this.#workloadsByAddress.set(ip, uid, now);
    for (const { service } of before === undefined ? [] : endpointsOf(before)) {
      this.#endpoints.set(service, uid, undefined);
    }
    for (const { service, endpoint } of now === undefined ? [] : endpointsOf(now)) {
      this.#endpoints.set(service, uid, endpoint);
    }
  }

  #indexPolicy(key: string, before: L4Policy | undefined, now: L4Policy | undefined): void {
    for (const [policy, value] of [
      [before, undefined],
      [now, now],
    ] as const) {
      if (policy === undefined || policy.scope === "WORKLOAD_SELECTOR") continue;
      const namespace = policy.scope === "GLOBAL" ? "" : policy.namespace;
      this.#policiesByNamespace.set(namespace, key, value);
    }
  }

  #addresses(before: ShardedMap<AddressOwners>): ShardedMap<AddressOwners> {
    const edit = before.edit();
    const touched = [
      ...this.#workloadsByAddress.takeTouched(),
      ...this.#servicesByAddress.takeTouched(),
    ];
    for (const ip of new Set(touched)) {
      const found = this.#workloadsByAddress.values(ip);
      const services = this.#servicesByAddress.values(ip);
      if (found.length + services.length === 0) edit.delete(ip);
      else edit.set(ip, addressOwners(found, services));
    }
    return edit.finish();
  }
}

function addressesOf(workload: Workload | undefined): readonly string[] {
  return workload === undefined || workload.isHostNetwork ? [] : workload.addresses;
}

function put<V>(
  edit: { set(key: string, value: V): void; delete(key: string): void },
  name: string,
  value: V | undefined,
): void {
  if (value === undefined) edit.delete(name);
  else edit.set(name, value);
}

function grouped<V>(
  before: ShardedMap<readonly V[]>,
  buckets: Buckets<V>,
): ShardedMap<readonly V[]> {
  const edit = before.edit();
  for (const group of buckets.takeTouched()) {
    const values = buckets.values(group);
    if (values.length === 0) edit.delete(group);
    else edit.set(group, values);
  }
  return edit.finish();
}

function mapOf<V>(maps: Map<ResourceType, Map<string, V>>, type: ResourceType): Map<string, V> {
  let map = maps.get(type);
  if (map === undefined) {
    map = new Map();
    maps.set(type, map);
  }
  return map;
}
