/** Which endpoint? That of the session, or one of all. 503 `no healthy upstream` when there is none. */
import type { Exchange } from "../exchange.ts";
import { LOCAL_REPLIES } from "../local-replies.ts";
import { sessionEndpoint } from "../session-persistence.ts";

export function balance(exchange: Exchange): boolean {
  const { tried, source, sticky } = exchange;
  const own = sticky === undefined ? undefined : sessionEndpoint(sticky, tried);
  const endpoint = own ?? exchange.cluster!.pick(tried, source);
  if (endpoint === undefined) {
    exchange.answer(LOCAL_REPLIES.noHealthyUpstream);
    return false;
  }
  endpoint.active++;
  exchange.endpoint = endpoint;
  return true;
}
