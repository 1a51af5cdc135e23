/**
 * Out to the endpoint: over an idle connection when there is one, else over a new one.
 */
import { deadlinesOf } from "../../kit/deadlines.ts";
import type { HeaderList } from "../../net/http2/headers.ts";
import type { Exchange } from "../exchange.ts";

const NO_HEADERS: HeaderList = [];

export function forward(exchange: Exchange): boolean {
  const endpoint = exchange.endpoint!;
  exchange.attempt++;
  if (exchange.attempt === 1) armTimeout(exchange, exchange.choice?.rule?.requestTimeoutMs ?? 0);
  if (speaksHttp2(exchange)) {
    endpoint.http2Pool.open(exchange);
    return false;
  }
  const idle = exchange.needsFresh ? undefined : endpoint.takeIdle();
  if (idle !== undefined) exchange.attach(idle);
  else exchange.dial = exchange.context.dialer.dial(endpoint, NO_HEADERS, exchange);
  return false;
}

/** What the port declares; where it does not say, what the client speaks (protocols.md §6.4). */
function speaksHttp2(exchange: Exchange): boolean {
  const { cluster, target } = exchange;
  const protocol = cluster === target.cluster ? target.protocol : cluster!.protocol;
  if (protocol === "HTTP2" || protocol === "GRPC") return true;
  return protocol !== "HTTP11" && exchange.session.isHttp2;
}

function armTimeout(exchange: Exchange, timeoutMs: number): void {
  if (timeoutMs === 0) return;
  exchange.hasTimeout = true;
  deadlinesOf(timeoutMs).arm(exchange, exchange.startMs);
}
