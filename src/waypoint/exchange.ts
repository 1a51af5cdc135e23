/**
 * One request and its answer on their way through the waypoint.
 *
 * The exchange stands between the downstream session (which reads the request and writes the
 * answer) and an upstream connection. It is the facts that policy and routing look at, it holds
 * what is needed to try again, and it is what the record is made from. A session has one exchange
 * and uses it for one request after the other, so a request allocates next to nothing.
 *
 *     idle ─begin→ deciding ─forward→ waiting ─attach→ sending ─head→ answering ─end→ idle
 *                     │ answer()         │ dial failed: balance again    │ reset
 *                     └──────────────────┴───────────────────────────────┴──────────→ idle
 */
import { Deadlines, deadlinesOf } from "../kit/deadlines.ts";
import type { Failure } from "../kit/failure.ts";
import type { ByteStream, StreamReset } from "../net/byte-stream.ts";
import { type Http1Head, NO_HEAD } from "../net/http1/head.ts";
import { H } from "../net/http1/header-names.ts";
import type { HeaderList } from "../net/http2/headers.ts";
import type { Dial, DialListener } from "./dial.ts";
import { ExchangeState } from "./exchange-state.ts";
import { grpcStatusIn, grpcStatusOf, isGrpcType } from "./grpc.ts";
import { Http1Upstream } from "./http1-upstream.ts";
import { KeptBody } from "./kept-body.ts";
import { detailsAfterStart, LOCAL_REPLIES, type LocalReply } from "./local-replies.ts";
import type { MessageHead } from "./message-head.ts";
import { runStages } from "./pipeline.ts";
import { backoffMs, isIdempotent } from "./retry.ts";
import { labelsOf } from "./source-labels.ts";
import { balance } from "./stages/balance.ts";
import { record } from "./stages/record.ts";
import { releaseHead } from "./stages/rewrite.ts";
import type { Trailers, Upstream, UpstreamFailure } from "./upstream.ts";

const NO_TRAILERS: Trailers = [];

const FAILURE_REPLIES: Record<UpstreamFailure, LocalReply> = {
  reset: LOCAL_REPLIES.upstreamReset,
  refused: LOCAL_REPLIES.upstreamReset,
  protocol: LOCAL_REPLIES.upstreamProtocolError,
  timeout: LOCAL_REPLIES.requestTimeout,
};

export class Exchange extends ExchangeState implements DialListener {
  // The request on its way
  upstream: Upstream | null = null;
  dial: Dial | null = null;
  /** The rewritten head, kept until an answer begins so that it can be sent again: as bytes … */
  requestHead: Buffer | null = null;
  requestHeadBytes = 0;
  /** … or, for an HTTP/2 backend, as a list. */
  requestList: HeaderList | null = null;
  hasRequestBody = false;
  isChunked = false;
  /** The route's time-out is armed; it comes instead of the watch for stalls. */
  hasTimeout = false;
  #movedBytes = 0;
  #movedAtMs = 0;
  /** Of an upgraded connection one side has ended. */
  #isHalfEnded = false;
  /** The next attempt must not go out on a connection that was used before. */
  needsFresh = false;
  #retryTimer: NodeJS.Timeout | undefined = undefined;
  #pending: Buffer[] = [];
  #isRequestDone = false;
  readonly #sentBody = new KeptBody();
  #requestTrailers: Trailers = NO_TRAILERS;

  /** A request head has arrived: runs the stages on it. */
  begin(head: MessageHead, nowMs: number): void {
    this.head = head;
    const { current } = this.context.snapshots;
    if (current !== this.snapshot) {
      this.snapshot = current;
      this.sourceLabels = labelsOf(current, this.session.connection);
    }
    this.method = head.method;
    this.query = head.query;
    this.authority = head.authority;
    this.isChunked = head.framing === "chunked";
    this.hasRequestBody = head.framing !== "none";
    this.isUpgrade = head.upgrade !== "";
    this.isGrpc = this.session.isHttp2 && isGrpcType(head.get(H.contentType));
    this.startMs = nowMs;
    this.startWallMs = this.context.accessLog.isOn ? Date.now() : 0;
    this.requestHeaderBytes = head.headBytes;
    this.#reset();
    this.context.activeRequests.add(1);
    runStages(this);
    this.head = NO_HEAD;
  }

  #reset(): void {
    this.resetState();
    this.upstream = null;
    this.dial = null;
    this.hasTimeout = false;
    this.needsFresh = false;
    this.#isRequestDone = false;
    this.#sentBody.clear();
    this.#isHalfEnded = false;
    this.#movedBytes = 0;
    this.#movedAtMs = this.startMs;
    this.context.stalls.arm(this, this.startMs);
  }

  // ---- the request, from the session

  onRequestBody(bytes: Buffer, start: number, end: number): void {
    const { stream } = this.session;
    this.requestBodyBytes += end - start;
    if (!this.isActive) stream.credit(end - start);
    else if (this.upstream === null) {
      // Not credited: what waits here is bounded by the stream's window.
      this.#pending.push(Buffer.from(bytes.subarray(start, end)));
    } else this.#sendBody(this.upstream, bytes, start, end);
  }

  onRequestEnd(trailers: Trailers = NO_TRAILERS): void {
    this.#isRequestDone = true;
    this.#requestTrailers = trailers;
    if (this.upstream !== null) this.upstream.endRequest(this.#requestTrailers, this.isChunked);
  }

  #sendBody(upstream: Upstream, bytes: Buffer, start: number, end: number): void {
    this.#sentBody.add(bytes, start, end, this.requestList !== null);
    upstream.sendBody(bytes, start, end, this.session.stream, this.isChunked);
  }

  /** A connection to the endpoint is there: the request goes out. */
  attach(upstream: Upstream): void {
    this.upstream = upstream;
    upstream.begin(this);
    if (this.upstream !== upstream) return;
    this.#sentBody.sendAgain(upstream, this.isChunked);
    if (this.#pending.length > 0) {
      const pending = this.#pending;
      this.#pending = [];
      for (const bytes of pending) this.#sendBody(upstream, bytes, 0, bytes.length);
    }
    if (this.#isRequestDone) upstream.endRequest(this.#requestTrailers, this.isChunked);
  }

  onDialed(stream: ByteStream): void {
    this.dial = null;
    this.attach(new Http1Upstream(stream, this.endpoint!));
  }

  onDialFailed(failure: Failure): void {
    this.dial = null;
    this.transportFailure = failure.message;
    this.#releaseEndpoint();
    // No connection was tried: another attempt would only add to the crowd.
    if (failure.code === "UPSTREAM_OVERFLOW") {
      this.answer(LOCAL_REPLIES.overflow);
      return;
    }
    const { retryAttempts } = this.snapshot.settings;
    if (this.attempt > retryAttempts) {
      this.answer(retryAttempts > 0 ? LOCAL_REPLIES.retriesExhausted : LOCAL_REPLIES.connectFailed);
      return;
    }
    this.#retryTimer = setTimeout(() => this.#tryAgain(), backoffMs(this.attempt));
  }

  #tryAgain(): void {
    this.#retryTimer = undefined;
    this.cluster?.refresh(this.context.snapshots.current);
    if (balance(this)) this.context.forward(this);
  }

  #releaseEndpoint(): void {
    const { endpoint } = this;
    if (endpoint === undefined) return;
    endpoint.active--;
    this.tried.push(endpoint);
    this.endpoint = undefined;
  }

  // ---- the answer, from the upstream

  onInterimHead(head: MessageHead): void {
    this.session.writeInterim(head);
  }

  onResponseHead(head: MessageHead): void {
    const nowMs = performance.now();
    this.upstreamServiceTimeMs = Math.round(nowMs - this.startMs);
    this.status = head.status;
    this.isResponseStarted = true;
    this.#sentBody.clear();
    this.responseHeaderBytes = head.headBytes;
    if (this.isGrpc) this.grpcStatus = head.get(H.grpcStatus) ?? "";
    releaseHead(this);
    this.session.writeHead(head, this.upstreamServiceTimeMs);
  }

  onResponseBody(bytes: Buffer, start: number, end: number, source: ByteStream): void {
    this.responseBodyBytes += end - start;
    this.session.writeBody(bytes, start, end, source);
  }

  onResponseEnd(trailers: Trailers): void {
    this.upstream = null;
    if (this.isGrpc) this.grpcStatus = grpcStatusIn(trailers) ?? this.grpcStatus;
    this.session.writeEnd(trailers);
    this.#finish();
  }

  /** 101: from here on both directions are bytes. False when nobody asked for it. */
  onUpgraded(head: Http1Head): boolean {
    if (!this.isUpgrade || head.upgrade === "") return false;
    this.status = 101;
    this.isResponseStarted = true;
    // What a route allows for an answer is no limit for a conversation.
    this.hasTimeout = false;
    this.context.stalls.arm(this, performance.now());
    releaseHead(this);
    this.session.writeUpgrade(head);
    return true;
  }

  relayUp(bytes: Buffer, start: number, end: number): void {
    this.requestBodyBytes += end - start;
    if (this.upstream === null) this.session.stream.credit(end - start);
    else this.upstream.stream.write(bytes, start, end, this.session.stream);
  }

  relayUpEnd(): void {
    this.upstream?.stream.end();
    this.#halfEnd();
  }

  relayDown(bytes: Buffer, start: number, end: number, source: ByteStream): void {
    this.responseBodyBytes += end - start;
    this.session.stream.write(bytes, start, end, source);
  }

  relayDownEnd(): void {
    this.session.stream.end();
    this.#halfEnd();
  }

  relayClosed(reset: StreamReset | undefined): void {
    this.upstream = null;
    if (reset !== undefined) this.session.abort();
    this.#finish();
  }

  /** The upstream connection broke before the answer was complete. */
  onUpstreamFailed(kind: UpstreamFailure, wasReused: boolean): void {
    this.upstream = null;
    if (!this.isResponseStarted && this.#mayReplay(kind, wasReused)) {
      // What rests beside a connection that was stale is likely to be stale as well.
      this.needsFresh ||= wasReused;
      this.#releaseEndpoint();
      this.#tryAgain();
      return;
    }
    this.#fail(FAILURE_REPLIES[kind]);
  }

  /**
   * A stream that the peer refused was never looked at. A reused connection may have been closed
   * by the server while the request was on its way; that is no fault of the request's.
   */
  #mayReplay(kind: UpstreamFailure, wasReused: boolean): boolean {
    if (this.attempt > this.snapshot.settings.retryAttempts + 1) return false;
    if (kind === "refused") return this.#sentBody.isWhole;
    return kind === "reset" && wasReused && this.#sentBody.isEmpty && isIdempotent(this.method);
  }

  #fail(reply: LocalReply): void {
    if (!this.isResponseStarted) {
      this.answer(reply);
      return;
    }
    this.flags = reply.flags;
    this.details = detailsAfterStart(reply.details);
    this.session.abort();
    this.#finish();
  }

  // ---- ends

  /** Answers in place of an upstream. */
  answer(reply: LocalReply, details = reply.details): void {
    this.#cancelUpstream();
    this.status = this.isGrpc ? 200 : reply.status;
    if (this.isGrpc) this.grpcStatus = grpcStatusOf(reply.status);
    this.flags = reply.flags;
    this.details = details;
    this.isResponseStarted = true;
    this.responseBodyBytes = reply.body.length;
    this.session.writeLocal(reply, this.method === "HEAD", this.isGrpc);
    this.#finish();
  }

  onDeadline(): void {
    if (!this.hasTimeout && !this.#isStalled()) return;
    const stalled = this.#isClientsTurn ? LOCAL_REPLIES.clientStalled : LOCAL_REPLIES.stalled;
    this.#cancelUpstream();
    if (this.#isHalfEnded) this.#cutRelay();
    else this.#fail(this.hasTimeout ? LOCAL_REPLIES.requestTimeout : stalled);
  }

  /** Nothing has moved for too long; otherwise it is looked at again later. */
  #isStalled(): boolean {
    const movedBytes = this.requestBodyBytes + this.responseBodyBytes;
    const nowMs = performance.now();
    if (movedBytes !== this.#movedBytes) {
      this.#movedBytes = movedBytes;
      this.#movedAtMs = nowMs;
    }
    const { limits, stalls } = this.context;
    let limitMs = this.snapshot.settings.hboneIdleTimeoutMs;
    if (this.#isHalfEnded) limitMs = this.#isQueued ? limitMs : limits.lingerMs;
    else if (this.#isClientsTurn) limitMs = limits.requestBodyIdleTimeoutMs;
    if (nowMs - this.#movedAtMs >= limitMs) return true;
    if (this.#isHalfEnded) deadlinesOf(limits.lingerMs).arm(this, nowMs);
    else stalls.arm(this, nowMs);
    return false;
  }

  /** Somebody has not read yet what is there for them. */
  get #isQueued(): boolean {
    return this.session.stream.queuedBytes + (this.upstream?.stream.queuedBytes ?? 0) > 0;
  }

  /** It owes us the rest of a body. (In HTTP/2 both may be waiting for the other to speak.) */
  get #isClientsTurn(): boolean {
    if (this.#isRequestDone || this.isResponseStarted || this.session.isHttp2) return false;
    return this.upstream !== null && this.upstream.stream.queuedBytes === 0;
  }

  /** One side of an upgraded connection has ended; the other gets a moment to do so, too. */
  #halfEnd(): void {
    if (this.#isHalfEnded || !this.isActive) return;
    this.#isHalfEnded = true;
    this.#movedAtMs = performance.now();
    deadlinesOf(this.context.limits.lingerMs).arm(this, this.#movedAtMs);
  }

  #cutRelay(): void {
    this.session.abort();
    this.#finish();
  }

  /** The client went away, or this exchange has broken it off: then the flags say why. */
  onDownstreamClosed(reset: StreamReset | undefined): void {
    if (!this.isActive) return;
    // Both sides of an upgraded connection have ended: what is queued upstream still goes out. An
    // HTTP/2 stream ends like this with the last byte of its answer, which is about to be recorded.
    if (reset === undefined && (this.status === 101 || this.session.isHttp2)) return;
    this.#cancelUpstream();
    if (this.flags === "-" && reset?.by === "local") {
      this.flags = "DPE";
      this.details = "http2.violation.of.messaging.rule";
    } else if (this.flags === "-") {
      this.flags = "DC";
      this.details = "downstream_remote_disconnect";
    }
    this.#finish();
  }

  #cancelUpstream(): void {
    this.dial?.abort();
    this.dial = null;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    this.upstream?.cancel();
    this.upstream = null;
    for (const bytes of this.#pending) this.session.stream.credit(bytes.length);
    this.#pending = [];
  }

  #finish(): void {
    if (!this.isActive) return;
    this.isActive = false;
    Deadlines.disarm(this);
    releaseHead(this);
    if (this.endpoint !== undefined) this.endpoint.active--;
    this.context.activeRequests.add(-1);
    record(this);
    this.session.onExchangeEnd();
  }
}
