/**
 * Routes, followed for a trace: sorts all matches of all routes by precedence and tries one after
 * the other, up to the first that matches. The proxies' tables (`compile-routes.ts`) must come to
 * the same; a property test holds them to it.
 */
import type {
  GrpcMethodMatch,
  HttpMatch,
  HttpRoute,
  HttpRouteRule,
  PathMatch,
  Route,
  ValueMatch,
} from "../model/route.ts";
import type { Snapshot } from "../model/snapshot.ts";
import { type AppliedRoutes, appliedRoutes, clientNamespace, routeSets } from "./applied-routes.ts";
import { DefaultChoice, WeightedChoice } from "./compile-routes.ts";
import { asHttpRoute } from "./connection-routes.ts";
import type { HttpFacts } from "./facts.ts";
import { authorities, hostnameSpecificity } from "./match/host.ts";
import { queryParameter } from "./match/query.ts";
import { compileRegex } from "./match/regex.ts";
import { type NamedCandidate, outranked } from "./outranked.ts";
import { backendAnswer, ruleAnswer } from "./own-answers.ts";
import { passedOver, passedOverRoutes } from "./passed-over.ts";
import { redacted } from "./redact.ts";
import { effectsOf } from "./route-effects.ts";
import { candidatesOf, compareCandidates, isUsableRule, prefixOf } from "./route-order.ts";
import type { PassedOverTrace, RouteCandidateTrace, RouteTrace } from "./trace.ts";
import { chosenDefault, chosenRule, defaultBackend } from "./trace-chosen.ts";
import type { RouteChoice } from "./verdict.ts";

export interface TracedRoute {
  readonly choice: RouteChoice | undefined;
  readonly trace: RouteTrace;
}

/** `service` is undefined for traffic addressed to a workload, which no route touches. */
export function traceRoute(
  snapshot: Snapshot,
  waypoint: string,
  service: string | undefined,
  port: number,
  facts: HttpFacts,
  draw: number,
): TracedRoute {
  if (service === undefined) return defaultRoute(undefined, port, []);
  const sets = routeSets(snapshot, waypoint, service);
  const client = clientNamespace(facts.sourceIdentity);
  const applied = appliedRoutes(sets, port, client);
  const { named, others } = forRequest(applied, facts.authority);
  const passed = [...passedOverRoutes(sets, applied, port, client), ...others];
  if (named.length === 0) return defaultRoute(service, port, passed);
  const ordered = named
    .flatMap(({ route, names }) => candidatesOf(route).map((candidate) => ({ candidate, names })))
    .sort((a, b) => b.names - a.names || compareCandidates(a.candidate, b.candidate));
  const kind = applied.routes[0]!.route.kind;
  const { tried, first, behind } = tryInOrder(ordered, kind, facts);
  const notes = named.flatMap(({ route }) => unusableRules(route));
  const passedOver = [...behind, ...passed];
  const trace = { from: applied.from, candidates: tried, passedOver, notes };
  if (first === undefined) return { choice: undefined, trace: { ...trace, chosen: undefined } };
  const { route, rule } = first.candidate;
  const choice = new WeightedChoice(route, rule);
  const answer = ruleAnswer(rule, facts);
  const backend = answer === undefined ? choice.chooseBackend(draw) : undefined;
  const status = answer ?? backendAnswer(backend);
  const end = chosenRule(route, rule, backend);
  const problem = status === 500 ? (rule.problem ?? end.problem) : undefined;
  const effects = effectsOf(route.key, rule, backend, status);
  return { choice, trace: { ...trace, chosen: { ...end, kind, status, problem, effects } } };
}

interface NamedRoute {
  readonly route: HttpRoute;
  /** How specific the best of its host names is that takes the request's; 0 where none count. */
  readonly names: number;
}

/** Routes of a waypoint are chosen by host name first; those of a Service have none that count. */
function forRequest({ from, routes }: AppliedRoutes, authority: string) {
  const { hostname } = authorities.get(authority);
  const named: NamedRoute[] = [];
  const others: PassedOverTrace[] = [];
  for (const { route } of routes) {
    const http = requestRoute(route);
    const names = http && (from === "gateway" ? hostnameSpecificity(http.hostnames, hostname) : 0);
    if (http === undefined) {
      others.push(passedOver(route, "it is for TLS that is passed through, not for requests"));
    } else if (names === undefined) {
      const wanted = http.hostnames.join(" or ");
      others.push(passedOver(route, `it is for host name ${wanted}, saw ${hostname}`));
    } else named.push({ route: http, names });
  }
  return { named, others };
}

function unusableRules(route: HttpRoute): readonly string[] {
  return route.rules
    .filter((rule) => !isUsableRule(rule))
    .map((rule) => `${route.key} rule ${rule.index} is left out: an expression in it is not RE2`);
}

/** What a route is to requests; `undefined`: nothing, it is for TLS that is not looked into. */
function requestRoute(route: Route): HttpRoute | undefined {
  switch (route.kind) {
    case "TLSRoute":
      return undefined;
    case "TCPRoute":
      return asHttpRoute(route);
    default:
      return route;
  }
}

/**
 * Up to the first that matches; then which others match as well. `kind`: as it is written, for a
 * TCPRoute is tried as an HTTPRoute.
 */
function tryInOrder(ordered: readonly NamedCandidate[], kind: Route["kind"], facts: HttpFacts) {
  const tried: RouteCandidateTrace[] = [];
  const behind = new Map<HttpRouteRule, PassedOverTrace>();
  let first: NamedCandidate | undefined;
  for (const named of ordered) {
    const { route, rule, match, index } = named.candidate;
    const failed = firstFailure(match, facts);
    if (first !== undefined) {
      const isAnother = rule !== first.candidate.rule && !behind.has(rule);
      if (failed === undefined && isAnother) behind.set(rule, outranked(first, named, kind));
      continue;
    }
    if (failed === undefined) first = named;
    tried.push({
      kind,
      route: route.key,
      rule: rule.index,
      match: index,
      isMatched: failed === undefined,
      failed,
      position: rule.position ?? route.position,
    });
  }
  return { tried, first, behind: [...behind.values()] };
}

/** What of the match fails first; `undefined`: all of it holds. */
function firstFailure(match: HttpMatch, facts: HttpFacts): string | undefined {
  const { path, method, grpc } = match;
  if (grpc !== undefined && !matchesMethod(grpc, facts.path)) {
    const wanted = `${grpc.service || "*"}/${grpc.method || "*"} (${grpc.type})`;
    return `gRPC method: wanted ${wanted}, saw ${facts.path}`;
  }
  if (grpc === undefined && !matchesPath(path, facts.path)) {
    return `path: wanted ${path.value} (${path.type}), saw ${facts.path}`;
  }
  if (method !== undefined && method !== facts.method) {
    return `method: wanted ${method}, saw ${facts.method}`;
  }
  for (const header of match.headers) {
    const failure = valueFailure("header", header, facts.header(header.name));
    if (failure) return failure;
  }
  for (const parameter of match.queryParams) {
    const seen = queryParameter(facts.query, parameter.name);
    const failure = valueFailure("query parameter", parameter, seen);
    if (failure) return failure;
  }
  return undefined;
}

/** Of `/<service>/<method>`; without either anything goes. */
function matchesMethod({ type, service, method }: GrpcMethodMatch, path: string): boolean {
  if (service === "" && method === "") return true;
  const [, seenService, seenMethod] = /^\/([^/]+)\/([^/]+)$/.exec(path) ?? [];
  if (seenService === undefined || seenMethod === undefined) return false;
  const holds = (wanted: string, seen: string) => {
    if (wanted === "") return true;
    return type === "Exact" ? wanted === seen : compileRegex(wanted)?.matches(seen) === true;
  };
  return holds(service, seenService) && holds(method, seenMethod);
}

function matchesPath(wanted: PathMatch, path: string): boolean {
  if (wanted.type === "Exact") return path === wanted.value;
  if (wanted.type === "RegularExpression")
    return compileRegex(wanted.value)?.matches(path) === true;
  const prefix = prefixOf(wanted);
  return path === prefix || path.startsWith(`${prefix}/`);
}

function valueFailure(
  kind: string,
  wanted: ValueMatch,
  seen: string | undefined,
): string | undefined {
  const isMatched =
    wanted.type === "Exact"
      ? seen === wanted.value
      : seen !== undefined && compileRegex(wanted.value)?.matches(seen) === true;
  if (isMatched) return undefined;
  const shown = redacted(wanted.name, seen) ?? "none";
  return `${kind} ${wanted.name}: wanted ${wanted.value} (${wanted.type}), saw ${shown}`;
}

function defaultRoute(
  service: string | undefined,
  port: number,
  passedOver: readonly PassedOverTrace[],
): TracedRoute {
  const chosen = chosenDefault(service, port);
  return {
    choice: new DefaultChoice(defaultBackend(service, port)),
    trace: { from: "default", candidates: [], passedOver, chosen, notes: [] },
  };
}
