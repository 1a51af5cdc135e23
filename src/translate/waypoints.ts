/**
 * Gateways that are waypoints: who may use them, for which traffic, and whether they can serve now.
 *
 * A waypoint is a Gateway of a class that a mesh controller owns, or one with an HBONE listener.
 * It is ready when an address has been assigned and one of its pods is healthy; `compatibility:
 * istio` asks for the address alone, as Istio does, and takes any Gateway that has one.
 */
import type { Gateway, Listener } from "../api/gateway.ts";
import type { ParsedObject } from "../api/object.ts";
import { serviceKey } from "../model/service.ts";
import type { TrafficType, Waypoint } from "../model/waypoint.ts";
import { Findings, type ObjectStatus } from "./findings.ts";
import {
  type GatewayFacts,
  gatewayConditions,
  HBONE_PORT,
  isHbone,
  isHostname,
  listenersProblem,
} from "./gateway-status.ts";
import { LABEL, type LabelSelector, matchesSelector } from "./labels.ts";
import { keyOf, labelsOf, nameOf, namespaceOf, refOf } from "./object-names.ts";
import { identityOf, isHealthy, isTerminal } from "./pods.ts";
import { waypointNames } from "./provision/waypoint-annotations.ts";
import type { GatewayClassFacts, NamespaceFacts, Surroundings } from "./surroundings.ts";

/** Classes that are waypoints' even where no GatewayClass object says who controls them. */
const WAYPOINT_CLASSES: ReadonlySet<string> = new Set(["istio-waypoint", "waystone-waypoint"]);
const MESH_CONTROLLERS: ReadonlySet<string> = new Set([
  "istio.io/mesh-controller",
  "waystone.io/mesh-controller",
]);

export interface WaypointFacts {
  readonly waypoint: Waypoint;
  /** Namespaces whose objects may use it (the listener's `allowedRoutes.namespaces`). */
  readonly allowed: AllowedNamespaces;
  readonly listeners: readonly { readonly name: string; readonly port: number }[];
}

interface AllowedNamespaces {
  readonly from: string;
  readonly selector: LabelSelector;
}

type WaypointSurroundings = Pick<
  Surroundings,
  "settings" | "gatewayClass" | "gatewayPods" | "serviceWithAddress"
>;

export interface TranslatedWaypoint {
  /** `undefined`: the Gateway is no waypoint. */
  readonly facts: WaypointFacts | undefined;
  readonly status: ObjectStatus | undefined;
}

export function translateWaypoint(
  gateway: ParsedObject<Gateway>,
  near: WaypointSurroundings,
): TranslatedWaypoint {
  const className = gateway.value.spec.gatewayClassName;
  const gatewayClass = near.gatewayClass(className);
  const listeners = gateway.value.spec.listeners;
  const addresses = gateway.value.status?.addresses ?? [];
  const isForeign = !isWaypointClass(className, gatewayClass) && !listeners.some(isHbone);
  const isIstioCandidate = near.settings.compatibility === "istio" && addresses.length > 0;
  if (isForeign && !isIstioCandidate) return { facts: undefined, status: undefined };

  const findings = new Findings(gateway);
  const pods = near.gatewayPods(keyOf(gateway)).filter((pod) => !isTerminal(pod));
  const hasInstance = near.settings.compatibility === "istio" || pods.some(isHealthy);
  const identities = new Set(pods.map((pod) => identityOf(pod, near.settings.trustDomain)));
  const waypoint: Waypoint = {
    key: keyOf(gateway),
    namespace: namespaceOf(gateway),
    name: nameOf(gateway),
    className,
    trafficType: trafficTypeOf(gateway, gatewayClass, findings),
    service: frontService(gateway, near),
    hbonePort: HBONE_PORT,
    identities: [...identities].sort(),
    isReady: addresses.length > 0 && hasInstance,
    source: refOf(gateway),
    position: gateway.position,
  };
  const hasAddress = addresses.length > 0;
  const { addresses: requested } = gateway.value.spec;
  const found = { hasAddress, hasInstance, requested };
  if (!isForeign) reportGateway(waypoint, listeners, found, findings);
  const facts = {
    waypoint,
    allowed: allowedNamespaces(listeners),
    listeners: listeners.map(({ name, port }) => ({ name, port })),
  };
  return { facts, status: findings.status() };
}

export function isWaypointClass(name: string, known: GatewayClassFacts | undefined): boolean {
  if (known === undefined) return WAYPOINT_CLASSES.has(name);
  return MESH_CONTROLLERS.has(known.controllerName);
}

function trafficTypeOf(
  gateway: ParsedObject<Gateway>,
  gatewayClass: GatewayClassFacts | undefined,
  findings: Findings,
): TrafficType {
  const own = labelsOf(gateway)[LABEL.waypointFor];
  const wanted = own ?? gatewayClass?.waypointFor ?? "service";
  switch (wanted) {
    case "service":
    case "workload":
    case "all":
    case "none":
      return wanted;
  }
  findings.report(
    "WS0102",
    `label ${LABEL.waypointFor} is "${wanted}": use service, workload, all or none ("service" is assumed)`,
    own === undefined ? [] : ["metadata", "labels", LABEL.waypointFor],
  );
  return "service";
}

/**
 * The Service of the first address with a host name, as Istio prefers it; else of the first IP.
 * Before there are addresses: the one that is asked for, or that is made for it.
 */
function frontService(gateway: ParsedObject<Gateway>, near: WaypointSurroundings): string {
  const namespace = namespaceOf(gateway);
  const addresses = gateway.value.status?.addresses ?? [];
  const hostname = addresses.find(isHostname)?.value;
  if (hostname !== undefined) return `${namespace}/${hostname}`;
  for (const { value = "" } of addresses) {
    const key = near.serviceWithAddress(namespace, value);
    if (key !== undefined) return key;
  }
  const asked = gateway.value.spec.addresses?.find(isHostname)?.value;
  if (asked?.includes(".")) return `${namespace}/${asked}`;
  const { name } = waypointNames(gateway.value);
  return serviceKey(namespace, asked ?? name, near.settings.clusterDomain);
}

export function allowedNamespaces(listeners: readonly Listener[]): AllowedNamespaces {
  const namespaces = listeners.find(isHbone)?.allowedRoutes?.namespaces;
  return { from: namespaces?.from ?? "Same", selector: namespaces?.selector ?? {} };
}

/** Whether objects of a namespace may use the waypoint. */
export function admits(
  facts: Pick<WaypointFacts, "allowed"> & { readonly waypoint: Pick<Waypoint, "namespace"> },
  namespace: NamespaceFacts,
): boolean {
  switch (facts.allowed.from) {
    case "All":
      return true;
    case "Selector":
      return matchesSelector(facts.allowed.selector, namespace.labels);
    case "Same":
      return namespace.name === facts.waypoint.namespace;
    default:
      return false;
  }
}

/** Whether the waypoint is for traffic of that type. */
export function serves(waypoint: Waypoint, traffic: "service" | "workload"): boolean {
  return waypoint.trafficType === "all" || waypoint.trafficType === traffic;
}

function reportGateway(
  waypoint: Waypoint,
  listeners: readonly Listener[],
  found: Pick<GatewayFacts, "hasAddress" | "hasInstance" | "requested">,
  findings: Findings,
): void {
  const problem = listenersProblem(listeners);
  if (problem !== undefined) findings.report("WS0102", problem, ["spec", "listeners"]);
  for (const { type, status, reason, message } of gatewayConditions({
    listeners,
    host: hostOf(waypoint),
    ...found,
  })) {
    findings.condition(type, status === "True", reason, message);
  }
}

/** `host:port` of the Service in front of it. */
export function hostOf({ service, hbonePort }: Waypoint): string {
  return `${service.slice(service.indexOf("/") + 1)}:${hbonePort}`;
}
