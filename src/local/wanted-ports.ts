/**
 * Which ports the mesh of a snapshot has, and what comes in at each:
 *
 *     service address : service port    captured: a client's connection to the service
 *     workload address : target port    captured: a client's connection to the workload
 *     workload address : 15008          a tunnel to the workload's ztunnel, or to the waypoint
 *     waypoint service address : 15008  a tunnel to the waypoint
 */
import type { Service } from "../model/service.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { Workload } from "../model/workload.ts";
import { HBONE_PORT } from "../policy/next-hop.ts";
import { isLoopback4 } from "./addresses.ts";
import { portsOf } from "./echoes.ts";

export interface WantedPort {
  readonly address: string;
  readonly port: number;
  readonly purpose: string;
  readonly entry: Entry;
}

export type Entry =
  | { readonly kind: "captured" }
  /** uid. */
  | { readonly kind: "tunnel"; readonly workload: string }
  /** `<ns>/<name>` of the Gateway. */
  | { readonly kind: "waypoint"; readonly waypoint: string };

const CAPTURED: Entry = { kind: "captured" };

export function wantedPorts(snapshot: Snapshot): WantedPort[] {
  const wanted = new Map<string, WantedPort>();
  const add = (port: WantedPort) => {
    const key = `${port.address}:${port.port}`;
    if (!wanted.has(key)) wanted.set(key, port);
  };
  const fronts = new Map<string, string>();
  for (const waypoint of snapshot.waypoints.values()) fronts.set(waypoint.service, waypoint.key);
  for (const workload of snapshot.workloads.values()) addWorkload(snapshot, workload, add);
  for (const service of snapshot.services.values()) {
    addService(service, fronts.get(service.key), add);
  }
  return [...wanted.values()];
}

type Add = (port: WantedPort) => void;

function addWorkload(snapshot: Snapshot, workload: Workload, add: Add): void {
  const waypoint = workload.waypointInstanceOf;
  const purpose = waypoint
    ? `waypoint ${waypoint}`
    : `workload ${workload.namespace}/${workload.name}`;
  for (const address of workload.addresses.filter(isLoopback4)) {
    if (waypoint !== undefined) {
      add({ address, port: HBONE_PORT, purpose, entry: { kind: "waypoint", waypoint } });
      continue;
    }
    if (workload.tunnelProtocol === "HBONE") {
      const entry: Entry = { kind: "tunnel", workload: workload.uid };
      add({ address, port: HBONE_PORT, purpose: `${purpose} (tunnels)`, entry });
    }
    for (const port of portsOf(snapshot, workload).keys()) {
      add({ address, port, purpose, entry: CAPTURED });
    }
  }
}

function addService(service: Service, waypoint: string | undefined, add: Add): void {
  const purpose = `service ${service.namespace}/${service.name}`;
  for (const address of service.addresses.filter(isLoopback4)) {
    for (const { port } of service.ports) {
      const isTunnel = waypoint !== undefined && port === HBONE_PORT;
      const entry: Entry = isTunnel ? { kind: "waypoint", waypoint } : CAPTURED;
      add({ address, port, purpose, entry });
    }
  }
}
