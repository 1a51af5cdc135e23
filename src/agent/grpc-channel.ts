/**
 * A proxy's connection to the control plane: TLS 1.3 under the mesh's roots, the token of now on
 * each call (protocols.md §1.4). The roots are read again when they may have changed: after a call
 * that failed, and every few minutes.
 */
import type { Transport } from "@connectrpc/connect";
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
/** As a ztunnel's; istiod puts the whole mesh into one message. */
const MESSAGE_BYTES_MAX = 200 * 1024 * 1024;

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
      readMaxBytes: MESSAGE_BYTES_MAX,
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
