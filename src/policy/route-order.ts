/**
 * The order in which routes are tried, and the criteria they are made of (Gateway API, HTTPRoute
 * `matches`): across all rules of all routes an exact path goes before the longest path prefix,
 * that before a regular expression; then a method, the number of headers, of query parameters, the
 * older route, the route's name, the rule, the match.
 */
import {
  type AttachedRoute,
  type HttpMatch,
  type HttpRoute,
  type HttpRouteRule,
  isHttpRoute,
  type PathMatch,
} from "../model/route.ts";
import type { Snapshot } from "../model/snapshot.ts";
import { compileRegex } from "./match/regex.ts";

/** One match of one rule. */
export interface RouteCandidate {
  readonly route: HttpRoute;
  readonly rule: HttpRouteRule;
  readonly match: HttpMatch;
  readonly index: number;
}

/** The routes that count for a service port, and where they come from (D6). */
export interface ServiceRoutes {
  readonly from: "service" | "gateway" | "default";
  readonly routes: readonly AttachedRoute<HttpRoute>[];
}

const NO_ROUTES: readonly AttachedRoute[] = [];
const httpRoutes = new WeakMap<readonly AttachedRoute[], readonly AttachedRoute<HttpRoute>[]>();

/** Those for requests; the same list for the same list. */
function httpRoutesIn(routes: readonly AttachedRoute[]): readonly AttachedRoute<HttpRoute>[] {
  const known = httpRoutes.get(routes);
  if (known !== undefined) return known;
  const found = routes.filter(isHttpRoute);
  httpRoutes.set(routes, found);
  return found;
}

/** A Service with a route of its own, be it for another port, ignores the Gateway's (D6). */
export function routesOf(snapshot: Snapshot, waypoint: string, service: string): ServiceRoutes {
  const own = httpRoutesIn(snapshot.routes.get(`Service/${service}`) ?? NO_ROUTES);
  if (own.length > 0) return { from: "service", routes: own };
  const shared = httpRoutesIn(snapshot.routes.get(`Gateway/${waypoint}`) ?? NO_ROUTES);
  return { from: shared.length > 0 ? "gateway" : "default", routes: shared };
}

/** Whether the route is followed on this service port. */
export function appliesToPort(attached: AttachedRoute, port: number): boolean {
  return attached.ports.length === 0 || attached.ports.includes(port);
}

/** The matches of a route. A rule with an expression that is not RE2 is dropped whole (D11). */
export function candidatesOf(route: HttpRoute): readonly RouteCandidate[] {
  return route.rules.filter(isUsableRule).flatMap((rule) =>
    // No match at all means any path, as an omitted list does in Gateway API.
    (rule.matches.length > 0 ? rule.matches : [ANY]).map((match, index) => ({
      route,
      rule,
      match,
      index,
    })),
  );
}

const ANY: HttpMatch = {
  path: { type: "PathPrefix", value: "/" },
  headers: [],
  queryParams: [],
  method: undefined,
};

export function isUsableRule(rule: HttpRouteRule): boolean {
  return rule.matches.every((match) =>
    [match.path, ...match.headers, ...match.queryParams].every(
      ({ type, value }) => type !== "RegularExpression" || compileRegex(value) !== undefined,
    ),
  );
}

/** A prefix without the "/" at its end, which does not count: `/` itself is "". */
export function prefixOf(path: PathMatch): string {
  return path.value.endsWith("/") ? path.value.slice(0, -1) : path.value;
}

const PATH_ORDER = { Exact: 0, PathPrefix: 1, RegularExpression: 2 } as const;

/** Negative: `a` is tried before `b`. */
export function compareCandidates(a: RouteCandidate, b: RouteCandidate): number {
  return comparePaths(a.match.path, b.match.path) || compareCriteria(a, b);
}

function comparePaths(a: PathMatch, b: PathMatch): number {
  const byType = PATH_ORDER[a.type] - PATH_ORDER[b.type];
  if (byType !== 0 || a.type !== "PathPrefix") return byType;
  return prefixOf(b).length - prefixOf(a).length;
}

function compareCriteria(a: RouteCandidate, b: RouteCandidate): number {
  return (
    Number(b.match.method !== undefined) - Number(a.match.method !== undefined) ||
    b.match.headers.length - a.match.headers.length ||
    b.match.queryParams.length - a.match.queryParams.length ||
    a.route.createdMs - b.route.createdMs ||
    compareText(a.route.key, b.route.key) ||
    a.rule.index - b.rule.index ||
    a.index - b.index
  );
}

function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** As access logs name the route: Istio's `<namespace>.<name>.<rule>`. */
export function routeName(route: HttpRoute, rule: HttpRouteRule): string {
  return `${route.key.replace("/", ".")}.${rule.name}`;
}

export function totalWeight(rule: HttpRouteRule): number {
  return rule.backends.reduce((sum, backend) => sum + backend.weight, 0);
}
