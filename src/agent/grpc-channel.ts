/**
 * A proxy's connection to the control plane: TLS 1.3 under the mesh's roots, the name of the
 * address checked, the token of now on each call (protocols.md §1.4). The roots are read again
 * when they may have changed: after a call that failed, and every few minutes.
 */
import { connect, type TLSSocket } from "node:tls";
import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { spiffeIdsOf } from "../net/subject-alt-names.ts";
import { GrpcSession } from "./grpc-session.ts";

export interface GrpcChannelOptions {
  readonly host: string;
  readonly port: number;
  /** PEM. */
  readonly roots: () => Promise<string>;
  readonly token: () => Promise<string>;
  readonly clusterId: string;
  /** SPIFFE id that the server must have: in the place of the address's name. */
  readonly identity?: string | undefined;
  readonly limits?: Partial<GrpcChannelLimits>;
}

export interface GrpcChannelLimits {
  /** TCP and TLS together. */
  readonly connectTimeoutMs: number;
  /** Of one message, as a ztunnel's: istiod puts the whole mesh into one. */
  readonly messageBytesMax: number;
  readonly pingIntervalMs: number;
  readonly pingTimeoutMs: number;
}

export const GRPC_CHANNEL_LIMITS: GrpcChannelLimits = {
  connectTimeoutMs: 5_000,
  messageBytesMax: 200 * 1024 * 1024,
  pingIntervalMs: 30_000,
  pingTimeoutMs: 10_000,
};

const ROOTS_BELIEVED_MS = 60_000;
const IDLE_TIMEOUT_MS = 900_000;

interface Current {
  readonly transport: Transport;
  readonly session: GrpcSession;
  readonly rootsPem: string;
}

export class GrpcChannel {
  readonly #options: GrpcChannelOptions;
  readonly #limits: GrpcChannelLimits;
  #current: Current | undefined;
  #readAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: GrpcChannelOptions) {
    this.#options = options;
    this.#limits = { ...GRPC_CHANNEL_LIMITS, ...options.limits };
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
    this.#current = this.#open(rootsPem);
    return this.#current.transport;
  }

  /** Connects when it is used. Calls on the connection before it end by themselves. */
  #open(rootsPem: string): Current {
    const { host, port } = this.#options;
    const { messageBytesMax: readMaxBytes, pingIntervalMs, pingTimeoutMs } = this.#limits;
    const baseUrl = `https://${host.includes(":") ? `[${host}]` : host}:${port}`;
    const session = new GrpcSession({
      authority: new URL(baseUrl).origin,
      dial: () => this.#dial(rootsPem),
      pingIntervalMs,
      pingTimeoutMs,
      idleTimeoutMs: IDLE_TIMEOUT_MS,
    });
    const transport = createGrpcTransport({
      baseUrl,
      sessionManager: session,
      readMaxBytes,
      acceptCompression: [],
    });
    return { transport, session, rootsPem };
  }

  /** The address's host is the name that is asked for and must be proved, or the identity is. */
  #dial(rootsPem: string): TLSSocket {
    const { host, port, identity } = this.#options;
    const { connectTimeoutMs } = this.#limits;
    const isName = !/^[\d.]+$|:/.test(host) && identity === undefined;
    const socket = connect({
      host,
      port,
      ca: rootsPem,
      minVersion: "TLSv1.3",
      ALPNProtocols: ["h2"],
      ...(isName ? { servername: host } : {}),
      ...(identity === undefined
        ? {}
        : { checkServerIdentity: (_host, { raw }) => identityProblem(raw, identity) }),
    });
    const timer = setTimeout(
      () => socket.destroy(new Error(`no connection within ${connectTimeoutMs} ms`)),
      connectTimeoutMs,
    );
    socket.once("close", () => clearTimeout(timer));
    socket.once("secureConnect", () => {
      clearTimeout(timer);
      if (socket.alpnProtocol === "h2") return;
      // Not at once: node:http2 is about to take its handle, and would end the process without.
      setImmediate(() => socket.destroy(new Error("it does not speak HTTP/2")));
    });
    return socket;
  }

  /** The next call reads the roots again. */
  failed(): void {
    this.#readAtMs = Number.NEGATIVE_INFINITY;
  }

  async headers(): Promise<Readonly<Record<string, string>>> {
    const { token, clusterId } = this.#options;
    return { authorization: `Bearer ${await token()}`, clusterid: clusterId };
  }

  /** Cuts the connection and the calls on it. */
  close(): void {
    this.#current?.session.close();
  }
}

function identityProblem(certificate: Buffer, wanted: string): Error | undefined {
  const found = spiffeIdsOf(certificate);
  if (found.includes(wanted)) return undefined;
  return new Error(`its certificate is of ${found.join(", ") || "nobody"}, not of ${wanted}`);
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
