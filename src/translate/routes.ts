/**
 * Routes of all four kinds: what they hold, what they are attached to, and what their status says.
 */
import type { ConnectionRouteObject } from "../api/connection-route.ts";
import type { GRPCRoute } from "../api/grpc-route.ts";
import type { HTTPRoute, RouteObject } from "../api/http-route.ts";
import type { ParsedObject } from "../api/object.ts";
import type { AttachedRoute, ConnectionRouteRule, Route } from "../model/route.ts";
import { attachRoute, type RouteTarget } from "./attach.ts";
import { type Condition, Findings, makeCondition, type ObjectStatus } from "./findings.ts";
import { translateGrpcRule, translateHttpRule } from "./http-rules.ts";
import { compareText, createdMsOf, keyOf, refOf } from "./object-names.ts";
import { translateBackend } from "./route-backends.ts";
import { RouteContext, type RouteSurroundings } from "./route-context.ts";

export interface RouteFacts {
  readonly route: Route;
  readonly targets: readonly RouteTarget[];
}

export interface TranslatedRoute {
  /** `undefined`: it is attached to nothing. */
  readonly facts: RouteFacts | undefined;
  readonly status: ObjectStatus | undefined;
}

export function translateHttpRoute(
  object: ParsedObject<HTTPRoute>,
  near: RouteSurroundings,
): TranslatedRoute {
  const context = new RouteContext(object, near, new Findings(object));
  // An API server fills in one rule for all paths where there is none.
  const given = object.value.spec.rules ?? [{}];
  const rules = given.flatMap((rule, index) => translateHttpRule(rule, index, context) ?? []);
  return attached(context, given.length, (base) => ({ ...base, kind: "HTTPRoute", rules }));
}

export function translateGrpcRoute(
  object: ParsedObject<GRPCRoute>,
  near: RouteSurroundings,
): TranslatedRoute {
  const context = new RouteContext(object, near, new Findings(object));
  const given = object.value.spec.rules ?? [{}];
  const rules = given.flatMap((rule, index) => translateGrpcRule(rule, index, context) ?? []);
  return attached(context, given.length, (base) => ({ ...base, kind: "GRPCRoute", rules }));
}

export function translateConnectionRoute(
  object: ParsedObject<ConnectionRouteObject>,
  near: RouteSurroundings,
): TranslatedRoute {
  const context = new RouteContext(object, near, new Findings(object));
  const { kind, spec } = object.value;
  const rules = (spec.rules ?? []).map((rule, index): ConnectionRouteRule => {
    const path = ["spec", "rules", index];
    const consequence = "its share of the connections is closed";
    const backends = (rule.backendRefs ?? []).map((ref, i) =>
      translateBackend(ref, [...path, "backendRefs", i], context, consequence),
    );
    return {
      name: rule.name ?? String(index),
      index,
      backends,
      position: object.positionOf(path),
    };
  });
  return attached(context, rules.length, (base) => ({ ...base, kind, rules }));
}

type RouteParts = Omit<Route, "kind" | "rules">;

/** `rules`: how many were given. */
function attached(
  context: RouteContext,
  rules: number,
  make: (base: RouteParts) => Route,
): TranslatedRoute {
  const { object, findings, near } = context;
  const shared = [resolvedRefsOf(context), ...context.partiallyInvalid(rules)];
  const targets = attachRoute(object, shared, context.rejection(rules), near, findings);
  const route = make({
    key: keyOf(object),
    source: refOf(object),
    createdMs: createdMsOf(object),
    hostnames: hostnamesOf(object, targets, findings),
    position: object.position,
  });
  const facts = targets.length > 0 ? { route, targets } : undefined;
  return { facts, status: findings.status() };
}

/** The first problem speaks for all; their order is that of the backends. */
function resolvedRefsOf({ unresolved }: RouteContext): Condition {
  const type = "ResolvedRefs";
  const [first] = unresolved;
  if (first?.problem === undefined) {
    return makeCondition(type, true, "ResolvedRefs", "All references resolved");
  }
  const messages = [...new Set(unresolved.map(({ message }) => message))];
  return makeCondition(type, false, first.problem, messages.join("; "));
}

/**
 * A TLSRoute's are the server names it takes. Those of requests count under a Gateway, and are
 * ignored under a Service (GEP-1294, D6).
 */
function hostnamesOf(
  object: ParsedObject<RouteObject>,
  targets: readonly RouteTarget[],
  findings: Findings,
): readonly string[] {
  const hostnames = (object.value.spec.hostnames ?? []).map((hostname) => hostname.toLowerCase());
  if (hostnames.length === 0 || object.kind === "TLSRoute") return hostnames;
  if (targets.some(({ key }) => key.startsWith("Service/"))) {
    const message = "hostnames have no effect under a Service: the Service's own name counts";
    findings.report("WS0107", message, ["spec", "hostnames"]);
  }
  return targets.some(({ key }) => key.startsWith("Gateway/")) ? hostnames : [];
}

/** The routes of one target, by precedence: the oldest first, then by name. */
export function attachedRoutes(
  key: string,
  facts: readonly RouteFacts[],
): readonly AttachedRoute[] {
  return facts
    .flatMap(({ route, targets }) => {
      const target = targets.find((t) => t.key === key);
      if (target === undefined) return [];
      const { ports, consumer } = target;
      return [{ route, ports, consumer }];
    })
    .sort((a, b) => a.route.createdMs - b.route.createdMs || compareText(a.route.key, b.route.key));
}
