/**
 * The downstream half: one HTTP/1.1 connection of a client, inside a CONNECT stream.
 *
 * Reads requests strictly, one after the other (pipelined ones wait until the answer before them is
 * out), hands each to the exchange, and writes what the exchange answers. Malformed input gets the
 * status that RFC 9112 names and ends the connection: after an error in framing nothing that
 * follows can be trusted.
 */
import { type DeadlineEntry, Deadlines } from "../kit/deadlines.ts";
import type { ByteConsumer, ByteStream } from "../net/byte-stream.ts";
import type { TunnelConnection } from "../net/hbone/tunnel-server.ts";
import { BodyReader } from "../net/http1/body.ts";
import {
  findHeadEnd,
  HEAD_BYTES_MAX,
  type HeadProblem,
  Http1Head,
  parseRequestHead,
} from "../net/http1/head.ts";
import { localResponse } from "../net/http1/responses.ts";
import { headBytesMax, writeResponseHead } from "../net/http1/rewrite.ts";
import { writeChunk, writeLastChunk } from "./chunked.ts";
import type { WaypointContext } from "./context.ts";
import { Exchange } from "./exchange.ts";
import { LOCAL_REPLIES, type LocalReply } from "./local-replies.ts";
import { scratch } from "./scratch.ts";
import { responseEdits, SERVER_NAME } from "./stages/rewrite.ts";
import { Stash } from "./stash.ts";
import type { Target } from "./target.ts";

/** From the first byte of a head to its last. A client that stalls longer gets 408. */
const headDeadlines = new Deadlines(60_000);

/** The head being read. One is enough: the stages run within the callback that completes it. */
const requestHead = new Http1Head();

const HEAD = 0;
const BODY = 1;
const WAIT = 2;
const RELAY = 3;
const CLOSED = 4;

export class Http1Session implements ByteConsumer, DeadlineEntry {
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  deadlineAtMs = 0;

  readonly stream: ByteStream;
  readonly connection: TunnelConnection;
  readonly #exchange: Exchange;
  readonly #body = new BodyReader();
  readonly #context: WaypointContext;
  #state = HEAD;
  readonly #stash = new Stash();
  #isReading = false;
  #isPersistent = true;
  #isInputEnded = false;
  #minorVersion = 1;
  #expectsContinue = false;
  #isResponseChunked = false;

  constructor(
    stream: ByteStream,
    connection: TunnelConnection,
    context: WaypointContext,
    target: Target,
  ) {
    this.stream = stream;
    this.connection = connection;
    this.#context = context;
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
    let position = start;
    if (scanned === 0) {
      // RFC 9112 §2.2: an empty line before the request line is to be ignored.
      if (bytes[position] === 13 && position + 1 < end && bytes[position + 1] === 10) {
        this.stream.credit(2);
        position += 2;
        if (position === end) return end;
      }
    }
    const headEnd = findHeadEnd(bytes, position, end, scanned);
    if (headEnd < 0) {
      if (end - position > HEAD_BYTES_MAX) this.#refuse(LOCAL_REPLIES.headTooLarge);
      else {
        this.#stash.append(bytes, position, end);
        if (scanned === 0) headDeadlines.arm(this, performance.now());
      }
      return end;
    }
    if (this.deadlineNext !== null) Deadlines.disarm(this);
    const problem = parseRequestHead(requestHead, bytes, position, headEnd);
    this.stream.credit(headEnd - position);
    if (problem !== undefined) {
      this.#refuse(replyTo(problem));
      return end;
    }
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

  #readBody(bytes: Buffer, start: number, end: number): number {
    const body = this.#body;
    const next = body.read(bytes, start, end);
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
    } else this.abort();
  }

  /** Answers a request that never became one, and ends the connection. */
  #refuse(reply: LocalReply): void {
    this.#isPersistent = false;
    this.#state = CLOSED;
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
    else if (this.#state === HEAD) this.stream.end();
    else if (this.#state === BODY) this.stream.reset("cancel");
  }

  onClosed(): void {
    this.#state = CLOSED;
    this.#stash.clear();
    Deadlines.disarm(this);
    this.#context.sessions.delete(this);
    this.#exchange.onDownstreamClosed();
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
    const edits = responseEdits(upstreamServiceTimeMs);
    const out = scratch(headBytesMax(head, edits));
    const bytes = writeResponseHead(head, edits, out, 0, {
      isChunked: this.#isResponseChunked,
      isClosing: !this.#isPersistent,
    });
    this.stream.write(out, 0, bytes, null);
  }

  writeInterim(head: Http1Head): void {
    if (this.#minorVersion < 1) return;
    if (head.status === 100) this.#expectsContinue = false;
    this.stream.write(head.bytes, head.start, head.end, null);
  }

  writeUpgrade(head: Http1Head): void {
    this.#state = RELAY;
    const out = scratch(headBytesMax(head, responseEdits(-1)));
    const options = { isChunked: false, isClosing: false, isUpgrade: true };
    this.stream.write(out, 0, writeResponseHead(head, responseEdits(-1), out, 0, options), null);
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
    // The client may be waiting for "100 Continue" with its body held back, or may send it
    // nevertheless: where the next request begins cannot be known.
    if (this.#expectsContinue && this.#state === BODY) this.#isPersistent = false;
    const headers = reply.body === "" ? PLAIN_HEADERS : TEXT_HEADERS;
    const bytes = localResponse(reply.status, headers, reply.body, isHead, !this.#isPersistent);
    this.stream.write(bytes, 0, bytes.length, null);
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
    if (this.#isInputEnded && this.isIdle) this.stream.end();
  }
}

const PLAIN_HEADERS = [["server", SERVER_NAME]] as const;
const TEXT_HEADERS = [
  ["content-type", "text/plain"],
  ["server", SERVER_NAME],
] as const;

function replyTo(problem: HeadProblem): LocalReply {
  switch (problem.status) {
    case 431:
      return LOCAL_REPLIES.headTooLarge;
    case 501:
      return LOCAL_REPLIES.notImplemented;
    case 505:
      return LOCAL_REPLIES.unsupportedVersion;
    default:
      return LOCAL_REPLIES.badRequest;
  }
}
