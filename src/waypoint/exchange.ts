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
import type { ByteStream, StreamReset } from "../net/byte-stream.ts";
import { NO_HEAD } from "../net/http1/head.ts";
import { H } from "../net/http1/header-names.ts";
import type { HeaderList } from "../net/http2/headers.ts";
import { peerLabels } from "../telemetry/istio-metrics.ts";
import { Attempts } from "./attempts.ts";
import { ExchangeState } from "./exchange-state.ts";
import type { ExternalAuthCheck } from "./external-auth/check.ts";
import { failureReply } from "./failure-replies.ts";
import { grpcStatusIn, grpcStatusOf, grpcTimeoutMs, isGrpcType } from "./grpc.ts";
import {
  detailsAfterStart,
  LOCAL_REPLIES,
  type LocalReply,
  withDecision,
} from "./local-replies.ts";
import type { MessageHead } from "./message-head.ts";
import type { Mirrors } from "./mirrors.ts";
import { runStages } from "./pipeline.ts";
import { Progress } from "./progress.ts";
import { NO_TRAILERS, RequestBody } from "./request-body.ts";
import { sourceOf } from "./source-labels.ts";
import { record } from "./stages/record.ts";
import { releaseHead, responseEdits } from "./stages/rewrite.ts";
import { UpgradedRelay } from "./upgraded-relay.ts";
import type { Trailers, Upstream, UpstreamFailure } from "./upstream.ts";
import { proveKey, provesKey } from "./web-socket.ts";

export class Exchange extends ExchangeState {
  // The request on its way
  upstream: Upstream | null = null;
  /** The rewritten head, kept until an answer begins so that it can be sent again: as bytes … */
  requestHead: Buffer | null = null;
  requestHeadBytes = 0;
  /** … or, for an HTTP/2 backend, as a list. */
  requestList: HeaderList | null = null;
  hasRequestBody = false;
  /** Others are being asked whether it may pass. */
  check: ExternalAuthCheck | null = null;
  /** Copies of the request that are on their way. */
  mirrors: Mirrors | null = null;
  isChunked = false;
  /** When its time is over (`limitTime()`); Infinity: nobody has said. */
  endMs = Number.POSITIVE_INFINITY;
  /** … and what it is answered then. */
  timeoutReply: LocalReply = LOCAL_REPLIES.requestTimeout;
  readonly attempts = new Attempts(this);
  readonly requestBody = new RequestBody(this);
  readonly relay = new UpgradedRelay(this);
  readonly progress = new Progress(this);

  /** A request head has arrived: runs the stages on it. */
  begin(head: MessageHead, nowMs: number): void {
    this.head = head;
    const { current } = this.context.snapshots;
    if (current !== this.snapshot) {
      this.snapshot = current;
      this.source = sourceOf(current, this.session.connection);
      this.sourceLabels = peerLabels(this.source, this.session.connection.peer);
    }
    this.method = head.method;
    this.query = head.query;
    this.authority = head.authority;
    this.isChunked = head.framing === "chunked";
    this.hasRequestBody = head.framing !== "none";
    this.isUpgrade = head.upgrade !== "";
    this.isGrpc = isGrpcType(head.get(H.contentType));
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
    this.endMs = Number.POSITIVE_INFINITY;
    this.attempts.reset();
    this.requestBody.reset();
    this.relay.reset();
    this.progress.begin(this.startMs);
    this.context.stalls.arm(this, this.startMs);
  }

  /**
   * `timeouts.request`, or what a gRPC client has allowed where that is less: for all attempts, and
   * whatever else is asked on the way. The route's comes instead of the watch for stalls; a client
   * cannot get rid of that.
   */
  limitTime(routeMs: number): void {
    const clientMs = this.isGrpc ? grpcTimeoutMs(this.head.get(H.grpcTimeout)) : 0;
    if (clientMs > 0 && (routeMs === 0 || clientMs < routeMs)) {
      this.timeoutReply = LOCAL_REPLIES.deadlineExceeded;
      this.endMs = this.startMs + clientMs;
      this.progress.watch(performance.now());
    } else if (routeMs > 0) {
      this.timeoutReply = LOCAL_REPLIES.requestTimeout;
      this.endMs = this.startMs + routeMs;
      deadlinesOf(routeMs).arm(this, this.startMs);
    }
  }

  /** The stages go on, with the head they had. */
  resume(head: MessageHead): void {
    this.check = null;
    this.head = head;
    runStages(this);
    this.head = NO_HEAD;
  }

  noteProviderAnswer(provider: string, isAllowed: boolean): void {
    this.providerAnswers = { ...this.providerAnswers, [provider]: isAllowed };
  }

  // ---- the request, from the session

  onRequestBody(bytes: Buffer, start: number, end: number): void {
    this.requestBodyBytes += end - start;
    this.mirrors?.body(bytes, start, end);
    if (this.isActive) this.requestBody.add(bytes, start, end);
    else this.session.stream.credit(end - start);
    this.check?.proceed();
  }

  onRequestEnd(trailers: Trailers = NO_TRAILERS): void {
    this.mirrors?.bodyEnd();
    this.requestBody.end(trailers);
    this.check?.proceed();
  }

  // ---- the answer, from the upstream

  onInterimHead(head: MessageHead): void {
    this.session.writeInterim(head);
  }

  onResponseHead(head: MessageHead): void {
    if (this.attempts.refuses(head)) return;
    // An HTTP/2 client would take it for the upgrade that it has asked for (RFC 8441 §4).
    if (this.isUpgrade && this.session.isHttp2 && head.status < 300) {
      this.answer(LOCAL_REPLIES.upstreamProtocolError);
      return;
    }
    const nowMs = performance.now();
    this.upstreamServiceTimeMs = Math.round(nowMs - this.startMs);
    this.status = head.status;
    this.isResponseStarted = true;
    this.requestBody.kept.clear();
    this.responseHeaderBytes = head.headBytes;
    if (this.isGrpc) this.grpcStatus = head.get(H.grpcStatus) ?? "";
    releaseHead(this);
    this.session.writeHead(head, responseEdits(this, this.upstreamServiceTimeMs));
  }

  onResponseBody(bytes: Buffer, start: number, end: number, source: ByteStream): void {
    this.responseBodyBytes += end - start;
    this.session.writeBody(bytes, start, end, source);
  }

  onResponseEnd(trailers: Trailers): void {
    this.upstream = null;
    if (this.isGrpc) this.grpcStatus = grpcStatusIn(trailers) ?? this.grpcStatus;
    this.session.writeEnd(trailers);
    this.finish();
  }

  /**
   * 101, or 2xx to an extended CONNECT: from here on both directions are bytes. False when nobody
   * asked for it.
   */
  onUpgraded(head: MessageHead): boolean {
    if (!this.isUpgrade || head.upgrade === "") return false;
    if (!provesKey(head, this.webSocketKey)) return false;
    // Also where HTTP/2 calls it 200.
    this.status = 101;
    this.isResponseStarted = true;
    // What a route allows for an answer is no limit for a conversation.
    this.endMs = Number.POSITIVE_INFINITY;
    this.attempts.end();
    this.context.stalls.arm(this, performance.now());
    releaseHead(this);
    this.relay.isOpen = true;
    const edits = responseEdits(this, -1);
    proveKey(head, this.webSocketKey, edits);
    this.session.writeUpgrade(head, edits);
    return true;
  }

  /** The upstream connection broke before the answer was complete. */
  onUpstreamFailed(kind: UpstreamFailure, wasReused: boolean): void {
    this.upstream = null;
    if (this.isResponseStarted) this.fail(failureReply(kind, 1, false));
    else this.attempts.onUpstreamFailed(kind, wasReused);
  }

  /** Answers, or breaks off the answer that has begun. */
  fail(reply: LocalReply): void {
    if (!this.isResponseStarted) {
      this.answer(reply);
      return;
    }
    this.attempts.cancel();
    this.flags = reply.flags;
    this.details = detailsAfterStart(reply.details);
    this.session.abort();
    this.finish();
  }

  // ---- ends

  /** Answers in place of an upstream. */
  answer(reply: LocalReply, details = reply.details): void {
    this.attempts.cancel();
    this.status = this.isGrpc ? 200 : reply.status;
    if (this.isGrpc) this.grpcStatus = grpcStatusOf(reply);
    this.flags = reply.flags;
    this.details = details;
    this.isResponseStarted = true;
    this.responseBodyBytes = this.isGrpc ? 0 : reply.body.length;
    const told = this.isDecisionTold ? withDecision(reply, this.decisionId) : reply;
    this.session.writeLocal(told, this.method === "HEAD", this.isGrpc);
    this.finish();
  }

  onDeadline(): void {
    const isLate = performance.now() >= this.endMs;
    if (!isLate && !this.progress.isStalled()) return;
    const { clientStalled, stalled } = LOCAL_REPLIES;
    const reply = this.progress.isClientsTurn ? clientStalled : stalled;
    this.attempts.cancel();
    if (this.relay.isHalfEnded) this.#cutRelay();
    else this.fail(isLate ? this.timeoutReply : reply);
  }

  #cutRelay(): void {
    this.session.abort();
    this.finish();
  }

  /** The client went away, or this exchange has broken it off: then the flags say why. */
  onDownstreamClosed(reset: StreamReset | undefined): void {
    if (!this.isActive) return;
    // Both sides of an upgraded connection have ended: what is queued upstream still goes out. An
    // HTTP/2 stream ends like this with the last byte of its answer, which is about to be recorded.
    if (reset === undefined && (this.relay.isOpen || this.session.isHttp2)) return;
    this.attempts.cancel();
    if (this.flags === "-" && reset?.by === "local") {
      this.flags = "DPE";
      this.details = "http2.violation.of.messaging.rule";
    } else if (this.flags === "-") {
      this.flags = "DC";
      this.details = "downstream_remote_disconnect";
    }
    this.finish();
  }

  /** It is over, one way or the other: recorded, and the session goes on. */
  finish(): void {
    if (!this.isActive) return;
    this.isActive = false;
    this.check?.cancel();
    this.check = null;
    this.mirrors?.exchangeEnd();
    this.mirrors = null;
    Deadlines.disarm(this);
    this.attempts.end();
    this.requestBody.kept.clear();
    releaseHead(this);
    if (this.endpoint !== undefined) this.endpoint.active--;
    this.context.activeRequests.add(-1);
    record(this);
    this.session.onExchangeEnd();
  }
}
