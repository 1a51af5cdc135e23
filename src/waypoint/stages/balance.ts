/** Which endpoint? 503 `no healthy upstream` when there is none. */
import type { Exchange } from "../exchange.ts";
import { LOCAL_REPLIES } from "../local-replies.ts";

export function balance(exchange: Exchange): boolean {
  const endpoint = exchange.cluster!.pick(exchange.tried, exchange.source);
  if (endpoint === undefined) {
    exchange.answer(LOCAL_REPLIES.noHealthyUpstream);
    return false;
  }
  endpoint.active++;
  exchange.endpoint = endpoint;
  return true;
}
