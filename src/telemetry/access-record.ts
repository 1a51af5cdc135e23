/**
 * What one line of the access log can tell: a request or connection that ended.
 *
 * A reader of plain fields: proxies may hand in one reused object, for nothing of it is kept.
 */
export interface AccessRecord {
  /** Wall clock, Unix time. */
  readonly startMs: number;
  readonly method: string;
  /** Path and query as the client sent them, before any rewrite. */
  readonly path: string;
  /** `HTTP/1.1`, `HTTP/2`, or empty for TCP. */
  readonly protocol: string;
  /** 0 when there was none. */
  readonly responseCode: number;
  /** Envoy's short flags, joined with commas; empty for none. */
  readonly responseFlags: string;
  readonly responseCodeDetails: string;
  readonly connectionTerminationDetails: string;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly durationMs: number;
  /** -1: no upstream answered. */
  readonly upstreamServiceTimeMs: number;
  readonly forwardedFor: string;
  readonly userAgent: string;
  readonly requestId: string;
  /** As the answer's `x-waystone-decision` says it; empty when it does not. */
  readonly decisionId?: string;
  readonly authority: string;
  readonly upstreamHost: string;
  readonly upstreamCluster: string;
  readonly upstreamLocalAddress: string;
  readonly downstreamLocalAddress: string;
  readonly downstreamRemoteAddress: string;
  readonly requestedServerName: string;
  readonly routeName: string;
  readonly upstreamTransportFailureReason: string;
  /** The client's SPIFFE id. */
  readonly downstreamPeerUriSan?: string;
  /** Other request headers, by lower-case name; empty when absent. Called during `write()`. */
  header?(name: string): string;
  /** Other response headers. */
  responseHeader?(name: string): string;
}
