/**
 * What the echo servers say of themselves and of the request that reached them.
 */
import type { IncomingMessage } from "node:http";
import type { Http2ServerRequest } from "node:http2";

export interface EchoIdentity {
  readonly workload: string;
  readonly namespace: string;
  /** Label `version`; empty when there is none. */
  readonly version: string;
}

/** What the answer's JSON holds. */
export interface EchoAnswer extends EchoIdentity {
  readonly port: number;
  /** `HTTP/1.1`, `HTTP/2.0`. */
  readonly protocol: string;
  readonly method: string;
  /** With its query, as it came. */
  readonly path: string;
  readonly host: string;
  /** Who connected: the client where its address is kept, else the proxy. */
  readonly peer: string;
  /** The identity that the headers carry, when one of them does. */
  readonly identity: string | undefined;
  /** By lower-case name; those that came more than once joined with ",". */
  readonly headers: Readonly<Record<string, string>>;
  /** The request's body, as text; cut at 64 KiB. */
  readonly body: string;
  readonly bodyBytes: number;
}

export type EchoRequest = IncomingMessage | Http2ServerRequest;

/** Without a body. */
export function answerTo(
  request: EchoRequest,
  identity: EchoIdentity,
  port: number,
): Omit<EchoAnswer, "body" | "bodyBytes"> {
  const headers = joined(request.rawHeaders);
  return {
    ...identity,
    port,
    protocol: `HTTP/${request.httpVersion}`,
    method: request.method ?? "",
    path: request.url ?? "",
    host: authorityOf(request),
    peer: `${request.socket?.remoteAddress ?? ""}:${request.socket?.remotePort ?? 0}`,
    identity: forwardedIdentity(headers["x-forwarded-client-cert"]),
    headers,
  };
}

function authorityOf(request: EchoRequest): string {
  const { headers } = request;
  return String(headers[":authority"] ?? headers.host ?? "");
}

function joined(raw: readonly string[]): Record<string, string> {
  const values: Record<string, string> = {};
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase();
    if (name.startsWith(":")) continue;
    const before = values[name];
    values[name] = before === undefined ? raw[i + 1]! : `${before},${raw[i + 1]}`;
  }
  return values;
}

/** The `URI=` of the last element: the nearest proxy's word. */
function forwardedIdentity(header: string | undefined): string | undefined {
  return [...(header ?? "").matchAll(/URI=([^;,"]+)/g)].at(-1)?.[1];
}
