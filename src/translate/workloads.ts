/**
 * Workloads from Pods: who they are, whether they are in the mesh, which services they stand behind
 * and which L4 policies select them.
 *
 * A Pod is in the mesh (HBONE) when Istio's CNI has written its annotation, when it speaks HBONE
 * itself, or (`enrolment: label`, where no CNI is) by the `istio.io/dataplane-mode` labels.
 */
import type { EndpointSlice, Pod } from "../api/core.ts";
import type { ParsedObject } from "../api/object.ts";
import { serviceKey } from "../model/service.ts";
import type { Workload } from "../model/workload.ts";
import { chooseWaypoint, reportBinding, unbound } from "./bindings.ts";
import { Findings } from "./findings.ts";
import { ANNOTATION, LABEL } from "./labels.ts";
import {
  annotationsOf,
  compareText,
  keyOf,
  labelsOf,
  nameOf,
  namespaceOf,
  refOf,
} from "./object-names.ts";
import {
  addressesOf,
  addressKey,
  isHealthy,
  isTerminal,
  ownAddressesOf,
  serviceAccountOf,
  workloadNameOf,
} from "./pods.ts";
import type { ServiceFacts } from "./services.ts";
import type { Surroundings } from "./surroundings.ts";
import { guardOf } from "./waypoint-guards.ts";
import {
  canonicalNameOf,
  canonicalRevisionOf,
  gatewayOf,
  policyNames,
  portMap,
  type ServiceMembership,
  slicePorts,
  type TranslatedWorkload,
} from "./workload-parts.ts";

export type Enrolment = "annotation" | "label";

export type WorkloadSurroundings = Pick<
  Surroundings,
  | "settings"
  | "namespace"
  | "locality"
  | "waypoint"
  | "servicesSelecting"
  | "l4PoliciesSelecting"
  | "slicesOfPod"
  | "hasPodAt"
  | "service"
  | "ingressIdentities"
  | "peerAuthentications"
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
    services: new Map(services.map(({ facts, ports }) => [facts.service.key, ports])),
    authorizationPolicies: policyNames(namespace, labels, guard, near),
    waypointInstanceOf: gateway,
    source: refOf(pod),
    ...(isHostNetwork && { isHostNetwork }),
    ...(labels[LABEL.tunnel] === "http" && { hasNativeTunnel: true }),
  };
  return { facts: { workload, guard }, status: findings.status() };
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

function podServices(
  pod: ParsedObject<Pod>,
  near: WorkloadSurroundings,
): readonly ServiceMembership[] {
  const namespace = namespaceOf(pod);
  const memberships = new Map<string, ServiceMembership>();
  const serviceOf = (slice: ParsedObject<EndpointSlice>) => {
    const name = labelsOf(slice)[LABEL.serviceName] ?? "";
    return near.service(serviceKey(namespace, name, near.settings.clusterDomain));
  };
  const isIstio = near.settings.compatibility === "istio";
  for (const address of isIstio ? [] : ownAddressesOf(pod)) {
    // Whoever wrote the slice by hand meant this Pod, and what stands before it still does.
    for (const slice of near.slicesOfPod(addressKey(namespace, address))) {
      const facts = serviceOf(slice);
      if (facts === undefined) continue;
      memberships.set(facts.service.key, { facts, ports: slicePorts(slice, facts) });
    }
  }
  for (const slice of near.slicesOfPod(keyOf(pod))) {
    const facts = serviceOf(slice);
    if (facts === undefined) continue;
    // Istio asks the slice for its Pods alone, and the Service for the ports.
    const ports = isIstio ? podPorts(pod, facts) : slicePorts(slice, facts);
    memberships.set(facts.service.key, { facts, ports });
  }
  for (const facts of near.servicesSelecting(namespace, labelsOf(pod))) {
    memberships.set(facts.service.key, { facts, ports: podPorts(pod, facts) });
  }
  return [...memberships.values()].sort((a, b) =>
    compareText(a.facts.service.key, b.facts.service.key),
  );
}

/**
 * Where a Service's ports lead in a Pod. A ServiceEntry's port leads to the container's port of its
 * own name first, as a WorkloadEntry's would.
 */
function podPorts(pod: ParsedObject<Pod>, facts: ServiceFacts): ReadonlyMap<number, number> {
  return portMap(facts, ({ name, target }) => {
    const own = facts.entry === undefined ? undefined : containerPort(pod, name);
    return own ?? (typeof target === "number" ? target : containerPort(pod, target));
  });
}

/** The number behind a named port; a name that no container has leads nowhere. */
function containerPort(pod: ParsedObject<Pod>, name: string): number | undefined {
  for (const { ports } of pod.value.spec?.containers ?? []) {
    for (const port of ports ?? []) if (port.name === name) return port.containerPort;
  }
  return undefined;
}
