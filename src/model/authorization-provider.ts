/** Who is asked by CUSTOM policies: MeshConfig `extensionProviders[].envoyExtAuthzHttp|Grpc`. */
export interface AuthorizationProvider {
  readonly name: string;
  readonly protocol: "HTTP" | "GRPC";
  /** As written: `<namespace>/<host name>` or a host name. */
  readonly service: string;
  readonly port: number;
  readonly timeoutMs: number;
  /** What cannot be asked about passes. */
  readonly isFailOpen: boolean;
  /** The answer to what cannot be asked about, where it does not pass. */
  readonly statusOnError: number;
  /** Before the request's own path (HTTP only). */
  readonly pathPrefix: string;
  /** Names of headers that are shown beside the usual ones: `a`, `a*`, `*a` (HTTP only). */
  readonly includeRequestHeadersInCheck: readonly string[];
  /** Names and values (HTTP only). */
  readonly includeAdditionalHeadersInCheck: readonly (readonly string[])[];
  /** Names of the answer's headers that go on with the request; none: none do (HTTP only). */
  readonly headersToUpstreamOnAllow: readonly string[];
  /** … that go with the backend's answer to the client; none: none do (HTTP only). */
  readonly headersToDownstreamOnAllow: readonly string[];
  /** … that go with a refusal to the client; none: all do (HTTP only). */
  readonly headersToDownstreamOnDeny: readonly string[];
  /** Of the request's body, this much is shown; 0: none. */
  readonly bodyBytesMax: number;
  /** A longer body is shown in part; else it is refused with 413. */
  readonly isPartialBodyShown: boolean;
  /** In `raw_body` (gRPC only). */
  readonly isBodyPackedAsBytes: boolean;
  /** Routes are chosen by what the answer has made of the request's headers. */
  readonly isRouteCacheCleared: boolean;
  /** Why it cannot be asked at all. */
  readonly problem: string | undefined;
}

/** Of a CUSTOM policy. */
export interface PolicyProvider {
  /** "" when none is named. */
  readonly name: string;
  /** The key of its service; undefined: nobody can be asked, and what matches is denied. */
  readonly service: string | undefined;
  readonly problem: string | undefined;
}
