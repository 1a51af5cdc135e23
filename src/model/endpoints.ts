/**
 * Endpoints: the workloads behind each service, one value for each pair, so that a pod that changes
 * does not make all endpoints of a large service anew. And who owns an address.
 */
import type { Endpoint, Service } from "./service.ts";
import type { AddressOwners } from "./snapshot.ts";
import type { Workload } from "./workload.ts";

export interface ServiceEndpoint {
  readonly service: string;
  readonly endpoint: Endpoint;
}

export function endpointsOf(workload: Workload): readonly ServiceEndpoint[] {
  const [address] = workload.addresses;
  if (address === undefined) return [];
  const found: ServiceEndpoint[] = [];
  for (const [service, ports] of workload.services) {
    if (ports.size === 0) continue;
    const isHealthy = workload.status === "HEALTHY";
    found.push({ service, endpoint: { workloadUid: workload.uid, address, ports, isHealthy } });
  }
  return found;
}

/**
 * Of several workloads on one address a Pod goes first, then one in the mesh (as ztunnel ranks
 * them).
 */
export function addressOwners(
  workloads: readonly Workload[],
  services: readonly Service[],
): AddressOwners {
  const ranked = [...workloads].sort((a, b) => rankOf(b) - rankOf(a) || (a.uid < b.uid ? -1 : 1));
  return { workloads: ranked.map(({ uid }) => uid), services: services.map(({ key }) => key) };
}

function rankOf(workload: Workload): number {
  return (workload.uid.includes("//Pod/") ? 2 : 0) + (workload.tunnelProtocol === "HBONE" ? 1 : 0);
}
