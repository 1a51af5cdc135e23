/** Which backend? The first matching rule by the Gateway API's precedence, then a weighted draw. */
import type { Exchange } from "../exchange.ts";
import { LOCAL_REPLIES } from "../local-replies.ts";

export function route(exchange: Exchange): boolean {
  const choice = exchange.target.decider.chooseRoute(exchange);
  exchange.choice = choice;
  if (choice === undefined) {
    exchange.answer(LOCAL_REPLIES.noRoute);
    return false;
  }
  if (choice.rule === undefined) {
    exchange.cluster = exchange.target.cluster;
    return true;
  }
  exchange.draw = Math.random();
  const backend = choice.chooseBackend(exchange.draw);
  exchange.backend = backend;
  if (backend === undefined) {
    exchange.answer(LOCAL_REPLIES.noBackend);
    return false;
  }
  if (backend.service === undefined) {
    exchange.answer(LOCAL_REPLIES.unknownBackend);
    return false;
  }
  const { clusters } = exchange.context;
  exchange.cluster = clusters.ofService(backend.service, backend.port, exchange.snapshot);
  return true;
}
