/**
 * What a proxy holds of the mesh: the resources that its control plane has sent, as a Snapshot.
 */
import { ShardedMap } from "../kit/sharded-map.ts";
import { DEFAULT_SETTINGS } from "../model/settings.ts";
import type { Snapshot, SnapshotSource } from "../model/snapshot.ts";
import type { ResourceSink, ResourceType } from "../wire/resource.ts";

export class MeshState implements ResourceSink, SnapshotSource {
  readonly types: readonly ResourceType[] = [];
  readonly current: Snapshot = {
    revision: 0,
    settings: DEFAULT_SETTINGS,
    workloads: ShardedMap.empty(),
    services: ShardedMap.empty(),
    endpoints: ShardedMap.empty(),
    addresses: ShardedMap.empty(),
    waypoints: ShardedMap.empty(),
    policies: ShardedMap.empty(),
    l4Policies: ShardedMap.empty(),
    l4PoliciesByNamespace: ShardedMap.empty(),
    routes: ShardedMap.empty(),
  };

  versions(): ReadonlyMap<string, string> {
    return new Map();
  }

  subscribe(): () => void {
    return () => {};
  }

  stage(): readonly string[] {
    return [];
  }

  commit(): string | undefined {
    return undefined;
  }
}
