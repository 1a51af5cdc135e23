/**
 * How a request gets to a backend, however often that takes: an endpoint, a connection to it, an
 * answer that counts as one, and after a failure the judgement whether another attempt may be made.
 *
 *     idle ─forward→ dialing ─onDialed→ attached ─answer→ idle
 *        ↑              │ failed           │ broke, refused, too slow, an answer to be retried
 *        └── backoff ←──┴──────────────────┘        (attempts used up: the exchange answers)
 *
 * An attempt has a time-out of its own (`timeouts.backendRequest`), up to the end of its answer.
 */
import { type DeadlineEntry, Deadlines, deadlinesOf } from "../kit/deadlines.ts";
import type { Failure } from "../kit/failure.ts";
import type { RetryPolicy } from "../model/route.ts";
import type { ByteStream } from "../net/byte-stream.ts";
import { H } from "../net/http1/header-names.ts";
import type { Dial, DialListener } from "./dial.ts";
import type { Exchange } from "./exchange.ts";
import { type AttemptFailure, failureReply } from "./failure-replies.ts";
import { Http1Upstream } from "./http1-upstream.ts";
import { isWholeResponse } from "./http2-heads.ts";
import { LOCAL_REPLIES } from "./local-replies.ts";
import type { MessageHead } from "./message-head.ts";
import {
  backoffMs,
  isIdempotent,
  isRetriableAnswer,
  isRetriableTimeout,
  meshRetryPolicy,
  RETRIES_MAX,
  type RetryReason,
} from "./retry.ts";
import { balance } from "./stages/balance.ts";
import type { Upstream, UpstreamFailure } from "./upstream.ts";

export class Attempts implements DialListener, DeadlineEntry {
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  deadlineAtMs = 0;

  readonly #exchange: Exchange;
  dial: Dial | null = null;
  /** The next attempt must not go out on a connection that was used before. */
  needsFresh = false;
  /** Attempts that the policy has allowed for, beyond the first. */
  #retries = 0;
  /** One more was asked for than there are. */
  #isExhausted = false;
  #timer: NodeJS.Timeout | undefined = undefined;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /** For the next request. */
  reset(): void {
    this.dial = null;
    this.needsFresh = false;
    this.#retries = 0;
    this.#isExhausted = false;
  }

  /** What the rule says; undefined: nothing. */
  get #own(): RetryPolicy | undefined {
    return this.#exchange.choice?.rule?.retry;
  }

  get #policy(): RetryPolicy {
    return this.#own ?? meshRetryPolicy(this.#exchange.snapshot.settings);
  }

  /** How an attempt's time begins. 0: it has as long as it likes. */
  begin(timeoutMs: number): void {
    this.#exchange.attempt++;
    if (timeoutMs > 0) deadlinesOf(timeoutMs).arm(this, performance.now());
  }

  /** A connection to the endpoint is there: the request goes out. */
  attach(upstream: Upstream): void {
    const exchange = this.#exchange;
    exchange.upstream = upstream;
    upstream.begin(exchange);
    if (exchange.upstream === upstream) exchange.requestBody.pour(upstream);
  }

  onDialed(stream: ByteStream): void {
    this.dial = null;
    this.attach(new Http1Upstream(stream, this.#exchange.endpoint!));
  }

  // ---- what may go wrong

  onDialFailed(failure: Failure): void {
    const exchange = this.#exchange;
    this.dial = null;
    exchange.transportFailure = failure.message;
    // No connection was tried: another attempt would only add to the crowd.
    if (failure.code === "UPSTREAM_OVERFLOW") {
      this.#leaveEndpoint();
      exchange.answer(LOCAL_REPLIES.overflow);
    } else if (this.#mayRetry()) this.#retryLater("connect");
    else this.#giveUp("connect");
  }

  /** The connection broke before an answer began: another attempt, or an answer of ours. */
  onUpstreamFailed(kind: UpstreamFailure, wasReused: boolean): void {
    if (this.#isStale(kind, wasReused)) {
      // What rests beside a connection that was stale is likely to be stale as well.
      this.needsFresh = true;
      // Where a rule says how often, it has the last word.
      if (this.#own !== undefined && !this.#mayRetry()) this.#giveUp(kind);
      else {
        if (this.#own !== undefined) this.#retries++;
        this.#retryNow("stale");
      }
    } else if (!this.#isRetriable(kind) || !this.#mayRetry()) this.#giveUp(kind);
    // A stream that was refused was never looked at: nobody needs a rest, unless it was asked for.
    else if (kind === "refused" && this.#policy.backoffMs === undefined) {
      this.#retries++;
      this.#retryNow("refused");
    } else this.#retryLater(kind === "refused" || kind === "timeout" ? kind : "reset");
  }

  /**
   * A reused connection may have been closed by the server while the request was on its way; that
   * is no fault of the request's, and it happens once.
   */
  #isStale(kind: UpstreamFailure, wasReused: boolean): boolean {
    const { method, requestBody } = this.#exchange;
    if (kind !== "reset" || !wasReused || this.needsFresh) return false;
    return this.#policy.attempts > 0 && requestBody.kept.isEmpty && isIdempotent(method);
  }

  #isRetriable(kind: UpstreamFailure): boolean {
    const { method, isUpgrade } = this.#exchange;
    if (kind === "refused") return true;
    if (this.#own === undefined || isUpgrade || kind === "protocol") return false;
    return kind === "timeout" ? isRetriableTimeout(this.#own, method) : isIdempotent(method);
  }

  /** The answer that has come is none: another attempt will be made. */
  refuses(head: MessageHead): boolean {
    const exchange = this.#exchange;
    const own = this.#own;
    if (own === undefined && !exchange.isGrpc) return false;
    if (exchange.isUpgrade) return false;
    const hasStatus = exchange.isGrpc && isWholeResponse(head);
    const grpcStatus = hasStatus ? head.get(H.grpcStatus) : undefined;
    if (!isRetriableAnswer(this.#policy, head.status, grpcStatus)) return false;
    if (this.#mayRetry()) {
      this.#cancelAttempt();
      this.#retryLater("answer");
      return true;
    }
    if (this.#isExhausted) exchange.flags = "URX";
    return false;
  }

  /** `timeouts.backendRequest` is over. */
  onDeadline(): void {
    const exchange = this.#exchange;
    if (exchange.isResponseStarted) {
      exchange.fail(LOCAL_REPLIES.attemptTimeout);
      return;
    }
    this.#cancelAttempt();
    const own = this.#own;
    const isRetriable = own !== undefined && isRetriableTimeout(own, exchange.method);
    if (isRetriable && !exchange.isUpgrade && this.#mayRetry()) this.#retryLater("timeout");
    else this.#giveUp("attemptTimeout");
  }

  // ---- what is done about it

  #mayRetry(): boolean {
    const { attempts } = this.#policy;
    if (attempts === 0 || !this.#exchange.requestBody.kept.isWhole) return false;
    this.#isExhausted = this.#retries >= Math.min(attempts, RETRIES_MAX);
    return !this.#isExhausted;
  }

  #retryNow(reason: RetryReason): void {
    this.#exchange.context.countRetry(reason);
    this.#leaveEndpoint();
    this.#tryAgain();
  }

  #retryLater(reason: RetryReason): void {
    this.#exchange.context.countRetry(reason);
    this.#leaveEndpoint();
    this.#retries++;
    const waitMs = backoffMs(this.#policy, this.#retries);
    this.#timer = setTimeout(() => this.#tryAgain(), waitMs);
  }

  #tryAgain(): void {
    const exchange = this.#exchange;
    this.#timer = undefined;
    exchange.cluster?.refresh(exchange.context.snapshots.current);
    if (balance(exchange)) exchange.context.forward(exchange);
  }

  #giveUp(kind: AttemptFailure): void {
    const exchange = this.#exchange;
    this.#leaveEndpoint();
    exchange.fail(failureReply(kind, exchange.attempt, this.#isExhausted));
  }

  #leaveEndpoint(): void {
    const exchange = this.#exchange;
    Deadlines.disarm(this);
    const { endpoint } = exchange;
    if (endpoint === undefined) return;
    endpoint.active--;
    exchange.tried.push(endpoint);
    exchange.endpoint = undefined;
  }

  #cancelAttempt(): void {
    const exchange = this.#exchange;
    this.dial?.abort();
    this.dial = null;
    exchange.upstream?.cancel();
    exchange.upstream = null;
  }

  /** Whatever is under way ends here. */
  cancel(): void {
    Deadlines.disarm(this);
    this.#cancelAttempt();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#exchange.requestBody.drop();
  }

  /** The exchange is over. */
  end(): void {
    if (this.deadlineNext !== null) Deadlines.disarm(this);
  }
}
