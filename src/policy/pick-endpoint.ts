/**
 * Which endpoint of a service takes a connection (protocols.md §1.8).
 *
 *     usable      healthy (or ALLOW_ALL), with the port, its workload known, not just failed
 *     STRICT      only those that match the client in every scope of the preference
 *     FAILOVER    only those that match in the most leading scopes
 *     then        at random, by capacity
 *
 * Pure: the random draw is an argument. ztunnel balances connections, not requests.
 */
import type { Endpoint, LocalityScope, Service } from "../model/service.ts";
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
  const { mode, routingPreference } = service.loadBalancing;
  const usable = usableEndpoints(snapshot, service, query);
  const isLocal = (mode === "STRICT" || mode === "FAILOVER") && routingPreference.length > 0;
  if (!isLocal) return draw(usable, query.draw);
  const ranked = usable.map((candidate) => ({
    candidate,
    rank: leadingMatches(routingPreference, query.source, candidate.workload),
  }));
  const all = routingPreference.length;
  const wanted = mode === "STRICT" ? all : ranked.reduce((max, { rank }) => Math.max(max, rank), 0);
  const near = ranked.filter(({ rank }) => rank === wanted).map(({ candidate }) => candidate);
  return draw(near, query.draw);
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
