/**
 * Where a ztunnel takes a connection (protocols.md §3.5): to a waypoint, to the workload through
 * its ztunnel, to a workload outside the mesh, or past everything.
 *
 * Pure: the random draw is an argument. Order, first that applies:
 *
 *     the address is a service's   waypoint bound     → tunnel to the waypoint, authority VIP:port
 *                                  waypoint unusable  → refused (D4)
 *                                  else               → one of its endpoints, directly
 *     the address is a workload's  waypoint bound     → tunnel to the waypoint, authority IP:port
 *                                  waypoint unusable  → refused (D4)
 *                                  else               → the workload, directly
 *     neither                                         → passed through
 *
 * A client outside the mesh knows no waypoints and no tunnels: it gets what Kubernetes gives it.
 */
import type { Endpoint, Service } from "../model/service.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { WaypointBinding } from "../model/waypoint.ts";
import { type Workload, workloadIdentity } from "../model/workload.ts";

export type NextHop =
  | {
      readonly kind: "tunnel";
      /** The pod whose ztunnel (or waypoint) takes the tunnel. */
      readonly address: string;
      readonly port: number;
      readonly authorityAddress: string;
      readonly authorityPort: number;
      /** SPIFFE ids of which the peer must prove one. */
      readonly expected: readonly string[];
      readonly waypoint: string | undefined;
      readonly workload: Workload;
      readonly service: Service | undefined;
    }
  | {
      readonly kind: "direct";
      readonly address: string;
      readonly port: number;
      readonly workload: Workload;
      readonly service: Service | undefined;
    }
  | { readonly kind: "passthrough"; readonly address: string; readonly port: number }
  | {
      readonly kind: "refused";
      readonly because: string;
      readonly service: Service | undefined;
      readonly workload: Workload | undefined;
    };

/** Port on which ztunnels accept tunnels. */
export const HBONE_PORT = 15008;

export interface NextHopQuery {
  /** The client's workload; undefined when it is outside the mesh. */
  readonly source: Workload | undefined;
  readonly address: string;
  readonly port: number;
  /** In [0, 1). */
  readonly draw: number;
}

export function nextHop(snapshot: Snapshot, query: NextHopQuery): NextHop {
  const owners = snapshot.addresses.get(query.address);
  const service = owners && preferredService(snapshot, owners.services, query.source);
  if (service !== undefined) return serviceHop(snapshot, service, query);
  const uid = owners?.workloads[0];
  const workload = uid === undefined ? undefined : snapshot.workloads.get(uid);
  if (workload !== undefined) return workloadHop(snapshot, workload, query);
  return { kind: "passthrough", address: query.address, port: query.port };
}

/** Of several services with one VIP: the client's namespace first, then canonical ones. */
function preferredService(
  snapshot: Snapshot,
  keys: readonly string[],
  source: Workload | undefined,
): Service | undefined {
  let best: Service | undefined;
  let bestRank = -1;
  for (const key of keys) {
    const service = snapshot.services.get(key);
    if (service === undefined) continue;
    const rank = (service.namespace === source?.namespace ? 2 : 0) + (service.canonical ? 1 : 0);
    if (rank <= bestRank) continue;
    best = service;
    bestRank = rank;
  }
  return best;
}

function serviceHop(snapshot: Snapshot, service: Service, query: NextHopQuery): NextHop {
  const refused = (because: string): NextHop => ({
    kind: "refused",
    because,
    service,
    workload: undefined,
  });
  const hostname = service.hostname;
  if (!service.ports.some((p) => p.port === query.port)) {
    const ports = service.ports.map((p) => p.port).join(", ");
    return refused(`service ${hostname} has no port ${query.port} (it has ${ports || "none"})`);
  }
  if (isInMesh(query.source) && service.waypoint !== undefined) {
    return waypointHop(snapshot, service.waypoint, query, service, undefined);
  }
  const endpoint = pick(snapshot, service, query.port, query.draw);
  if (endpoint === undefined) return refused(`service ${hostname} has no healthy endpoint`);
  const workload = snapshot.workloads.get(endpoint.workloadUid)!;
  const port = endpoint.ports.get(query.port)!;
  return workloadDirect(workload, endpoint.address, port, query, service);
}

function workloadHop(snapshot: Snapshot, workload: Workload, query: NextHopQuery): NextHop {
  const { source } = query;
  const isItsWaypoint =
    workload.waypoint?.state === "bound" &&
    source?.waypointInstanceOf === workload.waypoint.waypoint;
  if (isInMesh(source) && workload.waypoint !== undefined && !isItsWaypoint) {
    return waypointHop(snapshot, workload.waypoint, query, undefined, workload);
  }
  return workloadDirect(workload, query.address, query.port, query, undefined);
}

function waypointHop(
  snapshot: Snapshot,
  binding: WaypointBinding,
  query: NextHopQuery,
  service: Service | undefined,
  workload: Workload | undefined,
): NextHop {
  const refused = (because: string): NextHop => ({ kind: "refused", because, service, workload });
  if (binding.state === "unusable") {
    return refused(`waypoint ${binding.waypoint} cannot be used: ${binding.reason}`);
  }
  const front = snapshot.services.get(binding.service);
  const endpoint = front && pick(snapshot, front, binding.hbonePort, query.draw);
  if (front === undefined || endpoint === undefined) {
    return refused(`waypoint ${binding.waypoint} has no healthy endpoint`);
  }
  const instance = snapshot.workloads.get(endpoint.workloadUid)!;
  return {
    kind: "tunnel",
    address: endpoint.address,
    port: endpoint.ports.get(binding.hbonePort)!,
    authorityAddress: query.address,
    authorityPort: query.port,
    expected: [workloadIdentity(instance), ...front.subjectAltNames],
    waypoint: binding.waypoint,
    workload: instance,
    service,
  };
}

function workloadDirect(
  workload: Workload,
  address: string,
  port: number,
  query: NextHopQuery,
  service: Service | undefined,
): NextHop {
  if (!isInMesh(query.source) || workload.tunnelProtocol !== "HBONE") {
    return { kind: "direct", address, port, workload, service };
  }
  return {
    kind: "tunnel",
    address,
    port: HBONE_PORT,
    authorityAddress: address,
    authorityPort: port,
    expected: [workloadIdentity(workload), ...(service?.subjectAltNames ?? [])],
    waypoint: undefined,
    workload,
    service,
  };
}

function isInMesh(source: Workload | undefined): boolean {
  return source?.tunnelProtocol === "HBONE";
}

/** Uniform over the endpoints that may be chosen (ztunnel balances connections, not requests). */
function pick(
  snapshot: Snapshot,
  service: Service,
  port: number,
  draw: number,
): Endpoint | undefined {
  const isOpenToAll = service.loadBalancing.healthPolicy === "ALLOW_ALL";
  const usable = (snapshot.endpoints.get(service.key) ?? []).filter(
    (e) =>
      (e.isHealthy || isOpenToAll) &&
      e.ports.has(port) &&
      snapshot.workloads.get(e.workloadUid) !== undefined,
  );
  return usable[Math.floor(draw * usable.length)];
}
