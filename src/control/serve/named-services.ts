/** The services named by what is attached to a target: where requests may go, or ask. */
import type { AttachedRoute, RouteFilter } from "../../model/route.ts";
import { isHttpRoute } from "../../model/route.ts";
import type { Snapshot } from "../../model/snapshot.ts";

export function namedServices(snapshot: Snapshot, target: string): readonly string[] {
  const found = new Set<string>();
  const add = (service: string | undefined) => {
    if (service !== undefined) found.add(service);
  };
  for (const { provider } of snapshot.policies.get(target) ?? []) add(provider?.service);
  for (const attached of snapshot.routes.get(target) ?? []) addNamed(attached, add);
  return [...found];
}

function addNamed(attached: AttachedRoute, add: (service: string | undefined) => void): void {
  if (!isHttpRoute(attached)) {
    for (const { backends } of attached.route.rules)
      for (const { service } of backends) add(service);
    return;
  }
  const addFilters = (filters: readonly RouteFilter[]) => {
    for (const filter of filters) if ("backend" in filter) add(filter.backend.service);
  };
  for (const { backends, filters } of attached.route.rules) {
    addFilters(filters);
    for (const backend of backends) {
      add(backend.service);
      addFilters(backend.filters);
    }
  }
}
