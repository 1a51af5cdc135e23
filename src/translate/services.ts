/**
 * Services, from Kubernetes Services and from ServiceEntries with their own endpoints.
 *
 * A ServiceEntry makes one Service for each of its hosts. Those that need DNS, pass through or
 * have a wildcard host are for a later version, and are said to be.
 */
import type { ServicePort as CorePort, Service as CoreService } from "../api/core.ts";
import type { ParsedObject } from "../api/object.ts";
import type { ServiceEntry } from "../api/service-entry.ts";
import {
  type LoadBalancing,
  type LocalityScope,
  type Service,
  type ServicePort,
  serviceKey,
} from "../model/service.ts";
import { appProtocolOf, entryProtocolOf } from "./app-protocol.ts";
import {
  type Bindable,
  chooseWaypoint,
  ingressUsesWaypoint,
  reportBinding,
  unbound,
  type WaypointChoice,
} from "./bindings.ts";
import { canonicalAddress, isAddress } from "./cidr.ts";
import { Findings, type ObjectStatus } from "./findings.ts";
import { ANNOTATION, LABEL } from "./labels.ts";
import {
  annotationsOf,
  type Labels,
  labelsOf,
  nameOf,
  namespaceOf,
  refOf,
} from "./object-names.ts";
import type { Surroundings } from "./surroundings.ts";

/** Where a port of a service leads: a number, or a name that each endpoint resolves for itself. */
export interface PortTarget {
  readonly port: number;
  readonly name: string;
  readonly target: number | string;
}

export interface ServiceFacts {
  readonly service: Service;
  /** Labels of the workloads behind it; `undefined`: none are selected. */
  readonly selector: Labels | undefined;
  readonly targets: readonly PortTarget[];
  /** `<ns>/<name>` of the ServiceEntry it comes from. */
  readonly entry: string | undefined;
}

export interface TranslatedServices {
  readonly facts: readonly ServiceFacts[];
  readonly status: ObjectStatus | undefined;
}

type ServiceSurroundings = Pick<
  Surroundings,
  | "settings"
  | "namespace"
  | "waypoint"
  | "waypointBehind"
  | "entryWithHost"
  | "kubernetesNamespaceOf"
>;

/** Services of these managers stand in front of waypoints and gateways themselves. */
const GATEWAY_MANAGERS: ReadonlySet<string> = new Set([
  "istio.io-mesh-controller",
  "istio.io-eastwest-controller",
  "waystone.io-mesh-controller",
]);

export function translateService(
  object: ParsedObject<CoreService>,
  near: ServiceSurroundings,
): TranslatedServices {
  const spec = object.value.spec ?? {};
  if (spec.type === "ExternalName") return { facts: [], status: undefined };
  const namespace = namespaceOf(object);
  const key = serviceKey(namespace, nameOf(object), near.settings.clusterDomain);
  const findings = new Findings(object);
  const bound = bind(object, key, near, findings);
  // A port of another protocol never meets a proxy; 53/UDP must not hide 53/TCP.
  const ports = (spec.ports ?? []).filter(({ protocol }) => (protocol ?? "TCP") === "TCP");
  const service: Service = {
    key,
    name: nameOf(object),
    namespace,
    hostname: key.slice(namespace.length + 1),
    addresses: clusterIps(spec),
    ports: ports.map(translatePort),
    subjectAltNames: [],
    ...bound,
    loadBalancing: loadBalancingOf(object, spec, near),
    canonical: true,
    source: refOf(object),
    position: object.position,
  };
  const targets = ports.map((port) => ({
    port: port.port,
    name: port.name ?? "",
    target: port.targetPort ?? port.port,
  }));
  const selector = Object.keys(spec.selector ?? {}).length > 0 ? spec.selector : undefined;
  const facts = { service, selector, targets, entry: undefined };
  return { facts: [facts], status: findings.status() };
}

function bind(
  object: ParsedObject,
  key: string,
  near: ServiceSurroundings,
  findings: Findings,
): Pick<Service, "waypoint" | "ingressUseWaypoint"> {
  const labels = labelsOf(object);
  const bindable: Bindable = { namespace: namespaceOf(object), labels, traffic: "service" };
  const isGateway =
    GATEWAY_MANAGERS.has(labels[LABEL.managed] ?? "") || near.waypointBehind(key) !== undefined;
  const choice: WaypointChoice = isGateway ? unbound("service") : chooseWaypoint(bindable, near);
  const ingressUseWaypoint =
    choice.binding?.state === "bound" && ingressUsesWaypoint(bindable, near);
  const effect = near.settings.compatibility === "istio" ? "bypassed" : "refused";
  reportBinding(choice, ingressUseWaypoint, findings, effect);
  return { waypoint: choice.binding, ingressUseWaypoint };
}

function clusterIps(spec: NonNullable<CoreService["spec"]>): readonly string[] {
  const listed = spec.clusterIPs ?? [];
  const all = listed.length > 0 ? listed : [spec.clusterIP ?? ""];
  return all.filter(isAddress).map(canonicalAddress);
}

function translatePort({ port, name, appProtocol, targetPort }: CorePort): ServicePort {
  return {
    port,
    targetPort: typeof targetPort === "string" ? 0 : (targetPort ?? port),
    name: name ?? "",
    protocol: appProtocolOf(port, name, appProtocol),
  };
}

const ZONES: readonly LocalityScope[] = ["NETWORK", "REGION", "ZONE"];
const NODES: readonly LocalityScope[] = ["NETWORK", "REGION", "ZONE", "SUBZONE", "NODE"];

function loadBalancingOf(
  object: ParsedObject,
  spec: NonNullable<CoreService["spec"]>,
  near: Pick<Surroundings, "namespace">,
): LoadBalancing {
  const healthPolicy = spec.publishNotReadyAddresses === true ? "ALLOW_ALL" : "ONLY_HEALTHY";
  if (spec.internalTrafficPolicy === "Local") {
    return { mode: "STRICT", routingPreference: ["NODE"], healthPolicy };
  }
  const wanted =
    spec.trafficDistribution ??
    annotationsOf(object)[ANNOTATION.trafficDistribution] ??
    near.namespace(namespaceOf(object)).annotations[ANNOTATION.trafficDistribution];
  const routingPreference = preferenceOf(wanted);
  const mode = routingPreference.length > 0 ? "FAILOVER" : "UNSPECIFIED";
  return { mode, routingPreference, healthPolicy };
}

function preferenceOf(trafficDistribution: string | undefined): readonly LocalityScope[] {
  switch (trafficDistribution) {
    case "PreferClose":
    case "PreferSameZone":
      return ZONES;
    case "PreferSameNode":
      return NODES;
    default:
      return [];
  }
}

export function translateServiceEntry(
  object: ParsedObject<ServiceEntry>,
  near: ServiceSurroundings,
): TranslatedServices {
  const spec = specOf(object);
  const findings = new Findings(object);
  if (spec.resolution !== "STATIC") {
    findings.report(
      "WS0105",
      `a ServiceEntry with resolution ${spec.resolution ?? "NONE"} is not acted on yet: only STATIC is`,
      ["spec", "resolution"],
    );
    return { facts: [], status: findings.status() };
  }
  const facts: ServiceFacts[] = [];
  spec.hosts.forEach((host, index) => {
    if (host.includes("*")) {
      findings.report("WS0105", `host ${host} is not acted on yet: it is a wildcard`, [
        "spec",
        "hosts",
        index,
      ]);
    } else if (isCounted(object, host, near))
      facts.push(entryService(object, host, near, findings));
  });
  return { facts, status: findings.status() };
}

function specOf(object: ParsedObject<ServiceEntry>): NonNullable<ServiceEntry["spec"]> {
  return object.value.spec ?? { hosts: [] };
}

/**
 * A Kubernetes Service of the namespace has its host name for itself; then the oldest entry has.
 */
function isCounted(
  object: ParsedObject<ServiceEntry>,
  host: string,
  near: ServiceSurroundings,
): boolean {
  const namespace = namespaceOf(object);
  if (near.kubernetesNamespaceOf(host) === namespace) return false;
  return near.entryWithHost(namespace, host) === `${namespace}/${nameOf(object)}`;
}

function entryService(
  object: ParsedObject<ServiceEntry>,
  host: string,
  near: ServiceSurroundings,
  findings: Findings,
): ServiceFacts {
  const spec = specOf(object);
  const namespace = namespaceOf(object);
  const key = `${namespace}/${host}`;
  // One condition for the whole entry: its hosts share the labels.
  const isFirst = spec.hosts.find((h) => !h.includes("*")) === host;
  const bound = bind(object, key, near, isFirst ? findings : new Findings(object));
  const ports = spec.ports ?? [];
  const service: Service = {
    key,
    name: nameOf(object),
    namespace,
    hostname: host,
    addresses: entryAddresses(object, host, findings),
    ports: ports.map(({ number, targetPort, name, protocol }) => ({
      port: number,
      targetPort: targetPort ?? number,
      name: name ?? "",
      protocol: entryProtocolOf(protocol),
    })),
    subjectAltNames: spec.subjectAltNames ?? [],
    ...bound,
    loadBalancing: loadBalancingOf(object, {}, near),
    canonical: near.kubernetesNamespaceOf(host) === undefined,
    source: refOf(object),
    position: object.position,
  };
  const targets = ports.map(({ number, name, targetPort }) => ({
    port: number,
    name: name ?? "",
    target: targetPort ?? number,
  }));
  const selector = spec.workloadSelector?.labels;
  return { service, selector, targets, entry: `${namespace}/${nameOf(object)}` };
}

/** Virtual IPs that a controller allocated. */
interface EntryStatus {
  readonly addresses?: readonly { readonly host?: string; readonly value?: string }[];
}

/** Its own, else those that were allocated for the host, unless it opts out. */
function entryAddresses(
  object: ParsedObject<ServiceEntry>,
  host: string,
  findings: Findings,
): readonly string[] {
  const own = specOf(object).addresses ?? [];
  if (own.length > 0) {
    return own.flatMap((text, index) => {
      const address = text.replace(/\/(32|128)$/, "");
      if (isAddress(address)) return [canonicalAddress(address)];
      const path = ["spec", "addresses", index];
      findings.report("WS0107", `address ${text} has no effect: only single IPs have`, path);
      return [];
    });
  }
  if (labelsOf(object)["networking.istio.io/enable-autoallocate-ip"] === "false") return [];
  const { addresses: allocated = [] } = (object.value.status ?? {}) as EntryStatus;
  return allocated
    .filter((a) => a.host === undefined || a.host === host)
    .flatMap(({ value }) =>
      value !== undefined && isAddress(value) ? [canonicalAddress(value)] : [],
    );
}
