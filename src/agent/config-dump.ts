/** A snapshot as JSON: what the admin port answers at `/config_dump`. */
import type { Snapshot } from "../model/snapshot.ts";

/** Everything that the proxies hold. */
export function configDump(snapshot: Snapshot): unknown {
  const object = <T>(index: { entries(): IterableIterator<[string, T]> }) =>
    Object.fromEntries([...index.entries()].map(([key, value]) => [key, plain(value)]));
  return {
    revision: snapshot.revision,
    settings: snapshot.settings,
    workloads: object(snapshot.workloads),
    services: object(snapshot.services),
    endpoints: object(snapshot.endpoints),
    waypoints: object(snapshot.waypoints),
    policies: object(snapshot.policies),
    l4Policies: object(snapshot.l4Policies),
    routes: object(snapshot.routes),
  };
}

/** JSON has no maps. */
export function plain(value: unknown): unknown {
  if (value instanceof Map) {
    return Object.fromEntries([...value].map(([key, inner]) => [String(key), plain(inner)]));
  }
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}
