/**
 * The receiving half of a connection: every frame is judged here (RFC 9113 §4–§6), DATA goes to its
 * stream, and header blocks to `HeaderReceiver`.
 *
 * Lengths and ids are judged at the frame head, before a byte of the payload is stored.
 *
 * Flow control: the connection's window is given back as DATA *arrives*, a stream's as its consumer
 * credits bytes. So a consumer that stands still stops its own stream only, and what a connection
 * can make us hold is the sum of its streams' windows, which `Http2Limits` bounds; the connection's
 * window merely bounds what is under way. (Giving the connection's back with the streams' instead
 * would let one client that does not read stop all others who share a connection to a server.)
 */
import type { Http2Connection } from "./connection.ts";
import { ErrorCode, errorName } from "./errors.ts";
import type { Faults } from "./faults.ts";
import type { FloodGuard } from "./flood-guard.ts";
import type { FrameSink } from "./frame-reader.ts";
import { Flag, FrameType, WINDOW_MAX } from "./frames.ts";
import { HeaderReceiver } from "./header-receiver.ts";
import type { Http2Limits } from "./limits.ts";
import type { Sender } from "./sender.ts";
import { applySettings } from "./settings.ts";
import type { Http2Stream } from "./stream.ts";
import type { StreamTable } from "./stream-table.ts";

const SETTINGS_ENTRY_BYTES = 6;
/** RFC 9113 defines six; extensions a few more. */
const SETTINGS_BYTES_MAX = 64 * SETTINGS_ENTRY_BYTES;
const GOAWAY_BYTES = 8;
const NOTHING = Buffer.alloc(0);

export class Receiver implements FrameSink {
  readonly #connection: Http2Connection;
  readonly #sender: Sender;
  readonly #table: StreamTable;
  readonly #guard: FloodGuard;
  readonly #limits: Http2Limits;
  readonly #faults: Faults;
  readonly #headers: HeaderReceiver;
  /** The peer's first SETTINGS have come. */
  isSettled = false;
  #window: number;
  /** Of the connection's window: arrived, and not yet given back. */
  #arrivedBytes = 0;
  /** Length of the frame whose head came last. */
  #length = 0;
  /** The present DATA frame's; null: nobody wants it. */
  #dataStream: Http2Stream | null = null;
  #dataFlags = 0;
  /** Bytes of it that no consumer will see: padding and its length. */
  #dataPadding = 0;

  constructor(
    connection: Http2Connection,
    sender: Sender,
    table: StreamTable,
    guard: FloodGuard,
    faults: Faults,
  ) {
    const { limits } = connection;
    this.#connection = connection;
    this.#sender = sender;
    this.#table = table;
    this.#guard = guard;
    this.#limits = limits;
    this.#faults = faults;
    this.#headers = new HeaderReceiver(connection, table, faults, limits);
    this.#window = limits.connectionWindowBytes;
  }

  /** In the middle of a header block. */
  get isInBlock(): boolean {
    return this.#headers.isInBlock;
  }

  onFrameHead(length: number, type: number, flags: number, id: number): number {
    this.#length = length;
    if (length > this.#limits.maxFrameBytes) {
      return this.#faults.fail(ErrorCode.FRAME_SIZE_ERROR, `§4.2: a frame of ${length} bytes`);
    }
    if (!this.isSettled && (type !== FrameType.SETTINGS || (flags & Flag.ACK) !== 0)) {
      return this.#faults.fail(ErrorCode.PROTOCOL_ERROR, "§3.4: the first frame is not SETTINGS");
    }
    const headers = this.#headers;
    if (headers.isInBlock && (type !== FrameType.CONTINUATION || id !== headers.blockStream)) {
      return this.#faults.fail(ErrorCode.PROTOCOL_ERROR, "§4.3: a header block was interrupted");
    }
    if (type === FrameType.DATA) return this.#dataHead(length, flags, id);
    if (type === FrameType.HEADERS || type === FrameType.CONTINUATION) {
      return headers.onHead(length, type, id);
    }
    if (this.#guard.control()) return this.#faults.flood("control frames");
    return this.#controlHead(length, type, flags, id);
  }

  /** Length and stream of what carries no data, as far as they are connection errors. */
  #controlHead(length: number, type: number, flags: number, id: number): number {
    switch (type) {
      case FrameType.SETTINGS:
        if (id !== 0)
          return this.#faults.fail(ErrorCode.PROTOCOL_ERROR, "§6.5: SETTINGS on a stream");
        if ((flags & Flag.ACK) !== 0 ? length !== 0 : length % SETTINGS_ENTRY_BYTES !== 0) {
          return this.#badLength("SETTINGS");
        }
        return length <= SETTINGS_BYTES_MAX ? length : this.#faults.flood("settings in one frame");
      case FrameType.PING:
        if (id !== 0) return this.#faults.fail(ErrorCode.PROTOCOL_ERROR, "§6.7: PING on a stream");
        return length === 8 ? length : this.#badLength("PING");
      case FrameType.GOAWAY:
        if (id !== 0)
          return this.#faults.fail(ErrorCode.PROTOCOL_ERROR, "§6.8: GOAWAY on a stream");
        return length >= GOAWAY_BYTES ? GOAWAY_BYTES : this.#badLength("GOAWAY");
      case FrameType.RST_STREAM:
        if (this.#table.isIdle(id) || id === 0) {
          return this.#faults.fail(ErrorCode.PROTOCOL_ERROR, `§6.4: RST_STREAM on stream ${id}`);
        }
        return length === 4 ? length : this.#badLength("RST_STREAM");
      case FrameType.WINDOW_UPDATE:
        if (this.#table.isIdle(id) && id !== 0) {
          return this.#faults.fail(
            ErrorCode.PROTOCOL_ERROR,
            "§5.1: WINDOW_UPDATE on an idle stream",
          );
        }
        return length === 4 ? length : this.#badLength("WINDOW_UPDATE");
      case FrameType.PUSH_PROMISE:
        return this.#faults.fail(ErrorCode.PROTOCOL_ERROR, "§8.4: PUSH_PROMISE");
      case FrameType.PRIORITY:
        if (id === 0)
          return this.#faults.fail(ErrorCode.PROTOCOL_ERROR, "§6.3: PRIORITY on stream 0");
        return 4;
      default: // RFC 9113 §4.1: unknown types are ignored
        return 0;
    }
  }

  #badLength(what: string): number {
    return this.#faults.fail(ErrorCode.FRAME_SIZE_ERROR, `§4.2: ${what} of ${this.#length} bytes`);
  }

  onFrame(type: number, flags: number, id: number, bytes: Buffer, start: number, end: number) {
    switch (type) {
      case FrameType.HEADERS:
        this.#headers.onHeaders(flags, id, bytes, start, end);
        return;
      case FrameType.CONTINUATION:
        this.#headers.onContinuation(flags, bytes, start, end);
        return;
      case FrameType.RST_STREAM:
        this.#onReset(id, bytes.readUInt32BE(start));
        return;
      case FrameType.SETTINGS:
        this.#onSettings(flags, bytes, start, end);
        return;
      case FrameType.PING:
        this.#onPing(flags, bytes, start, end);
        return;
      case FrameType.GOAWAY:
        this.#connection.onGoaway(
          bytes.readUInt32BE(start) & WINDOW_MAX,
          bytes.readUInt32BE(start + 4),
        );
        return;
      case FrameType.WINDOW_UPDATE:
        this.#onWindowUpdate(id, bytes.readUInt32BE(start) & WINDOW_MAX);
        return;
      case FrameType.PRIORITY:
        this.#onPriority(id, bytes, start);
        return;
      default:
    }
  }

  // ---- DATA

  #dataHead(length: number, flags: number, id: number): number {
    if (id === 0) return this.#faults.fail(ErrorCode.PROTOCOL_ERROR, "§6.1: DATA on stream 0");
    const isPadded = (flags & Flag.PADDED) !== 0;
    if (isPadded && length === 0) return this.#badLength("padded DATA");
    this.#window -= length;
    if (this.#window < 0) {
      return this.#faults.fail(
        ErrorCode.FLOW_CONTROL_ERROR,
        "§6.9: more DATA than the connection's window",
      );
    }
    this.#giveBack(length);
    this.#dataStream = null;
    this.#dataFlags = flags;
    this.#dataPadding = isPadded ? length : 0;
    if (length === 0 && (flags & Flag.END_STREAM) === 0) {
      if (this.#guard.emptyFrame()) return this.#faults.flood("empty DATA frames");
    } else if (!isPadded) this.#guard.notEmpty();
    const stream = this.#table.open.get(id);
    if (stream === undefined) return this.#faults.stray(id, "DATA");
    stream.receiveWindow -= length;
    if (stream.receiveWindow < 0) {
      const detail = "§6.9: more DATA than the stream's window";
      this.#faults.resetStream(stream, ErrorCode.FLOW_CONTROL_ERROR, detail);
    } else if (stream.isRemoteEnded) {
      this.#faults.resetStream(stream, ErrorCode.STREAM_CLOSED, "§5.1: DATA behind END_STREAM");
    } else if (!stream.hasHeaders) {
      this.#faults.resetStream(stream, ErrorCode.PROTOCOL_ERROR, "§8.1: DATA before HEADERS");
    } else this.#dataStream = stream;
    return 0;
  }

  #giveBack(count: number): void {
    this.#arrivedBytes += count;
    if (this.#arrivedBytes * 2 < this.#limits.connectionWindowBytes) return;
    this.#window += this.#arrivedBytes;
    this.#sender.windowUpdate(0, this.#arrivedBytes);
    this.#arrivedBytes = 0;
  }

  onDataPayload(bytes: Buffer, start: number, end: number): void {
    const stream = this.#dataStream;
    if (stream === null) return;
    if (this.#dataPadding > 0) this.#dataPadding -= end - start;
    if (stream.isClosed) this.#dataStream = null;
    else if (!stream.receive(bytes, start, end)) {
      const detail = "§8.1.1: a body longer than its content-length";
      this.#faults.resetStream(stream, ErrorCode.PROTOCOL_ERROR, detail);
    }
  }

  onDataEnd(): void {
    const stream = this.#dataStream;
    this.#dataStream = null;
    if (stream === null || stream.isClosed) return;
    if (this.#dataPadding > 0) {
      stream.receivePadding(this.#dataPadding);
      if (this.#dataPadding < this.#length) this.#guard.notEmpty();
      else if ((this.#dataFlags & Flag.END_STREAM) === 0 && this.#guard.emptyFrame()) {
        this.#faults.flood("DATA frames of nothing but padding");
        return;
      }
    }
    if ((this.#dataFlags & Flag.END_STREAM) !== 0) this.#headers.onEndStream(stream);
  }

  onPaddingError(): void {
    this.#faults.fail(ErrorCode.PROTOCOL_ERROR, "§6.1: padding longer than its frame");
  }

  // ---- the others

  #onReset(id: number, code: number): void {
    const stream = this.#table.open.get(id);
    if (stream === undefined) return;
    const isPremature = this.#connection.role === "server" && stream.isUnused;
    const isRefused = code === ErrorCode.REFUSED_STREAM;
    stream.close({ by: "peer", detail: `RST_STREAM ${errorName(code)}`, isRefused });
    if (isPremature) this.#faults.prematureReset();
  }

  #onSettings(flags: number, bytes: Buffer, start: number, end: number): void {
    if ((flags & Flag.ACK) !== 0) {
      this.#connection.onSettingsAck();
      return;
    }
    const { peer } = this.#sender;
    const before = peer.initialWindowBytes;
    peer.smallestHeaderTableBytes = Number.POSITIVE_INFINITY;
    const problem = applySettings(peer, this.#connection.role, bytes, start, end);
    if (problem !== undefined) {
      this.#faults.fail(problem.code, problem.detail);
      return;
    }
    // Of several sizes the smallest counts as well (RFC 7541 §4.2).
    if (peer.smallestHeaderTableBytes < Number.POSITIVE_INFINITY) {
      this.#sender.limitHeaderTable(peer.smallestHeaderTableBytes);
      this.#sender.limitHeaderTable(peer.headerTableBytes);
    }
    this.#sender.output.frame(FrameType.SETTINGS, Flag.ACK, 0, NOTHING, 0, 0);
    if (this.#isReplyFlood()) return;
    if (!this.#resizeWindows(peer.initialWindowBytes - before)) return;
    if (!this.isSettled) {
      this.isSettled = true;
      this.#connection.handler.onReady?.();
    }
  }

  /** RFC 9113 §6.9.2; a window may become negative by it. */
  #resizeWindows(delta: number): boolean {
    if (delta === 0) return true;
    for (const stream of [...this.#table.open.values()]) {
      stream.sendWindow += delta;
      if (stream.sendWindow > WINDOW_MAX) {
        this.#faults.fail(
          ErrorCode.FLOW_CONTROL_ERROR,
          "§6.9.2: SETTINGS overflow a stream's window",
        );
        return false;
      }
      stream.onWindow();
    }
    return !this.#connection.isClosed;
  }

  #onPing(flags: number, bytes: Buffer, start: number, end: number): void {
    if ((flags & Flag.ACK) !== 0) {
      this.#connection.onPong(bytes.readUInt32BE(start));
      return;
    }
    this.#sender.output.frame(FrameType.PING, Flag.ACK, 0, bytes, start, end);
    this.#isReplyFlood();
  }

  /** A peer that makes us answer and does not read the answers is cut off. */
  #isReplyFlood(): boolean {
    if (!this.#guard.reply(!this.#sender.output.isWritable)) return false;
    this.#faults.flood("frames that want an answer, with the answers unread");
    return true;
  }

  #onWindowUpdate(id: number, increment: number): void {
    if (id === 0) {
      if (increment === 0) this.#faults.fail(ErrorCode.PROTOCOL_ERROR, "§6.9: WINDOW_UPDATE of 0");
      else if (!this.#sender.widen(increment)) {
        this.#faults.fail(
          ErrorCode.FLOW_CONTROL_ERROR,
          "§6.9.1: the connection's window overflows",
        );
      }
      return;
    }
    const stream = this.#table.open.get(id);
    if (stream === undefined) return;
    stream.sendWindow += increment;
    if (increment === 0) {
      this.#faults.resetStream(stream, ErrorCode.PROTOCOL_ERROR, "§6.9: WINDOW_UPDATE of 0");
    } else if (stream.sendWindow > WINDOW_MAX) {
      const detail = "§6.9.1: the stream's window overflows";
      this.#faults.resetStream(stream, ErrorCode.FLOW_CONTROL_ERROR, detail);
    } else stream.onWindow();
  }

  /** Its content is ignored (RFC 9113 §5.3); what is malformed is not. */
  #onPriority(id: number, bytes: Buffer, start: number): void {
    const isSized = this.#length === 5;
    if (isSized && (bytes.readUInt32BE(start) & WINDOW_MAX) !== id) return;
    const code = isSized ? ErrorCode.PROTOCOL_ERROR : ErrorCode.FRAME_SIZE_ERROR;
    const stream = this.#table.open.get(id);
    if (stream !== undefined) this.#faults.resetStream(stream, code, "§6.3: malformed PRIORITY");
    // RST_STREAM on an idle stream is itself an error (§6.4): then it is the connection's.
    else if (this.#table.isIdle(id)) this.#faults.fail(code, "§6.3: malformed PRIORITY");
  }
}
