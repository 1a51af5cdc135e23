/**
 * Whether anything still moves in an exchange: the two bodies' bytes, looked at now and then, and
 * how long each side may be silent. It judges; the exchange acts.
 */
import { deadlinesAfter, deadlinesOf } from "../kit/deadlines.ts";
import type { Exchange } from "./exchange.ts";

export class Progress {
  readonly #exchange: Exchange;
  #movedBytes = 0;
  #movedAtMs = 0;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /** From here on silence counts. */
  begin(nowMs: number): void {
    const { requestBodyBytes, responseBodyBytes } = this.#exchange;
    this.#movedBytes = requestBodyBytes + responseBodyBytes;
    this.#movedAtMs = nowMs;
  }

  /** Nothing has moved for too long; otherwise it is looked at again later. */
  isStalled(): boolean {
    const exchange = this.#exchange;
    const movedBytes = exchange.requestBodyBytes + exchange.responseBodyBytes;
    const nowMs = performance.now();
    if (movedBytes !== this.#movedBytes) {
      this.#movedBytes = movedBytes;
      this.#movedAtMs = nowMs;
    }
    if (nowMs - this.#movedAtMs >= this.#limitMs()) return true;
    this.watch(nowMs);
    return false;
  }

  /** When it is looked at next: not later than the end of the time it has. */
  watch(nowMs: number): void {
    const exchange = this.#exchange;
    const { limits, stalls } = exchange.context;
    const leftMs = exchange.endMs - nowMs;
    if (exchange.relay.isHalfEnded) deadlinesOf(limits.lingerMs).arm(exchange, nowMs);
    else if (leftMs < stalls.lengthMs) deadlinesAfter(leftMs).arm(exchange, nowMs);
    else stalls.arm(exchange, nowMs);
  }

  #limitMs(): number {
    const { context, snapshot, relay } = this.#exchange;
    const idleMs = snapshot.settings.hboneIdleTimeoutMs;
    if (relay.isHalfEnded) return this.#isQueued ? idleMs : context.limits.lingerMs;
    return this.isClientsTurn ? context.limits.requestBodyIdleTimeoutMs : idleMs;
  }

  /** Somebody has not read yet what is there for them. */
  get #isQueued(): boolean {
    const { session, upstream } = this.#exchange;
    return session.stream.queuedBytes + (upstream?.stream.queuedBytes ?? 0) > 0;
  }

  /** It owes us the rest of a body. (In HTTP/2 both may be waiting for the other to speak.) */
  get isClientsTurn(): boolean {
    const { requestBody, isResponseStarted, session, upstream } = this.#exchange;
    if (requestBody.isDone || isResponseStarted || session.isHttp2) return false;
    return upstream !== null && upstream.stream.queuedBytes === 0;
  }
}
