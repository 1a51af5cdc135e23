/**
 * The mesh at one moment (D2): immutable, swapped whole. Every decision sees exactly one.
 *
 * The indexes are copy-on-write in small pieces, so a change costs what it touches and two
 * successive snapshots share everything else. Values that did not change keep their identity
 * (`===`), which is what lets the proxies cache what they compile from them.
 */
import type { RequestAuthentication } from "./request-authentication.ts";
import type { AttachedRoute } from "./route.ts";
import type { AuthorizationPolicy, L4Policy } from "./rule.ts";
import type { Endpoint, Service } from "./service.ts";
import type { MeshSettings } from "./settings.ts";
import type { Waypoint } from "./waypoint.ts";
import type { Workload } from "./workload.ts";

/** A read-only map with copy-on-write updates behind it. */
export interface Index<V> {
  readonly size: number;
  get(key: string): V | undefined;
  values(): IterableIterator<V>;
  entries(): IterableIterator<[string, V]>;
}

export interface Snapshot {
  /** Counts up by one with every accepted change. */
  readonly revision: number;
  readonly settings: MeshSettings;
  /** By uid. */
  readonly workloads: Index<Workload>;
  /** By service key. */
  readonly services: Index<Service>;
  /** Endpoints by service key, in a stable order. */
  readonly endpoints: Index<readonly Endpoint[]>;
  /** Who owns an IP: workload uids and service keys, by textual address. */
  readonly addresses: Index<AddressOwners>;
  /** By `<ns>/<name>`. */
  readonly waypoints: Index<Waypoint>;
  /** L7 policies in force for a target: key `Service/<service key>`, `Gateway/<waypoint key>`, or `GatewayClass/<class>`. */
  readonly policies: Index<readonly AuthorizationPolicy[]>;
  /** By target, likewise. */
  readonly authentications: Index<readonly RequestAuthentication[]>;
  /** L4 policies by `<ns>/<name>`. */
  readonly l4Policies: Index<L4Policy>;
  /** L4 policies that apply to a whole namespace, or (key "") to the mesh. */
  readonly l4PoliciesByNamespace: Index<readonly L4Policy[]>;
  /** Routes, sorted by precedence between routes; key `Service/<service key>` or `Gateway/<waypoint key>`. */
  readonly routes: Index<readonly AttachedRoute[]>;
}

export interface AddressOwners {
  readonly workloads: readonly string[];
  readonly services: readonly string[];
}

/** What the proxies hold: the snapshot in force, and news of the next one. */
export interface SnapshotSource {
  readonly current: Snapshot;
  /** Calls back after each swap. Returns the way to stop. */
  subscribe(listener: (snapshot: Snapshot, previous: Snapshot) => void): () => void;
}
