/**
 * A proxy's connection to the control plane: TLS 1.3 under the mesh's roots, the token of now on
 * each call (protocols.md §1.4). The roots are read again when they may have changed: after a call
 * that failed, and every few minutes.
 */
import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

export interface GrpcChannelOptions {
  readonly host: string;
  readonly port: number;
  /** PEM. */
  readonly roots: () => Promise<string>;
  readonly token: () => Promise<string>;
  readonly clusterId: string;
}

const ROOTS_BELIEVED_MS = 60_000;
const PING_INTERVAL_MS = 30_000;
const PING_TIMEOUT_MS = 10_000;

export class GrpcChannel {
  readonly #options: GrpcChannelOptions;
  #current: { readonly transport: Transport; readonly rootsPem: string } | undefined;
  #readAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: GrpcChannelOptions) {
    this.#options = options;
  }

  /** The transport for the next call: the same one while the roots are. */
  async transport(): Promise<Transport> {
    const nowMs = performance.now();
    if (this.#current !== undefined && nowMs - this.#readAtMs < ROOTS_BELIEVED_MS) {
      return this.#current.transport;
    }
    const rootsPem = await this.#options.roots();
    this.#readAtMs = nowMs;
    if (this.#current?.rootsPem === rootsPem) return this.#current.transport;
    const { host, port } = this.#options;
    const transport = createGrpcTransport({
      baseUrl: `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
      nodeOptions: { ca: rootsPem, minVersion: "TLSv1.3" },
      pingIntervalMs: PING_INTERVAL_MS,
      pingTimeoutMs: PING_TIMEOUT_MS,
    });
    this.#current = { transport, rootsPem };
    return transport;
  }

  /** The next call reads the roots again. */
  failed(): void {
    this.#readAtMs = Number.NEGATIVE_INFINITY;
  }

  async headers(): Promise<Readonly<Record<string, string>>> {
    const { token, clusterId } = this.#options;
    return { authorization: `Bearer ${await token()}`, clusterid: clusterId };
  }
}

const NOT_OURS = "its certificate is not signed by the roots that are given (--roots)";

/** OpenSSL's verdicts on the control plane's certificate, in the words of who can mend them. */
const TLS_REASONS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "its certificate has expired",
  CERT_NOT_YET_VALID: "its certificate is not valid yet: do the clocks agree?",
  CERT_SIGNATURE_FAILURE: NOT_OURS,
  DEPTH_ZERO_SELF_SIGNED_CERT: NOT_OURS,
  SELF_SIGNED_CERT_IN_CHAIN: NOT_OURS,
  UNABLE_TO_GET_ISSUER_CERT: NOT_OURS,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: NOT_OURS,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: NOT_OURS,
  ERR_TLS_CERT_ALTNAME_INVALID: "its certificate is not for this name (--server-name there)",
};

/** Why a call failed, for the log. */
export function callFailure(caught: unknown): string {
  for (let at = caught, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    const reason = TLS_REASONS[(at as NodeJS.ErrnoException).code ?? ""];
    if (reason !== undefined) return reason;
  }
  if (caught instanceof ConnectError) return `${Code[caught.code]}: ${caught.rawMessage}`;
  return caught instanceof Error ? caught.message : String(caught);
}
