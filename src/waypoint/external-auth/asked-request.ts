/** A client's request or connection, as an authorizer is told of it. */
import type { Exchange } from "../exchange.ts";
import { fieldsOf } from "../request-heads.ts";

export interface AskedConnection {
  /** SPIFFE id; undefined: nobody is proven. */
  readonly sourceIdentity: string | undefined;
  readonly sourceAddress: string;
  readonly sourcePort: number;
  readonly destinationAddress: string;
  readonly destinationPort: number;
  /** Host name of the service that was asked for. */
  readonly service: string;
}

export interface AskedRequest extends AskedConnection {
  readonly id: string;
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  readonly authority: string;
  /** Names and values, one after the other. */
  readonly fields: readonly string[];
  readonly protocol: string;
}

/** Said beside a body that is shown, as Envoy does. */
export const PARTIAL_BODY = "x-envoy-auth-partial-body";

export function askedRequest(exchange: Exchange): AskedRequest {
  const { head, query, session, target } = exchange;
  return {
    id: exchange.requestId,
    method: exchange.method,
    target: query === "" ? exchange.path : `${exchange.path}?${query}`,
    authority: exchange.authority,
    fields: fieldsOf(head),
    protocol: session.isHttp2 ? "HTTP/2" : "HTTP/1.1",
    sourceIdentity: exchange.sourceIdentity,
    sourceAddress: exchange.sourceAddress,
    sourcePort: session.connection.remotePort,
    destinationAddress: exchange.destinationAddress,
    destinationPort: exchange.destinationPort,
    service: target.cluster.service?.hostname ?? "",
  };
}
