/**
 * What a waypoint answers in the backend's place once a rule is chosen, in the order of its
 * pipeline. What an authorizer (ExternalAuth) would say is not known here.
 */
import type { HttpBackend, HttpRouteRule, RouteFilter } from "../model/route.ts";
import type { HttpFacts } from "./facts.ts";
import type { RouteChoice } from "./verdict.ts";

/** A status; `undefined`: the request is forwarded. */
export function ownAnswer(
  { rule }: RouteChoice,
  backend: HttpBackend | undefined,
  facts: HttpFacts,
): number | undefined {
  return rule && (ruleAnswer(rule, facts) ?? backendAnswer(backend));
}

/** Whatever the backend would be. */
export function ruleAnswer(rule: HttpRouteRule, facts: HttpFacts): number | undefined {
  if (rule.problem !== undefined) return 500;
  if (rule.filters.some(({ type }) => type === "CORS") && isPreflight(facts)) return 200;
  return redirectOf(rule.filters);
}

/** `backend`: where the draw of a rule falls that has not answered itself. */
export function backendAnswer(backend: HttpBackend | undefined): number | undefined {
  return backend?.service === undefined ? 500 : redirectOf(backend.filters);
}

function redirectOf(filters: readonly RouteFilter[]): number | undefined {
  for (const filter of filters) if (filter.type === "RequestRedirect") return filter.statusCode;
  return undefined;
}

/** WHATWG Fetch, CORS-preflight request. */
function isPreflight(facts: HttpFacts): boolean {
  return (
    facts.method === "OPTIONS" &&
    facts.header("origin") !== undefined &&
    facts.header("access-control-request-method") !== undefined
  );
}
