/** What do others say? The request waits for them; 403 when they cannot be asked. */
import type { Exchange } from "../exchange.ts";
import { ExternalAuthCheck } from "../external-auth/check.ts";
import type { RouteFilters } from "../filters/route-filters.ts";

export function authorizeForRule(exchange: Exchange): boolean {
  return ask(exchange, exchange.ruleFilters);
}

export function authorizeForBackend(exchange: Exchange): boolean {
  return ask(exchange, exchange.backendFilters);
}

function ask(exchange: Exchange, filters: RouteFilters | null): boolean {
  if (filters === null || filters.externalAuths.length === 0) return true;
  exchange.check = new ExternalAuthCheck(exchange, filters.externalAuths);
  exchange.check.proceed();
  return false;
}
