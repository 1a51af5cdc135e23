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
import { type Service, serviceKey } from "../model/service.ts";
import { type Condition, type Findings, makeCondition } from "./findings.ts";
import { HBONE_PORT } from "./gateway-status.ts";
import { namespaceOf } from "./object-names.ts";
import { conflictOf } from "./route-conflicts.ts";
import type { ServiceFacts } from "./services.ts";
import type { Surroundings } from "./surroundings.ts";
import { admits } from "./waypoints.ts";

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
  | "settings"
  | "service"
  | "servicesOfEntry"
  | "hasEntry"
  | "waypoint"
  | "hasGateway"
  | "namespace"
  | "routesOfParent"
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
 * times is there once, with all its ports. A `rejection` of all its rules is said instead of
 * `Accepted`; the route stays where it is, and answers 404 and 500: whoever wrote it meant that the
 * requests do not pass as if it were not there.
 */
export function attachRoute(
  route: ParsedObject<RouteObject>,
  shared: readonly Condition[],
  rejection: Condition | undefined,
  near: AttachSurroundings,
  findings: Findings,
): readonly RouteTarget[] {
  const targets = new Map<string, RouteTarget>();
  const parents = route.value.spec.parentRefs ?? [];
  parents.forEach((parent, index) => {
    const attachment = attach(parent, route, near);
    // A Gateway that is no waypoint has a controller of its own, which writes its status.
    if (attachment === undefined) return;
    const isAccepted = attachment.condition.status === "True";
    const condition = (isAccepted ? rejection : undefined) ?? attachment.condition;
    const told = { ...attachment, condition };
    report(parent, told, route, ["spec", "parentRefs", index], shared, findings);
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
  route: ParsedObject<RouteObject>,
  near: AttachSurroundings,
): Attachment | undefined {
  const routeNamespace = namespaceOf(route);
  const group = parent.group ?? "gateway.networking.k8s.io";
  const kind = parent.kind ?? "Gateway";
  const namespace = parent.namespace ?? routeNamespace;
  switch (`${group === "core" ? "" : group}/${kind}`) {
    case "/Service": {
      const facts = near.service(serviceKey(namespace, parent.name, near.settings.clusterDomain));
      if (facts === undefined) return notFound(kind, parent.name);
      return attachToServices([facts], parent, route, near);
    }
    case "networking.istio.io/ServiceEntry": {
      const facts = near.servicesOfEntry(`${namespace}/${parent.name}`);
      if (facts.length === 0) return notFound(kind, parent.name);
      return attachToServices(facts, parent, route, near);
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
  route: ParsedObject<RouteObject>,
  near: AttachSurroundings,
): Attachment {
  const { service } = services[0]!;
  const routeNamespace = namespaceOf(route);
  const waypoint = service.waypoint?.waypoint;
  const waypointNamespace = waypoint?.slice(0, waypoint.indexOf("/"));
  const produces = (namespace: string) =>
    namespace === service.namespace || namespace === waypointNamespace;
  const isProducer = produces(routeNamespace);
  if (!isProducer && near.settings.compatibility === "istio") {
    return refused(
      "NotAllowedByParent",
      `routes of namespace ${routeNamespace} for a service of ${service.namespace} (consumer routes) are not supported`,
    );
  }
  const { port, sectionName } = parent;
  const portsOf = (ref: ParentReference) => portsMeant(ref, service);
  const isLimited = port !== undefined || Boolean(sectionName);
  const ports = isLimited ? portsOf(parent) : [];
  if (isLimited && ports.length === 0) {
    return refused("NoMatchingParent", `port ${port ?? sectionName} is no port of the parent`);
  }
  const targets = services.map((s) => ({
    key: `Service/${s.service.key}`,
    ports,
    consumer: isProducer ? undefined : routeNamespace,
  }));
  const isForSameClients = (namespace: string) =>
    isProducer ? produces(namespace) : namespace === routeNamespace;
  const conflict = conflictOf({ route, parent, portsOf, isForSameClients }, near);
  const hasWaypoint = service.waypoint !== undefined;
  // The proxies choose the kind: it stays attached.
  if (conflict !== undefined) return { targets, condition: conflict, hasWaypoint };
  return accepted(targets, hasWaypoint);
}

/** The ports of the service that a parentRef stands for. */
function portsMeant({ port, sectionName }: ParentReference, service: Service): readonly number[] {
  const meant = service.ports.filter(
    (p) => (port === undefined || p.port === port) && (!sectionName || p.name === sectionName),
  );
  return meant.map((p) => p.port);
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
  { targets, condition, hasWaypoint }: Attachment,
  route: ParsedObject<RouteObject>,
  path: FieldPath,
  shared: readonly Condition[],
  findings: Findings,
): void {
  const { message, status, reason } = condition;
  if (status === "False" && (targets.length === 0 || reason === "Conflicted")) {
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
