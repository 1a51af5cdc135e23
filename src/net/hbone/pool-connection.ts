/**
 * One connection of a tunnel pool: TLS, HTTP/2, and how long it is good for.
 *
 *     connecting ──TLS, SETTINGS──> ready ──GOAWAY, idle──> draining ──last stream──> closed
 *
 * It is ready when the peer's SETTINGS are here. That costs part of a round trip, once, and buys
 * two certainties: how many streams the peer takes, and that it has accepted our certificate (in
 * TLS 1.3 the client's side of a handshake is done before the server has judged it).
 */
import { type DeadlineEntry, Deadlines } from "../../kit/deadlines.ts";
import { Failure } from "../../kit/failure.ts";
import { type ConnectionHandler, Http2Connection } from "../http2/connection.ts";
import type { PeerError } from "../http2/errors.ts";
import { SocketTransport } from "../http2/transport.ts";
import { connectTls, lingerThenDestroy, type TlsIdentity, type TlsPeer } from "../tls.ts";
import type { Tunnel } from "./tunnel.ts";
import type { TunnelPoolOptions, TunnelTarget } from "./tunnel-pool.ts";

export interface PoolConnectionOwner {
  onConnectionReady(connection: PoolConnection): void;
  /** One of its streams has ended. */
  onConnectionRoom(connection: PoolConnection): void;
  /** `failure`: it has never been ready, because of this. */
  onConnectionClosed(connection: PoolConnection, failure: Failure | undefined): void;
}

export class PoolConnection implements ConnectionHandler, DeadlineEntry {
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  deadlineAtMs = 0;
  readonly #owner: PoolConnectionOwner;
  readonly #target: TunnelTarget;
  readonly #options: TunnelPoolOptions;
  readonly #idle: Deadlines;
  readonly #dial: { abort(): void } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #http2: Http2Connection | undefined;
  #socket: TlsPeer["socket"] | undefined;
  /** The certificate that it was opened with. */
  readonly #identity: TlsIdentity | undefined;
  #isReady = false;
  #isRetired = false;
  #isClosed = false;
  #onDrained: (() => void)[] = [];

  constructor(
    owner: PoolConnectionOwner,
    target: TunnelTarget,
    options: TunnelPoolOptions,
    idle: Deadlines,
  ) {
    this.#owner = owner;
    this.#target = target;
    this.#options = options;
    this.#idle = idle;
    const identity = target.identity();
    this.#identity = identity;
    if (identity === undefined) {
      const failure = new Failure(
        "CERTIFICATE_UNAVAILABLE",
        `no certificate for ${target.poolKey}`,
      );
      setImmediate(() => this.#closed(failure));
      return;
    }
    const { host, port, expected, sourceAddress: localAddress } = target;
    const { connectTimeoutMs: timeoutMs } = options;
    const startMs = performance.now();
    this.#dial = connectTls(
      { host, port, localAddress, identity, expected, timeoutMs },
      (result) => {
        if (result instanceof Failure) this.#closed(result);
        else this.#connected(result, timeoutMs - (performance.now() - startMs));
      },
    );
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  get streamCount(): number {
    return this.#http2?.streamCount ?? 0;
  }

  hasRoom(streamsMax: number): boolean {
    return this.#takesStreams && this.streamCount < streamsMax;
  }

  /** Ready, but for its last streams only: after GOAWAY, or with an old certificate. */
  get isLeaving(): boolean {
    return this.#isReady && !this.#takesStreams;
  }

  get #takesStreams(): boolean {
    return this.#isReady && !this.#isRetired && this.#http2!.canOpen;
  }

  /**
   * New streams go with the new certificate; the old ones live on where they are. True: it has
   * just been retired, and `closeUnused` is due when the caller has placed what it holds.
   */
  retireUnless(identity: TlsIdentity | undefined): boolean {
    const isCurrent = identity === undefined || identity === this.#identity;
    if (isCurrent || !this.#isReady || this.#isRetired) return false;
    this.#isRetired = true;
    return true;
  }

  closeUnused(): void {
    if (!this.#isClosed && this.streamCount === 0) this.#startDrain();
  }

  start(tunnel: Tunnel): void {
    Deadlines.disarm(this);
    tunnel.start(this, (headers) => this.#http2!.open(headers, false, tunnel));
  }

  /** Resolves when its last stream has ended and it is closed. */
  drain(): Promise<void> {
    if (this.#isClosed) return Promise.resolve();
    if (!this.#isReady) {
      this.destroy();
      return Promise.resolve();
    }
    const drained = new Promise<void>((resolve) => this.#onDrained.push(resolve));
    // One without streams is over within this call.
    this.#startDrain();
    return drained;
  }

  destroy(): void {
    const failure = this.#failure("shutting down");
    this.#dial?.abort();
    this.#closed(failure);
    this.#http2?.destroy(failure);
  }

  #connected({ socket }: TlsPeer, leftMs: number): void {
    this.#timer = setTimeout(
      () => {
        const to = `${this.#target.host}:${this.#target.port}`;
        const detail = `${to}: no HTTP/2 SETTINGS within ${this.#options.connectTimeoutMs} ms`;
        const failure = new Failure("UPSTREAM_CONNECT_TIMEOUT", detail);
        // In this order: what closes the connection now would be another reason.
        this.#closed(failure);
        this.#http2?.destroy(failure);
      },
      Math.max(1, leftMs),
    );
    this.#socket = socket;
    const transport = new SocketTransport(socket);
    this.#http2 = new Http2Connection(transport, "client", this, this.#options.limits);
  }

  onReady(): void {
    if (this.#isClosed) return;
    clearTimeout(this.#timer);
    this.#isReady = true;
    this.#owner.onConnectionReady(this);
    if (this.streamCount === 0) this.onIdle();
  }

  onStreamClosed(): void {
    if (this.#isReady && !this.#isClosed) this.#owner.onConnectionRoom(this);
  }

  onPeerError(error: PeerError): void {
    this.#options.onPeerError?.(error, this.#target);
  }

  /** No new streams here (`canOpen` says so); the old ones live on. */
  onGoaway(): void {
    if (this.streamCount === 0) this.#startDrain();
  }

  onIdle(): void {
    if (this.#isClosed || !this.#isReady) return;
    if (this.#takesStreams) this.#idle.arm(this, performance.now());
    else this.#startDrain();
  }

  onDeadline(): void {
    this.#startDrain();
  }

  onClosed(failure: Failure | undefined): void {
    lingerThenDestroy(this.#socket!, failure !== undefined);
    if (failure?.code === "HTTP2_PROTOCOL_ERROR") this.#closed(this.#failure(failure.message));
    else this.#closed(this.#failure(reasonOf(failure), "UPSTREAM_TLS_FAILED"));
  }

  #startDrain(): void {
    Deadlines.disarm(this);
    // It resolves when onClosed has been called, which is where the end is handled.
    this.#http2!.drain().catch(() => {});
  }

  #closed(failure: Failure | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#timer);
    Deadlines.disarm(this);
    this.#owner.onConnectionClosed(this, this.#isReady ? undefined : failure);
    for (const resolve of this.#onDrained.splice(0)) resolve();
  }

  #failure(
    detail: string,
    code: "UPSTREAM_CONNECT_FAILED" | "UPSTREAM_TLS_FAILED" = "UPSTREAM_CONNECT_FAILED",
  ): Failure {
    return new Failure(code, `${this.#target.host}:${this.#target.port}: ${detail}`);
  }
}

/** A peer that hangs up between TLS and SETTINGS is one that did not like our certificate. */
function reasonOf(failure: Failure | undefined): string {
  const reason = failure === undefined ? "" : ` (${failure.message})`;
  return `closed before it was ready; does the server accept this client's certificate?${reason}`;
}
