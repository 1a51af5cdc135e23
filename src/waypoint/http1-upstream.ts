/**
 * One HTTP/1.1 connection to a backend: a byte stream (a tunnel to its ztunnel, mostly) that
 * serves one exchange at a time and rests in its endpoint's idle list between them.
 *
 * It reads responses strictly and reports them to the exchange it serves. When it breaks, it says
 * so once; whether the request may be tried again is the exchange's to judge.
 */
import { type DeadlineEntry, Deadlines, deadlinesOf } from "../kit/deadlines.ts";
import type { ByteConsumer, ByteStream, StreamReset } from "../net/byte-stream.ts";
import { BodyReader } from "../net/http1/body.ts";
import { findHeadEnd, HEAD_BYTES_MAX, Http1Head, parseResponseHead } from "../net/http1/head.ts";
import { flat, writeChunk, writeLastChunk } from "./chunked.ts";
import type { UpstreamEndpoint } from "./cluster.ts";
import type { WaypointContext } from "./context.ts";
import { Stash } from "./stash.ts";
import type { Trailers, Upstream, UpstreamFailure, UpstreamRequest } from "./upstream.ts";

/** Idle connections kept for each endpoint; more are closed when they come back. */
const IDLE_PER_ENDPOINT_MAX = 256;

/** 1xx before one answer, as in HTTP/2; more are not honest. */
const INTERIM_HEADS_MAX = 32;

/** The head being read. One is enough: a head is parsed and handed on within one callback. */
const responseHead = new Http1Head();

const HEAD = 0;
const BODY = 1;
const RELAY = 2;

export class Http1Upstream implements Upstream, ByteConsumer, DeadlineEntry {
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  deadlineAtMs = 0;

  readonly stream: ByteStream;
  readonly endpoint: UpstreamEndpoint;
  readonly #body = new BodyReader();
  #exchange: UpstreamRequest | null = null;
  #state = HEAD;
  readonly #stash = new Stash();
  #isPersistent = true;
  #isEndedByClose = false;
  #isRequestDone = false;
  #interimHeads = 0;
  isClosed = false;
  /** Exchanges served before the present one. */
  served = 0;

  constructor(stream: ByteStream, endpoint: UpstreamEndpoint) {
    this.stream = stream;
    this.endpoint = endpoint;
    stream.consumer = this;
  }

  /** Takes an exchange, and sends the rewritten head of its request. */
  begin(exchange: UpstreamRequest): void {
    Deadlines.disarm(this);
    this.#exchange = exchange;
    this.#state = HEAD;
    this.#isPersistent = true;
    this.#isRequestDone = false;
    this.#interimHeads = 0;
    this.stream.write(exchange.requestHead!, 0, exchange.requestHeadBytes, null);
  }

  sendBody(
    bytes: Buffer,
    start: number,
    end: number,
    source: ByteStream | null,
    isChunked: boolean,
  ): void {
    if (isChunked) writeChunk(this.stream, bytes, start, end, source);
    else this.stream.write(bytes, start, end, source);
  }

  /**
   * Trailers of requests are dropped, as Envoy does: few servers look at them, and one that takes
   * them for headers would see what no policy has seen.
   */
  endRequest(_trailers: Trailers, isChunked: boolean): void {
    if (isChunked) writeLastChunk(this.stream);
    this.#isRequestDone = true;
  }

  /** The exchange has no more use for the connection, in the middle of things. */
  cancel(): void {
    this.#exchange = null;
    this.close();
  }

  close(): void {
    Deadlines.disarm(this);
    if (this.isClosed) return;
    this.isClosed = true;
    this.stream.reset("cancel");
  }

  /** At rest for long enough, or in the middle of a head for too long. */
  onDeadline(): void {
    if (this.#exchange !== null) {
      this.#fail("timeout");
      return;
    }
    this.#leaveIdle();
    this.close();
  }

  onData(bytes: Buffer, start: number, end: number): void {
    if (this.#exchange === null) {
      // Nothing was asked: an early time-out answer (408) or worse. Not to be used again.
      this.#leaveIdle();
      this.close();
      return;
    }
    const scanned = this.#stash.length;
    if (scanned > 0) {
      this.#stash.append(bytes, start, end);
      const joined = this.#stash.take();
      this.#read(joined, 0, joined.length, scanned);
    } else this.#read(bytes, start, end, 0);
  }

  #read(bytes: Buffer, start: number, end: number, scanned: number): void {
    let position = start;
    while (position < end && this.#exchange !== null) {
      if (this.#state === HEAD) {
        const headEnd = findHeadEnd(bytes, position, end, position === start ? scanned : 0);
        if (headEnd < 0) {
          if (end - position > HEAD_BYTES_MAX) this.#fail("protocol");
          else this.#keep(bytes, position, end);
          return;
        }
        if (this.deadlineNext !== null) Deadlines.disarm(this);
        this.stream.credit(headEnd - position);
        if (!this.#readHead(bytes, position, headEnd, end)) return;
        position = headEnd;
      } else if (this.#state === RELAY) {
        this.#exchange.relay.down(bytes, position, end, this.stream);
        return;
      } else position = this.#readBody(bytes, position, end);
    }
    // Bytes behind the end of a response; the connection was closed for it.
    if (position < end) this.stream.credit(end - position);
  }

  /** The beginning of a head. */
  #keep(bytes: Buffer, start: number, end: number): void {
    this.#stash.append(bytes, start, end);
    if (this.deadlineNext !== null) return;
    const { responseHeadTimeoutMs } = this.#exchange!.context.limits;
    deadlinesOf(responseHeadTimeoutMs).arm(this, performance.now());
  }

  /** False when the reading must stop. */
  #readHead(bytes: Buffer, start: number, headEnd: number, end: number): boolean {
    const exchange = this.#exchange!;
    const problem = parseResponseHead(responseHead, bytes, start, headEnd, exchange.method);
    if (problem !== undefined) {
      this.#fail("protocol");
      return false;
    }
    const { status } = responseHead;
    if (status === 101) {
      if (!exchange.onUpgraded(responseHead)) {
        this.#fail("protocol");
        return false;
      }
      this.#state = RELAY;
      return true;
    }
    if (status < 200) {
      this.#interimHeads++;
      if (this.#interimHeads > INTERIM_HEADS_MAX) {
        this.#fail("protocol");
        return false;
      }
      exchange.onInterimHead(responseHead);
      return true;
    }
    this.#isEndedByClose = responseHead.framing === "close";
    this.#isPersistent = responseHead.isPersistent && !this.#isEndedByClose;
    this.#body.reset(responseHead.framing, responseHead.contentLength);
    this.#state = BODY;
    exchange.onResponseHead(responseHead);
    if (this.#exchange === exchange && this.#body.isDone) this.#finish(headEnd < end);
    return true;
  }

  #readBody(bytes: Buffer, start: number, end: number): number {
    const body = this.#body;
    const exchange = this.#exchange!;
    const next = body.read(bytes, start, end);
    if (body.problem !== undefined) {
      this.#fail("protocol");
      return end;
    }
    const payload = body.payloadEnd - body.payloadStart;
    if (next - start > payload) this.stream.credit(next - start - payload);
    if (payload > 0) {
      exchange.onResponseBody(bytes, body.payloadStart, body.payloadEnd, this.stream);
    }
    if (body.isDone && this.#exchange === exchange) this.#finish(next < end);
    return next;
  }

  /**
   * `isMoreThere`: bytes stand behind the response that nobody asked for. The next request must not
   * go out on this connection, or they would be taken for its answer.
   */
  #finish(isMoreThere: boolean): void {
    const exchange = this.#exchange!;
    this.#exchange = null;
    this.served++;
    // An answer before the request's end: what is left of the request goes nowhere.
    if (this.#isPersistent && this.#isRequestDone && !isMoreThere) {
      this.#rest(exchange.context);
    } else this.close();
    exchange.onResponseEnd(flat(this.#body.trailers));
  }

  #rest(context: WaypointContext): void {
    const { idle, isGone } = this.endpoint;
    const isFull = idle.length >= IDLE_PER_ENDPOINT_MAX;
    if (isGone || isFull) {
      if (!isGone) context.limitsReached.reached("idle_connections");
      this.close();
      return;
    }
    idle.push(this);
    deadlinesOf(context.limits.upstreamIdleTimeoutMs).arm(this, performance.now());
  }

  #leaveIdle(): void {
    const index = this.endpoint.idle.indexOf(this);
    if (index >= 0) this.endpoint.idle.splice(index, 1);
  }

  #fail(kind: UpstreamFailure): void {
    const exchange = this.#exchange;
    this.#exchange = null;
    this.close();
    exchange?.onUpstreamFailed(kind, this.served > 0);
  }

  onEnd(): void {
    const exchange = this.#exchange;
    if (exchange === null) {
      this.#leaveIdle();
      this.close();
    } else if (this.#state === RELAY) exchange.relay.downEnd();
    else if (this.#state === BODY && this.#isEndedByClose) this.#finish(false);
    else this.#fail("reset");
  }

  onClosed(reset: StreamReset | undefined): void {
    this.isClosed = true;
    this.#leaveIdle();
    Deadlines.disarm(this);
    const exchange = this.#exchange;
    this.#exchange = null;
    if (exchange === null) return;
    if (this.#state === RELAY && reset === undefined) exchange.relay.closed();
    else exchange.onUpstreamFailed(reset?.isRefused ? "refused" : "reset", this.served > 0);
  }
}
