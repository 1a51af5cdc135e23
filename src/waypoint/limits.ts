/**
 * How long a waypoint waits for whom, and how many may wait (D10). docs/reference/limits.md says
 * the same to users, with the metric and the answer of each.
 *
 * `hboneIdleTimeout` of the mesh settings bounds what is silent but whole: tunnels, connections
 * between requests, upgraded and TCP connections, and requests of which no byte moves either way.
 */
export interface WaypointLimits {
  /** From the first byte of a request's head to its last. */
  readonly requestHeadTimeoutMs: number;
  /** A client's silence in the middle of a body whose answer has not begun (not gRPC). */
  readonly requestBodyIdleTimeoutMs: number;
  /** From the first byte of a response's head to its last. */
  readonly responseHeadTimeoutMs: number;
  /** An HTTP/1.1 connection to a backend rests this long; most servers close it soon after. */
  readonly upstreamIdleTimeoutMs: number;
  /** For the whole of a TLS client's first message, where a TLSRoute has to see its server name. */
  readonly clientHelloTimeoutMs: number;
  /** For an authorizer (ExternalAuth) to answer. */
  readonly externalAuthTimeoutMs: number;
  /** Of a request's body, shown to an authorizer that asks for as much. */
  readonly externalAuthBodyBytesMax: number;
  /** For a mirror to answer, from the end of the request on. */
  readonly mirrorTimeoutMs: number;
  /** A client that has ended its side, while nothing of its answer moves. */
  readonly endedClientTimeoutMs: number;
  /** For the peer to close its side of a stream when we have closed ours. */
  readonly lingerMs: number;
  /** For a client to read on, when the last answer's rest is all that keeps its stream. */
  readonly unreadTimeoutMs: number;
  /** A drain lets idle connections, and late tunnels come and go this long. */
  readonly drainGraceMs: number;
  /** Of one request's body, kept for another attempt where a rule has `retry`. */
  readonly retryBodyBytesMax: number;
  /** Of all requests' bodies together, with those that wait for authorizers. */
  readonly keptBodiesBytesMax: number;
  /** Tunnels that wait for connections to one endpoint. */
  readonly waitingTunnelsMax: number;
}

export const DEFAULT_LIMITS: WaypointLimits = {
  requestHeadTimeoutMs: 60_000,
  requestBodyIdleTimeoutMs: 300_000,
  responseHeadTimeoutMs: 60_000,
  upstreamIdleTimeoutMs: 60_000,
  clientHelloTimeoutMs: 15_000,
  externalAuthTimeoutMs: 10_000,
  externalAuthBodyBytesMax: 1 << 20,
  mirrorTimeoutMs: 60_000,
  endedClientTimeoutMs: 500,
  lingerMs: 5_000,
  unreadTimeoutMs: 300_000,
  drainGraceMs: 5_000,
  retryBodyBytesMax: 1 << 20,
  keptBodiesBytesMax: 64 << 20,
  waitingTunnelsMax: 16_384,
};
