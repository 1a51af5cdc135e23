/**
 * Out to the endpoint: over an idle connection when there is one, else over a new one.
 */
import type { HeaderList } from "../../net/http2/headers.ts";
import type { Exchange } from "../exchange.ts";

const NO_HEADERS: HeaderList = [];

export function forward(exchange: Exchange): boolean {
  const endpoint = exchange.endpoint!;
  const { attempts, context } = exchange;
  const rule = exchange.choice?.rule;
  attempts.begin(rule?.backendRequestTimeoutMs ?? 0);
  if (exchange.requestList !== null) {
    endpoint.http2Pool.open(exchange);
    return false;
  }
  const idle = attempts.needsFresh ? undefined : endpoint.takeIdle();
  if (idle !== undefined) attempts.attach(idle);
  else attempts.dial = context.dialer.dial(endpoint, NO_HEADERS, attempts);
  return false;
}
