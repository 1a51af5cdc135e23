/**
 * Cuts what arrives into frames.
 *
 * The payload of DATA is handed on as it arrives, in place. Of other frames as much is kept as the
 * sink asks for (it has judged their length before the first byte is stored), in place when a frame
 * arrives whole. No object is made for a frame, and nothing is held between frames.
 */
import { Flag, FRAME_HEAD_BYTES, FrameType } from "./frames.ts";

export interface FrameSink {
  /**
   * How many bytes of the payload `onFrame` wants (the rest is skipped); for DATA anything from 0.
   * Negative: the frame is in error, and nothing more is read.
   */
  onFrameHead(length: number, type: number, flags: number, stream: number): number;
  /** A run of the payload of the DATA frame whose head came last; padding is left out. */
  onDataPayload(bytes: Buffer, start: number, end: number): void;
  /** The DATA frame is complete. */
  onDataEnd(): void;
  /** Its padding is longer than the frame. */
  onPaddingError(): void;
  /** Any other frame has arrived whole; of its payload, what was asked for. */
  onFrame(
    type: number,
    flags: number,
    stream: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): void;
}

const NOTHING = Buffer.alloc(0);

export class FrameReader {
  readonly #sink: FrameSink;
  /** A frame head that did not arrive in one piece. */
  #head: Buffer | null = null;
  #headBytes = 0;
  #type = 0;
  #flags = 0;
  #stream = 0;
  #isInData = false;
  /** DATA: payload and padding that are still to come. */
  #dataBytes = 0;
  #paddingBytes = 0;
  #awaitsPadLength = false;
  /** Others: what is kept of a frame that arrives in pieces, and what is still to come. */
  #isInFrame = false;
  #kept: Buffer = NOTHING;
  #keptBytes = 0;
  #wantedBytes = 0;
  #frameBytes = 0;
  #isStopped = false;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** In the middle of a frame. */
  get isMidFrame(): boolean {
    return this.#headBytes > 0 || this.#isInData || this.#isInFrame;
  }

  /** No callback follows, not even for bytes that are being read. */
  stop(): void {
    this.#isStopped = true;
    this.#kept = NOTHING;
    this.#head = null;
  }

  read(bytes: Buffer, start: number, end: number): void {
    let position = start;
    while (position < end && !this.#isStopped) {
      if (this.#isInData) position = this.#readData(bytes, position, end);
      else if (this.#isInFrame) position = this.#readFrame(bytes, position, end);
      else if (this.#headBytes > 0 || end - position < FRAME_HEAD_BYTES) {
        position = this.#gatherHead(bytes, position, end);
      } else {
        this.#onHead(bytes, position);
        position += FRAME_HEAD_BYTES;
        if (this.#isInFrame) position = this.#readWhole(bytes, position, end);
      }
    }
  }

  #gatherHead(bytes: Buffer, start: number, end: number): number {
    this.#head ??= Buffer.allocUnsafe(FRAME_HEAD_BYTES);
    const head = this.#head;
    const count = Math.min(FRAME_HEAD_BYTES - this.#headBytes, end - start);
    bytes.copy(head, this.#headBytes, start, start + count);
    this.#headBytes += count;
    if (this.#headBytes === FRAME_HEAD_BYTES) {
      this.#headBytes = 0;
      this.#head = null;
      this.#onHead(head, 0);
      // Such a frame is over already; with more to come the bytes behind it would call it.
      if (this.#isInFrame && this.#frameBytes === 0) this.#finishFrame(NOTHING, 0, 0);
    }
    return start + count;
  }

  #onHead(bytes: Buffer, p: number): void {
    const length = (bytes[p]! << 16) | (bytes[p + 1]! << 8) | bytes[p + 2]!;
    const type = bytes[p + 3]!;
    const flags = bytes[p + 4]!;
    const stream =
      ((bytes[p + 5]! & 127) << 24) | (bytes[p + 6]! << 16) | (bytes[p + 7]! << 8) | bytes[p + 8]!;
    const wanted = this.#sink.onFrameHead(length, type, flags, stream);
    if (wanted < 0 || this.#isStopped) {
      this.stop();
      return;
    }
    if (type === FrameType.DATA) {
      this.#dataBytes = length;
      this.#paddingBytes = 0;
      this.#awaitsPadLength = (flags & Flag.PADDED) !== 0;
      this.#isInData = true;
      if (length === 0) this.#finishData();
      return;
    }
    this.#type = type;
    this.#flags = flags;
    this.#stream = stream;
    this.#isInFrame = true;
    this.#frameBytes = length;
    this.#wantedBytes = wanted < length ? wanted : length;
    this.#keptBytes = 0;
  }

  /** Directly behind a head: a frame that is here whole is handed on in place. */
  #readWhole(bytes: Buffer, start: number, end: number): number {
    if (end - start < this.#frameBytes) return start;
    const next = start + this.#frameBytes;
    this.#finishFrame(bytes, start, start + this.#wantedBytes);
    return next;
  }

  #readFrame(bytes: Buffer, start: number, end: number): number {
    if (this.#keptBytes === 0 && this.#kept.length === 0 && this.#wantedBytes > 0) {
      this.#kept = Buffer.allocUnsafe(this.#wantedBytes);
    }
    const count = Math.min(this.#frameBytes, end - start);
    const keep = Math.min(this.#wantedBytes - this.#keptBytes, count);
    if (keep > 0) {
      bytes.copy(this.#kept, this.#keptBytes, start, start + keep);
      this.#keptBytes += keep;
    }
    this.#frameBytes -= count;
    if (this.#frameBytes === 0) {
      const kept = this.#kept;
      this.#kept = NOTHING;
      this.#finishFrame(kept, 0, this.#wantedBytes);
    }
    return start + count;
  }

  #finishFrame(bytes: Buffer, start: number, end: number): void {
    this.#isInFrame = false;
    this.#sink.onFrame(this.#type, this.#flags, this.#stream, bytes, start, end);
  }

  #readData(bytes: Buffer, start: number, end: number): number {
    let position = start;
    if (this.#awaitsPadLength) {
      this.#awaitsPadLength = false;
      this.#paddingBytes = bytes[position++]!;
      this.#dataBytes--;
      if (this.#paddingBytes > this.#dataBytes) {
        this.stop();
        this.#sink.onPaddingError();
        return end;
      }
    }
    const payload = Math.min(this.#dataBytes - this.#paddingBytes, end - position);
    if (payload > 0) {
      this.#dataBytes -= payload;
      this.#sink.onDataPayload(bytes, position, position + payload);
      position += payload;
    }
    if (this.#paddingBytes > 0 && this.#dataBytes === this.#paddingBytes) {
      const padding = Math.min(this.#paddingBytes, end - position);
      this.#dataBytes -= padding;
      this.#paddingBytes -= padding;
      position += padding;
    }
    if (this.#dataBytes === 0 && !this.#isStopped) this.#finishData();
    return position;
  }

  #finishData(): void {
    this.#isInData = false;
    this.#sink.onDataEnd();
  }
}
