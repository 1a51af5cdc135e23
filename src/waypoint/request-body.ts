/**
 * A request's body on its way from the client to whichever backend takes it: what waits for a
 * connection, what is kept of what was sent, and how it ends.
 */
import { BytePile } from "../net/byte-pile.ts";
import type { ByteStream } from "../net/byte-stream.ts";
import type { Exchange } from "./exchange.ts";
import { KeptBody } from "./kept-body.ts";
import type { Trailers, Upstream } from "./upstream.ts";

export const NO_TRAILERS: Trailers = [];

/** Kept for an HTTP/2 backend without a rule that says so: it may refuse what has left already. */
const UNASKED_BYTES_MAX = 16 * 1024;

/** Every window is larger. */
const UNPAID_BYTES_MAX = 32 * 1024;

export class RequestBody {
  readonly #exchange: Exchange;
  /** Of what was sent. */
  readonly kept: KeptBody;
  /** The client has sent all of it. */
  isDone = false;
  readonly #waiting = new BytePile();
  /** Of what waits: the client has its credit for them already. */
  #paidBytes = 0;
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
    else this.#waiting.add(bytes, start, end);
  }

  end(trailers: Trailers): void {
    const { upstream, isChunked } = this.#exchange;
    this.isDone = true;
    this.#trailers = trailers;
    upstream?.endRequest(trailers, isChunked);
  }

  #send(
    upstream: Upstream,
    bytes: Buffer,
    start: number,
    end: number,
    source: ByteStream | null = this.#exchange.session.stream,
  ): void {
    if (start === end) return;
    const { isChunked, isResponseStarted } = this.#exchange;
    if (!isResponseStarted) this.#keep(bytes, start, end);
    upstream.sendBody(bytes, start, end, source, isChunked);
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
    this.#pourWaiting(upstream);
    if (this.isDone) upstream.endRequest(this.#trailers, isChunked);
  }

  #pourWaiting(upstream: Upstream): void {
    const waiting = this.#waiting;
    for (let bytes = waiting.shift(); bytes !== undefined; bytes = waiting.shift()) {
      const paid = this.#takePaid(bytes.length);
      this.#send(upstream, bytes, 0, paid, null);
      this.#send(upstream, bytes, paid, bytes.length);
    }
  }

  /** How many of the next bytes are credited. */
  #takePaid(bytesMax: number): number {
    const paid = Math.min(this.#paidBytes, bytesMax);
    this.#exchange.context.keptBytes.bytes -= paid;
    this.#paidBytes -= paid;
    return paid;
  }

  /** Of what waits for a backend. */
  get waitingBytes(): number {
    return this.#waiting.bytes;
  }

  /**
   * More of the body is wanted than the client's window may hold: what waits is credited, where
   * the bodies that a waypoint keeps leave room for that. False: they do not.
   */
  askForMore(): boolean {
    const unpaid = this.#waiting.bytes - this.#paidBytes;
    if (unpaid < UNPAID_BYTES_MAX) return true;
    const { context, session } = this.#exchange;
    if (context.keptBytes.bytes + unpaid > context.keptBytes.bytesMax) return false;
    context.keptBytes.bytes += unpaid;
    this.#paidBytes += unpaid;
    session.stream.credit(unpaid);
    return true;
  }

  /** Its beginning. */
  waitingStart(bytesMax: number): Buffer {
    return Buffer.concat(this.#waiting.parts()).subarray(0, bytesMax);
  }

  /** What waits goes nowhere. */
  drop(): void {
    const { bytes } = this.#waiting;
    if (bytes === 0) return;
    this.#waiting.clear();
    this.#exchange.session.stream.credit(bytes - this.#takePaid(bytes));
  }
}
