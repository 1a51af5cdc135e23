/**
 * How a request gets to a backend, however often that takes: an endpoint, a connection to it, and
 * after a failure the judgement whether another attempt may be made, and when.
 *
 *     idle ─forward→ dialing ─onDialed→ attached ─answer→ idle
 *        ↑              │ failed           │ broke, refused
 *        └── backoff ←──┴──────────────────┘        (attempts used up: the exchange answers)
 */
import type { Failure } from "../kit/failure.ts";
import type { ByteStream } from "../net/byte-stream.ts";
import type { Dial, DialListener } from "./dial.ts";
import type { Exchange } from "./exchange.ts";
import { Http1Upstream } from "./http1-upstream.ts";
import { LOCAL_REPLIES } from "./local-replies.ts";
import { backoffMs, isIdempotent } from "./retry.ts";
import { balance } from "./stages/balance.ts";
import type { Upstream, UpstreamFailure } from "./upstream.ts";

export class Attempts implements DialListener {
  readonly #exchange: Exchange;
  dial: Dial | null = null;
  /** The next attempt must not go out on a connection that was used before. */
  needsFresh = false;
  #timer: NodeJS.Timeout | undefined = undefined;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /** For the next request. */
  reset(): void {
    this.dial = null;
    this.needsFresh = false;
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

  onDialFailed(failure: Failure): void {
    const exchange = this.#exchange;
    this.dial = null;
    exchange.transportFailure = failure.message;
    this.#releaseEndpoint();
    // No connection was tried: another attempt would only add to the crowd.
    if (failure.code === "UPSTREAM_OVERFLOW") {
      exchange.answer(LOCAL_REPLIES.overflow);
      return;
    }
    const { retryAttempts } = exchange.snapshot.settings;
    if (exchange.attempt > retryAttempts) {
      const { retriesExhausted, connectFailed } = LOCAL_REPLIES;
      exchange.answer(retryAttempts > 0 ? retriesExhausted : connectFailed);
      return;
    }
    this.#timer = setTimeout(() => this.#tryAgain(), backoffMs(exchange.attempt));
  }

  /** The connection broke before an answer began. False when that was the last attempt. */
  retryAfter(kind: UpstreamFailure, wasReused: boolean): boolean {
    if (!this.#mayReplay(kind, wasReused)) return false;
    // What rests beside a connection that was stale is likely to be stale as well.
    this.needsFresh ||= wasReused;
    this.#releaseEndpoint();
    this.#tryAgain();
    return true;
  }

  /**
   * A stream that the peer refused was never looked at. A reused connection may have been closed
   * by the server while the request was on its way; that is no fault of the request's.
   */
  #mayReplay(kind: UpstreamFailure, wasReused: boolean): boolean {
    const { attempt, snapshot, requestBody, method } = this.#exchange;
    if (attempt > snapshot.settings.retryAttempts + 1) return false;
    if (kind === "refused") return requestBody.kept.isWhole;
    return kind === "reset" && wasReused && requestBody.kept.isEmpty && isIdempotent(method);
  }

  #tryAgain(): void {
    const exchange = this.#exchange;
    this.#timer = undefined;
    exchange.cluster?.refresh(exchange.context.snapshots.current);
    if (balance(exchange)) exchange.context.forward(exchange);
  }

  #releaseEndpoint(): void {
    const exchange = this.#exchange;
    const { endpoint } = exchange;
    if (endpoint === undefined) return;
    endpoint.active--;
    exchange.tried.push(endpoint);
    exchange.endpoint = undefined;
  }

  /** Whatever is under way ends here. */
  cancel(): void {
    const exchange = this.#exchange;
    this.dial?.abort();
    this.dial = null;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    exchange.upstream?.cancel();
    exchange.upstream = null;
    exchange.requestBody.drop();
  }
}
