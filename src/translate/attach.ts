/**
 * `parentRefs[]`: what a route is attached to, and what its status says about each parent.
 *
 *   Service, ServiceEntry   the route speaks for that service. In the service's namespace or in
 *                           that of its waypoint it does so for everybody (a producer route),
 *                           elsewhere for clients of its own namespace alone (a consumer route,
 *                           GEP-1294; Istio's ambient mode has none).
 *   Gateway                 a waypoint: the route is for all its services that have none of
 *                           their own (D6). Its listener says which namespaces may attach.
 */
import type { ParentReference, RouteObject } from "../api/http-route.ts";
import type { FieldPath, ParsedObject } from "../api/object.ts";
import { serviceKey } from "../model/service.ts";
import { type Condition, type Findings, makeCondition } from "./findings.ts";
import { namespaceOf } from "./object-names.ts";
import type { ServiceFacts } from "./services.ts";
import type { Surroundings } from "./surroundings.ts";
import { admits, HBONE_PORT } from "./waypoints.ts";

export interface RouteTarget {
  /** Key of the snapshot's `routes`. */
  readonly key: string;
  /** Empty: all. */
  readonly ports: readonly number[];
  /** Of a consumer route: whose clients it is for. */
  readonly consumer: string | undefined;
}

export type AttachSurroundings = Pick<
  Surroundings,
  "settings" | "service" | "servicesOfEntry" | "hasEntry" | "waypoint" | "hasGateway" | "namespace"
>;

/** What one parentRef came to. */
interface Attachment {
  readonly targets: readonly RouteTarget[];
  readonly condition: Condition;
  /** Whether a waypoint follows the route there. */
  readonly hasWaypoint: boolean;
}

/**
 * Attached targets (`shared`: conditions that every parent gets); a target that is named several
 * times is there once, with all its ports.
 */
export function attachRoute(
  route: ParsedObject<RouteObject>,
  shared: readonly Condition[],
  near: AttachSurroundings,
  findings: Findings,
): readonly RouteTarget[] {
  const targets = new Map<string, RouteTarget>();
  const parents = route.value.spec.parentRefs ?? [];
  parents.forEach((parent, index) => {
    const attachment = attach(parent, namespaceOf(route), near);
    // A Gateway that is no waypoint has a controller of its own, which writes its status.
    if (attachment === undefined) return;
    report(parent, attachment, route, ["spec", "parentRefs", index], shared, findings);
    for (const target of attachment.targets) {
      targets.set(target.key, merge(targets.get(target.key), target));
    }
  });
  return [...targets.values()];
}

function merge(before: RouteTarget | undefined, target: RouteTarget): RouteTarget {
  if (before === undefined) return target;
  if (before.ports.length === 0 || target.ports.length === 0) return { ...target, ports: [] };
  const ports = new Set([...before.ports, ...target.ports]);
  return { ...target, ports: [...ports].sort((a, b) => a - b) };
}

function attach(
  parent: ParentReference,
  routeNamespace: string,
  near: AttachSurroundings,
): Attachment | undefined {
  const group = parent.group ?? "gateway.networking.k8s.io";
  const kind = parent.kind ?? "Gateway";
  const namespace = parent.namespace ?? routeNamespace;
  switch (`${group === "core" ? "" : group}/${kind}`) {
    case "/Service": {
      const facts = near.service(serviceKey(namespace, parent.name, near.settings.clusterDomain));
      if (facts === undefined) return notFound(kind, parent.name);
      return attachToServices([facts], parent, routeNamespace, near);
    }
    case "networking.istio.io/ServiceEntry": {
      const facts = near.servicesOfEntry(`${namespace}/${parent.name}`);
      if (facts.length === 0) return notFound(kind, parent.name);
      return attachToServices(facts, parent, routeNamespace, near);
    }
    case "gateway.networking.k8s.io/Gateway":
      return attachToGateway(parent, `${namespace}/${parent.name}`, routeNamespace, near);
    default:
      return refused("InvalidKind", `parent of kind ${group}/${kind} is not known`);
  }
}

function attachToServices(
  services: readonly ServiceFacts[],
  parent: ParentReference,
  routeNamespace: string,
  near: AttachSurroundings,
): Attachment {
  const { service } = services[0]!;
  const waypoint = service.waypoint?.waypoint;
  const waypointNamespace = waypoint?.slice(0, waypoint.indexOf("/"));
  const isProducer = routeNamespace === service.namespace || routeNamespace === waypointNamespace;
  if (!isProducer && near.settings.compatibility === "istio") {
    return refused(
      "NotAllowedByParent",
      `routes of namespace ${routeNamespace} for a service of ${service.namespace} (consumer routes) are not supported`,
    );
  }
  const { port, sectionName } = parent;
  const ports = port === undefined ? [] : [port];
  const hasPort = service.ports.some(
    (p) => (port === undefined || p.port === port) && (!sectionName || p.name === sectionName),
  );
  if (!hasPort && (port !== undefined || sectionName)) {
    return refused("NoMatchingParent", `port ${port ?? sectionName} is no port of the parent`);
  }
  if (sectionName) {
    ports.push(...service.ports.filter((p) => p.name === sectionName).map((p) => p.port));
  }
  const targets = services.map((s) => ({
    key: `Service/${s.service.key}`,
    ports: [...new Set(ports)],
    consumer: isProducer ? undefined : routeNamespace,
  }));
  return accepted(targets, service.waypoint !== undefined);
}

function attachToGateway(
  parent: ParentReference,
  key: string,
  routeNamespace: string,
  near: AttachSurroundings,
): Attachment | undefined {
  const facts = near.waypoint(key);
  if (facts === undefined) {
    return near.hasGateway(key) ? undefined : notFound("Gateway", parent.name);
  }
  const { port, sectionName } = parent;
  const hasListener =
    (port === undefined || port === HBONE_PORT) &&
    (!sectionName || facts.listeners.some(({ name }) => name === sectionName));
  if (!hasListener) {
    return refused("NoMatchingParent", `no listener ${sectionName ?? port} of ${key}`);
  }
  if (!admits(facts, near.namespace(routeNamespace))) {
    const message = `listener of ${key} does not allow routes of namespace ${routeNamespace}`;
    return refused("NotAllowedByListeners", message);
  }
  return accepted([{ key: `Gateway/${key}`, ports: [], consumer: undefined }], true);
}

function accepted(targets: readonly RouteTarget[], hasWaypoint: boolean): Attachment {
  const condition = makeCondition("Accepted", true, "Accepted", "Route was valid");
  return { targets, condition, hasWaypoint };
}

function refused(reason: string, message: string): Attachment {
  const condition = makeCondition("Accepted", false, reason, message);
  return { targets: [], condition, hasWaypoint: true };
}

function notFound(kind: string, name: string): Attachment {
  const message = `parent ${kind.toLowerCase()}: "${name}" not found`;
  return refused("NoMatchingParent", message);
}

const NO_WAYPOINT =
  "istio.io/use-waypoint label missing from parent and parent namespace; in ambient mode, route will not be respected";

function report(
  parent: ParentReference,
  { condition, hasWaypoint }: Attachment,
  route: ParsedObject<RouteObject>,
  path: FieldPath,
  shared: readonly Condition[],
  findings: Findings,
): void {
  const { message, status, reason } = condition;
  if (status === "False") {
    findings.report(reason === "NoMatchingParent" ? "WS0101" : "WS0107", message, path);
  } else if (!hasWaypoint) findings.report("WS0106", NO_WAYPOINT, path);
  findings.parent({
    parent: {
      group: parent.group ?? "gateway.networking.k8s.io",
      kind: parent.kind ?? "Gateway",
      namespace: parent.namespace ?? namespaceOf(route),
      name: parent.name,
      sectionName: parent.sectionName,
      port: parent.port,
    },
    conditions: [
      condition,
      ...shared,
      makeCondition(
        "ResolvedWaypoints",
        true,
        "ResolvedWaypoints",
        hasWaypoint ? "Successfully resolved waypoints" : NO_WAYPOINT,
      ),
    ],
  });
}
