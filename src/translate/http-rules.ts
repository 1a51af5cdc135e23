/**
 * The rules of HTTPRoutes and GRPCRoutes, with the defaults of the Gateway API. One rule here is
 * one rule there; a rule that cannot be matched as its author meant is dropped.
 */
import type { GRPCRouteRule } from "../api/grpc-route.ts";
import type { HTTPBackendRef, HTTPRouteRule } from "../api/http-route.ts";
import type { FieldPath } from "../api/object.ts";
import type { HttpBackend, HttpMatch, HttpRouteRule } from "../model/route.ts";
import { translateGrpcMatches } from "./grpc-matches.ts";
import { keyOf } from "./object-names.ts";
import { translateBackend } from "./route-backends.ts";
import type { RouteContext } from "./route-context.ts";
import { translateFilters } from "./route-filters.ts";
import { translateMatches } from "./route-matches.ts";
import { translatePersistence, translateRetry, translateTimeouts } from "./route-timing.ts";

/** `undefined`: the rule is dropped. */
export function translateHttpRule(
  rule: HTTPRouteRule,
  index: number,
  context: RouteContext,
): HttpRouteRule | undefined {
  const path = ["spec", "rules", index];
  const matches = translateMatches(rule, path, context);
  if (matches === undefined) {
    context.dropRule(index, "UnsupportedValue");
    return undefined;
  }
  return {
    ...translateRule(rule, index, path, matches, context),
    ...translateTimeouts(rule.timeouts ?? {}, [...path, "timeouts"], context),
    retry: translateRetry(rule.retry, [...path, "retry"], context),
  };
}

/** `undefined`: the rule is dropped. */
export function translateGrpcRule(
  rule: GRPCRouteRule,
  index: number,
  context: RouteContext,
): HttpRouteRule | undefined {
  const path = ["spec", "rules", index];
  const matches = translateGrpcMatches(rule, path, context);
  if (matches === undefined) {
    context.dropRule(index, "UnsupportedValue");
    return undefined;
  }
  return {
    ...translateRule(rule, index, path, matches, context),
    requestTimeoutMs: 0,
    backendRequestTimeoutMs: 0,
    retry: undefined,
  };
}

function translateRule(
  rule: HTTPRouteRule | GRPCRouteRule,
  index: number,
  path: FieldPath,
  matches: readonly HttpMatch[],
  context: RouteContext,
): Omit<HttpRouteRule, "requestTimeoutMs" | "backendRequestTimeoutMs" | "retry"> {
  const { object } = context;
  const place = { context, matches };
  const { filters, problem } = translateFilters(rule.filters, [...path, "filters"], place);
  if (problem !== undefined) context.dropRule(index, problem);
  const name = rule.name ?? String(index);
  // The same in every proxy and over restarts: it is all that a client comes back with.
  const sessionName = `waystone-${keyOf(object).replace("/", "-")}-${name}`;
  const field = [...path, "sessionPersistence"];
  return {
    name,
    index,
    matches,
    filters,
    problem,
    backends: translateHttpBackends(rule.backendRefs, path, matches, context),
    sessionPersistence: translatePersistence(rule.sessionPersistence, sessionName, field, context),
    position: object.positionOf(path),
  };
}

function translateHttpBackends(
  refs: readonly HTTPBackendRef[] | undefined,
  path: FieldPath,
  matches: readonly HttpMatch[],
  context: RouteContext,
): readonly HttpBackend[] {
  return (refs ?? []).map((ref, index) => {
    const at = [...path, "backendRefs", index];
    const backend = translateBackend(ref, at, context, "its share of the requests is answered 500");
    const { filters, problem } = translateFilters(ref.filters, [...at, "filters"], {
      context,
      matches,
    });
    if (problem === undefined) return { ...backend, filters };
    return { ...backend, filters: [], service: undefined, problem: backend.problem ?? problem };
  });
}
