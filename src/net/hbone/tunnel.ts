/**
 * One tunnel until it is open: waiting for a connection, then for the answer to its CONNECT.
 *
 *     waiting ──start()──> asked ──200──> open (the stream is the listener's)
 *        │                   │ ──refused before the peer looked──> waiting, once
 *        └──fail(), abort(), time-out──> over <── any other answer, reset
 */
import { type DeadlineEntry, Deadlines } from "../../kit/deadlines.ts";
import { Failure } from "../../kit/failure.ts";
import type { ByteConsumer, StreamReset } from "../byte-stream.ts";
import { type HeaderList, header } from "../http2/headers.ts";
import type { HeadersListener, Http2Stream } from "../http2/stream.ts";
import type { PoolConnection } from "./pool-connection.ts";
import type { TunnelListener, TunnelRequest, TunnelTarget } from "./tunnel-pool.ts";

export interface TunnelOwner {
  /** It is over before it was open. */
  onTunnelGone(tunnel: Tunnel): void;
  /** The peer did not look at its CONNECT; it may be sent again, elsewhere. */
  onTunnelRefused(tunnel: Tunnel, by: PoolConnection, failure: Failure): void;
}

export class Tunnel implements HeadersListener, ByteConsumer, DeadlineEntry {
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  deadlineAtMs = 0;
  readonly target: TunnelTarget;
  readonly #owner: TunnelOwner | undefined;
  readonly #request: TunnelRequest;
  readonly #listener: TunnelListener;
  readonly #deadlines: Deadlines;
  /** Did not look at its CONNECT: it is not sent there again. */
  refusedBy: PoolConnection | undefined;
  #connection: PoolConnection | undefined;
  #stream: Http2Stream | undefined;
  #isRetried = false;
  #isOver = false;

  constructor(
    owner: TunnelOwner | undefined,
    target: TunnelTarget,
    request: TunnelRequest,
    listener: TunnelListener,
    deadlines: Deadlines,
  ) {
    this.#owner = owner;
    this.target = target;
    this.#request = request;
    this.#listener = listener;
    this.#deadlines = deadlines;
  }

  /** It waits for a connection to be ready, or for room on one. */
  wait(): void {
    this.#connection = undefined;
    this.#stream = undefined;
    this.#deadlines.arm(this, performance.now());
  }

  /** Sends the CONNECT (RFC 9113 §8.5: neither scheme nor path). */
  start(connection: PoolConnection, open: (headers: HeaderList) => Http2Stream): void {
    this.#connection = connection;
    this.#deadlines.arm(this, performance.now());
    const { authority, headers } = this.#request;
    const stream = open([":method", "CONNECT", ":authority", authority, ...headers]);
    stream.consumer = this;
    this.#stream = stream;
  }

  /** The caller wants it no more. After the tunnel is open this does nothing. */
  abort(): void {
    if (!this.#settle()) return;
    this.#stream?.reset("cancel");
  }

  fail(failure: Failure, status = 0): void {
    if (this.#settle()) this.#listener.onRefused(failure, status);
  }

  onDeadline(): void {
    const lacking = this.#stream === undefined ? "connection with room" : "answer";
    const detail = `${this.#what()}: no ${lacking} in time`;
    this.fail(new Failure("UPSTREAM_CONNECT_TIMEOUT", detail));
    this.#stream?.reset("cancel");
  }

  onHeaders(headers: HeaderList): void {
    if (this.#isOver) return;
    const status = Number(header(headers, ":status"));
    if (status < 200) return;
    const stream = this.#stream!;
    if (status === 200) {
      this.#settle();
      this.#listener.onOpen(stream, headers);
      return;
    }
    const failure = new Failure("UPSTREAM_REFUSED", `${this.#what()}: status ${status}`);
    this.fail(failure, status);
    // Our own direction is open still, whatever the peer did with its.
    stream.reset("cancel");
  }

  /** DATA needs HEADERS before it, and then the stream has another consumer or is reset. */
  onData(): void {}

  onEnd(): void {}

  onClosed(reset: StreamReset | undefined): void {
    if (this.#isOver) return;
    const how = reset?.detail ?? "ended without an answer";
    const isLost = reset?.by === "connection" && !reset.isRefused;
    const code = isLost ? "UPSTREAM_CONNECT_FAILED" : "UPSTREAM_REFUSED";
    const failure = new Failure(code, `${this.#what()}: ${how}`);
    if (!reset?.isRefused || this.#isRetried || this.#owner === undefined) {
      this.fail(failure);
      return;
    }
    this.#isRetried = true;
    this.refusedBy = this.#connection;
    Deadlines.disarm(this);
    this.#owner.onTunnelRefused(this, this.#connection!, failure);
  }

  /** False when it was over before. */
  #settle(): boolean {
    if (this.#isOver) return false;
    this.#isOver = true;
    Deadlines.disarm(this);
    this.#owner?.onTunnelGone(this);
    return true;
  }

  #what(): string {
    const { host, port } = this.target;
    return `CONNECT ${this.#request.authority} at ${host}:${port}`;
  }
}
