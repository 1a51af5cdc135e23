/**
 * Filters that answer in the backend's place: a rule that cannot be acted on (500), a CORS
 * preflight (200), a redirect. What changes heads is kept for when they are written.
 */
import type { HttpRouteRule, RedirectFilter } from "../../model/route.ts";
import { H } from "../../net/http1/header-names.ts";
import type { Exchange } from "../exchange.ts";
import type { CorsRules } from "../filters/cors.ts";
import { locationOf } from "../filters/redirect.ts";
import { routeFilters } from "../filters/route-filters.ts";
import { LOCAL_REPLIES } from "../local-replies.ts";

export function filter(exchange: Exchange): boolean {
  const rule = exchange.choice?.rule;
  if (rule === undefined) return true;
  if (rule.problem !== undefined) {
    exchange.answer(LOCAL_REPLIES.unusableRule);
    return false;
  }
  const filters = routeFilters(rule.filters);
  if (filters === null) return true;
  exchange.ruleFilters = filters;
  return filters.cors === undefined || passesCors(exchange, filters.cors);
}

export function redirectForRule(exchange: Exchange): boolean {
  const filter = exchange.ruleFilters?.redirect;
  return filter === undefined || redirect(exchange, filter, exchange.choice!.rule!);
}

/** Sends the client elsewhere: false, as stages say it. */
export function redirect(exchange: Exchange, filter: RedirectFilter, rule: HttpRouteRule): boolean {
  const location = locationOf(filter, rule, exchange);
  exchange.answer({
    status: filter.statusCode,
    body: "",
    flags: "-",
    details: "direct_response",
    headers: ["location", location],
  });
  return false;
}

/** False: it was a preflight. */
function passesCors(exchange: Exchange, cors: CorsRules): boolean {
  const { head } = exchange;
  const origin = head.get(H.origin);
  if (origin === undefined) return true;
  const method = head.getByName("access-control-request-method");
  if (exchange.method !== "OPTIONS" || method === undefined) {
    exchange.corsHeaders = cors.answerHeaders(origin);
    return true;
  }
  const headers = head.getByName("access-control-request-headers");
  exchange.answer({
    status: 200,
    body: "",
    flags: "-",
    details: "cors_response",
    headers: cors.preflightHeaders(origin, method, headers),
  });
  return false;
}
