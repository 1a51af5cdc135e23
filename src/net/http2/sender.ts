/**
 * The sending half of a connection: what the peer allows, and whose turn it is.
 *
 * Data goes out while two things allow it: the stream's window and the connection's. A stream that
 * its own window holds back waits for nobody but its peer; one that the connection's holds back
 * waits in line here. When the line moves, each stream in it has a turn of at most 64 KiB and goes
 * to its end. Nobody passes the line: while it is not empty every write queues.
 *
 * A transport that is behind holds nobody back: bytes go into the output as ever, but those whose
 * bytes they are get their credit only when it has caught up, and so stop on their own. Queueing
 * them instead costs a copy more; measured on bulk, a third of all CPU (TCP 1.65 → 1.22, 64 KiB
 * bodies 2.2 → 1.25 of the prototype's).
 *
 * Invariants: outside `resume` the line is empty, or the connection's window is exhausted (so an
 * event that moves the line is sure to come); the window never falls below 0.
 */
import type { ByteStream } from "../byte-stream.ts";
import type { FloodGuard } from "./flood-guard.ts";
import { DEFAULT_WINDOW_BYTES, Flag, FrameType, WINDOW_MAX } from "./frames.ts";
import type { HeaderList } from "./headers.ts";
import { IndexingEncoder } from "./hpack/indexing-encoder.ts";
import type { Http2Limits } from "./limits.ts";
import { Output, peerPausedAboveBytes } from "./output.ts";
import { defaultPeerSettings, type PeerSettings } from "./settings.ts";
import type { Http2Stream } from "./stream.ts";
import type { Transport } from "./transport.ts";

/** Data that goes out in pieces smaller than this, because the window is narrower still, … */
const DRIBBLE_BYTES = 256;

export class Sender {
  readonly output: Output;
  /** What the peer's SETTINGS say. */
  readonly peer: PeerSettings = defaultPeerSettings();
  readonly #guard: FloodGuard;
  readonly #encoder: IndexingEncoder;
  #window = DEFAULT_WINDOW_BYTES;
  /** The line; those before `#first` have had their turn. */
  #line: Http2Stream[] = [];
  #first = 0;
  #isResuming = false;
  /** … pays for no window updates (CVE-2019-9511): the last `take` was one of a few bytes. */
  #isDribbling = false;
  /** Whose bytes went out while the transport was behind, and how many. */
  #creditors: ByteStream[] = [];
  #dues: number[] = [];

  constructor(transport: Transport, guard: FloodGuard, limits: Http2Limits) {
    this.#guard = guard;
    this.#encoder = new IndexingEncoder(limits.indexesHeaders);
    const peerPausedAbove = peerPausedAboveBytes(limits.connectionWindowBytes);
    this.output = new Output(transport, peerPausedAbove, () => this.#onCaughtUp());
  }

  /** Somebody waits: whoever comes now has to wait as well. */
  get hasLine(): boolean {
    return this.#first < this.#line.length;
  }

  /** How many of `wanted` bytes may go now; they are taken from both windows. */
  take(stream: Http2Stream, wanted: number): number {
    let count = wanted;
    if (count > stream.sendWindow) count = stream.sendWindow;
    if (count > this.#window) count = this.#window;
    if (count <= 0) return 0;
    stream.sendWindow -= count;
    this.#window -= count;
    this.#isDribbling = count < wanted && count < DRIBBLE_BYTES;
    return count;
  }

  /** Sends what was taken. */
  data(id: number, bytes: Buffer, start: number, end: number): void {
    if (!this.#isDribbling) this.#guard.dataSent();
    this.output.data(id, bytes, start, end, this.peer.maxFrameBytes);
  }

  /** Bytes of that source are in the output. */
  settle(source: ByteStream, count: number): void {
    if (this.#creditors.length === 0 && this.output.isWritable) {
      source.credit(count);
      return;
    }
    const last = this.#creditors.length - 1;
    if (last >= 0 && this.#creditors[last] === source) this.#dues[last]! += count;
    else {
      this.#creditors.push(source);
      this.#dues.push(count);
    }
  }

  #onCaughtUp(): void {
    this.#guard.caughtUp();
    this.#settleAll();
  }

  #settleAll(): void {
    if (this.#creditors.length === 0) return;
    const creditors = this.#creditors;
    const dues = this.#dues;
    this.#creditors = [];
    this.#dues = [];
    for (let i = 0; i < creditors.length; i++) creditors[i]!.credit(dues[i]!);
  }

  /** An empty block is possible; more than a frame goes on in CONTINUATIONs. */
  headers(id: number, headers: Buffer | HeaderList, endStream: boolean): void {
    const encoder = this.#encoder;
    const block = Buffer.isBuffer(headers) ? encoder.carry(headers) : encoder.encode(headers);
    const limit = this.peer.maxFrameBytes;
    let end = Math.min(block.length, limit);
    let flags = endStream ? Flag.END_STREAM : 0;
    if (end === block.length) flags |= Flag.END_HEADERS;
    this.output.frame(FrameType.HEADERS, flags, id, block, 0, end);
    while (end < block.length) {
      const start = end;
      end = Math.min(start + limit, block.length);
      const last = end === block.length ? Flag.END_HEADERS : 0;
      this.output.frame(FrameType.CONTINUATION, last, id, block, start, end);
    }
  }

  /** The peer's SETTINGS_HEADER_TABLE_SIZE. */
  limitHeaderTable(bytes: number): void {
    this.#encoder.limitTable(bytes);
  }

  endStream(id: number): void {
    this.output.endStream(id);
  }

  reset(id: number, code: number): void {
    this.output.words(FrameType.RST_STREAM, 0, id, code);
  }

  windowUpdate(id: number, increment: number): void {
    if (increment > 0) this.output.words(FrameType.WINDOW_UPDATE, 0, id, increment);
  }

  /** WINDOW_UPDATE for the connection. False: the window overflows. */
  widen(increment: number): boolean {
    this.#window += increment;
    if (this.#window > WINDOW_MAX) return false;
    this.resume();
    return true;
  }

  /** To the end of the line; once only. */
  wait(stream: Http2Stream): void {
    if (stream.isWaiting) return;
    stream.isWaiting = true;
    this.#line.push(stream);
  }

  /** The window has opened. */
  resume(): void {
    if (this.#isResuming || !this.hasLine) return;
    this.#isResuming = true;
    while (this.hasLine && this.#window > 0) {
      const stream = this.#line[this.#first++]!;
      stream.isWaiting = false;
      if (!stream.isClosed) stream.sendTurn();
    }
    if (!this.hasLine) {
      this.#line = [];
      this.#first = 0;
    } else if (this.#first > 256) {
      this.#line.splice(0, this.#first);
      this.#first = 0;
    }
    this.#isResuming = false;
  }

  close(): void {
    this.output.close();
    this.#line = [];
    this.#first = 0;
    this.#settleAll();
  }
}
