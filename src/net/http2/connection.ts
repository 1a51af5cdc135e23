/**
 * One HTTP/2 connection, in either role: frames to streams and back (RFC 9113).
 *
 * Flow control: our connection window is given back as consumers credit bytes, like a stream's, so
 * a connection holds at most its window however many streams are slow; a slow stream alone holds
 * at most its own (a quarter of it, in tunnels) and the others go on.
 *
 * Errors: what breaks one stream resets it (RST_STREAM); what breaks the framing, the compression
 * state or the peer's promises ends the connection (GOAWAY with the RFC's code, then close).
 *
 * Draining (RFC 9113 §6.8): GOAWAY with the highest stream id, so that streams already on their
 * way are still taken; after a round trip GOAWAY with the real one; the end when the last is done.
 */
import { type DeadlineEntry, Deadlines } from "../../kit/deadlines.ts";
import { Failure } from "../../kit/failure.ts";
import { ErrorCode, errorName } from "./errors.ts";
import { FloodGuard } from "./flood-guard.ts";
import { FrameReader, type FrameSink } from "./frame-reader.ts";
import {
  DEFAULT_FRAME_BYTES,
  DEFAULT_WINDOW_BYTES,
  Flag,
  FrameType,
  PREFACE,
  WINDOW_MAX,
} from "./frames.ts";
import { HeaderBlocks } from "./header-blocks.ts";
import { encodeStatelessBlock, type HeaderList, headerListProblem } from "./headers.ts";
import type { Http2Limits } from "./limits.ts";
import { Output } from "./output.ts";
import { applySettings, ourSettings, type PeerSettings } from "./settings.ts";
import { type HeadersListener, Http2Stream } from "./stream.ts";
import type { Transport, TransportReceiver } from "./transport.ts";

export interface ConnectionHandler {
  /** Server role: a stream was opened. Set its consumer and listener here. */
  onStream?(stream: Http2Stream, headers: HeaderList, endStream: boolean): void;
  /** The peer's first SETTINGS have been seen. */
  onReady?(): void;
  /** The peer wants no more streams. */
  onGoaway?(): void;
  /** The last stream has ended. */
  onIdle?(): void;
  onClosed(failure: Failure | undefined): void;
}

/** Streams that ended lately: frames that were on their way are no error (RFC 9113 §5.1). */
const CLOSED_STREAMS_REMEMBERED = 256;

const keepalives = new Map<number, Deadlines>();

function keepalive(lengthMs: number): Deadlines {
  let deadlines = keepalives.get(lengthMs);
  if (deadlines === undefined) {
    deadlines = new Deadlines(lengthMs);
    keepalives.set(lengthMs, deadlines);
  }
  return deadlines;
}

export class Http2Connection implements TransportReceiver, FrameSink, DeadlineEntry {
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  deadlineAtMs = 0;

  readonly role: "client" | "server";
  readonly limits: Http2Limits;
  readonly peer: PeerSettings;
  readonly #transport: Transport;
  readonly #handler: ConnectionHandler;
  readonly #output: Output;
  readonly #reader: FrameReader;
  readonly #blocks: HeaderBlocks;
  readonly #guard: FloodGuard;
  readonly #streams = new Map<number, Http2Stream>();
  #waiting: Http2Stream[] = [];
  readonly #closedStreams: number[] = [];
  #prefaceBytes: number;
  #sendWindow = DEFAULT_WINDOW_BYTES;
  #receiveWindow: number;
  #creditedBytes = 0;
  #nextStream = 1;
  #lastPeerStream = 0;
  #isSettled = false;
  #isGoawaySent = false;
  #isGoawayReceived = false;
  #isDraining = false;
  #isClosed = false;
  #hasHeardPeer = false;
  #isPingUnanswered = false;
  #blockedReplies = 0;
  #dataStream: Http2Stream | undefined;
  #dataFlags = 0;
  #drained: (() => void)[] = [];
  #failure: Failure | undefined;

  constructor(
    transport: Transport,
    role: "client" | "server",
    handler: ConnectionHandler,
    limits: Http2Limits,
  ) {
    this.role = role;
    this.limits = limits;
    this.#transport = transport;
    this.#handler = handler;
    this.peer = {
      maxConcurrentStreams: Number.POSITIVE_INFINITY,
      initialWindowBytes: DEFAULT_WINDOW_BYTES,
      maxFrameBytes: DEFAULT_FRAME_BYTES,
    };
    this.#output = new Output(transport, () => this.#resume());
    this.#reader = new FrameReader(this);
    this.#blocks = new HeaderBlocks(limits);
    this.#guard = new FloodGuard(limits);
    this.#prefaceBytes = role === "server" ? PREFACE.length : 0;
    this.#receiveWindow = limits.connectionWindowBytes;
    if (role === "client") this.#output.raw(PREFACE);
    const settings = ourSettings(role, limits);
    this.#output.frame(FrameType.SETTINGS, 0, 0, settings, 0, settings.length);
    this.sendWindowUpdate(0, limits.connectionWindowBytes - DEFAULT_WINDOW_BYTES);
    keepalive(limits.keepaliveIntervalMs).arm(this, performance.now());
    transport.attach(this);
  }

  // ---- state

  get canOpen(): boolean {
    if (this.#isClosed || this.#isDraining || this.#isGoawayReceived) return false;
    return this.#streams.size < this.peer.maxConcurrentStreams && this.#nextStream < WINDOW_MAX;
  }

  get streamCount(): number {
    return this.#streams.size;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get isDraining(): boolean {
    return this.#isDraining || this.#isGoawayReceived;
  }

  /** Client role; the caller has looked at `canOpen`. */
  open(block: Buffer | HeaderList, endStream: boolean, listener: HeadersListener): Http2Stream {
    const id = this.#nextStream;
    this.#nextStream += 2;
    const { initialWindowBytes } = this.peer;
    const stream = new Http2Stream(this, id, initialWindowBytes, this.limits.streamWindowBytes);
    stream.listener = listener;
    stream.isLocalEnded = endStream;
    this.#streams.set(id, stream);
    this.sendHeaders(stream, block, endStream);
    return stream;
  }

  // ---- receiving

  onBytes(bytes: Buffer, start: number, end: number): void {
    if (this.#isClosed) return;
    this.#hasHeardPeer = true;
    let position = start;
    while (this.#prefaceBytes > 0 && position < end) {
      if (bytes[position] !== PREFACE[PREFACE.length - this.#prefaceBytes]) {
        this.fail(ErrorCode.PROTOCOL_ERROR, "no HTTP/2 preface");
        return;
      }
      this.#prefaceBytes--;
      position++;
    }
    this.#reader.read(bytes, position, end);
  }

  onFrameHead(length: number, type: number, flags: number, id: number): boolean {
    if (length > this.limits.maxFrameBytes) {
      return this.fail(ErrorCode.FRAME_SIZE_ERROR, `a frame of ${length} bytes`);
    }
    if (!this.#isSettled && type !== FrameType.SETTINGS) {
      return this.fail(ErrorCode.PROTOCOL_ERROR, "first frame is not SETTINGS");
    }
    if (this.#blocks.isOpen && (type !== FrameType.CONTINUATION || id !== this.#blocks.stream)) {
      return this.fail(ErrorCode.PROTOCOL_ERROR, "a header block was interrupted");
    }
    return type === FrameType.DATA ? this.#dataHead(length, flags, id) : true;
  }

  #dataHead(length: number, flags: number, id: number): boolean {
    if (id === 0) return this.fail(ErrorCode.PROTOCOL_ERROR, "DATA on stream 0");
    this.#dataFlags = flags;
    this.#dataStream = undefined;
    this.#receiveWindow -= length;
    if (this.#receiveWindow < 0) {
      return this.fail(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the connection's window");
    }
    if (length === 0 && (flags & Flag.END_STREAM) === 0) {
      if (this.#guard.emptyFrame()) return this.#flood("empty DATA frames");
    } else this.#guard.notEmpty();
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      this.creditBytes(length);
      return this.#onUnknownStream(id, "DATA");
    }
    stream.receiveWindow -= length;
    if (stream.receiveWindow < 0) stream.resetWith(ErrorCode.FLOW_CONTROL_ERROR);
    else if (stream.isRemoteEnded) stream.resetWith(ErrorCode.STREAM_CLOSED);
    else if (!stream.hasHeaders) stream.resetWith(ErrorCode.PROTOCOL_ERROR);
    else this.#dataStream = stream;
    if (this.#dataStream === undefined) this.creditBytes(length);
    else if ((flags & Flag.PADDED) !== 0) this.#dataPadding = length;
    return !this.#isClosed;
  }

  /** Bytes of the present DATA frame that no consumer will see: padding and its length. */
  #dataPadding = 0;

  onDataPayload(bytes: Buffer, start: number, end: number): void {
    const stream = this.#dataStream;
    if (stream === undefined) return;
    if (this.#dataPadding > 0) this.#dataPadding -= end - start;
    if (stream.isClosed) this.creditBytes(end - start);
    else stream.receive(bytes, start, end);
  }

  onDataEnd(): void {
    const stream = this.#dataStream;
    const padding = this.#dataPadding;
    this.#dataStream = undefined;
    this.#dataPadding = 0;
    if (stream === undefined) return;
    if (padding > 0) {
      if (stream.isClosed) this.creditBytes(padding);
      else stream.receivePadding(padding);
    }
    if ((this.#dataFlags & Flag.END_STREAM) !== 0 && !stream.isClosed) stream.remoteEnd();
  }

  onPaddingError(): void {
    this.fail(ErrorCode.PROTOCOL_ERROR, "padding longer than its frame");
  }

  onFrame(
    type: number,
    flags: number,
    id: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): void {
    if (type !== FrameType.HEADERS && type !== FrameType.CONTINUATION) {
      if (this.#guard.control()) {
        this.#flood("control frames");
        return;
      }
    }
    switch (type) {
      case FrameType.HEADERS:
        this.#onHeaders(flags, id, bytes, start, end);
        return;
      case FrameType.CONTINUATION:
        this.#onContinuation(flags, id, bytes, start, end);
        return;
      case FrameType.RST_STREAM:
        this.#onReset(id, bytes, start, end);
        return;
      case FrameType.SETTINGS:
        this.#onSettings(flags, id, bytes, start, end);
        return;
      case FrameType.PING:
        this.#onPing(flags, id, bytes, start, end);
        return;
      case FrameType.GOAWAY:
        this.#onGoaway(id, bytes, start, end);
        return;
      case FrameType.WINDOW_UPDATE:
        this.#onWindowUpdate(id, bytes, start, end);
        return;
      case FrameType.PUSH_PROMISE:
        this.fail(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE");
        return;
      case FrameType.PRIORITY:
        this.#onPriority(id, start, end);
        return;
      default: // RFC 9113 §4.1: unknown types are ignored
    }
  }

  #onHeaders(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (id === 0 || (this.role === "server" && id % 2 === 0)) {
      this.fail(ErrorCode.PROTOCOL_ERROR, `HEADERS on stream ${id}`);
      return;
    }
    const problem = this.#blocks.begin(flags, id, bytes, start, end);
    if (problem !== undefined) this.fail(problem.code, problem.detail);
    else if (!this.#blocks.isOpen) this.#onBlock();
  }

  #onContinuation(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (!this.#blocks.isOpen) {
      this.fail(ErrorCode.PROTOCOL_ERROR, `CONTINUATION on stream ${id} without HEADERS`);
      return;
    }
    const problem = this.#blocks.append(flags, bytes, start, end);
    if (problem !== undefined) this.fail(problem.code, problem.detail);
    else if (!this.#blocks.isOpen) this.#onBlock();
  }

  /** A header block is complete. */
  #onBlock(): void {
    const { stream: id, endStream, isTooLarge } = this.#blocks;
    const headers = this.#blocks.decode();
    if (headers === undefined) {
      this.fail(ErrorCode.COMPRESSION_ERROR, "the header block cannot be decoded");
      return;
    }
    const stream = this.#streams.get(id);
    if (stream !== undefined) this.#onStreamHeaders(stream, headers, endStream, isTooLarge());
    else if (this.role === "server" && id > this.#lastPeerStream) {
      this.#onRequest(id, headers, endStream, isTooLarge());
    } else this.#onUnknownStream(id, "HEADERS");
  }

  #onRequest(id: number, headers: HeaderList, endStream: boolean, isTooLarge: boolean): void {
    this.#lastPeerStream = id;
    // After the final GOAWAY a new stream is ignored: the peer knows it was not looked at.
    if (this.#isGoawaySent) return;
    if (this.#streams.size >= this.limits.maxConcurrentStreams) {
      this.#refuse(id, ErrorCode.REFUSED_STREAM);
      return;
    }
    if (isTooLarge || headerListProblem(headers, "request") !== undefined) {
      this.#refuse(id, isTooLarge ? ErrorCode.ENHANCE_YOUR_CALM : ErrorCode.PROTOCOL_ERROR);
      return;
    }
    const { initialWindowBytes } = this.peer;
    const stream = new Http2Stream(this, id, initialWindowBytes, this.limits.streamWindowBytes);
    stream.hasHeaders = true;
    this.#streams.set(id, stream);
    this.#handler.onStream?.(stream, headers, endStream);
    if (endStream && !stream.isClosed) stream.remoteEnd();
  }

  #refuse(id: number, code: number): void {
    this.#output.words(FrameType.RST_STREAM, 0, id, code);
    this.#remember(id);
    if (this.#guard.prematureReset()) this.#flood("streams that had to be refused");
  }

  #onStreamHeaders(
    stream: Http2Stream,
    headers: HeaderList,
    endStream: boolean,
    isTooLarge: boolean,
  ): void {
    const isTrailers = stream.hasHeaders;
    const kind = isTrailers ? "trailers" : "response";
    const isBad = isTooLarge || (isTrailers && !endStream) || stream.isRemoteEnded;
    if (isBad || headerListProblem(headers, kind) !== undefined) {
      stream.resetWith(stream.isRemoteEnded ? ErrorCode.STREAM_CLOSED : ErrorCode.PROTOCOL_ERROR);
      return;
    }
    const isInterim = !isTrailers && headers[1]!.charCodeAt(0) === 0x31;
    if (isInterim && endStream) {
      stream.resetWith(ErrorCode.PROTOCOL_ERROR);
      return;
    }
    if (!isInterim) stream.hasHeaders = true;
    stream.listener.onHeaders(headers, endStream, isTrailers);
    if (endStream && !stream.isClosed) stream.remoteEnd();
  }

  #onReset(id: number, bytes: Buffer, start: number, end: number): void {
    if (end - start !== 4) {
      this.fail(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM of another length than 4");
      return;
    }
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      if (id === 0 || this.#isIdle(id))
        this.fail(ErrorCode.PROTOCOL_ERROR, `RST_STREAM on stream ${id}`);
      return;
    }
    const code = bytes.readUInt32BE(start);
    const isPremature = this.role === "server" && !stream.hasResponded;
    const isRefused = code === ErrorCode.REFUSED_STREAM;
    stream.close({ by: "peer", detail: `RST_STREAM ${errorName(code)}`, isRefused });
    if (isPremature && this.#guard.prematureReset()) this.#flood("streams reset at once");
  }

  #onSettings(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (id !== 0) {
      this.fail(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream");
      return;
    }
    if ((flags & Flag.ACK) !== 0) {
      if (end !== start) this.fail(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS ACK with a payload");
      else if (!this.#isSettled) this.fail(ErrorCode.PROTOCOL_ERROR, "first frame is not SETTINGS");
      return;
    }
    const before = this.peer.initialWindowBytes;
    const problem = applySettings(this.peer, this.role, bytes, start, end);
    if (problem !== undefined) {
      this.fail(problem.code, problem.detail);
      return;
    }
    const delta = this.peer.initialWindowBytes - before;
    for (const stream of this.#streams.values()) {
      stream.sendWindow += delta;
      if (stream.sendWindow > WINDOW_MAX) {
        this.fail(ErrorCode.FLOW_CONTROL_ERROR, "SETTINGS overflow a stream's window");
        return;
      }
    }
    this.#output.frame(FrameType.SETTINGS, Flag.ACK, 0, PREFACE, 0, 0);
    if (!this.#mayReply()) return;
    if (!this.#isSettled) {
      this.#isSettled = true;
      this.#handler.onReady?.();
    }
    this.#resume();
  }

  #onPing(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (id !== 0) this.fail(ErrorCode.PROTOCOL_ERROR, "PING on a stream");
    else if (end - start !== 8)
      this.fail(ErrorCode.FRAME_SIZE_ERROR, "PING of another length than 8");
    else if ((flags & Flag.ACK) === 0) {
      this.#output.frame(FrameType.PING, Flag.ACK, 0, bytes, start, end);
      this.#mayReply();
    } else if (this.#isDraining && bytes.readUInt32BE(start) === DRAIN_PING)
      this.#sendFinalGoaway();
    else this.#isPingUnanswered = false;
  }

  /** A peer that makes us answer and does not read the answers is cut off. */
  #mayReply(): boolean {
    if (this.#output.isWritable) this.#blockedReplies = 0;
    else if (++this.#blockedReplies > this.limits.maxEmptyFrames) {
      return this.#flood("frames that want an answer, with the answers unread");
    }
    return true;
  }

  #onGoaway(id: number, bytes: Buffer, start: number, end: number): void {
    if (id !== 0 || end - start < 8) {
      const code = id !== 0 ? ErrorCode.PROTOCOL_ERROR : ErrorCode.FRAME_SIZE_ERROR;
      this.fail(code, "malformed GOAWAY");
      return;
    }
    const last = bytes.readUInt32BE(start) & WINDOW_MAX;
    const isFirst = !this.#isGoawayReceived;
    this.#isGoawayReceived = true;
    if (this.role === "client") {
      const reset = { by: "peer", detail: "GOAWAY", isRefused: true } as const;
      for (const stream of [...this.#streams.values()]) if (stream.id > last) stream.close(reset);
    }
    if (isFirst) this.#handler.onGoaway?.();
    this.#endWhenIdle();
  }

  #onWindowUpdate(id: number, bytes: Buffer, start: number, end: number): void {
    if (end - start !== 4) {
      this.fail(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE of another length than 4");
      return;
    }
    const increment = bytes.readUInt32BE(start) & WINDOW_MAX;
    if (id === 0) {
      this.#sendWindow += increment;
      if (increment === 0) this.fail(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0");
      else if (this.#sendWindow > WINDOW_MAX)
        this.fail(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window overflows");
      else this.#resume();
      return;
    }
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      if (this.#isIdle(id)) this.fail(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream");
      return;
    }
    stream.sendWindow += increment;
    if (increment === 0) stream.resetWith(ErrorCode.PROTOCOL_ERROR);
    else if (stream.sendWindow > WINDOW_MAX) stream.resetWith(ErrorCode.FLOW_CONTROL_ERROR);
    else if (stream.isWaiting) this.#resume();
  }

  #onPriority(id: number, start: number, end: number): void {
    if (id === 0) this.fail(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0");
    else if (end - start !== 5) this.#streams.get(id)?.resetWith(ErrorCode.FRAME_SIZE_ERROR);
  }

  #isIdle(id: number): boolean {
    const isOurs = id % 2 === (this.role === "client" ? 1 : 0);
    return isOurs ? id >= this.#nextStream : id > this.#lastPeerStream;
  }

  /** DATA or HEADERS for a stream that is not there. False: the connection is in error. */
  #onUnknownStream(id: number, what: string): boolean {
    if (this.#isIdle(id)) return this.fail(ErrorCode.PROTOCOL_ERROR, `${what} on an idle stream`);
    if (this.#closedStreams.includes(id)) return true;
    return this.fail(ErrorCode.STREAM_CLOSED, `${what} on a stream closed long ago`);
  }

  onEnd(): void {
    if (this.#streams.size === 0 || this.#reader.isMidFrame) this.destroy();
    else
      this.destroy(
        new Failure("DOWNSTREAM_RESET", "the connection ended in the middle of streams"),
      );
  }

  onClosed(error: Error | undefined): void {
    const failure = this.#failure ?? (error && Failure.from(error, "DOWNSTREAM_RESET"));
    this.#shut(failure);
  }

  // ---- sending, for streams

  sendHeaders(stream: Http2Stream, headers: Buffer | HeaderList, endStream: boolean): void {
    const block = Buffer.isBuffer(headers) ? headers : encodeStatelessBlock(headers);
    const limit = this.peer.maxFrameBytes;
    const first = Math.min(block.length, limit);
    const isWhole = first === block.length;
    const flags = (endStream ? Flag.END_STREAM : 0) | (isWhole ? Flag.END_HEADERS : 0);
    this.#output.frame(FrameType.HEADERS, flags, stream.id, block, 0, first);
    for (let at = first; at < block.length; at += limit) {
      const end = Math.min(at + limit, block.length);
      const last = end === block.length ? Flag.END_HEADERS : 0;
      this.#output.frame(FrameType.CONTINUATION, last, stream.id, block, at, end);
    }
  }

  /** Takes `length` from both windows; false when that much may not be sent now. */
  takeSendWindow(stream: Http2Stream, length: number): boolean {
    if (length > stream.sendWindow || length > this.#sendWindow || !this.#output.isWritable) {
      return false;
    }
    stream.sendWindow -= length;
    this.#sendWindow -= length;
    return true;
  }

  /** How much of a queue may be sent now. */
  sendRoom(stream: Http2Stream): number {
    if (!this.#output.isWritable) return 0;
    return Math.min(stream.sendWindow, this.#sendWindow);
  }

  sendData(stream: Http2Stream, bytes: Buffer, start: number, end: number): void {
    this.#guard.dataSent();
    this.#output.data(stream.id, bytes, start, end, this.peer.maxFrameBytes);
  }

  sendEnd(stream: Http2Stream): void {
    this.#output.endStream(stream.id);
  }

  sendReset(stream: Http2Stream, code: number): void {
    this.#output.words(FrameType.RST_STREAM, 0, stream.id, code);
  }

  sendWindowUpdate(id: number, increment: number): void {
    this.#output.words(FrameType.WINDOW_UPDATE, 0, id, increment);
  }

  /** Bytes of DATA that nobody holds any more. */
  creditBytes(count: number): void {
    this.#creditedBytes += count;
    if (this.#creditedBytes < this.limits.connectionWindowBytes / 2) return;
    this.#receiveWindow += this.#creditedBytes;
    this.sendWindowUpdate(0, this.#creditedBytes);
    this.#creditedBytes = 0;
  }

  /** The stream has something queued. */
  wait(stream: Http2Stream): void {
    if (stream.isWaiting) return;
    stream.isWaiting = true;
    this.#waiting.push(stream);
  }

  /** Windows or the transport have opened: each waiting stream has a turn, in order. */
  #resume(): void {
    if (this.#waiting.length === 0 || this.#sendWindow <= 0 || !this.#output.isWritable) return;
    const streams = this.#waiting;
    this.#waiting = [];
    for (const stream of streams) {
      stream.isWaiting = false;
      if (!stream.isClosed && stream.sendQueued()) this.wait(stream);
    }
  }

  /** The stream is closed. */
  forget(stream: Http2Stream): void {
    if (!this.#streams.delete(stream.id)) return;
    this.#remember(stream.id);
    if (this.#streams.size > 0 || this.#isClosed) return;
    this.#handler.onIdle?.();
    this.#endWhenIdle();
  }

  #remember(id: number): void {
    this.#closedStreams.push(id);
    if (this.#closedStreams.length > CLOSED_STREAMS_REMEMBERED) this.#closedStreams.shift();
  }

  // ---- ends

  /** Graceful: resolves when the last stream is done and the transport is closed. */
  drain(): Promise<void> {
    if (this.#isClosed) return Promise.resolve();
    const drained = new Promise<void>((resolve) => this.#drained.push(resolve));
    if (this.#isDraining) return drained;
    this.#isDraining = true;
    if (this.role === "server") {
      this.#output.words(FrameType.GOAWAY, 0, 0, WINDOW_MAX, ErrorCode.NO_ERROR);
      this.#output.words(FrameType.PING, 0, 0, DRAIN_PING, 0);
    } else this.#sendFinalGoaway();
    return drained;
  }

  #sendFinalGoaway(): void {
    if (this.#isGoawaySent) return;
    this.#isGoawaySent = true;
    this.#output.words(FrameType.GOAWAY, 0, 0, this.#lastPeerStream, ErrorCode.NO_ERROR);
    this.#endWhenIdle();
  }

  #endWhenIdle(): void {
    const isOver = this.#isGoawaySent || (this.#isGoawayReceived && this.role === "client");
    if (!isOver || this.#streams.size > 0 || this.#isClosed) return;
    this.#output.flush();
    this.#transport.end();
    this.#shut(undefined);
  }

  /** A connection error: GOAWAY with the code, then the end. Returns false, for the reader. */
  fail(code: number, detail: string): false {
    if (this.#isClosed) return false;
    const isFlood = code === ErrorCode.ENHANCE_YOUR_CALM;
    const failure = new Failure(
      isFlood ? "HTTP2_FLOOD" : "HTTP2_PROTOCOL_ERROR",
      `${errorName(code)}: ${detail}`,
    );
    this.#reader.isStopped = true;
    this.#output.words(FrameType.GOAWAY, 0, 0, this.#lastPeerStream, code);
    this.#output.flush();
    this.#transport.end();
    this.#shut(failure);
    return false;
  }

  #flood(what: string): false {
    return this.fail(ErrorCode.ENHANCE_YOUR_CALM, `too many ${what}`);
  }

  destroy(failure?: Failure): void {
    if (this.#isClosed) return;
    this.#failure = failure;
    this.#transport.destroy();
    this.#shut(failure);
  }

  #shut(failure: Failure | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    Deadlines.disarm(this);
    this.#output.close();
    const detail = failure?.message ?? "the connection ended";
    for (const stream of [...this.#streams.values()]) {
      stream.close({ by: "connection", detail, isRefused: false });
    }
    this.#waiting = [];
    this.#handler.onClosed(failure);
    for (const resolve of this.#drained.splice(0)) resolve();
  }

  /** The keep-alive: silence for an interval brings a PING; silence after it, the end. */
  onDeadline(): void {
    if (this.#isPingUnanswered && !this.#hasHeardPeer) {
      this.destroy(new Failure("TIMEOUT", "no answer to PING"));
      return;
    }
    const { keepaliveIntervalMs, keepaliveTimeoutMs } = this.limits;
    let waitMs = keepaliveIntervalMs;
    if (!this.#hasHeardPeer) {
      this.#isPingUnanswered = true;
      this.#output.words(FrameType.PING, 0, 0, 0, 0);
      waitMs = keepaliveTimeoutMs;
    } else this.#isPingUnanswered = false;
    this.#hasHeardPeer = false;
    keepalive(waitMs).arm(this, performance.now());
  }
}

/** First word of the PING whose answer ends the first step of a drain. */
const DRAIN_PING = 0x77617973;
