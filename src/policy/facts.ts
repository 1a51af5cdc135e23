/**
 * What is known about a connection or a request when it is judged (D1): everything a decision may
 * depend on besides the snapshot and the random draw.
 *
 * The proxies implement these interfaces on the objects they already hold, so that judging a
 * request copies nothing.
 */
/** By name of the provider: whether it lets this pass. */
export type ProviderAnswers = Readonly<Record<string, boolean>>;

export interface ConnectionFacts {
  /** SPIFFE id, proven by the client's certificate; undefined: plaintext, nobody is proven. */
  readonly sourceIdentity: string | undefined;
  readonly sourceAddress: string;
  readonly destinationAddress: string;
  /** At a waypoint the service port, at a ztunnel the port of the workload. */
  readonly destinationPort: number;
  /** Of a TLS client's hello, where it was looked into; undefined: there is none. */
  readonly serverName?: string | undefined;
  /** To the questions of CUSTOM policies; absent, or without a name: not asked. */
  readonly providerAnswers?: ProviderAnswers | undefined;
}

/** Of a verified token. */
export interface JwtFacts {
  /** `<issuer>/<subject>`; undefined when it lacks either. */
  readonly principal: string | undefined;
  /** The payload; claims that are lists written with spaces are lists. */
  readonly claims: Readonly<Record<string, unknown>>;
}

export interface HttpFacts extends ConnectionFacts {
  /** Whom the client is said to be by those who forwarded for it; undefined: the source. */
  readonly remoteAddress?: string | undefined;
  /** undefined: there was no token. */
  readonly jwt?: JwtFacts | undefined;
  readonly method: string;
  /** Normalised, without query. */
  readonly path: string;
  /** Without `?`; empty when there is none. */
  readonly query: string;
  readonly authority: string;
  /** By lower-case name; several lines joined with ",". */
  header(name: string): string | undefined;
}

/** The proxy that judges, and whom it judges for. */
export type Hop =
  | { readonly proxy: "ztunnel" /** uid */; readonly workload: string }
  | {
      readonly proxy: "waypoint";
      readonly waypoint: string;
      readonly service: string;
      readonly port: number;
    }
  | {
      readonly proxy: "waypoint";
      readonly waypoint: string;
      readonly workload: string;
      readonly port: number;
    };

/** Whether the facts are those of an HTTP request. */
export function isHttp(facts: ConnectionFacts | HttpFacts): facts is HttpFacts {
  return (facts as Partial<HttpFacts>).method !== undefined;
}
