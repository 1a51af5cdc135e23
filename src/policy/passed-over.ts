/**
 * Why a route that is attached to a service or its waypoint has no say: for a trace, where an
 * author looks for the route that was expected to be followed.
 */
import type { AttachedRoute, Route } from "../model/route.ts";
import type { AppliedRoutes, RouteSets } from "./applied-routes.ts";
import type { PassedOverTrace } from "./trace.ts";

/** Those of `sets` that are not among the applied ones. `client`: its namespace. */
export function passedOverRoutes(
  sets: RouteSets,
  applied: AppliedRoutes,
  port: number,
  client: string | undefined,
): readonly PassedOverTrace[] {
  const isApplied = (attached: AttachedRoute) => applied.routes.includes(attached);
  const own = sets.own
    .filter((attached) => !isApplied(attached))
    .map((one) => passedOver(one.route, ownReason(one, applied, port, client)));
  const shared = sets.shared
    .filter((attached) => !isApplied(attached))
    .map(({ route }) => passedOver(route, sharedReason(applied, client)));
  return [...own, ...shared];
}

export function passedOver(route: Route, because: string): PassedOverTrace {
  const { kind, key, position } = route;
  return { kind, route: key, rule: undefined, because, position };
}

function ownReason(
  { ports, consumer }: AttachedRoute,
  applied: AppliedRoutes,
  port: number,
  client: string | undefined,
): string {
  if (ports.length > 0 && !ports.includes(port)) {
    return `it is for port ${ports.join(" and ")}, not ${port}`;
  }
  if (consumer !== undefined && consumer !== client) {
    const seen = client === undefined ? "nobody is proven" : `saw ${client}`;
    return `it is for clients of namespace ${consumer}, ${seen}`;
  }
  if (consumer === undefined && applied.from === "consumer") return haveTheirOwn(client);
  return otherKind(applied);
}

function sharedReason(applied: AppliedRoutes, client: string | undefined): string {
  if (applied.from === "gateway") return otherKind(applied);
  return applied.from === "consumer" ? haveTheirOwn(client) : "the service has routes of its own";
}

function haveTheirOwn(client: string | undefined): string {
  return `clients of namespace ${client} have routes of their own`;
}

function otherKind({ routes }: AppliedRoutes): string {
  return `there is a ${routes[0]?.route.kind}, which goes before it`;
}
