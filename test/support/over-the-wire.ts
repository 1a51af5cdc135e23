/** The way of resources from a control plane to a proxy, without the network between them. */
import type { MeshState } from "../../src/agent/mesh-state.ts";
import type { Snapshot } from "../../src/model/snapshot.ts";
import {
  RESOURCE_TYPES,
  type ResourceBatch,
  type ResourceSource,
} from "../../src/wire/resource.ts";

const INDEXES = [
  "services",
  "workloads",
  "endpoints",
  "addresses",
  "waypoints",
  "policies",
  "authentications",
  "l4Policies",
  "l4PoliciesByNamespace",
  "routes",
] as const;

/** A Snapshot in a form that says all of it, and can be compared. */
export function contents(snapshot: Snapshot): unknown {
  const indexes = INDEXES.map((name) => [
    name,
    Object.fromEntries([...snapshot[name].entries()].sort(([a], [b]) => (a < b ? -1 : 1))),
  ]);
  return {
    revision: snapshot.revision,
    settings: snapshot.settings,
    ...Object.fromEntries(indexes),
  };
}

/** All of it, as a first answer brings it. */
export function whole(source: ResourceSource): ResourceBatch {
  const types = Object.values(RESOURCE_TYPES);
  const upserted = types.flatMap((type) => [...source.resources(type).values()]);
  return { revision: source.revision, upserted, removed: [] };
}

/** What an orderly client does with a batch. Returns what was refused. */
export function feed(state: MeshState, batch: ResourceBatch): string[] {
  const problems = state.types.flatMap((type) => [
    ...state.stage(
      type,
      batch.upserted.filter((resource) => resource.type === type),
      batch.removed.filter((one) => one.type === type).map(({ name }) => name),
    ),
  ]);
  const refusal = state.commit(batch.revision);
  return refusal === undefined ? problems : [...problems, refusal];
}
