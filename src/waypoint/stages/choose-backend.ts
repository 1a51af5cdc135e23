/**
 * Which backend? The one of the client's session, or a weighted draw; 500 when there is none, or
 * none that exists.
 */
import type { Backend } from "../../model/route.ts";
import type { Exchange } from "../exchange.ts";
import { routeFilters } from "../filters/route-filters.ts";
import { LOCAL_REPLIES } from "../local-replies.ts";
import { findSession } from "../session-persistence.ts";
import { redirect } from "./filter.ts";

export function chooseBackend(exchange: Exchange): boolean {
  const { choice } = exchange;
  if (choice?.rule === undefined) {
    exchange.cluster = exchange.target.cluster;
    return true;
  }
  if (choice.rule.sessionPersistence !== undefined) findSession(exchange, choice.rule);
  const session = exchange.sticky?.backend;
  exchange.draw = session === undefined ? Math.random() : drawOf(session, choice.rule.backends);
  const backend = session ?? choice.chooseBackend(exchange.draw);
  exchange.backend = backend;
  if (backend === undefined) {
    exchange.answer(LOCAL_REPLIES.noBackend);
    return false;
  }
  if (backend.service === undefined) {
    exchange.answer(LOCAL_REPLIES.unknownBackend);
    return false;
  }
  const filters = routeFilters(backend.filters);
  exchange.backendFilters = filters;
  if (filters?.redirect !== undefined) return redirect(exchange, filters.redirect, choice.rule);
  const { clusters } = exchange.context;
  exchange.cluster = clusters.ofService(backend.service, backend.port, exchange.snapshot);
  return true;
}

/** A draw that would have chosen it, so that the decision replays; a weight of 0 has none. */
function drawOf(backend: Backend, backends: readonly Backend[]): number {
  let before = 0;
  let total = 0;
  for (const other of backends) {
    if (other === backend) before = total + other.weight / 2;
    total += other.weight;
  }
  return total === 0 ? 0 : before / total;
}
