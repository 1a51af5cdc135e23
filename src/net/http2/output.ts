/**
 * The output of one connection: frames are written into a pooled buffer, and all that was written
 * during one turn of the event loop leaves in one write.
 *
 * Measured on the prototypes: one write a turn instead of one a frame is worth 20 % at saturation;
 * a buffer that may grow beyond 64 KiB costs up to twice the CPU on bulk, so a full buffer leaves
 * at once. An idle connection holds no buffer.
 *
 * Adjacent writes of one stream become one DATA frame: the head of a message and the beginning of
 * its body, or a body's pieces, do not each pay a frame head.
 */
import { Flag, FRAME_HEAD_BYTES, FrameType } from "./frames.ts";
import type { Transport } from "./transport.ts";

/** Four full DATA frames of the default size. */
const BUFFER_BYTES = 4 * (16_384 + FRAME_HEAD_BYTES);
const POOL_MAX = 256;
const pool: Buffer[] = [];

/** Output on its way and not yet written: above it nobody is given credit for more. */
const IN_FLIGHT_BYTES_MAX = 1024 * 1024;

/** Below it the peer is always read from. */
const PEER_PAUSED_ABOVE_BYTES = 20 * 1024 * 1024;

/**
 * Output on its way, above which the peer is not read from either: one who asks and asks and does
 * not read the answers must not fill our memory with them (they are our own bytes, which no credit
 * holds back).
 *
 * It is more than our own connection window, so that two such ends never stop reading each other:
 * what one has on its way is bounded by the window of the other; both stopped would mean that each
 * window is the larger one. (The quarter is for frame heads.)
 */
export function peerPausedAboveBytes(ownConnectionWindowBytes: number): number {
  return Math.max(PEER_PAUSED_ABOVE_BYTES, ownConnectionWindowBytes * 1.25);
}

let dirty: Output[] = [];
/** Those of connections inside of streams. */
let nestedDirty: Output[] = [];
let isScheduled = false;

/** Nested ones first: what they write into their streams leaves in the same turn, too. */
function flushAll(): void {
  const nested = nestedDirty;
  nestedDirty = [];
  for (let i = 0; i < nested.length; i++) nested[i]!.flush();
  isScheduled = nestedDirty.length > 0;
  if (isScheduled) setImmediate(flushAll);
  const outputs = dirty;
  dirty = [];
  for (let i = 0; i < outputs.length; i++) outputs[i]!.flush();
}

export class Output {
  readonly #transport: Transport;
  readonly #peerPausedAboveBytes: number;
  readonly #onWritable: () => void;
  #bytes: Buffer | null = null;
  #position = 0;
  #inFlightBytes = 0;
  #isDirty = false;
  #isClosed = false;
  #isPeerPaused = false;
  /** Buffers on their way, oldest first; the transport has the first. */
  readonly #flying: Buffer[] = [];
  readonly #flyingBytes: number[] = [];
  readonly #onWritten: () => void;
  /** The last frame in the buffer, when it is DATA that may still grow. */
  #openStream = 0;
  #openFrame = 0;
  #openBytes = 0;

  constructor(transport: Transport, peerPausedAbove: number, onWritable: () => void) {
    this.#transport = transport;
    this.#peerPausedAboveBytes = peerPausedAbove;
    this.#onWritable = onWritable;
    this.#onWritten = () => this.#written();
  }

  /** False: the transport is behind; what comes now gets its credit later. */
  get isWritable(): boolean {
    return this.#inFlightBytes <= IN_FLIGHT_BYTES_MAX;
  }

  /** Room for `count` bytes. The buffer may be another one afterwards. */
  #reserve(count: number): Buffer {
    let bytes = this.#bytes;
    if (bytes !== null && bytes.length - this.#position < count) {
      this.flush();
      bytes = this.#bytes;
    }
    if (bytes === null) {
      bytes =
        count <= BUFFER_BYTES
          ? (pool.pop() ?? Buffer.allocUnsafeSlow(BUFFER_BYTES))
          : Buffer.allocUnsafe(count);
      this.#bytes = bytes;
      this.#position = 0;
    }
    if (!this.#isDirty) {
      this.#isDirty = true;
      if (this.#transport.isNested) nestedDirty.push(this);
      else dirty.push(this);
      if (!isScheduled) {
        isScheduled = true;
        setImmediate(flushAll);
      }
    }
    return bytes;
  }

  #head(bytes: Buffer, length: number, type: number, flags: number, stream: number): number {
    const p = this.#position;
    bytes[p] = length >>> 16;
    bytes[p + 1] = length >>> 8;
    bytes[p + 2] = length;
    bytes[p + 3] = type;
    bytes[p + 4] = flags;
    bytes[p + 5] = stream >>> 24;
    bytes[p + 6] = stream >>> 16;
    bytes[p + 7] = stream >>> 8;
    bytes[p + 8] = stream;
    return p + FRAME_HEAD_BYTES;
  }

  /** A whole frame whose payload stands in `payload[start..end)`. */
  frame(
    type: number,
    flags: number,
    stream: number,
    payload: Buffer,
    start: number,
    end: number,
  ): void {
    if (this.#isClosed) return;
    const length = end - start;
    const bytes = this.#reserve(FRAME_HEAD_BYTES + length);
    const p = this.#head(bytes, length, type, flags, stream);
    if (length > 0) payload.copy(bytes, p, start, end);
    this.#position = p + length;
    this.#openStream = 0;
  }

  /** A frame of one or two 32-bit words. */
  words(type: number, flags: number, stream: number, first: number, second?: number): void {
    if (this.#isClosed) return;
    const length = second === undefined ? 4 : 8;
    const bytes = this.#reserve(FRAME_HEAD_BYTES + length);
    const p = this.#head(bytes, length, type, flags, stream);
    bytes.writeUInt32BE(first >>> 0, p);
    if (second !== undefined) bytes.writeUInt32BE(second >>> 0, p + 4);
    this.#position = p + length;
    this.#openStream = 0;
  }

  /** Payload of a stream, in as few DATA frames as `frameBytesMax` allows. */
  data(stream: number, payload: Buffer, start: number, end: number, frameBytesMax: number): void {
    if (this.#isClosed) return;
    let from = start;
    if (this.#openStream === stream) from = this.#growOpen(payload, start, end, frameBytesMax);
    while (from < end) {
      let length = end - from;
      if (length > frameBytesMax) length = frameBytesMax;
      if (length > BUFFER_BYTES - FRAME_HEAD_BYTES) length = BUFFER_BYTES - FRAME_HEAD_BYTES;
      const bytes = this.#reserve(FRAME_HEAD_BYTES + length);
      this.#openStream = stream;
      this.#openFrame = this.#position;
      this.#openBytes = length;
      const p = this.#head(bytes, length, FrameType.DATA, 0, stream);
      payload.copy(bytes, p, from, from + length);
      this.#position = p + length;
      from += length;
    }
  }

  /** Lengthens the last frame; returns where the rest of the payload begins. */
  #growOpen(payload: Buffer, start: number, end: number, frameBytesMax: number): number {
    const bytes = this.#bytes;
    if (bytes === null || !this.#isDirty) return start;
    const room = Math.min(frameBytesMax - this.#openBytes, bytes.length - this.#position);
    const count = Math.min(room, end - start);
    if (count <= 0) return start;
    payload.copy(bytes, this.#position, start, start + count);
    this.#position += count;
    this.#openBytes += count;
    const p = this.#openFrame;
    bytes[p] = this.#openBytes >>> 16;
    bytes[p + 1] = this.#openBytes >>> 8;
    bytes[p + 2] = this.#openBytes;
    return start + count;
  }

  /** END_STREAM: on the stream's last DATA frame if that is still here, else in an empty one. */
  endStream(stream: number): void {
    if (this.#isClosed) return;
    if (this.#openStream === stream && this.#bytes !== null) {
      this.#bytes[this.#openFrame + 4]! |= Flag.END_STREAM;
      this.#openStream = 0;
      return;
    }
    this.frame(FrameType.DATA, Flag.END_STREAM, stream, NOTHING, 0, 0);
  }

  /** Bytes that are no frame: the preface. */
  raw(payload: Buffer): void {
    if (this.#isClosed) return;
    const bytes = this.#reserve(payload.length);
    payload.copy(bytes, this.#position);
    this.#position += payload.length;
  }

  flush(): void {
    this.#isDirty = false;
    this.#openStream = 0;
    const bytes = this.#bytes;
    if (bytes === null || this.#position === 0 || this.#isClosed) return;
    const length = this.#position;
    this.#bytes = null;
    this.#position = 0;
    this.#inFlightBytes += length;
    if (this.#inFlightBytes > this.#peerPausedAboveBytes && !this.#isPeerPaused) {
      this.#isPeerPaused = true;
      this.#transport.pauseReading();
    }
    this.#flying.push(bytes);
    this.#flyingBytes.push(length);
    if (this.#flying.length === 1) this.#transport.write(bytes, length, this.#onWritten);
  }

  /**
   * One buffer at a time: several at once would reach TLS as one `writev`, which Node joins into a
   * buffer of their common size first. Measured on bulk: half of all CPU.
   */
  #written(): void {
    const bytes = this.#flying.shift();
    if (bytes === undefined) return;
    this.#inFlightBytes -= this.#flyingBytes.shift()!;
    const next = this.#flying[0];
    if (next !== undefined && !this.#isClosed) {
      this.#transport.write(next, this.#flyingBytes[0]!, this.#onWritten);
    }
    // A transport that is cut may still be reading its buffer: that one is left to it.
    if (this.#isClosed) return;
    if (bytes.length === BUFFER_BYTES && pool.length < POOL_MAX) pool.push(bytes);
    if (this.#isPeerPaused && this.isWritable) {
      this.#isPeerPaused = false;
      this.#transport.resumeReading();
    }
    if (this.isWritable) this.#onWritable();
  }

  /** The transport will be ended behind what is here: it gets everything at once. */
  finish(): void {
    this.flush();
    for (let i = 1; i < this.#flying.length; i++) {
      this.#transport.write(this.#flying[i]!, this.#flyingBytes[i]!, () => {});
    }
    this.#flying.length = 0;
    this.#flyingBytes.length = 0;
    this.close();
  }

  /** Nothing more goes out. Buffers the transport still holds are left to it. */
  close(): void {
    this.#isClosed = true;
    const bytes = this.#bytes;
    if (bytes !== null && bytes.length === BUFFER_BYTES && pool.length < POOL_MAX) pool.push(bytes);
    this.#bytes = null;
    this.#position = 0;
  }
}

const NOTHING = Buffer.alloc(0);
