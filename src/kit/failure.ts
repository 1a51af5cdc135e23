/**
 * What goes wrong in the world: one class, one table of codes.
 *
 * A `Failure` answers five questions: what (code), on which side, may one try again, why (cause),
 * and what the operator could look at (hint). The pages of `docs/reference/errors.md` are checked
 * against the table below.
 */
export type FailureSide = "downstream" | "upstream" | "internal";

interface FailureKind {
  readonly side: FailureSide;
  readonly isRetryable: boolean;
  /** What it means, one sentence, for the reference page. */
  readonly meaning: string;
  /** What to look at; empty when the meaning says it all. */
  readonly hint: string;
}

const kind = (
  side: FailureSide,
  isRetryable: boolean,
  meaning: string,
  hint = "",
): FailureKind => ({
  side,
  isRetryable,
  meaning,
  hint,
});

/** Every failure code, in alphabetical order. */
export const FAILURES = {
  CERTIFICATE_REQUEST_INVALID: kind(
    "downstream",
    false,
    "The certificate request is malformed, unproven, or for a key that is not accepted.",
    "P-256, P-384, Ed25519, or RSA of 2048 to 4096 bits, signed with the same key",
  ),
  CERTIFICATE_UNAVAILABLE: kind(
    "internal",
    true,
    "No certificate could be obtained for an identity.",
    "is the CA reachable, and may this workload have the identity?",
  ),
  CONFIGURATION_INVALID: kind(
    "internal",
    false,
    "The configuration cannot be used.",
    "the diagnostics name file, line and column",
  ),
  DOWNSTREAM_RESET: kind("downstream", false, "The client went away."),
  HTTP1_BODY_MALFORMED: kind(
    "downstream",
    false,
    "The HTTP/1.1 body's framing is broken (RFC 9112 §6–§7).",
  ),
  HTTP1_HEAD_MALFORMED: kind("downstream", false, "The HTTP/1.1 head breaks RFC 9112."),
  HTTP1_HEAD_TOO_LARGE: kind("downstream", false, "The HTTP/1.1 head is larger than the limit."),
  HTTP2_PROTOCOL_ERROR: kind("downstream", false, "The peer broke RFC 9113."),
  HTTP2_FLOOD: kind(
    "downstream",
    false,
    "The peer sent more control frames than the limit allows.",
  ),
  KUBERNETES_ACCESS_INVALID: kind(
    "internal",
    false,
    "There is no usable way to a Kubernetes API server.",
    "name a kubeconfig and one of its contexts; in a Pod, mount its service account's token",
  ),
  KUBERNETES_UNAVAILABLE: kind(
    "upstream",
    true,
    "The Kubernetes API server cannot be reached, or does not answer as it should.",
  ),
  PORT_IN_USE: kind("internal", false, "A port that is needed belongs to someone else."),
  SOCKS5_REFUSED: kind(
    "downstream",
    false,
    "The SOCKS5 client is malformed, or has no valid user name and password.",
  ),
  TIMEOUT: kind("downstream", false, "The peer was silent for too long."),
  TLS_HANDSHAKE_FAILED: kind(
    "downstream",
    false,
    "The TLS handshake failed.",
    "does the client have a certificate of this mesh?",
  ),
  TLS_PEER_REFUSED: kind(
    "downstream",
    false,
    "The peer's certificate does not carry an identity that is accepted here.",
  ),
  TOO_MANY_CONNECTIONS: kind(
    "downstream",
    true,
    "The limit on connections, or on handshakes in progress, is reached.",
  ),
  UNAUTHENTICATED: kind(
    "downstream",
    false,
    "The caller of the control plane did not prove who it is.",
    "is its token of this mesh, for the audience istio-ca, and not expired?",
  ),
  UPSTREAM_CONNECT_FAILED: kind(
    "upstream",
    true,
    "The connection to the workload could not be opened.",
    "is the workload running, and does a NetworkPolicy let port 15008 through?",
  ),
  UPSTREAM_CONNECT_TIMEOUT: kind(
    "upstream",
    true,
    "The connection to the workload was not open in time.",
    "maybe a NetworkPolicy blocks port 15008",
  ),
  UPSTREAM_OVERFLOW: kind(
    "upstream",
    true,
    "Too many tunnels wait for connections to the workload already.",
    "does it answer at all, and are there enough instances of it?",
  ),
  UPSTREAM_REFUSED: kind(
    "upstream",
    true,
    "The workload's ztunnel refused the tunnel.",
    "its log says why: an L4 policy, or nobody listens on the target port",
  ),
  UPSTREAM_RESET: kind("upstream", false, "The workload closed the connection in the middle."),
  UPSTREAM_TLS_FAILED: kind(
    "upstream",
    true,
    "The workload did not prove the identity that was expected.",
    "does its certificate belong to this mesh and to this workload?",
  ),
} as const satisfies Record<string, FailureKind>;

export type FailureCode = keyof typeof FAILURES;

export class Failure extends Error {
  override readonly name = "Failure";
  readonly code: FailureCode;

  constructor(code: FailureCode, detail = "", options?: { cause?: unknown }) {
    const { meaning } = FAILURES[code];
    super(`[${code}] ${detail || meaning}`, options);
    this.code = code;
  }

  get side(): FailureSide {
    return FAILURES[this.code].side;
  }

  get isRetryable(): boolean {
    return FAILURES[this.code].isRetryable;
  }

  get hint(): string {
    return FAILURES[this.code].hint;
  }

  /** Anything caught, as a Failure; the cause is kept. */
  static from(caught: unknown, code: FailureCode): Failure {
    if (caught instanceof Failure) return caught;
    const detail = caught instanceof Error ? caught.message : String(caught);
    return new Failure(code, detail, { cause: caught });
  }
}
