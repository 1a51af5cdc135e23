/**
 * HTTPRoutes: rules, matches and backends one to one, with the defaults of the Gateway API.
 *
 * Filters are for a later version. Gateway API forbids to skip one that is not acted on, so a
 * rule with a filter answers 500 (backends with problem `UnsupportedFilter`) and is reported.
 */
import type { BackendRef, HTTPRoute, HTTPRouteRule } from "../api/http-route.ts";
import type { FieldPath, ParsedObject } from "../api/object.ts";
import type {
  AttachedRoute,
  HttpBackend,
  HttpRoute,
  HttpRouteRule,
  RouteFilter,
} from "../model/route.ts";
import { type AttachSurroundings, attachRoute, type RouteTarget } from "./attach.ts";
import {
  type BackendProblem,
  type BackendSurroundings,
  type ResolvedBackend,
  resolveBackend,
} from "./backends.ts";
import { parseDurationMs } from "./duration.ts";
import { type Condition, Findings, makeCondition, type ObjectStatus } from "./findings.ts";
import { compareText, createdMsOf, keyOf, namespaceOf, refOf } from "./object-names.ts";
import { translateMatches } from "./route-matches.ts";

export interface RouteFacts {
  readonly route: HttpRoute;
  readonly targets: readonly RouteTarget[];
}

export interface TranslatedRoute {
  /** `undefined`: it is attached to nothing. */
  readonly facts: RouteFacts | undefined;
  readonly status: ObjectStatus | undefined;
}

type RouteSurroundings = BackendSurroundings & AttachSurroundings;

/** Fields of a rule that this version knows and has no use for. */
const IGNORED_FIELDS = ["retry", "sessionPersistence"] as const;

export function translateRoute(
  object: ParsedObject<HTTPRoute>,
  near: RouteSurroundings,
): TranslatedRoute {
  const findings = new Findings(object);
  const spec = object.value.spec;
  const problems: ResolvedBackend[] = [];
  // An API server fills in one rule for all paths where there is none.
  const given = spec.rules ?? [{}];
  const rules = given.flatMap((rule, index) => {
    const context = { object, path: ["spec", "rules", index], near, findings, problems };
    return translateRule(rule, index, context) ?? [];
  });
  const shared = [
    resolvedRefsOf(problems),
    ...partiallyInvalid(rules.length < given.length, rules),
  ];
  const targets = attachRoute(object, shared, near, findings);
  const hostnames = hostnamesOf(object, targets, findings);
  const route: HttpRoute = {
    kind: "HTTPRoute",
    key: keyOf(object),
    source: refOf(object),
    createdMs: createdMsOf(object),
    rules,
    hostnames,
    position: object.position,
  };
  const facts = targets.length > 0 ? { route, targets } : undefined;
  return { facts, status: findings.status() };
}

interface RuleContext {
  readonly object: ParsedObject<HTTPRoute>;
  readonly path: FieldPath;
  readonly near: RouteSurroundings;
  readonly findings: Findings;
  /** Collects the backends that stand for nothing. */
  readonly problems: ResolvedBackend[];
}

function translateRule(
  rule: HTTPRouteRule,
  index: number,
  context: RuleContext,
): HttpRouteRule | undefined {
  const { object, path, findings } = context;
  const matches = translateMatches(rule, path, findings);
  if (matches === undefined) return undefined;
  for (const field of IGNORED_FIELDS) {
    if (rule[field] === undefined) continue;
    findings.report("WS0105", `${field} is not acted on yet`, [...path, field]);
  }
  const isUnsupported = reportFilters(rule.filters, [...path, "filters"], findings);
  const backends = (rule.backendRefs ?? []).map((ref, i) =>
    translateBackend(ref, [...path, "backendRefs", i], isUnsupported, context),
  );
  return {
    name: rule.name ?? String(index),
    index,
    matches,
    filters: [],
    backends,
    problem: undefined,
    requestTimeoutMs: timeoutOf(rule, path, findings),
    backendRequestTimeoutMs: 0,
    retry: undefined,
    sessionPersistence: undefined,
    position: object.positionOf(path),
  };
}

/** Whether there is a filter; none is acted on yet. */
function reportFilters(
  filters: readonly { readonly type: string }[] | undefined,
  path: FieldPath,
  findings: Findings,
): boolean {
  (filters ?? []).forEach(({ type }, index) => {
    const message = `filter ${type} is not acted on yet: the requests it is meant for are answered 500`;
    findings.report("WS0105", message, [...path, index]);
  });
  return filters !== undefined && filters.length > 0;
}

function translateBackend(
  ref: BackendRef,
  path: FieldPath,
  isUnsupportedRule: boolean,
  { object, near, findings, problems }: RuleContext,
): HttpBackend {
  const resolved = resolveBackend(ref, namespaceOf(object), object.positionOf(path), near);
  if (resolved.problem !== undefined) {
    problems.push(resolved);
    const code = resolved.problem === "BackendNotFound" ? "WS0101" : "WS0102";
    findings.report(code, `${resolved.message}: its share of the requests is answered 500`, path);
  }
  const isUnsupported = reportFilters(ref.filters, [...path, "filters"], findings);
  const filters: readonly RouteFilter[] = [];
  if (!isUnsupported && !isUnsupportedRule) return { ...resolved.backend, filters };
  const problem: BackendProblem = "UnsupportedFilter";
  return { ...resolved.backend, filters, service: undefined, problem };
}

/** What of the route is not as it was written. */
function partiallyInvalid(hasDropped: boolean, rules: readonly HttpRouteRule[]): Condition[] {
  const messages: string[] = [];
  if (hasDropped) messages.push("Dropped rules with expressions that are not RE2");
  const filtered: BackendProblem = "UnsupportedFilter";
  if (rules.some(({ backends }) => backends.some(({ problem }) => problem === filtered))) {
    messages.push("Filters are not acted on: what they are meant for is answered 500");
  }
  if (messages.length === 0) return [];
  return [makeCondition("PartiallyInvalid", true, "UnsupportedValue", messages.join("; "))];
}

/** The first problem speaks for all; their order is that of the backends. */
function resolvedRefsOf(problems: readonly ResolvedBackend[]): Condition {
  const type = "ResolvedRefs";
  const [first] = problems;
  if (first?.problem === undefined) {
    return makeCondition(type, true, "ResolvedRefs", "All references resolved");
  }
  const messages = [...new Set(problems.map(({ message }) => message))];
  return makeCondition(type, false, first.problem, messages.join("; "));
}

function timeoutOf(rule: HTTPRouteRule, path: FieldPath, findings: Findings): number {
  const { request, backendRequest } = rule.timeouts ?? {};
  if (backendRequest !== undefined) {
    const field = [...path, "timeouts", "backendRequest"];
    findings.report("WS0105", "timeouts.backendRequest is not acted on yet", field);
  }
  if (request === undefined) return 0;
  const ms = parseDurationMs(request);
  if (ms !== undefined) return ms;
  const field = [...path, "timeouts", "request"];
  findings.report("WS0102", `"${request}" is no duration; there is no timeout`, field);
  return 0;
}

/** They count under a Gateway, and are ignored under a Service (GEP-1294, D6). */
function hostnamesOf(
  object: ParsedObject<HTTPRoute>,
  targets: readonly RouteTarget[],
  findings: Findings,
): readonly string[] {
  const hostnames = object.value.spec.hostnames ?? [];
  if (hostnames.length === 0) return [];
  if (targets.some(({ key }) => key.startsWith("Service/"))) {
    const message = "hostnames have no effect under a Service: the Service's own name counts";
    findings.report("WS0107", message, ["spec", "hostnames"]);
  }
  const isForGateway = targets.some(({ key }) => key.startsWith("Gateway/"));
  return isForGateway ? hostnames.map((hostname) => hostname.toLowerCase()) : [];
}

/** The routes of one target, by precedence: the oldest first, then by name. */
export function attachedRoutes(
  key: string,
  facts: readonly RouteFacts[],
): readonly AttachedRoute[] {
  return facts
    .flatMap(({ route, targets }) => {
      const target = targets.find((t) => t.key === key);
      return target === undefined ? [] : [{ route, ports: target.ports }];
    })
    .sort((a, b) => a.route.createdMs - b.route.createdMs || compareText(a.route.key, b.route.key));
}
