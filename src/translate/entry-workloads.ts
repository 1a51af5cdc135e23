/**
 * Workloads that are no Pods of this cluster: WorkloadEntries, the endpoints that a ServiceEntry
 * lists itself, and addresses of EndpointSlices behind which no Pod stands.
 */
import type { EndpointSlice } from "../api/core.ts";
import type { ParsedObject } from "../api/object.ts";
import type { ServiceEntry } from "../api/service-entry.ts";
import type { WorkloadEntry, WorkloadEntrySpec } from "../api/workload-entry.ts";
import { serviceKey } from "../model/service.ts";
import type { Locality, Workload } from "../model/workload.ts";
import { chooseWaypoint, reportBinding, unbound } from "./bindings.ts";
import { canonicalAddress, isAddress } from "./cidr.ts";
import { Findings, type ObjectStatus } from "./findings.ts";
import { LABEL } from "./labels.ts";
import { keyOf, type Labels, labelsOf, nameOf, namespaceOf, refOf } from "./object-names.ts";
import { addressKey } from "./pods.ts";
import type { PortTarget, ServiceFacts } from "./services.ts";
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
  type WorkloadFacts,
} from "./workload-parts.ts";
import type { WorkloadSurroundings } from "./workloads.ts";

const UINT32_MAX = 0xffff_ffff;

export function translateWorkloadEntry(
  entry: ParsedObject<WorkloadEntry>,
  near: WorkloadSurroundings,
): TranslatedWorkload {
  const spec = entry.value.spec ?? {};
  const findings = new Findings(entry);
  if (!hasAddress(spec, ["spec", "address"], findings)) {
    return { facts: undefined, status: findings.status() };
  }
  const namespace = namespaceOf(entry);
  const labels = { ...labelsOf(entry), ...spec.labels };
  const uid = `${near.settings.clusterId}/networking.istio.io/WorkloadEntry/${keyOf(entry)}`;
  const services = near.servicesSelecting(namespace, labels);
  const facts = describe({ object: entry, uid, spec, labels, services }, findings, near);
  return { facts, status: findings.status() };
}

/** One workload for each endpoint with an address. */
export function translateEntryEndpoints(
  entry: ParsedObject<ServiceEntry>,
  services: readonly ServiceFacts[],
  near: WorkloadSurroundings,
): { readonly facts: readonly WorkloadFacts[]; readonly status: ObjectStatus | undefined } {
  const findings = new Findings(entry);
  if (services.length === 0) return { facts: [], status: undefined };
  const facts = (entry.value.spec?.endpoints ?? []).flatMap((spec, index) => {
    if (!hasAddress(spec, ["spec", "endpoints", index, "address"], findings)) return [];
    const { clusterId } = near.settings;
    const uid = `${clusterId}/networking.istio.io/ServiceEntry/${keyOf(entry)}/${spec.address}`;
    return [
      describe({ object: entry, uid, spec, labels: spec.labels ?? {}, services }, findings, near),
    ];
  });
  return { facts, status: findings.status() };
}

function hasAddress(
  spec: WorkloadEntrySpec,
  path: readonly (string | number)[],
  findings: Findings,
): spec is WorkloadEntrySpec & { readonly address: string } {
  if (spec.address !== undefined && isAddress(spec.address)) return true;
  const message = `address "${spec.address ?? ""}" is not acted on yet: only IPs are`;
  findings.report("WS0105", message, path);
  return false;
}

interface Described {
  readonly object: ParsedObject;
  readonly uid: string;
  readonly spec: WorkloadEntrySpec & { readonly address: string };
  readonly labels: Labels;
  readonly services: readonly ServiceFacts[];
}

function describe(
  { object, uid, spec, labels, services }: Described,
  findings: Findings,
  near: WorkloadSurroundings,
): WorkloadFacts {
  const { settings } = near;
  const namespace = namespaceOf(object);
  const gateway = gatewayOf(namespace, labels, near);
  const choice =
    gateway === undefined
      ? chooseWaypoint({ namespace, labels, traffic: "workload" }, near)
      : unbound("workload");
  if (choice.from === "object") {
    const isIstio = settings.compatibility === "istio";
    reportBinding(choice, false, findings, isIstio ? "bypassed" : "refused");
  }
  const isInMesh = labels[LABEL.tunnel] === "http";
  const memberships = services.map((facts) => ({ facts, ports: entryPorts(spec, facts) }));
  const guard = isInMesh ? guardOf(namespace, memberships, choice, near) : undefined;
  const workload: Workload = {
    uid,
    name: nameOf(object),
    namespace,
    addresses: [canonicalAddress(spec.address)],
    network: spec.network ?? settings.network,
    tunnelProtocol: isInMesh ? "HBONE" : "TCP",
    trustDomain: settings.trustDomain,
    serviceAccount: spec.serviceAccount || "default",
    waypoint: choice.binding,
    node: "",
    canonicalName: canonicalNameOf(labels, nameOf(object)),
    canonicalRevision: canonicalRevisionOf(labels),
    workloadType: "POD",
    workloadName: nameOf(object),
    clusterId: settings.clusterId,
    locality: parseLocality(spec.locality),
    status: "HEALTHY",
    services: serviceMap(memberships),
    authorizationPolicies: policyNames(namespace, labels, guard, near),
    waypointInstanceOf: gateway,
    source: refOf(object),
    ...capacityOf(spec),
    ...(isInMesh && { hasNativeTunnel: true }),
  };
  return { workload, guard };
}

function serviceMap(memberships: readonly ServiceMembership[]): Workload["services"] {
  return new Map(memberships.map(({ facts, ports }) => [facts.service.key, ports]));
}

/** Not given, or 0, it is as much as anybody's. */
function capacityOf({ weight = 0 }: WorkloadEntrySpec): Pick<Workload, "capacity"> {
  return weight > 0 ? { capacity: Math.min(weight, UINT32_MAX) } : {};
}

/**
 * The entry's own number for the port's name comes first. Behind a Kubernetes Service a named
 * target is looked for under that name, and leads nowhere without one; a ServiceEntry's port
 * leads to its own number.
 */
function entryPorts(spec: WorkloadEntrySpec, facts: ServiceFacts): ReadonlyMap<number, number> {
  const own = spec.ports ?? {};
  return portMap(facts, ({ name, target }: PortTarget) =>
    typeof target === "string" ? own[target] : (own[name] ?? target),
  );
}

function parseLocality(text: string | undefined): Locality | undefined {
  if (text === undefined || text === "") return undefined;
  const [region = "", zone = "", subzone = ""] = text.split("/");
  return { region, zone, subzone };
}

/** Addresses without a Pod: nothing is known about who is there, and nothing can be enforced. */
export function translateSlice(
  slice: ParsedObject<EndpointSlice>,
  near: Pick<WorkloadSurroundings, "settings" | "service" | "hasPodAt">,
): readonly WorkloadFacts[] {
  const { settings } = near;
  const namespace = namespaceOf(slice);
  const name = labelsOf(slice)[LABEL.serviceName] ?? "";
  const facts = near.service(serviceKey(namespace, name, settings.clusterDomain));
  if (facts === undefined) return [];
  const services = new Map([[facts.service.key, slicePorts(slice, facts)]]);
  return (slice.value.endpoints ?? []).flatMap(({ addresses, conditions, targetRef }) => {
    if (targetRef?.kind === "Pod") return [];
    const isOfPod = (address: string) =>
      settings.compatibility !== "istio" &&
      targetRef === undefined &&
      near.hasPodAt(addressKey(namespace, canonicalAddress(address)));
    const strange = addresses.filter((address) => isAddress(address) && !isOfPod(address));
    return strange.map((address): WorkloadFacts => {
      const workload: Workload = {
        uid: `${settings.clusterId}/discovery.k8s.io/EndpointSlice/${keyOf(slice)}/${address}`,
        name: nameOf(slice),
        namespace,
        addresses: [canonicalAddress(address)],
        network: settings.network,
        tunnelProtocol: "TCP",
        trustDomain: settings.trustDomain,
        serviceAccount: "",
        waypoint: undefined,
        node: "",
        canonicalName: "",
        canonicalRevision: "",
        // Nobody knows: the first there is, as Istio has it.
        workloadType: "DEPLOYMENT",
        workloadName: "",
        clusterId: settings.clusterId,
        locality: undefined,
        status: conditions?.ready === false ? "UNHEALTHY" : "HEALTHY",
        services,
        authorizationPolicies: [],
        waypointInstanceOf: undefined,
        source: refOf(slice),
        isHostNetwork: true,
      };
      return { workload, guard: undefined };
    });
  });
}
