/**
 * The downstream half: one HTTP/1.1 connection of a client, inside a CONNECT stream.
 *
 * Reads requests strictly, one after the other (pipelined ones wait until the answer before them is
 * out), hands each to the exchange, and writes what the exchange answers. Malformed input gets the
 * status that RFC 9112 names and ends the connection: after an error in framing nothing that
 * follows can be trusted.
 */
import { type DeadlineEntry, Deadlines } from "../kit/deadlines.ts";
import type { ByteConsumer, ByteStream, StreamReset } from "../net/byte-stream.ts";
import type { TunnelConnection } from "../net/hbone/tunnel-server.ts";
import { BodyReader } from "../net/http1/body.ts";
import { findHeadEnd, HEAD_BYTES_MAX, Http1Head, parseRequestHead } from "../net/http1/head.ts";
import { localResponse } from "../net/http1/responses.ts";
import { headBytesMax, writeResponseHead } from "../net/http1/rewrite.ts";
import { writeChunk, writeLastChunk } from "./chunked.ts";
import type { WaypointContext } from "./context.ts";
import type { DownstreamSession } from "./downstream-session.ts";
import { Exchange } from "./exchange.ts";
import { Http2Session } from "./http2-session.ts";
import { LOCAL_REPLIES, type LocalReply, replyTo } from "./local-replies.ts";
import { scratch } from "./scratch.ts";
import { interimEdits, responseEdits, SERVER_NAME } from "./stages/rewrite.ts";
import { Stash } from "./stash.ts";
import type { Target } from "./target.ts";

/** From the first byte of a head to its last. A client that stalls longer gets 408. */
const headDeadlines = new Deadlines(60_000);

/** More than this unsent towards a client that does not read, and its requests are not credited. */
const QUEUED_BYTES_MAX = 64 * 1024;

/** The head being read. One is enough: the stages run within the callback that completes it. */
const requestHead = new Http1Head();

const HEAD = 0;
const BODY = 1;
const WAIT = 2;
const RELAY = 3;
const CLOSED = 4;

export class Http1Session implements DownstreamSession, ByteConsumer, DeadlineEntry {
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  deadlineAtMs = 0;

  readonly isHttp2 = false;
  readonly stream: ByteStream;
  readonly connection: TunnelConnection;
  readonly #exchange: Exchange;
  readonly #body = new BodyReader();
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
  #isResponseChunked = false;
  /** Bytes of request heads that get their credit when an answer has left (see `#payForHead`). */
  #owedBytes = 0;

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
    stream.consumer = this;
    context.sessions.add(this);
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
        else if (this.#state === RELAY) this.#exchange.relayUp(bytes, position, end);
        else this.stream.credit(end - position);
        break;
      }
    }
    this.#isReading = false;
  }

  /** The position behind the head; `end` when it is not complete (kept) or not acceptable. */
  #readHead(bytes: Buffer, start: number, end: number, scanned: number): number {
    const position = this.#skipEmptyLines(bytes, start, end);
    if (position === end) {
      Deadlines.disarm(this);
      return end;
    }
    const headEnd = findHeadEnd(bytes, position, end, position === start ? scanned : 0);
    if (headEnd < 0) {
      if (end - position > HEAD_BYTES_MAX) {
        this.stream.credit(end - position);
        this.#refuse(LOCAL_REPLIES.headTooLarge);
      } else {
        this.#stash.append(bytes, position, end);
        if (this.deadlineNext === null) headDeadlines.arm(this, performance.now());
      }
      return end;
    }
    Deadlines.disarm(this);
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
    this.#payForHead(headEnd - position);
    this.#isPersistent = requestHead.isPersistent && !this.#context.isDraining;
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
    this.#context.sessions.delete(this);
    const session = new Http2Session(this.stream, this.connection, this.#context, this.#target);
    session.onData(bytes, start, end);
    if (this.#isInputEnded) this.stream.consumer.onEnd();
  }

  /** RFC 9112 §2.2: empty lines before the request line are ignored. */
  #skipEmptyLines(bytes: Buffer, start: number, end: number): number {
    let position = start;
    while (position + 1 < end && bytes[position] === 0x0d && bytes[position + 1] === 0x0a) {
      position += 2;
    }
    if (position > start) this.stream.credit(position - start);
    return position;
  }

  /**
   * Credit for a head, at once or, when the client reads no answers, with the next answer: else
   * pipelined requests would fill our memory with answers that never leave.
   */
  #payForHead(bytes: number): void {
    if (this.stream.queuedBytes > QUEUED_BYTES_MAX) this.#owedBytes += bytes;
    else this.stream.credit(bytes);
  }

  /** Sends bytes of our own; what is owed is paid when they have left. */
  #write(bytes: Buffer, start: number, end: number): void {
    const paid = Math.min(this.#owedBytes, end - start);
    this.#owedBytes -= paid;
    if (start < end - paid) this.stream.write(bytes, start, end - paid, null);
    if (paid > 0) this.stream.write(bytes, end - paid, end, this.stream);
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
        this.#exchange.onRequestEnd();
      } else this.#state = HEAD;
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
    else this.stream.end();
  }

  /** Answers a request that never became one, and ends the connection. */
  #refuse(reply: LocalReply): void {
    this.#isPersistent = false;
    this.#state = CLOSED;
    Deadlines.disarm(this);
    this.stream.credit(this.#stash.length);
    this.#stash.clear();
    this.#context.countRefused(reply);
    this.writeLocal(reply, false);
    this.stream.end();
  }

  onDeadline(): void {
    this.#refuse(LOCAL_REPLIES.headTimeout);
  }

  onEnd(): void {
    this.#isInputEnded = true;
    if (this.#state === RELAY) this.#exchange.relayUpEnd();
    else if (this.#state === HEAD) this.#endInHead();
    else if (this.#state === BODY) this.#breakOffAnswered();
  }

  /** No more requests. The beginning of one is of no use to anybody. */
  #endInHead(): void {
    this.#state = CLOSED;
    Deadlines.disarm(this);
    this.stream.credit(this.#stash.length);
    this.#stash.clear();
    this.stream.end();
  }

  onClosed(reset: StreamReset | undefined): void {
    this.#state = CLOSED;
    this.#stash.clear();
    Deadlines.disarm(this);
    this.#context.sessions.delete(this);
    this.#exchange.onDownstreamClosed(reset);
  }

  // ---- writing

  /** True between requests: nothing is lost when the connection ends now. */
  get isIdle(): boolean {
    return this.#state === HEAD && this.#stash.length === 0;
  }

  /** Ends an idle connection; a busy one ends with its answer. */
  drain(): void {
    this.#isPersistent = false;
    if (this.isIdle) this.stream.end();
  }

  writeHead(head: Http1Head, upstreamServiceTimeMs: number): void {
    const isLengthUnknown = head.framing === "chunked" || head.framing === "close";
    this.#isResponseChunked = isLengthUnknown && this.#minorVersion >= 1;
    if (isLengthUnknown && !this.#isResponseChunked) this.#isPersistent = false;
    this.#closeIfBodyIsUncertain();
    const edits = responseEdits(upstreamServiceTimeMs);
    const out = scratch(headBytesMax(head, edits));
    const bytes = writeResponseHead(head, edits, out, 0, {
      isChunked: this.#isResponseChunked,
      isClosing: !this.#isPersistent,
      isKeptAlive: this.#minorVersion < 1,
    });
    this.#write(out, 0, bytes);
  }

  /** To a client that does not read they are not sent: nothing bounds how many there are. */
  writeInterim(head: Http1Head): void {
    if (this.#minorVersion < 1 || this.stream.queuedBytes > QUEUED_BYTES_MAX) return;
    if (head.status === 100) this.#expectsContinue = false;
    const edits = interimEdits();
    const out = scratch(headBytesMax(head, edits));
    const options = { isChunked: false, isClosing: false };
    this.#write(out, 0, writeResponseHead(head, edits, out, 0, options));
  }

  /**
   * The client waits for "100 Continue" with its body held back, or may send it nevertheless: where
   * the next request begins cannot be known.
   */
  #closeIfBodyIsUncertain(): void {
    if (this.#expectsContinue && this.#state === BODY) this.#isPersistent = false;
  }

  writeUpgrade(head: Http1Head): void {
    this.#state = RELAY;
    const out = scratch(headBytesMax(head, responseEdits(-1)));
    const options = { isChunked: false, isClosing: false, isUpgrade: true };
    this.#write(out, 0, writeResponseHead(head, responseEdits(-1), out, 0, options));
    const early = this.#stash.take();
    if (early.length > 0) this.#exchange.relayUp(early, 0, early.length);
    if (this.#isInputEnded) this.#exchange.relayUpEnd();
  }

  writeBody(bytes: Buffer, start: number, end: number, source: ByteStream): void {
    if (this.#isResponseChunked) writeChunk(this.stream, bytes, start, end, source);
    else this.stream.write(bytes, start, end, source);
  }

  writeEnd(trailers: readonly (readonly [string, string])[]): void {
    if (this.#isResponseChunked) writeLastChunk(this.stream, trailers);
    this.#isResponseChunked = false;
  }

  writeLocal(reply: LocalReply, isHead: boolean): void {
    this.#closeIfBodyIsUncertain();
    // An HTTP/1.0 client would have to be told that the connection stays; it is simpler to end it.
    if (this.#minorVersion < 1) this.#isPersistent = false;
    const headers = reply.body === "" ? PLAIN_HEADERS : TEXT_HEADERS;
    const bytes = localResponse(reply.status, headers, reply.body, isHead, !this.#isPersistent);
    this.#write(bytes, 0, bytes.length);
  }

  /** Breaks an answer off in the middle: the client must not take it for complete. */
  abort(): void {
    this.#state = CLOSED;
    this.stream.reset("cancel");
  }

  /** The answer is out; what comes next? */
  onExchangeEnd(): void {
    if (this.#state === CLOSED) {
      this.stream.end();
      return;
    }
    if (!this.#isPersistent || this.#state === RELAY) {
      this.#state = CLOSED;
      this.stream.end();
      return;
    }
    if (this.#state !== WAIT) return;
    this.#state = HEAD;
    if (this.#isReading) return;
    if (this.#stash.length > 0) this.#readStash(0);
    if (this.#isInputEnded && this.#state === HEAD) this.#endInHead();
    else if (this.#isInputEnded && this.#state === BODY) this.#breakOffAnswered();
  }
}

function isHttp2Preface(head: Http1Head): boolean {
  return head.method === "PRI" && head.target === "*" && head.headersStart === head.end - 2;
}

const PLAIN_HEADERS = [["server", SERVER_NAME]] as const;
const TEXT_HEADERS = [
  ["content-type", "text/plain"],
  ["server", SERVER_NAME],
] as const;
