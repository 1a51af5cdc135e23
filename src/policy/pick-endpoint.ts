/**
 * Which endpoint of a service takes a connection (protocols.md §1.8).
 *
 *     usable      healthy (or ALLOW_ALL), with the port, its workload known, not just failed
 *     STRICT      only those that match the client in every scope of the preference
 *     FAILOVER    only those that match in the most leading scopes
 *     then        at random, by capacity
 *
 * Pure: the random draw is an argument. ztunnel balances connections, not requests; a waypoint
 * shares the second and third line.
 */
import type { Endpoint, LoadBalancing, LocalityScope, Service } from "../model/service.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { Workload } from "../model/workload.ts";

export interface EndpointQuery {
  /** The client's workload; undefined when it is outside the mesh. */
  readonly source: Workload | undefined;
  /** The service's port. */
  readonly port: number;
  /** In [0, 1). */
  readonly draw: number;
  /** Uids of workloads that could not be reached just now. */
  readonly avoid?: ReadonlySet<string> | undefined;
}

interface Candidate {
  readonly endpoint: Endpoint;
  readonly workload: Workload;
}

export function pickEndpoint(
  snapshot: Snapshot,
  service: Service,
  query: EndpointQuery,
): Endpoint | undefined {
  const usable = usableEndpoints(snapshot, service, query);
  return draw(nearest(service.loadBalancing, query.source, usable), query.draw);
}

/** Where a client is decides which endpoints it gets. */
export function prefersPlaces({ mode, routingPreference }: LoadBalancing): boolean {
  return (mode === "STRICT" || mode === "FAILOVER") && routingPreference.length > 0;
}

/** Those of the endpoints that a client at that place is to use. */
export function nearest<T extends { readonly workload: Workload }>(
  loadBalancing: LoadBalancing,
  source: Workload | undefined,
  usable: readonly T[],
): readonly T[] {
  if (!prefersPlaces(loadBalancing)) return usable;
  const { mode, routingPreference } = loadBalancing;
  const ranks = usable.map(({ workload }) => leadingMatches(routingPreference, source, workload));
  const all = routingPreference.length;
  const wanted = mode === "STRICT" ? all : ranks.reduce((max, rank) => Math.max(max, rank), 0);
  return usable.filter((_, i) => ranks[i] === wanted);
}

/** Clients for whom it is equal are at the same place, as far as the preference can tell. */
export function placeIn(
  { routingPreference }: LoadBalancing,
  source: Workload | undefined,
): string {
  return routingPreference.map((scope) => placeOf(source, scope)).join("\n");
}

function usableEndpoints(snapshot: Snapshot, service: Service, query: EndpointQuery): Candidate[] {
  const isOpenToAll = service.loadBalancing.healthPolicy === "ALLOW_ALL";
  const usable: Candidate[] = [];
  for (const endpoint of snapshot.endpoints.get(service.key) ?? []) {
    if (!endpoint.isHealthy && !isOpenToAll) continue;
    if (!endpoint.ports.has(query.port) || query.avoid?.has(endpoint.workloadUid)) continue;
    const workload = snapshot.workloads.get(endpoint.workloadUid);
    if (workload !== undefined) usable.push({ endpoint, workload });
  }
  return usable;
}

/** A scope counts only when those before it match: a zone of another region is no nearer. */
function leadingMatches(
  scopes: readonly LocalityScope[],
  source: Workload | undefined,
  workload: Workload,
): number {
  let rank = 0;
  for (const scope of scopes) {
    if (placeOf(source, scope) !== placeOf(workload, scope)) break;
    rank++;
  }
  return rank;
}

/** What is not known is "", and equals only what is not known either. */
function placeOf(workload: Workload | undefined, scope: LocalityScope): string {
  if (workload === undefined) return "";
  switch (scope) {
    case "REGION":
      return workload.locality?.region ?? "";
    case "ZONE":
      return workload.locality?.zone ?? "";
    case "SUBZONE":
      return workload.locality?.subzone ?? "";
    case "NODE":
      return workload.node;
    case "CLUSTER":
      return workload.clusterId;
    case "NETWORK":
      return workload.network;
  }
}

/** By capacity (1 where none is given); who has none takes nothing. */
function draw(candidates: readonly Candidate[], at: number): Endpoint | undefined {
  let total = 0;
  for (const { workload } of candidates) total += workload.capacity ?? 1;
  let left = at * total;
  let last: Endpoint | undefined;
  for (const { endpoint, workload } of candidates) {
    const capacity = workload.capacity ?? 1;
    if (left < capacity) return endpoint;
    left -= capacity;
    // Rounding can leave a little behind the last one.
    if (capacity > 0) last = endpoint;
  }
  return last;
}
