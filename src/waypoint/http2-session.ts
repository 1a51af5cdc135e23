/**
 * The downstream half in HTTP/2: one connection of a client inside a CONNECT stream, and for each
 * of its streams an exchange of its own.
 */
import { type DeadlineEntry, Deadlines, deadlinesOf } from "../kit/deadlines.ts";
import type { Failure } from "../kit/failure.ts";
import type { ByteConsumer, ByteStream, StreamReset } from "../net/byte-stream.ts";
import type { TunnelConnection } from "../net/hbone/tunnel-server.ts";
import type { HeadProblem, Http1Head } from "../net/http1/head.ts";
import type { HeadEdits } from "../net/http1/rewrite.ts";
import { type ConnectionHandler, Http2Connection } from "../net/http2/connection.ts";
import { ErrorCode, type PeerError } from "../net/http2/errors.ts";
import { type HeaderList, header } from "../net/http2/headers.ts";
import { INNER_LIMITS } from "../net/http2/limits.ts";
import type { HeadersListener, Http2Stream } from "../net/http2/stream.ts";
import { StreamTransport } from "../net/http2/stream-transport.ts";
import type { Drainable, WaypointContext } from "./context.ts";
import type { DownstreamSession } from "./downstream-session.ts";
import { Exchange } from "./exchange.ts";
import { grpcHeaders, isGrpcType } from "./grpc.ts";
import { isWholeResponse, responseList, trailersOf } from "./http2-heads.ts";
import { Linger } from "./linger.ts";
import { ListHead } from "./list-head.ts";
import { LOCAL_REPLIES, type LocalReply, replyTo } from "./local-replies.ts";
import type { MessageHead } from "./message-head.ts";
import { recordRefused } from "./stages/record.ts";
import { interimEdits, SERVER_NAME } from "./stages/rewrite.ts";
import { Stash } from "./stash.ts";
import type { Target } from "./target.ts";
import type { Trailers } from "./upstream.ts";

/** For GOAWAY to arrive and the peer to close its side of the tunnel. */
const LINGER_MS = 1_000;

const FREE_REQUESTS_MAX = 128;

const NO_TRAILERS: Trailers = [];

/** To a client that does not read, 1xx are not sent: nothing bounds how many there are. */
const QUEUED_BYTES_MAX = 64 * 1024;

/** The head being read. One is enough: the stages run within the callback. */
const requestHead = new ListHead();

export class Http2Session implements ConnectionHandler, Drainable, DeadlineEntry {
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  deadlineAtMs = 0;
  readonly connection: TunnelConnection;
  readonly context: WaypointContext;
  readonly target: Target;
  readonly #stream: ByteStream;
  /** A request's exchange is a large object; making it anew costs as much as the stages. */
  readonly #free: Http2Request[] = [];
  readonly #transport: StreamTransport;
  readonly #http2: Http2Connection;

  constructor(
    stream: ByteStream,
    connection: TunnelConnection,
    context: WaypointContext,
    target: Target,
  ) {
    this.#stream = stream;
    this.connection = connection;
    this.context = context;
    this.target = target;
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
    const { hboneIdleTimeoutMs } = this.context.snapshots.current.settings;
    deadlinesOf(hboneIdleTimeoutMs).arm(this, performance.now());
  }

  onDeadline(): void {
    this.context.countTimeout("http2");
    this.drain();
  }

  onStream(stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    if (this.deadlineNext !== null) Deadlines.disarm(this);
    const request = this.#free.pop() ?? new Http2Request(this, this.connection);
    request.begin(stream, headers, endStream);
  }

  /** The request is over on all sides, and its object may serve another. */
  release(request: Http2Request): void {
    if (this.#free.length < FREE_REQUESTS_MAX) this.#free.push(request);
  }

  onPeerError(error: PeerError): void {
    this.context.peerErrors.http2("listener", error, this.connection.peer);
  }

  onClosed(failure: Failure | undefined): void {
    const isPeersFault =
      failure?.code === "HTTP2_PROTOCOL_ERROR" || failure?.code === "HTTP2_FLOOD";
    if (isPeersFault) {
      const reply = LOCAL_REPLIES.badHttp2;
      recordRefused(
        this.context,
        { isHttp2: true, connection: this.connection },
        this.target,
        reply,
      );
    }
    this.context.sessions.delete(this);
    Deadlines.disarm(this);
    if (!this.#stream.isClosed) setTimeout(() => this.#stream.reset("cancel"), LINGER_MS).unref();
  }
}

/** The beginning of HTTP/2's preface, read as a request (RFC 9113 §3.4). */
export function isHttp2Preface(head: Http1Head): boolean {
  return head.method === "PRI" && head.target === "*" && head.headersStart === head.end - 2;
}

/** One stream of the client's: a request and its answer. Then another, on another stream. */
class Http2Request implements DownstreamSession, ByteConsumer, HeadersListener {
  readonly isHttp2 = true;
  readonly connection: TunnelConnection;
  stream!: Http2Stream;
  readonly #session: Http2Session;
  readonly #exchange: Exchange;
  #trailers: Trailers = NO_TRAILERS;
  /** A WebSocket is asked for: what comes meanwhile is kept, uncredited, for whoever accepts it. */
  #early: Stash | undefined;
  #isInputEnded = false;
  #isRelayed = false;
  /** The answer is not out yet, and everything else is over. */
  #linger: Linger | undefined;

  constructor(session: Http2Session, connection: TunnelConnection) {
    this.#session = session;
    this.connection = connection;
    this.#exchange = new Exchange(this, session.context, session.target);
  }

  begin(stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    this.stream = stream;
    this.#trailers = NO_TRAILERS;
    this.#early = undefined;
    this.#isInputEnded = false;
    this.#isRelayed = false;
    stream.consumer = this;
    stream.listener = this;
    const problem = requestHead.readRequest(headers, endStream);
    if (problem !== undefined) {
      this.#refuse(problem, headers);
      return;
    }
    if (requestHead.upgrade !== "") this.#early = new Stash();
    this.#exchange.begin(requestHead, performance.now());
    // As in HTTP/1.1: the request is its head.
    if (this.#early !== undefined && this.#exchange.isActive) this.#exchange.onRequestEnd();
  }

  #refuse(problem: HeadProblem, headers: HeaderList): void {
    const { context, target } = this.#session;
    const isProtocol = problem.status === 501;
    const reply = isProtocol ? LOCAL_REPLIES.unknownProtocol : replyTo(problem);
    recordRefused(context, this, target, reply);
    this.writeLocal(reply, false, isGrpcType(header(headers, "content-type")));
    this.#endUnread();
  }

  onData(bytes: Buffer, start: number, end: number): void {
    if (this.#isRelayed) this.#exchange.relay.up(bytes, start, end);
    else if (this.#early !== undefined && this.#exchange.isActive) {
      this.#early.append(bytes, start, end);
    } else this.#exchange.onRequestBody(bytes, start, end);
  }

  onHeaders(headers: HeaderList, _endStream: boolean, isTrailers: boolean): void {
    if (isTrailers) this.#trailers = trailersOf(headers);
  }

  onEnd(): void {
    this.#isInputEnded = true;
    if (this.#isRelayed) this.#exchange.relay.upEnd();
    else if (this.#early === undefined && this.#exchange.isActive) {
      this.#exchange.onRequestEnd(this.#trailers);
    }
  }

  /** After an orderly end the exchange is over, or about to be: its answer was complete. */
  onClosed(reset: StreamReset | undefined): void {
    this.#linger?.stop();
    this.#linger = undefined;
    this.#forgetEarly();
    if (!this.#exchange.isActive) this.#session.release(this);
    else if (reset !== undefined) this.#exchange.onDownstreamClosed(reset);
  }

  /** What is whole with its head says so there: gRPC tells such an answer from one cut short. */
  writeHead(head: MessageHead, edits: HeadEdits): void {
    this.#decline();
    this.stream.respond(responseList(head, edits), isWholeResponse(head));
  }

  writeInterim(head: MessageHead): void {
    if (this.stream.queuedBytes > QUEUED_BYTES_MAX) return;
    this.stream.respond(responseList(head, interimEdits()), false);
  }

  writeUpgrade(head: MessageHead, edits: HeadEdits): void {
    this.#isRelayed = true;
    this.stream.respond(responseList(head, edits, true), false);
    const early = this.#early?.take();
    this.#early = undefined;
    if (early !== undefined && early.length > 0) this.#exchange.relay.up(early, 0, early.length);
    if (this.#isInputEnded) this.#exchange.relay.upEnd();
  }

  writeBody(bytes: Buffer, start: number, end: number, source: ByteStream): void {
    this.stream.write(bytes, start, end, source);
  }

  writeEnd(trailers: Trailers): void {
    if (trailers.length > 0) this.stream.sendTrailers(trailers);
    else this.stream.end();
  }

  /** A CONNECT that is not accepted has an answer like any request. */
  #decline(): void {
    this.stream.isTunnel = false;
    this.#forgetEarly();
  }

  #forgetEarly(): void {
    const early = this.#early;
    this.#early = undefined;
    if (early !== undefined) this.stream.credit(early.length);
  }

  writeLocal(reply: LocalReply, isHead: boolean, isGrpc: boolean): void {
    this.#decline();
    if (isGrpc) {
      this.stream.respond([":status", "200", ...grpcHeaders(reply, SERVER_NAME)], true);
      return;
    }
    const list = [":status", String(reply.status)];
    const body = Buffer.from(reply.body);
    list.push("content-length", String(body.length));
    if (body.length > 0 && !reply.headers?.includes("content-type")) {
      list.push("content-type", "text/plain");
    }
    list.push("server", SERVER_NAME);
    if (reply.headers !== undefined) list.push(...reply.headers);
    const hasBody = body.length > 0 && !isHead;
    this.stream.respond(list, !hasBody);
    if (!hasBody) return;
    this.stream.write(body, 0, body.length, null);
    this.stream.end();
  }

  abort(): void {
    this.stream.reset("internal");
  }

  onExchangeEnd(): void {
    if (this.stream.isClosed) this.#session.release(this);
    else this.#endUnread();
  }

  /** The answer is out and the request is not: the rest of it is not wanted (RFC 9113 §8.1). */
  #endUnread(): void {
    const { stream } = this;
    if (stream.isClosed) return;
    if (stream.isLocalEnded) stream.resetWith(ErrorCode.NO_ERROR);
    else this.#linger = new Linger(stream, this.#session.context);
  }
}
