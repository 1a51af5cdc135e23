/**
 * The downstream half in HTTP/2: one connection of a client inside a CONNECT stream, and for each
 * of its streams an exchange of its own.
 */
import { type DeadlineEntry, Deadlines, deadlinesOf } from "../kit/deadlines.ts";
import type { ByteConsumer, ByteStream, StreamReset } from "../net/byte-stream.ts";
import type { TunnelConnection } from "../net/hbone/tunnel-server.ts";
import { Http1Head } from "../net/http1/head.ts";
import { type ConnectionHandler, Http2Connection } from "../net/http2/connection.ts";
import type { PeerError } from "../net/http2/errors.ts";
import type { HeaderList } from "../net/http2/headers.ts";
import { INNER_LIMITS } from "../net/http2/limits.ts";
import type { HeadersListener, Http2Stream } from "../net/http2/stream.ts";
import { StreamTransport } from "../net/http2/stream-transport.ts";
import type { Drainable, WaypointContext } from "./context.ts";
import type { DownstreamSession } from "./downstream-session.ts";
import { Exchange } from "./exchange.ts";
import { grpcReply } from "./grpc.ts";
import { readRequestList, responseList, trailerList, trailersOf } from "./http2-heads.ts";
import { type LocalReply, replyTo } from "./local-replies.ts";
import { recordRefused } from "./stages/record.ts";
import { interimEdits, responseEdits, SERVER_NAME } from "./stages/rewrite.ts";
import type { Target } from "./target.ts";
import type { Trailers } from "./upstream.ts";

/** For GOAWAY to arrive and the peer to close its side of the tunnel. */
const LINGER_MS = 1_000;

/** To a client that does not read, 1xx are not sent: nothing bounds how many there are. */
const QUEUED_BYTES_MAX = 64 * 1024;

/** The head being read. One is enough: the stages run within the callback. */
const requestHead = new Http1Head();

export class Http2Session implements ConnectionHandler, Drainable, DeadlineEntry {
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  deadlineAtMs = 0;
  readonly #stream: ByteStream;
  readonly #connection: TunnelConnection;
  readonly #context: WaypointContext;
  readonly #target: Target;
  readonly #transport: StreamTransport;
  readonly #http2: Http2Connection;

  constructor(
    stream: ByteStream,
    connection: TunnelConnection,
    context: WaypointContext,
    target: Target,
  ) {
    this.#stream = stream;
    this.#connection = connection;
    this.#context = context;
    this.#target = target;
    this.#transport = new StreamTransport(stream);
    this.#http2 = new Http2Connection(this.#transport, "server", this, INNER_LIMITS);
    context.sessions.add(this);
    this.onIdle();
  }

  /** Bytes that were read before this session was there. */
  onData(bytes: Buffer, start: number, end: number): void {
    this.#transport.onData(bytes, start, end);
  }

  /** GOAWAY in two steps (RFC 9113 §6.8) loses nothing; there is no need of a grace. */
  drain(): void {
    void this.#http2.drain();
  }

  onIdle(): void {
    const { hboneIdleTimeoutMs } = this.#context.snapshots.current.settings;
    deadlinesOf(hboneIdleTimeoutMs).arm(this, performance.now());
  }

  onDeadline(): void {
    this.#context.countTimeout("http2");
    this.drain();
  }

  onStream(stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    if (this.deadlineNext !== null) Deadlines.disarm(this);
    const request = new Http2Request(stream, this.#connection, this.#context, this.#target);
    request.begin(headers, endStream);
  }

  onPeerError(error: PeerError): void {
    this.#context.peerErrors.http2("listener", error, this.#connection.peer);
  }

  onClosed(): void {
    this.#context.sessions.delete(this);
    Deadlines.disarm(this);
    if (!this.#stream.isClosed) setTimeout(() => this.#stream.reset("cancel"), LINGER_MS).unref();
  }
}

/** The beginning of HTTP/2's preface, read as a request (RFC 9113 §3.4). */
export function isHttp2Preface(head: Http1Head): boolean {
  return head.method === "PRI" && head.target === "*" && head.headersStart === head.end - 2;
}

/** One stream of the client's: a request and its answer. */
class Http2Request implements DownstreamSession, ByteConsumer, HeadersListener {
  readonly isHttp2 = true;
  readonly stream: Http2Stream;
  readonly connection: TunnelConnection;
  readonly #context: WaypointContext;
  readonly #exchange: Exchange;
  #trailers: Trailers = [];

  constructor(
    stream: Http2Stream,
    connection: TunnelConnection,
    context: WaypointContext,
    target: Target,
  ) {
    this.stream = stream;
    this.connection = connection;
    this.#context = context;
    this.#exchange = new Exchange(this, context, target);
    stream.consumer = this;
    stream.listener = this;
  }

  begin(headers: HeaderList, endStream: boolean): void {
    const problem = readRequestList(requestHead, headers, endStream);
    if (problem !== undefined) {
      const reply = replyTo(problem);
      recordRefused(this.#context, this, this.#exchange.target, reply);
      this.writeLocal(reply, false, false);
      return;
    }
    this.#exchange.begin(requestHead, performance.now());
  }

  onData(bytes: Buffer, start: number, end: number): void {
    this.#exchange.onRequestBody(bytes, start, end);
  }

  onHeaders(headers: HeaderList, _endStream: boolean, isTrailers: boolean): void {
    if (isTrailers) this.#trailers = trailersOf(headers);
  }

  onEnd(): void {
    if (this.#exchange.isActive) this.#exchange.onRequestEnd(this.#trailers);
  }

  onClosed(reset: StreamReset | undefined): void {
    this.#exchange.onDownstreamClosed(reset);
  }

  writeHead(head: Http1Head, upstreamServiceTimeMs: number): void {
    this.stream.respond(responseList(head, responseEdits(upstreamServiceTimeMs)), false);
  }

  writeInterim(head: Http1Head): void {
    if (this.stream.queuedBytes > QUEUED_BYTES_MAX) return;
    this.stream.respond(responseList(head, interimEdits()), false);
  }

  /** Never: no HTTP/2 request asks for it. */
  writeUpgrade(_head: Http1Head): void {
    this.abort();
  }

  writeBody(bytes: Buffer, start: number, end: number, source: ByteStream): void {
    this.stream.write(bytes, start, end, source);
  }

  writeEnd(trailers: Trailers): void {
    const list = trailerList(trailers);
    if (list.length > 0) this.stream.sendTrailers(list);
    else this.stream.end();
  }

  writeLocal(reply: LocalReply, isHead: boolean, isGrpc: boolean): void {
    if (isGrpc) {
      this.stream.respond(grpcReply(reply, SERVER_NAME), true);
      return;
    }
    const list = [":status", String(reply.status)];
    const body = Buffer.from(reply.body);
    list.push("content-length", String(body.length));
    if (body.length > 0) list.push("content-type", "text/plain");
    list.push("server", SERVER_NAME);
    const hasBody = body.length > 0 && !isHead;
    this.stream.respond(list, !hasBody);
    if (!hasBody) return;
    this.stream.write(body, 0, body.length, null);
    this.stream.end();
  }

  abort(): void {
    this.stream.reset("internal");
  }

  onExchangeEnd(): void {}
}
