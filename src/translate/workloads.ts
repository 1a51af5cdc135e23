/**
 * Workloads from Pods: who they are, whether they are in the mesh, which services they stand behind
 * and which L4 policies select them.
 *
 * A Pod is in the mesh (HBONE) when Istio's CNI has written its annotation, when it speaks HBONE
 * itself, or (`enrolment: label`, where no CNI is) by the `istio.io/dataplane-mode` labels.
 */
import type { Pod } from "../api/core.ts";
import type { ParsedObject } from "../api/object.ts";
import type { Locality, Workload } from "../model/workload.ts";
import { chooseWaypoint, reportBinding, unbound } from "./bindings.ts";
import { Findings, type ObjectStatus } from "./findings.ts";
import { guardOf, type WaypointGuard } from "./waypoint-guards.ts";
import { ANNOTATION, LABEL } from "./labels.ts";
import {
  annotationsOf,
  keyOf,
  type Labels,
  labelsOf,
  nameOf,
  namespaceOf,
  refOf,
} from "./object-names.ts";
import { addressesOf, isHealthy, isTerminal, serviceAccountOf, workloadNameOf } from "./pods.ts";
import type { ServiceFacts } from "./services.ts";
import type { Surroundings } from "./surroundings.ts";

export interface WorkloadFacts {
  readonly workload: Workload;
  /** On the node's own network: its address is shared and tells nothing about who calls. */
  readonly isHostNetwork: boolean;
  /** The policy that lets only waypoints in, on the ports of bound services. */
  readonly guard: WaypointGuard | undefined;
}

export interface TranslatedWorkload {
  readonly facts: WorkloadFacts | undefined;
  readonly status: ObjectStatus | undefined;
}

export type Enrolment = "annotation" | "label";

export type WorkloadSurroundings = Pick<
  Surroundings,
  | "settings"
  | "namespace"
  | "locality"
  | "waypoint"
  | "gatewayExists"
  | "servicesSelecting"
  | "l4PoliciesSelecting"
  | "slicesOfPod"
  | "service"
  | "ingressIdentities"
>;

export function translatePod(
  pod: ParsedObject<Pod>,
  enrolment: Enrolment,
  near: WorkloadSurroundings,
): TranslatedWorkload {
  const addresses = addressesOf(pod);
  if (isTerminal(pod) || addresses.length === 0) return { facts: undefined, status: undefined };
  const { settings } = near;
  const labels = labelsOf(pod);
  const name = nameOf(pod);
  const namespace = namespaceOf(pod);
  const spec = pod.value.spec ?? {};
  const isHostNetwork = spec.hostNetwork === true;
  const workloadName = workloadNameOf(pod);
  const services = podServices(pod, near);
  const isInMesh = isEnrolled(pod, enrolment, near);
  const findings = new Findings(pod);
  const gateway = gatewayOf(namespace, labels, near);
  const choice =
    gateway === undefined
      ? chooseWaypoint({ namespace, labels, traffic: "workload" }, near)
      : unbound("workload");
  const isIstio = settings.compatibility === "istio";
  if (choice.problem !== undefined && choice.from === "object") {
    reportBinding(choice, false, findings, isIstio ? "bypassed" : "refused");
  }
  const guard =
    isInMesh && gateway === undefined ? guardOf(namespace, services, choice, near) : undefined;
  const workload: Workload = {
    uid: `${settings.clusterId}//Pod/${keyOf(pod)}`,
    name,
    namespace,
    addresses,
    network: settings.network,
    tunnelProtocol: isInMesh ? "HBONE" : "TCP",
    trustDomain: settings.trustDomain,
    serviceAccount: serviceAccountOf(pod),
    waypoint: choice.binding,
    node: spec.nodeName ?? "",
    canonicalName: canonicalNameOf(labels, workloadName),
    canonicalRevision: canonicalRevisionOf(labels),
    workloadType: "POD",
    workloadName,
    clusterId: settings.clusterId,
    locality: spec.nodeName === undefined ? undefined : near.locality(spec.nodeName),
    status: isHealthy(pod) ? "HEALTHY" : "UNHEALTHY",
    services: portsByService(services),
    authorizationPolicies: policyNames(namespace, labels, guard, near),
    waypointInstanceOf: gateway,
    source: refOf(pod),
  };
  return { facts: { workload, isHostNetwork, guard }, status: findings.status() };
}

function isEnrolled(
  pod: ParsedObject<Pod>,
  enrolment: Enrolment,
  near: Pick<Surroundings, "namespace">,
): boolean {
  const labels = labelsOf(pod);
  if (labels[LABEL.tunnel] === "http") return true;
  if (pod.value.spec?.hostNetwork === true) return false;
  if (enrolment === "annotation") return annotationsOf(pod)[ANNOTATION.redirection] === "enabled";
  const own = labels[LABEL.dataplaneMode];
  const mode = own ?? near.namespace(namespaceOf(pod)).labels[LABEL.dataplaneMode];
  return mode === "ambient";
}

/** The waypoint that it is an instance of. */
export function gatewayOf(
  namespace: string,
  labels: Labels,
  near: Pick<Surroundings, "waypoint">,
): string | undefined {
  const name = labels[LABEL.gatewayName];
  return name === undefined ? undefined : near.waypoint(`${namespace}/${name}`)?.waypoint.key;
}

/** A service that a workload stands behind, with the ports it serves there. */
export interface ServiceMembership {
  readonly facts: ServiceFacts;
  /** Service port → target port. */
  readonly ports: ReadonlyMap<number, number>;
}

function podServices(
  pod: ParsedObject<Pod>,
  near: WorkloadSurroundings,
): readonly ServiceMembership[] {
  const namespace = namespaceOf(pod);
  const memberships = new Map<string, ServiceMembership>();
  for (const slice of near.slicesOfPod(keyOf(pod))) {
    const name = labelsOf(slice)[LABEL.serviceName];
    const key = near.serviceKey(namespace, name ?? "");
    const facts = near.service(key);
    if (facts !== undefined) memberships.set(key, { facts, ports: slicePorts(slice, facts) });
  }
  for (const facts of near.servicesSelecting(namespace, labelsOf(pod))) {
    const ports = resolvePorts(facts, (target) => containerPort(pod, target));
    memberships.set(facts.service.key, { facts, ports });
  }
  return [...memberships.values()];
}
