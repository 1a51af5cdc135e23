/**
 * Workloads: one Pod, WorkloadEntry or endpoint address (Istio's workload API, `Workload`).
 */
import { formatIdentity } from "./identity.ts";
import type { ObjectRef } from "./object-ref.ts";
import type { WaypointBinding } from "./waypoint.ts";

export interface Locality {
  readonly region: string;
  readonly zone: string;
  readonly subzone: string;
}

export interface Workload {
  /** `<cluster>//Pod/<ns>/<name>` and its like; opaque, unique in the mesh. */
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  /** Textual IPs. */
  readonly addresses: readonly string[];
  readonly network: string;
  /** HBONE: its ztunnel (or itself) accepts tunnels on 15008. TCP: outside the mesh. */
  readonly tunnelProtocol: "HBONE" | "TCP";
  readonly trustDomain: string;
  readonly serviceAccount: string;
  /** The waypoint of traffic addressed to its own IP. */
  readonly waypoint: WaypointBinding | undefined;
  readonly node: string;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly workloadType: "DEPLOYMENT" | "CRONJOB" | "POD" | "JOB";
  readonly workloadName: string;
  readonly clusterId: string;
  readonly locality: Locality | undefined;
  readonly status: "HEALTHY" | "UNHEALTHY";
  /** Its share of a service's connections, to the others'; 1 when not given. */
  readonly capacity?: number;
  /** It accepts tunnels itself: no ztunnel stands before it. */
  readonly hasNativeTunnel?: boolean;
  /** Service key → service port → target port. */
  readonly services: ReadonlyMap<string, ReadonlyMap<number, number>>;
  /** Names (`<ns>/<name>`) of the L4 policies that select it by label. */
  readonly authorizationPolicies: readonly string[];
  /** `<ns>/<name>` of the waypoint Gateway this workload is an instance of. */
  readonly waypointInstanceOf: string | undefined;
  readonly source: ObjectRef;
  /** Its address is the node's, which others have too: it tells nobody who is there. */
  readonly isHostNetwork?: boolean;
}

/** The SPIFFE id that a workload's certificate carries. */
export function workloadIdentity(workload: Workload): string {
  return formatIdentity(workload);
}
