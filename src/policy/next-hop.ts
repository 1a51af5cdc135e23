/**
 * Where a ztunnel takes a connection (protocols.md §3.5): to a waypoint, to the workload through
 * its ztunnel, to a workload outside the mesh, or past everything.
 *
 * Pure: the random draw is an argument. Order, first that applies:
 *
 *     the address is a service's   waypoint bound     → tunnel to the waypoint, authority VIP:port
 *                                  waypoint unusable  → refused (D4)
 *                                  PASSTHROUGH        → that address, as if no service had it
 *                                  else               → one of its endpoints, directly
 *     the address is a workload's  waypoint bound     → tunnel to the waypoint, authority IP:port
 *                                  waypoint unusable  → refused (D4)
 *                                  else               → the workload, directly
 *     neither                                         → passed through
 *
 * A client outside the mesh knows no waypoints and no tunnels: it gets what Kubernetes gives it.
 */
import type { Service } from "../model/service.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { WaypointBinding } from "../model/waypoint.ts";
import { type Workload, workloadIdentity } from "../model/workload.ts";
import { pickEndpoint } from "./pick-endpoint.ts";

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

/** Ports of the mesh itself: taking a connection there would come back to us. */
export const MESH_PORTS: ReadonlySet<number> = new Set([15001, 15006, HBONE_PORT]);

export interface NextHopQuery {
  /** The client's workload; undefined when it is outside the mesh. */
  readonly source: Workload | undefined;
  readonly address: string;
  readonly port: number;
  /** In [0, 1). */
  readonly draw: number;
  /** Uids of workloads that could not be reached just now: another instance, if there is one. */
  readonly avoid?: ReadonlySet<string>;
}

export function nextHop(snapshot: Snapshot, query: NextHopQuery): NextHop {
  const owners = snapshot.addresses.get(query.address);
  const service = owners && preferredService(snapshot, owners.services, query.source);
  if (service !== undefined) return serviceHop(snapshot, service, query);
  return addressHop(snapshot, owners?.workloads[0], query);
}

/** To an address that is no service's, or counts as none. */
function addressHop(snapshot: Snapshot, uid: string | undefined, query: NextHopQuery): NextHop {
  const workload = uid === undefined ? undefined : snapshot.workloads.get(uid);
  if (workload !== undefined) return workloadHop(snapshot, workload, query);
  const { address, port } = query;
  if (isLoopback(address) && MESH_PORTS.has(port)) {
    const because = `port ${port} of this machine is the mesh's own`;
    return { kind: "refused", because, service: undefined, workload: undefined };
  }
  return { kind: "passthrough", address, port };
}

function isLoopback(address: string): boolean {
  return address === "::1" || /^(?:::ffff:)?127\./.test(address);
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
  if (service.loadBalancing.mode === "PASSTHROUGH") {
    return addressHop(snapshot, snapshot.addresses.get(query.address)?.workloads[0], query);
  }
  const endpoint = pickEndpoint(snapshot, service, query);
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
  const endpoint = front && pickEndpoint(snapshot, front, { ...query, port: binding.hbonePort });
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
  if (MESH_PORTS.has(port)) {
    const because = `port ${port} of ${workload.name} is the mesh's own`;
    return { kind: "refused", because, service, workload };
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
