/**
 * Cuts what arrives into frames.
 *
 * The payload of DATA is handed on as it arrives, in place; other frames are put together first
 * (they are small: the connection bounds them). No object is made for a frame.
 */
import { Flag, FRAME_HEAD_BYTES, FrameType } from "./frames.ts";

export interface FrameSink {
  /** False: the frame is in error and reading stops. */
  onFrameHead(length: number, type: number, flags: number, stream: number): boolean;
  /** A run of the payload of the DATA frame whose head came last; padding is left out. */
  onDataPayload(bytes: Buffer, start: number, end: number): void;
  /** The DATA frame is complete. */
  onDataEnd(): void;
  /** Its padding is longer than the frame. */
  onPaddingError(): void;
  /** Any other frame, whole. */
  onFrame(
    type: number,
    flags: number,
    stream: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): void;
}

export class FrameReader {
  readonly #sink: FrameSink;
  readonly #head = Buffer.alloc(FRAME_HEAD_BYTES);
  #headBytes = 0;
  #type = 0;
  #flags = 0;
  #stream = 0;
  /** DATA: payload and padding that are still to come; the pad length octet has been read. */
  #dataBytes = 0;
  #paddingBytes = 0;
  #awaitsPadLength = false;
  #isInData = false;
  /** Others: put together here when they do not arrive in one piece. */
  #assembled: Buffer | null = null;
  #assembledBytes = 0;
  #neededBytes = 0;
  isStopped = false;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** In the middle of a frame. */
  get isMidFrame(): boolean {
    return this.#headBytes > 0 || this.#isInData || this.#assembled !== null;
  }

  read(bytes: Buffer, start: number, end: number): void {
    let position = start;
    while (position < end && !this.isStopped) {
      if (this.#isInData) position = this.#readData(bytes, position, end);
      else if (this.#assembled !== null) position = this.#assemble(bytes, position, end);
      else position = this.#readHead(bytes, position, end);
    }
  }

  #readHead(bytes: Buffer, start: number, end: number): number {
    let from = bytes;
    let p = start;
    let next = start + FRAME_HEAD_BYTES;
    if (this.#headBytes > 0 || next > end) {
      const count = Math.min(FRAME_HEAD_BYTES - this.#headBytes, end - start);
      bytes.copy(this.#head, this.#headBytes, start, start + count);
      this.#headBytes += count;
      if (this.#headBytes < FRAME_HEAD_BYTES) return end;
      this.#headBytes = 0;
      from = this.#head;
      p = 0;
      next = start + count;
    }
    const length = (from[p]! << 16) | (from[p + 1]! << 8) | from[p + 2]!;
    const type = from[p + 3]!;
    const flags = from[p + 4]!;
    const stream =
      ((from[p + 5]! & 127) << 24) | (from[p + 6]! << 16) | (from[p + 7]! << 8) | from[p + 8]!;
    if (!this.#sink.onFrameHead(length, type, flags, stream)) {
      this.isStopped = true;
      return end;
    }
    this.#type = type;
    this.#flags = flags;
    this.#stream = stream;
    if (type === FrameType.DATA) {
      this.#dataBytes = length;
      this.#paddingBytes = 0;
      this.#awaitsPadLength = (flags & Flag.PADDED) !== 0;
      this.#isInData = true;
      if (length === 0) this.#finishData();
      return next;
    }
    if (end - next >= length) {
      this.#sink.onFrame(type, flags, stream, bytes, next, next + length);
      return next + length;
    }
    this.#assembled = Buffer.allocUnsafe(length);
    this.#assembledBytes = 0;
    this.#neededBytes = length;
    return next;
  }

  #readData(bytes: Buffer, start: number, end: number): number {
    let position = start;
    if (this.#awaitsPadLength) {
      this.#awaitsPadLength = false;
      this.#paddingBytes = bytes[position++]!;
      this.#dataBytes--;
      if (this.#paddingBytes > this.#dataBytes) {
        this.isStopped = true;
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
    const padding = Math.min(this.#dataBytes, end - position);
    if (this.#dataBytes <= this.#paddingBytes && padding > 0) {
      this.#dataBytes -= padding;
      this.#paddingBytes -= padding;
      position += padding;
    }
    if (this.#dataBytes === 0) this.#finishData();
    return position;
  }

  #finishData(): void {
    this.#isInData = false;
    this.#sink.onDataEnd();
  }

  #assemble(bytes: Buffer, start: number, end: number): number {
    const assembled = this.#assembled!;
    const count = Math.min(this.#neededBytes - this.#assembledBytes, end - start);
    bytes.copy(assembled, this.#assembledBytes, start, start + count);
    this.#assembledBytes += count;
    if (this.#assembledBytes === this.#neededBytes) {
      this.#assembled = null;
      this.#sink.onFrame(this.#type, this.#flags, this.#stream, assembled, 0, this.#neededBytes);
    }
    return start + count;
  }
}
