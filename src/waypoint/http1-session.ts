/**
 * The downstream half: one HTTP/1.1 connection of a client, inside a CONNECT stream.
 *
 * Reads requests strictly, one after the other (pipelined ones wait until the answer before them is
 * out), hands each to the exchange, and writes what the exchange answers. Malformed input gets the
 * status that RFC 9112 names and ends the connection: after an error in framing nothing that
 * follows can be trusted.
 */
import { type DeadlineEntry, Deadlines, deadlinesOf } from "../kit/deadlines.ts";
import type { ByteConsumer, ByteStream, StreamReset } from "../net/byte-stream.ts";
import type { TunnelConnection } from "../net/hbone/tunnel-server.ts";
import { BodyReader } from "../net/http1/body.ts";
import {
  findHeadEnd,
  HEAD_BYTES_MAX,
  Http1Head,
  parseRequestHead,
  skipEmptyLines,
} from "../net/http1/head.ts";
import type { HeadEdits } from "../net/http1/rewrite.ts";
import { flat } from "./chunked.ts";
import type { Drainable, WaypointContext } from "./context.ts";
import type { DownstreamSession } from "./downstream-session.ts";
import { EndedClient } from "./ended-client.ts";
import { Exchange } from "./exchange.ts";
import { Http1Output } from "./http1-output.ts";
import { Http2Session, isHttp2Preface } from "./http2-session.ts";
import { Linger } from "./linger.ts";
import { LOCAL_REPLIES, type LocalReply, replyTo } from "./local-replies.ts";
import type { MessageHead } from "./message-head.ts";
import { recordRefused } from "./stages/record.ts";
import { Stash } from "./stash.ts";
import type { Target } from "./target.ts";
import type { Trailers } from "./upstream.ts";

/** The head being read. One is enough: the stages run within the callback that completes it. */
const requestHead = new Http1Head();

const HEAD = 0;
const BODY = 1;
const WAIT = 2;
const RELAY = 3;
const CLOSED = 4;

/** What a deadline is armed for. */
const IDLE = 0;
const WHOLE_HEAD = 1;
const GRACE = 2;

export class Http1Session implements DownstreamSession, ByteConsumer, DeadlineEntry, Drainable {
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  deadlineAtMs = 0;

  readonly isHttp2 = false;
  readonly stream: ByteStream;
  readonly connection: TunnelConnection;
  readonly #exchange: Exchange;
  readonly #body = new BodyReader();
  readonly #output: Http1Output;
  readonly #context: WaypointContext;
  readonly #target: Target;
  #isFirst = true;
  #state = HEAD;
  readonly #stash = new Stash();
  #isReading = false;
  #isPersistent = true;
  #isInputEnded = false;
  #minorVersion = 1;
  #expectsContinue = false;
  #awaits = IDLE;
  /** Requests have come since the idle time-out was armed. */
  #wasActive = false;
  /** Since `drain()`: how long a next request is waited for; -1 before. */
  #graceMs = -1;
  #linger: Linger | undefined;
  #ended: EndedClient | undefined;

  constructor(
    stream: ByteStream,
    connection: TunnelConnection,
    context: WaypointContext,
    target: Target,
  ) {
    this.stream = stream;
    this.connection = connection;
    this.#context = context;
    this.#target = target;
    this.#exchange = new Exchange(this, context, target);
    this.#output = new Http1Output(stream, context.limitsReached);
    stream.consumer = this;
    context.sessions.add(this);
    this.#await(IDLE);
  }

  // ---- reading

  onData(bytes: Buffer, start: number, end: number): void {
    const kept = this.#stash.length;
    if (kept === 0) this.#read(bytes, start, end, 0);
    else {
      this.#stash.append(bytes, start, end);
      if (this.#state !== WAIT) this.#readStash(kept);
    }
  }

  #readStash(scanned: number): void {
    const bytes = this.#stash.take();
    this.#read(bytes, 0, bytes.length, scanned);
  }

  /** A loop, not a recursion: thousands of pipelined requests may be answered in one turn. */
  #read(bytes: Buffer, start: number, end: number, scanned: number): void {
    let position = start;
    let alreadyScanned = scanned;
    this.#isReading = true;
    while (position < end) {
      if (this.#state === HEAD) {
        position = this.#readHead(bytes, position, end, alreadyScanned);
        alreadyScanned = 0;
      } else if (this.#state === BODY) position = this.#readBody(bytes, position, end);
      else {
        if (this.#state === WAIT) this.#stash.append(bytes, position, end);
        else if (this.#state === RELAY) this.#exchange.relay.up(bytes, position, end);
        else this.stream.credit(end - position);
        break;
      }
    }
    this.#isReading = false;
  }

  /** The position behind the head; `end` when it is not complete (kept) or not acceptable. */
  #readHead(bytes: Buffer, start: number, end: number, scanned: number): number {
    const position = skipEmptyLines(bytes, start, end);
    if (position > start) this.stream.credit(position - start);
    if (position === end) {
      if (this.#awaits === WHOLE_HEAD) this.#await(this.#graceMs < 0 ? IDLE : GRACE);
      return end;
    }
    const headEnd = findHeadEnd(bytes, position, end, position === start ? scanned : 0);
    if (headEnd < 0) {
      if (end - position > HEAD_BYTES_MAX) {
        this.stream.credit(end - position);
        this.#refuse(LOCAL_REPLIES.headTooLarge);
      } else {
        this.#stash.append(bytes, position, end);
        if (this.#awaits !== WHOLE_HEAD) this.#await(WHOLE_HEAD);
      }
      return end;
    }
    if (this.#awaits === WHOLE_HEAD) this.#await(IDLE);
    this.#wasActive = true;
    const problem = parseRequestHead(requestHead, bytes, position, headEnd);
    if (problem !== undefined) {
      if (this.#isFirst && isHttp2Preface(requestHead)) {
        this.#becomeHttp2(bytes, position, end);
        return end;
      }
      this.stream.credit(end - position);
      this.#refuse(replyTo(problem));
      return end;
    }
    this.#isFirst = false;
    this.#output.payForHead(headEnd - position);
    this.#isPersistent = requestHead.isPersistent;
    this.#minorVersion = requestHead.minorVersion;
    this.#expectsContinue = requestHead.expectsContinue;
    this.#body.reset(requestHead.framing, requestHead.contentLength);
    const hasBody = !this.#body.isDone;
    this.#state = hasBody ? BODY : WAIT;
    this.#exchange.begin(requestHead, performance.now());
    if (!hasBody && this.#exchange.isActive) this.#exchange.onRequestEnd();
    return headEnd;
  }

  /** The client speaks HTTP/2 (RFC 9113 §3.3): its preface begins like a request of version 2.0. */
  #becomeHttp2(bytes: Buffer, start: number, end: number): void {
    this.#state = CLOSED;
    Deadlines.disarm(this);
    this.#context.sessions.delete(this);
    const session = new Http2Session(this.stream, this.connection, this.#context, this.#target);
    session.onData(bytes, start, end);
    if (this.#graceMs >= 0) session.drain();
    if (this.#isInputEnded) this.stream.consumer.onEnd();
  }

  #readBody(bytes: Buffer, start: number, end: number): number {
    const body = this.#body;
    const next = body.read(bytes, start, end);
    // A client that sends its body does not wait for 100 any more.
    this.#expectsContinue = false;
    const payload = body.payloadEnd - body.payloadStart;
    if (next - start > payload) this.stream.credit(next - start - payload);
    if (body.problem !== undefined) {
      this.stream.credit(end - next);
      this.#breakOff();
      return end;
    }
    if (payload > 0) this.#exchange.onRequestBody(bytes, body.payloadStart, body.payloadEnd);
    if (body.isDone && this.#state === BODY) {
      if (this.#exchange.isActive) {
        this.#state = WAIT;
        this.#exchange.onRequestEnd(flat(body.trailers));
      } else this.#becomeIdle();
    }
    return next;
  }

  /** The request's body is malformed. */
  #breakOff(): void {
    this.#isPersistent = false;
    this.#state = CLOSED;
    if (this.#exchange.isActive && !this.#exchange.isResponseStarted) {
      this.#exchange.answer(LOCAL_REPLIES.badRequest);
    } else this.#breakOffAnswered();
  }

  /** An answer that is complete still goes out; one that is not must not look like it. */
  #breakOffAnswered(): void {
    this.#state = CLOSED;
    if (this.#exchange.isActive) this.abort();
    else this.#end();
  }

  /** Answers a request that never became one, and ends the connection. */
  #refuse(reply: LocalReply): void {
    this.#isPersistent = false;
    this.stream.credit(this.#stash.length);
    this.#stash.clear();
    recordRefused(this.#context, this, this.#target, reply);
    this.#output.local(reply, false, true);
    this.#end();
  }

  // ---- waiting

  #await(what: number): void {
    this.#awaits = what;
    deadlinesOf(this.#waitMs(what)).arm(this, performance.now());
  }

  #waitMs(what: number): number {
    const { limits, snapshots } = this.#context;
    if (what === WHOLE_HEAD) return limits.requestHeadTimeoutMs;
    if (what === GRACE) return this.#graceMs;
    return snapshots.current.settings.hboneIdleTimeoutMs;
  }

  /** The idle time-out stays armed through requests, which costs them nothing. */
  #becomeIdle(): void {
    this.#state = HEAD;
    if (this.#graceMs < 0) return;
    this.#wasActive = false;
    this.#await(GRACE);
  }

  onDeadline(): void {
    if (this.#awaits === WHOLE_HEAD) this.#refuse(LOCAL_REPLIES.headTimeout);
    else if (!this.#exchange.isActive && !this.#wasActive) this.#endIdle();
    else if (this.#awaits === IDLE) {
      this.#wasActive = false;
      this.#await(IDLE);
    }
  }

  #endIdle(): void {
    if (this.#awaits === IDLE) this.#context.countTimeout("http1");
    this.#end();
  }

  /** Our side has nothing more to say; the client's should end soon, too. */
  #end(): void {
    this.#state = CLOSED;
    this.stream.end();
    Deadlines.disarm(this);
    if (!this.stream.isClosed) this.#linger ??= new Linger(this.stream, this.#context);
  }

  /** True between requests. */
  get isIdle(): boolean {
    return this.#state === HEAD && this.#stash.length === 0;
  }

  /**
   * The next answer says that it is the last. Where none is due the client may have sent a request
   * that is still on its way to us: it gets the grace to arrive.
   */
  drain(graceMs: number): void {
    this.#graceMs = graceMs;
    this.#wasActive = false;
    if (!this.isIdle) return;
    if (graceMs === 0) this.#end();
    else this.#await(GRACE);
  }

  /** In the next head that goes out: is it the connection's last? */
  #decidePersistence(): void {
    if (this.#graceMs >= 0 || this.#context.isDraining) this.#isPersistent = false;
    this.#closeIfBodyIsUncertain();
  }

  onEnd(): void {
    this.#isInputEnded = true;
    if (this.#state === RELAY) this.#exchange.relay.upEnd();
    else if (this.#state === HEAD) this.#endInHead();
    else if (this.#state === BODY) this.#breakOffAnswered();
    else if (this.#state === WAIT) this.#ended = new EndedClient(this.#exchange);
  }

  /** No more requests. The beginning of one is of no use to anybody. */
  #endInHead(): void {
    this.stream.credit(this.#stash.length);
    this.#stash.clear();
    this.#end();
  }

  onClosed(reset: StreamReset | undefined): void {
    this.#state = CLOSED;
    this.#stash.clear();
    Deadlines.disarm(this);
    this.#linger?.stop();
    this.#ended?.stop();
    this.#context.sessions.delete(this);
    this.#exchange.onDownstreamClosed(reset);
  }

  // ---- writing

  writeHead(head: MessageHead, edits: HeadEdits): void {
    const isLengthUnknown = head.framing === "chunked" || head.framing === "close";
    const isChunked = isLengthUnknown && this.#minorVersion >= 1;
    if (isLengthUnknown && !isChunked) this.#isPersistent = false;
    this.#decidePersistence();
    this.#output.head(head, edits, {
      isChunked,
      isClosing: !this.#isPersistent,
      isKeptAlive: this.#minorVersion < 1,
    });
  }

  /** To a client that does not read they are not sent: nothing bounds how many there are. */
  writeInterim(head: MessageHead): void {
    if (this.#minorVersion < 1 || this.#output.isBehind) return;
    if (head.status === 100) this.#expectsContinue = false;
    this.#output.interim(head);
  }

  /**
   * The client waits for "100 Continue" with its body held back, or may send it nevertheless: where
   * the next request begins cannot be known.
   */
  #closeIfBodyIsUncertain(): void {
    if (this.#expectsContinue && this.#state === BODY) this.#isPersistent = false;
  }

  writeUpgrade(head: MessageHead, edits: HeadEdits): void {
    this.#state = RELAY;
    this.#output.upgrade(head, edits);
    const early = this.#stash.take();
    if (early.length > 0) this.#exchange.relay.up(early, 0, early.length);
    if (this.#isInputEnded) this.#exchange.relay.upEnd();
  }

  writeBody(bytes: Buffer, start: number, end: number, source: ByteStream): void {
    this.#output.body(bytes, start, end, source);
  }

  writeEnd(trailers: Trailers): void {
    this.#output.bodyEnd(trailers);
  }

  writeLocal(reply: LocalReply, isHead: boolean, isGrpc: boolean): void {
    this.#decidePersistence();
    // An HTTP/1.0 client would have to be told that the connection stays; it is simpler to end it.
    if (this.#minorVersion < 1 || reply.status === 408) this.#isPersistent = false;
    const isClosing = !this.#isPersistent;
    if (isGrpc) this.#output.localGrpc(reply, isClosing);
    else this.#output.local(reply, isHead, isClosing);
  }

  /** Breaks an answer off in the middle: the client must not take it for complete. */
  abort(): void {
    this.#state = CLOSED;
    this.stream.reset("cancel");
  }

  /** The answer is out; what comes next? */
  onExchangeEnd(): void {
    if (!this.#isPersistent || this.#state === RELAY || this.#state === CLOSED) this.#end();
    else if (this.#state === WAIT) this.#readOn();
  }

  #readOn(): void {
    this.#becomeIdle();
    if (this.#isReading) return;
    if (this.#stash.length > 0) this.#readStash(0);
    if (this.#isInputEnded && this.#state === HEAD) this.#endInHead();
    else if (this.#isInputEnded && this.#state === BODY) this.#breakOffAnswered();
  }
}
