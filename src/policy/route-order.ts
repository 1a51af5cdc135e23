/**
 * The order in which routes are tried, and the criteria they are made of (Gateway API, HTTPRoute
 * `matches`): across all rules of all routes an exact path goes before the longest path prefix,
 * that before a regular expression; then a method, the number of headers, of query parameters, the
 * older route, the route's name, the rule, the match.
 */
import type {
  Backend,
  ConnectionRoute,
  ConnectionRouteRule,
  HttpMatch,
  HttpRoute,
  HttpRouteRule,
  PathMatch,
} from "../model/route.ts";
import { compileRegex } from "./match/regex.ts";

/** One match of one rule. */
export interface RouteCandidate {
  readonly route: HttpRoute;
  readonly rule: HttpRouteRule;
  readonly match: HttpMatch;
  readonly index: number;
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

/** Negative: `a` is tried before `b`. Both are of one kind. */
export function compareCandidates(a: RouteCandidate, b: RouteCandidate): number {
  const isGrpc = a.route.kind === "GRPCRoute";
  const byPath = isGrpc
    ? compareMethods(a.match, b.match)
    : comparePaths(a.match.path, b.match.path);
  return byPath || compareCriteria(a, b);
}

/** Gateway API, GRPCRoute: the most characters of a service, then of a method. */
function compareMethods({ grpc: a }: HttpMatch, { grpc: b }: HttpMatch): number {
  return (
    (b?.service.length ?? 0) - (a?.service.length ?? 0) ||
    (b?.method.length ?? 0) - (a?.method.length ?? 0)
  );
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
export function routeName(
  route: HttpRoute | ConnectionRoute,
  rule: HttpRouteRule | ConnectionRouteRule,
): string {
  return `${route.key.replace("/", ".")}.${rule.name}`;
}

export function totalWeight(rule: { readonly backends: readonly Backend[] }): number {
  return rule.backends.reduce((sum, backend) => sum + backend.weight, 0);
}

/** `draw` is from [0, 1). undefined: there is nothing to draw from. */
export function drawBackend<B extends Backend>(
  backends: readonly B[],
  total: number,
  draw: number,
): B | undefined {
  let left = draw * total;
  for (let i = 0; i < backends.length; i++) {
    left -= backends[i]!.weight;
    if (left < 0) return backends[i];
  }
  return undefined;
}
