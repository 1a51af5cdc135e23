/**
 * HTTP/2 connections to one endpoint, each inside a stream of its own (a tunnel to its ztunnel,
 * mostly), shared by as many exchanges as the backend allows.
 *
 * Exchanges wait only while a connection is being dialed; one is dialed at a time. A stream that
 * the backend refused, by RST_STREAM or GOAWAY, is reported as such: it may go elsewhere.
 */
import { type DeadlineEntry, Deadlines } from "../kit/deadlines.ts";
import { Failure } from "../kit/failure.ts";
import type { ByteConsumer, ByteStream, StreamReset } from "../net/byte-stream.ts";
import { type ConnectionHandler, Http2Connection } from "../net/http2/connection.ts";
import type { PeerError } from "../net/http2/errors.ts";
import type { HeaderList } from "../net/http2/headers.ts";
import { INNER_LIMITS } from "../net/http2/limits.ts";
import type { HeadersListener, Http2Stream } from "../net/http2/stream.ts";
import { StreamTransport } from "../net/http2/stream-transport.ts";
import type { Dial, DialListener } from "./dial.ts";
import { trailersOf } from "./http2-heads.ts";
import { ListHead } from "./list-head.ts";
import type { Trailers, Upstream, UpstreamFailure, UpstreamRequest } from "./upstream.ts";

/** Streams on a connection whose SETTINGS are not here yet. */
const UNREADY_STREAMS_MAX = 100;
const LINGER_MS = 1_000;
const idleDeadlines = new Deadlines(300_000);

/** The head being read. One is enough: a head is handed on within the callback. */
const responseHead = new ListHead();

export class Http2Pool implements DialListener {
  readonly #connections: Http2UpstreamConnection[] = [];
  readonly #waiting = new Set<UpstreamRequest>();
  #dial: Dial | null = null;
  #isDialing = false;
  #onPeerError: (error: PeerError) => void = () => {};

  /** Gives the exchange a stream: at once, or when there is a connection. */
  open(exchange: UpstreamRequest): void {
    for (const connection of this.#connections) {
      if (connection.hasRoom && isKnownEnough(connection, exchange)) {
        attach(exchange, connection);
        return;
      }
    }
    this.#waiting.add(exchange);
    exchange.attempts.dial = { abort: () => this.#leave(exchange) };
    if (!this.#isAboutToBeReady(exchange)) this.#dialFor(exchange);
  }

  /** A connection that was just made, and will say what it can. */
  #isAboutToBeReady({ isUpgrade }: UpstreamRequest): boolean {
    return isUpgrade && this.#connections.some((c) => c.hasRoom && !c.isReady);
  }

  #dialFor(exchange: UpstreamRequest): void {
    if (this.#isDialing) return;
    this.#isDialing = true;
    const { peerErrors } = exchange.context;
    const { address, targetPort } = exchange.endpoint!;
    this.#onPeerError = (error) => peerErrors.http2("upstream", error, `${address}:${targetPort}`);
    this.#dial = exchange.context.dialer.dial(exchange.endpoint!, [], this);
  }

  #leave(exchange: UpstreamRequest): void {
    this.#waiting.delete(exchange);
    if (this.#waiting.size > 0 || !this.#isDialing) return;
    this.#isDialing = false;
    this.#dial?.abort();
    this.#dial = null;
  }

  onDialed(stream: ByteStream): void {
    this.#isDialing = false;
    this.#dial = null;
    const connection = new Http2UpstreamConnection(stream, this.#onPeerError, this);
    this.#connections.push(connection);
    this.#serve(connection);
  }

  /** Gives the connection to those who wait; to some only when its SETTINGS are here. */
  #serve(connection: Http2UpstreamConnection): void {
    for (const exchange of this.#waiting) {
      if (!connection.hasRoom) break;
      if (!isKnownEnough(connection, exchange)) continue;
      this.#waiting.delete(exchange);
      exchange.attempts.dial = null;
      attach(exchange, connection);
    }
    this.#dialForTheRest();
  }

  #dialForTheRest(): void {
    for (const exchange of this.#waiting) {
      if (this.#isAboutToBeReady(exchange)) continue;
      this.#dialFor(exchange);
      break;
    }
  }

  onDialFailed(failure: Failure): void {
    this.#isDialing = false;
    this.#dial = null;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const exchange of waiting) exchange.attempts.onDialFailed(failure);
  }

  /** The connection's SETTINGS are here. */
  onReady(connection: Http2UpstreamConnection): void {
    if (this.#waiting.size === 0) return;
    // It takes no streams at all; neither would another.
    if (!connection.hasRoom && connection.http2.streamCount === 0) this.#failUpgrades();
    else this.#serve(connection);
  }

  /** It takes no more streams, or is closed. */
  forget(connection: Http2UpstreamConnection): void {
    const index = this.#connections.indexOf(connection);
    if (index < 0) return;
    this.#connections.splice(index, 1);
    if (!connection.isReady && !this.#isDialing) this.#failUpgrades();
  }

  /** For who waited for SETTINGS that will not come: it has failed to connect. */
  #failUpgrades(): void {
    const failure = new Failure("UPSTREAM_CONNECT_FAILED", "no stream of HTTP/2 for a WebSocket");
    for (const exchange of [...this.#waiting]) {
      if (!exchange.isUpgrade || this.#isAboutToBeReady(exchange)) continue;
      this.#waiting.delete(exchange);
      exchange.attempts.onDialFailed(failure);
    }
  }

  /** Ends each connection with its last stream. */
  drain(): void {
    for (const connection of [...this.#connections]) connection.drain();
  }
}

/** Whether a peer may be asked for a WebSocket shows in its SETTINGS (RFC 8441 §3). */
function isKnownEnough(
  connection: Http2UpstreamConnection,
  { isUpgrade }: UpstreamRequest,
): boolean {
  return !isUpgrade || connection.isReady;
}

function attach(exchange: UpstreamRequest, connection: Http2UpstreamConnection): void {
  if (exchange.isUpgrade && !connection.http2.allowsExtendedConnect) {
    exchange.onUpstreamFailed("upgrade", false);
  } else exchange.attempts.attach(connection.stream());
}

class Http2UpstreamConnection implements ConnectionHandler, DeadlineEntry {
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  deadlineAtMs = 0;

  readonly http2: Http2Connection;
  readonly #stream: ByteStream;
  readonly onPeerError: (error: PeerError) => void;
  readonly #pool: Http2Pool;
  isReady = false;
  served = 0;

  constructor(stream: ByteStream, onPeerError: (error: PeerError) => void, pool: Http2Pool) {
    this.#stream = stream;
    this.onPeerError = onPeerError;
    this.#pool = pool;
    this.http2 = new Http2Connection(new StreamTransport(stream), "client", this, INNER_LIMITS);
  }

  get hasRoom(): boolean {
    if (!this.http2.canOpen) return false;
    return this.isReady || this.http2.streamCount < UNREADY_STREAMS_MAX;
  }

  stream(): Http2Upstream {
    Deadlines.disarm(this);
    return new Http2Upstream(this);
  }

  drain(): void {
    void this.http2.drain();
  }

  onReady(): void {
    this.isReady = true;
    // Who it was made for may have gone meanwhile.
    if (this.http2.streamCount === 0) this.onIdle();
    this.#pool.onReady(this);
  }

  onGoaway(): void {
    this.#pool.forget(this);
  }

  onIdle(): void {
    idleDeadlines.arm(this, performance.now());
  }

  onDeadline(): void {
    this.drain();
  }

  onClosed(): void {
    Deadlines.disarm(this);
    this.#pool.forget(this);
    if (!this.#stream.isClosed) setTimeout(() => this.#stream.reset("cancel"), LINGER_MS).unref();
  }
}

/** One stream to the backend. */
class Http2Upstream implements Upstream, ByteConsumer, HeadersListener {
  readonly #connection: Http2UpstreamConnection;
  #stream: Http2Stream | null = null;
  #exchange: UpstreamRequest | null = null;
  #hasHead = false;
  #trailers: Trailers = [];
  #isRequestDone = false;
  #wasReused = false;
  #isRelayed = false;

  constructor(connection: Http2UpstreamConnection) {
    this.#connection = connection;
  }

  get stream(): ByteStream {
    return this.#stream!;
  }

  begin(exchange: UpstreamRequest): void {
    this.#exchange = exchange;
    this.#isRequestDone = !exchange.hasRequestBody;
    this.#wasReused = this.#connection.served++ > 0;
    const isWhole = this.#isRequestDone && !exchange.isUpgrade;
    this.#stream = this.#connection.http2.open(exchange.requestList!, isWhole, this);
    this.#stream.consumer = this;
  }

  sendBody(bytes: Buffer, start: number, end: number, source: ByteStream | null): void {
    this.#stream!.write(bytes, start, end, source);
  }

  endRequest(trailers: Trailers): void {
    if (this.#isRequestDone) return;
    this.#isRequestDone = true;
    if (trailers.length > 0) this.#stream!.sendTrailers(trailers);
    else this.#stream!.end();
  }

  cancel(): void {
    this.#exchange = null;
    this.#stream?.reset("cancel");
  }

  onHeaders(headers: HeaderList, endStream: boolean, isTrailers: boolean): void {
    const exchange = this.#exchange;
    if (exchange === null) return;
    if (isTrailers) {
      this.#trailers = trailersOf(headers);
      return;
    }
    const { method, isUpgrade } = exchange;
    if (responseHead.readResponse(headers, endStream, method, isUpgrade) !== undefined) {
      this.#fail("protocol");
      return;
    }
    if (responseHead.status < 200) {
      exchange.onInterimHead(responseHead);
      return;
    }
    this.#hasHead = true;
    if (responseHead.upgrade === "") {
      exchange.onResponseHead(responseHead);
      return;
    }
    this.#isRelayed = true;
    if (!exchange.onUpgraded(responseHead)) this.#fail("protocol");
  }

  onData(bytes: Buffer, start: number, end: number): void {
    if (this.#exchange === null) this.#stream!.credit(end - start);
    else if (this.#isRelayed) this.#exchange.relay.down(bytes, start, end, this.#stream!);
    else this.#exchange.onResponseBody(bytes, start, end, this.#stream!);
  }

  onEnd(): void {
    const exchange = this.#exchange;
    if (exchange === null) return;
    if (this.#isRelayed) {
      exchange.relay.downEnd();
      return;
    }
    this.#exchange = null;
    if (!this.#hasHead) {
      exchange.onUpstreamFailed("protocol", this.#wasReused);
      return;
    }
    // A CONNECT that was declined.
    if (exchange.isUpgrade) this.#stream!.end();
    exchange.onResponseEnd(this.#trailers);
    // An answer before the request's end: what is left of the request goes nowhere.
    if (!this.#isRequestDone) this.#stream!.reset("cancel");
  }

  #fail(kind: UpstreamFailure): void {
    const exchange = this.#exchange;
    this.#exchange = null;
    this.#stream!.reset("protocol");
    exchange?.onUpstreamFailed(kind, this.#wasReused);
  }

  onClosed(reset: StreamReset | undefined): void {
    const exchange = this.#exchange;
    this.#exchange = null;
    if (exchange === null) return;
    if (this.#isRelayed && reset === undefined) {
      exchange.relay.closed();
      return;
    }
    // A stream that the server reset was looked at; only a connection that broke may have been
    // closed while the request was on its way.
    const wasReused = this.#wasReused && reset?.by === "connection";
    exchange.onUpstreamFailed(failureOf(reset), wasReused);
  }
}

function failureOf(reset: StreamReset | undefined): UpstreamFailure {
  if (reset?.isRefused) return "refused";
  return reset?.by === "peer" ? "streamReset" : "reset";
}
