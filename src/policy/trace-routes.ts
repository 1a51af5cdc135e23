/**
 * Routes, followed for a trace: sorts all matches of all routes by precedence and tries one after
 * the other, up to the first that matches. The proxies' tables (`compile-routes.ts`) must come to
 * the same; a property test holds them to it.
 */
import type {
  GrpcMethodMatch,
  HttpMatch,
  HttpRoute,
  PathMatch,
  Route,
  ValueMatch,
} from "../model/route.ts";
import type { Snapshot } from "../model/snapshot.ts";
import { appliedRoutes, clientNamespace, routeSets } from "./applied-routes.ts";
import { DefaultChoice, WeightedChoice } from "./compile-routes.ts";
import { asHttpRoute } from "./connection-routes.ts";
import type { HttpFacts } from "./facts.ts";
import { authorities, matchesHostname } from "./match/host.ts";
import { queryParameter } from "./match/query.ts";
import { compileRegex } from "./match/regex.ts";
import { redacted } from "./redact.ts";
import {
  candidatesOf,
  compareCandidates,
  isUsableRule,
  prefixOf,
  type RouteCandidate,
  totalWeight,
} from "./route-order.ts";
import type { ChosenRouteTrace, RouteCandidateTrace, RouteTrace } from "./trace.ts";
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
  const fallback = defaultRoute(service, port);
  if (service === undefined) return fallback([], []);
  const sets = routeSets(snapshot, waypoint, service);
  const { from, routes } = appliedRoutes(sets, port, clientNamespace(facts.sourceIdentity));
  const { hostname } = authorities.get(facts.authority);
  const notes: string[] = [];
  // The most specific of a route's host names decides; routes of a Service have none that count.
  const applicable = routes.flatMap(({ route }) => {
    const http = requestRoute(route);
    if (http === undefined) return [];
    const names = from === "gateway" ? specificity(http.hostnames, hostname) : 0;
    return names === undefined ? [] : [{ route: http, names }];
  });
  const known = from === "gateway" ? sets.shared.length : sets.own.length;
  if (applicable.length < known) {
    const others = known - applicable.length;
    notes.push(`${others} routes are for other ports, kinds, clients or host names`);
  }
  if (applicable.length === 0) return fallback([], notes);
  for (const { route } of applicable) {
    for (const rule of route.rules.filter((rule) => !isUsableRule(rule))) {
      notes.push(`${route.key} rule ${rule.index} is left out: an expression in it is not RE2`);
    }
  }
  const ordered = applicable
    .flatMap(({ route, names }) => candidatesOf(route).map((candidate) => ({ candidate, names })))
    .sort((a, b) => b.names - a.names || compareCandidates(a.candidate, b.candidate))
    .map(({ candidate }) => candidate);
  const { tried, matched } = tryInOrder(ordered, facts);
  if (!matched) {
    return { choice: undefined, trace: { from, candidates: tried, chosen: undefined, notes } };
  }
  const choice = new WeightedChoice(matched.route, matched.rule);
  const chosen = chosenTrace(choice, draw);
  return { choice, trace: { from, candidates: tried, chosen, notes } };
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

function tryInOrder(ordered: readonly RouteCandidate[], facts: HttpFacts) {
  const tried: RouteCandidateTrace[] = [];
  for (const candidate of ordered) {
    const failed = firstFailure(candidate.match, facts);
    tried.push({
      route: candidate.route.key,
      rule: candidate.rule.index,
      match: candidate.index,
      isMatched: failed === undefined,
      failed,
      position: candidate.rule.position ?? candidate.route.position,
    });
    if (failed === undefined) return { tried, matched: candidate };
  }
  return { tried, matched: undefined };
}

/** How specific the best of the names is that match; `undefined`: none does. */
function specificity(hostnames: readonly string[], hostname: string): number | undefined {
  if (hostnames.length === 0) return 0;
  const matching = hostnames.filter((wanted) => matchesHostname(wanted, hostname));
  if (matching.length === 0) return undefined;
  return Math.max(
    ...matching.map((wanted) => {
      if (wanted === "*") return 0;
      return wanted.startsWith("*.") ? wanted.length : Number.MAX_SAFE_INTEGER;
    }),
  );
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

function defaultRoute(service: string | undefined, port: number) {
  const backend =
    service === undefined
      ? undefined
      : { weight: 1, service, port, problem: undefined, position: undefined, filters: [] };
  return (candidates: readonly RouteCandidateTrace[], notes: readonly string[]): TracedRoute => ({
    choice: new DefaultChoice(backend),
    trace: {
      from: "default",
      candidates,
      chosen: {
        route: undefined,
        rule: undefined,
        service,
        port,
        weight: 1,
        totalWeight: 1,
        problem: undefined,
        position: undefined,
      },
      notes,
    },
  });
}

function chosenTrace(choice: WeightedChoice, draw: number): ChosenRouteTrace {
  const { route, rule } = choice;
  const backend = choice.chooseBackend(draw);
  return {
    route: route.key,
    rule: rule.index,
    service: backend?.service,
    port: backend?.port ?? 0,
    weight: backend?.weight ?? 0,
    totalWeight: totalWeight(rule),
    problem: backend ? backend.problem : "no backend has a weight",
    position: backend?.position ?? rule.position ?? route.position,
  };
}
