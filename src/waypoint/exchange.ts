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
import { type DeadlineEntry, Deadlines } from "../kit/deadlines.ts";
import type { Failure } from "../kit/failure.ts";
import type { Backend } from "../model/route.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { ByteStream, StreamReset } from "../net/byte-stream.ts";
import { type Http1Head, NO_HEAD } from "../net/http1/head.ts";
import { H } from "../net/http1/header-names.ts";
import type { RouteChoice, Verdict } from "../policy/decider.ts";
import type { HttpFacts } from "../policy/facts.ts";
import type { PeerLabels } from "../telemetry/istio-metrics.ts";
import type { UpstreamEndpoint } from "./cluster.ts";
import type { WaypointContext } from "./context.ts";
import type { Dial, DialListener } from "./dial.ts";
import type { DownstreamSession } from "./downstream-session.ts";
import { grpcStatusIn, grpcStatusOf, isGrpcType } from "./grpc.ts";
import { Http1Upstream } from "./http1-upstream.ts";
import { LOCAL_REPLIES, type LocalReply } from "./local-replies.ts";
import { runStages } from "./pipeline.ts";
import { backoffMs, isIdempotent } from "./retry.ts";
import { labelsOf } from "./source-labels.ts";
import { balance } from "./stages/balance.ts";
import { record } from "./stages/record.ts";
import { releaseHead } from "./stages/rewrite.ts";
import type { Target } from "./target.ts";
import type { Trailers, Upstream, UpstreamFailure } from "./upstream.ts";

const NO_TRAILERS: Trailers = [];

export class Exchange implements HttpFacts, DialListener, DeadlineEntry {
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  deadlineAtMs = 0;

  readonly session: DownstreamSession;
  readonly context: WaypointContext;
  readonly target: Target;

  // Facts (policy/facts.ts)
  readonly sourceIdentity: string | undefined;
  readonly sourceAddress: string;
  readonly destinationAddress: string;
  readonly destinationPort: number;
  method = "";
  path = "";
  query = "";
  authority = "";
  /** The request's head; only valid while the stages run. */
  head: Http1Head = NO_HEAD;
  snapshot: Snapshot;
  /** Who the client is in metrics; looked up anew with each snapshot. */
  sourceLabels: PeerLabels;
  /** The random draw of the weighted choice: a fact, so that the decision can be replayed. */
  draw = 0;

  // What the stages found
  verdict: Verdict | undefined = undefined;
  choice: RouteChoice | undefined = undefined;
  backend: Backend | undefined = undefined;
  cluster: UpstreamEndpoint["cluster"] | undefined = undefined;
  endpoint: UpstreamEndpoint | undefined = undefined;
  requestId = "";
  decisionId = "";
  decisionHeaders: readonly string[] = [];

  // The request on its way
  upstream: Upstream | null = null;
  dial: Dial | null = null;
  /** The rewritten head, kept until an answer begins so that it can be sent again. */
  requestHead: Buffer | null = null;
  requestHeadBytes = 0;
  isChunked = false;
  isUpgrade = false;
  attempt = 0;
  tried: UpstreamEndpoint[] = [];
  #retryTimer: NodeJS.Timeout | undefined = undefined;
  #pending: Buffer[] = [];
  #isRequestDone = false;
  #isBodySent = false;
  #requestTrailers: Trailers = NO_TRAILERS;
  isGrpc = false;
  isActive = false;
  isResponseStarted = false;

  // For the record
  startMs = 0;
  startWallMs = 0;
  upstreamServiceTimeMs = -1;
  status = 0;
  flags = "-";
  details = "via_upstream";
  requestHeaderBytes = 0;
  responseHeaderBytes = 0;
  requestBodyBytes = 0;
  responseBodyBytes = 0;
  userAgent = "";
  forwardedFor = "";
  transportFailure = "";
  /** `grpc-status`, of a gRPC request. */
  grpcStatus = "";

  constructor(session: DownstreamSession, context: WaypointContext, target: Target) {
    this.session = session;
    this.context = context;
    this.target = target;
    this.snapshot = context.snapshots.current;
    this.sourceLabels = labelsOf(this.snapshot, session.connection);
    this.sourceIdentity = session.connection.peer;
    this.sourceAddress = session.connection.remoteAddress;
    this.destinationAddress = target.address;
    this.destinationPort = target.port;
  }

  header(name: string): string | undefined {
    return this.head.getByName(name);
  }

  /** A request head has arrived: runs the stages on it. */
  begin(head: Http1Head, nowMs: number): void {
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
    this.isUpgrade = head.upgrade !== "";
    this.isGrpc = this.session.isHttp2 && isGrpcType(head.get(H.contentType));
    this.startMs = nowMs;
    this.startWallMs = this.context.accessLog.isOn ? Date.now() : 0;
    this.requestHeaderBytes = head.end - head.start;
    this.#reset();
    this.context.activeRequests.add(1);
    runStages(this);
    this.head = NO_HEAD;
  }

  #reset(): void {
    this.verdict = undefined;
    this.choice = undefined;
    this.backend = undefined;
    this.cluster = undefined;
    this.endpoint = undefined;
    this.decisionId = "";
    this.requestId = "";
    this.upstream = null;
    this.dial = null;
    this.attempt = 0;
    if (this.tried.length > 0) this.tried = [];
    this.#isRequestDone = false;
    this.#isBodySent = false;
    this.isActive = true;
    this.isResponseStarted = false;
    this.upstreamServiceTimeMs = -1;
    this.status = 0;
    this.flags = "-";
    this.details = "via_upstream";
    this.responseHeaderBytes = 0;
    this.requestBodyBytes = 0;
    this.responseBodyBytes = 0;
    this.transportFailure = "";
    this.grpcStatus = "";
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
    this.#isBodySent = true;
    upstream.sendBody(bytes, start, end, this.session.stream, this.isChunked);
  }

  /** A connection to the endpoint is there: the request goes out. */
  attach(upstream: Upstream): void {
    this.upstream = upstream;
    upstream.begin(this);
    if (this.upstream !== upstream) return;
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

  onInterimHead(head: Http1Head): void {
    this.session.writeInterim(head);
  }

  onResponseHead(head: Http1Head): void {
    const nowMs = performance.now();
    this.upstreamServiceTimeMs = Math.round(nowMs - this.startMs);
    this.status = head.status;
    this.isResponseStarted = true;
    this.responseHeaderBytes = head.end - head.start;
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
  }

  relayDown(bytes: Buffer, start: number, end: number, source: ByteStream): void {
    this.responseBodyBytes += end - start;
    this.session.stream.write(bytes, start, end, source);
  }

  relayDownEnd(): void {
    this.session.stream.end();
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
      this.#releaseEndpoint();
      this.#tryAgain();
      return;
    }
    this.#fail(
      kind === "protocol" ? LOCAL_REPLIES.upstreamProtocolError : LOCAL_REPLIES.upstreamReset,
    );
  }

  /**
   * A stream that the peer refused was never looked at. A reused connection may have been closed
   * by the server while the request was on its way; that is no fault of the request's.
   */
  #mayReplay(kind: UpstreamFailure, wasReused: boolean): boolean {
    if (this.#isBodySent || this.attempt > this.snapshot.settings.retryAttempts + 1) return false;
    if (kind === "refused") return true;
    return kind === "reset" && wasReused && isIdempotent(this.method);
  }

  #fail(reply: LocalReply): void {
    if (!this.isResponseStarted) {
      this.answer(reply);
      return;
    }
    this.flags = reply.flags;
    this.details = reply.details;
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
    this.#cancelUpstream();
    this.#fail(LOCAL_REPLIES.requestTimeout);
  }

  /** The client went away, or this exchange has broken it off: then the flags say why. */
  onDownstreamClosed(reset: StreamReset | undefined): void {
    if (!this.isActive) return;
    // Both sides of an upgraded connection have ended: what is queued upstream still goes out.
    if (reset === undefined && this.status === 101) return;
    this.#cancelUpstream();
    if (this.flags === "-") {
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
