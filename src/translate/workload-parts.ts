/**
 * What workloads of every origin have in common: names for telemetry, ports behind services, and
 * the policies that select them.
 */
import type { EndpointSlice } from "../api/core.ts";
import type { ParsedObject } from "../api/object.ts";
import type { Workload } from "../model/workload.ts";
import type { ObjectStatus } from "./findings.ts";
import { LABEL } from "./labels.ts";
import type { Labels } from "./object-names.ts";
import { type PeerSurroundings, peerPolicyNames } from "./peer-authentications.ts";
import type { PortTarget, ServiceFacts } from "./services.ts";
import type { Surroundings } from "./surroundings.ts";
import type { WaypointGuard } from "./waypoint-guards.ts";

export interface WorkloadFacts {
  readonly workload: Workload;
  /** The policy that lets only waypoints in, on the ports of bound services. */
  readonly guard: WaypointGuard | undefined;
}

export interface TranslatedWorkload {
  readonly facts: WorkloadFacts | undefined;
  readonly status: ObjectStatus | undefined;
}

/** A service that a workload stands behind, with the ports it serves there. */
export interface ServiceMembership {
  readonly facts: ServiceFacts;
  /** Service port → target port. */
  readonly ports: ReadonlyMap<number, number>;
}

/** Ports that lead nowhere, or to what is no port, are left out. */
export function portMap(
  facts: ServiceFacts,
  resolve: (target: PortTarget) => number | undefined,
): ReadonlyMap<number, number> {
  const ports = new Map<number, number>();
  for (const target of facts.targets) {
    const number = resolve(target);
    if (number !== undefined && number >= 1 && number <= 65_535) ports.set(target.port, number);
  }
  return ports;
}

/** An EndpointSlice names the service's ports, and says where they lead. */
export function slicePorts(
  slice: ParsedObject<EndpointSlice>,
  facts: ServiceFacts,
): ReadonlyMap<number, number> {
  return portMap(facts, ({ name }) => {
    const found = (slice.value.ports ?? []).find((port) => (port.name ?? "") === name);
    return found?.port ?? undefined;
  });
}

export function canonicalNameOf(labels: Labels, otherwise: string): string {
  return (
    labels["service.istio.io/canonical-name"] ??
    labels["app.kubernetes.io/name"] ??
    labels.app ??
    otherwise
  );
}

export function canonicalRevisionOf(labels: Labels): string {
  return (
    labels["service.istio.io/canonical-revision"] ??
    labels["app.kubernetes.io/version"] ??
    labels.version ??
    "latest"
  );
}

/** The waypoint that a workload is an instance of. */
export function gatewayOf(
  namespace: string,
  labels: Labels,
  near: Pick<Surroundings, "waypoint">,
): string | undefined {
  const name = labels[LABEL.gatewayName];
  return name === undefined ? undefined : near.waypoint(`${namespace}/${name}`)?.waypoint.key;
}

export function policyNames(
  namespace: string,
  labels: Labels,
  guard: WaypointGuard | undefined,
  near: PeerSurroundings & Pick<Surroundings, "l4PoliciesSelecting">,
): readonly string[] {
  const names = near.l4PoliciesSelecting(namespace, labels).map(({ policy }) => policy.key);
  const peers = peerPolicyNames(namespace, labels, near);
  return [...names.sort(), ...peers, ...(guard === undefined ? [] : [guard.key])];
}
