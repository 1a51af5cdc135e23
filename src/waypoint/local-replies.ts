/**
 * The answers that a waypoint gives itself: status, body, response flag and details, as Envoy and
 * Istio have them (protocols.md §6.4), so that users and dashboards recognise them.
 */
import type { HeadProblem } from "../net/http1/head.ts";
import { H, headerName } from "../net/http1/header-names.ts";

export interface LocalReply {
  readonly status: number;
  readonly body: string;
  /** Envoy's response flags; "-" for none. */
  readonly flags: string;
  /** Envoy's `RESPONSE_CODE_DETAILS`. */
  readonly details: string;
  /** What a gRPC client is told, where the status does not say it. */
  readonly grpcStatus?: string;
  /** Names and values, one after the other. */
  readonly headers?: readonly string[];
}

const reply = (status: number, body: string, flags: string, details: string): LocalReply => ({
  status,
  body,
  flags,
  details,
});

const BEFORE_HEADERS = "upstream connect error or disconnect/reset before headers. ";

export const LOCAL_REPLIES = {
  badRequest: reply(400, "Bad Request", "DPE", "http1.codec_error"),
  /** GOAWAY, in truth: the connection is over, with all that was on it. */
  badHttp2: reply(400, "", "DPE", "http2.protocol_error"),
  badPath: reply(400, "", "-", "path_normalization_failed"),
  headTooLarge: reply(431, "", "DPE", "http1.headers_too_large"),
  headTimeout: reply(408, "request timeout", "-", "request_header_timeout"),
  connectInside: reply(405, "", "-", "upgrade_failed"),
  /** An extended CONNECT for something else than a WebSocket (RFC 9220 §3). */
  unknownProtocol: reply(501, "", "-", "upgrade_failed"),
  /** The HTTP/2 backend of a WebSocket has not said that it takes any (RFC 8441 §3). */
  noExtendedConnect: reply(502, "", "UPE", "upgrade_failed"),
  notImplemented: reply(501, "", "DPE", "http1.unknown_transfer_encoding"),
  unsupportedVersion: reply(505, "", "DPE", "http1.unsupported_version"),
  /** An authorizer has to see all of it, and it is more than may be shown. */
  payloadTooLarge: reply(413, "Payload Too Large", "-", "request_payload_too_large"),
  denied: reply(403, "RBAC: access denied", "-", "rbac_access_denied"),
  noRoute: reply(404, "", "NR", "route_not_found"),
  /** UNAVAILABLE to gRPC clients (Gateway API, GRPCRoute `backendRefs`). */
  noBackend: { ...reply(500, "", "-", "direct_response"), grpcStatus: "14" },
  /** A filter that is not known must not be skipped (Gateway API, HTTPRouteFilter). */
  unusableRule: reply(500, "", "-", "direct_response"),
  unknownBackend: { ...reply(500, "", "NC", "cluster_not_found"), grpcStatus: "14" },
  notServed: reply(404, "", "NR", "route_not_found"),
  noHealthyUpstream: reply(503, "no healthy upstream", "UH", "no_healthy_upstream"),
  connectFailed: reply(
    503,
    `${BEFORE_HEADERS}reset reason: remote connection failure`,
    "UF",
    "upstream_reset_before_response_started{remote_connection_failure}",
  ),
  overflow: reply(
    503,
    `${BEFORE_HEADERS}reset reason: overflow`,
    "UO",
    "upstream_reset_before_response_started{overflow}",
  ),
  upstreamReset: reply(
    503,
    `${BEFORE_HEADERS}reset reason: connection termination`,
    "UC",
    "upstream_reset_before_response_started{connection_termination}",
  ),
  upstreamStreamReset: reply(
    503,
    `${BEFORE_HEADERS}reset reason: remote reset`,
    "UR",
    "upstream_reset_before_response_started{remote_reset}",
  ),
  upstreamRefused: reply(
    503,
    `${BEFORE_HEADERS}reset reason: remote refused stream reset`,
    "UR",
    "upstream_reset_before_response_started{remote_refused_stream_reset}",
  ),
  upstreamProtocolError: reply(
    502,
    `${BEFORE_HEADERS}reset reason: protocol error`,
    "UPE",
    "upstream_reset_before_response_started{protocol_error}",
  ),
  clientStalled: reply(408, "stream timeout", "SI", "stream_idle_timeout"),
  stalled: reply(504, "stream timeout", "SI", "stream_idle_timeout"),
  attemptTimeout: reply(504, "upstream request timeout", "UT", "upstream_per_try_timeout"),
  requestTimeout: reply(504, "upstream request timeout", "UT", "response_timeout"),
  /** What a gRPC client has allowed is over: the status that it gives itself then. */
  deadlineExceeded: {
    ...reply(504, "upstream request timeout", "UT", "response_timeout"),
    grpcStatus: "4",
  },
} as const satisfies Record<string, LocalReply>;

/** The same, of an answer that had begun. */
export function detailsAfterStart(details: string): string {
  return details.replace("before_response_started", "after_response_started");
}

/** What a request is answered that was refused before it was one. */
export function replyTo(problem: HeadProblem): LocalReply {
  switch (problem.status) {
    case 405:
      return LOCAL_REPLIES.connectInside;
    case 431:
      return LOCAL_REPLIES.headTooLarge;
    case 501:
      return LOCAL_REPLIES.notImplemented;
    case 505:
      return LOCAL_REPLIES.unsupportedVersion;
    default:
      return LOCAL_REPLIES.badRequest;
  }
}

const DECISION_HEADER = headerName(H.xWaystoneDecision);

/** The same answer, saying under which id its decision is kept; authorizers have no say in that. */
export function withDecision(reply: LocalReply, id: string): LocalReply {
  const { headers = [] } = reply;
  const others = headers.filter((_, at) => {
    return headers[at - (at % 2)]!.toLowerCase() !== DECISION_HEADER;
  });
  return { ...reply, headers: [...others, DECISION_HEADER, id] };
}
