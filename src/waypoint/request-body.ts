/**
 * A request's body on its way from the client to whichever backend takes it: what waits for a
 * connection, what is kept of what was sent, and how it ends.
 */
import type { Exchange } from "./exchange.ts";
import { KeptBody } from "./kept-body.ts";
import type { Trailers, Upstream } from "./upstream.ts";

export const NO_TRAILERS: Trailers = [];

/** Kept for an HTTP/2 backend without a rule that says so: it may refuse what has left already. */
const UNASKED_BYTES_MAX = 16 * 1024;

export class RequestBody {
  readonly #exchange: Exchange;
  /** Of what was sent. */
  readonly kept: KeptBody;
  /** The client has sent all of it. */
  isDone = false;
  #waiting: Buffer[] = [];
  #trailers: Trailers = NO_TRAILERS;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
    this.kept = new KeptBody(exchange.context.keptBytes);
  }

  /** For the next request. */
  reset(): void {
    this.isDone = false;
    this.#trailers = NO_TRAILERS;
    this.kept.clear();
  }

  add(bytes: Buffer, start: number, end: number): void {
    const { upstream } = this.#exchange;
    if (upstream !== null) this.#send(upstream, bytes, start, end);
    // Not credited: what waits here is bounded by the stream's window.
    else this.#waiting.push(Buffer.from(bytes.subarray(start, end)));
  }

  end(trailers: Trailers): void {
    const { upstream, isChunked } = this.#exchange;
    this.isDone = true;
    this.#trailers = trailers;
    upstream?.endRequest(trailers, isChunked);
  }

  #send(upstream: Upstream, bytes: Buffer, start: number, end: number): void {
    const { isChunked, isResponseStarted, session } = this.#exchange;
    if (!isResponseStarted) this.#keep(bytes, start, end);
    upstream.sendBody(bytes, start, end, session.stream, isChunked);
  }

  /** For another attempt, as far as one can be thought of. */
  #keep(bytes: Buffer, start: number, end: number): void {
    const { choice, context, requestList } = this.#exchange;
    const isAsked = (choice?.rule?.retry?.attempts ?? 0) > 0;
    let bytesMax = requestList === null ? 0 : UNASKED_BYTES_MAX;
    if (isAsked) bytesMax = context.limits.retryBodyBytesMax;
    this.kept.add(bytes, start, end, bytesMax, isAsked);
  }

  /** All that has come so far, to a backend that has the head. */
  pour(upstream: Upstream): void {
    const { isChunked } = this.#exchange;
    this.kept.sendAgain(upstream, isChunked);
    if (this.#waiting.length > 0) {
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const bytes of waiting) this.#send(upstream, bytes, 0, bytes.length);
    }
    if (this.isDone) upstream.endRequest(this.#trailers, isChunked);
  }

  /** Of what waits for a backend. */
  get waitingBytes(): number {
    return this.#waiting.reduce((sum, bytes) => sum + bytes.length, 0);
  }

  /** Its beginning. */
  waitingStart(bytesMax: number): Buffer {
    return Buffer.concat(this.#waiting).subarray(0, bytesMax);
  }

  /** What waits goes nowhere. */
  drop(): void {
    if (this.#waiting.length === 0) return;
    const { stream } = this.#exchange.session;
    for (const bytes of this.#waiting) stream.credit(bytes.length);
    this.#waiting = [];
  }
}
