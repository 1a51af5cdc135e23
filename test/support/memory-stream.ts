/**
 * Two ends of a stream of bytes in memory, with the contract of net/byte-stream.ts taken at its
 * word: bytes are only valid during `onData` (they are overwritten behind it), nothing arrives that
 * there is no credit for, and credit for more than was received is an error.
 */
import assert from "node:assert/strict";
import type { ByteConsumer, ResetReason, StreamReset } from "../../src/net/byte-stream.ts";
import { ByteStream } from "../../src/net/byte-stream.ts";

export interface MemoryPairOptions {
  /** What one end may hold without having given credit. */
  readonly windowBytes?: number;
  /** Bytes arrive in pieces of at most this size. */
  readonly pieceBytes?: number;
}

interface Queued {
  readonly bytes: Buffer;
  start: number;
  readonly source: ByteStream | null;
}

export class MemoryStream extends ByteStream {
  #other: MemoryStream | undefined;
  readonly #pieceBytes: number;
  #queue: Queued[] = [];
  #isEnding = false;
  #hasSentEnd = false;
  #hasReceivedEnd = false;
  #isFlushing = false;
  #window: number;
  isClosed = false;
  queuedBytes = 0;
  queuedBytesMax = 0;
  receivedBytes = 0;
  creditedBytes = 0;

  constructor(windowBytes: number, pieceBytes: number) {
    super();
    this.#window = windowBytes;
    this.#pieceBytes = pieceBytes;
  }

  static pair(options: MemoryPairOptions = {}): [MemoryStream, MemoryStream] {
    const { windowBytes = 1 << 20, pieceBytes = 1 << 16 } = options;
    const a = new MemoryStream(windowBytes, pieceBytes);
    const b = new MemoryStream(windowBytes, pieceBytes);
    a.#other = b;
    b.#other = a;
    return [a, b];
  }

  /** Received and not credited: what the consumer holds, as far as the contract goes. */
  get heldBytes(): number {
    return this.receivedBytes - this.creditedBytes;
  }

  write(bytes: Buffer, start: number, end: number, source: ByteStream | null): void {
    if (end <= start) return;
    if (this.isClosed || this.#isEnding) {
      source?.credit(end - start);
      return;
    }
    this.#queue.push({ bytes: Buffer.from(bytes.subarray(start, end)), start: 0, source });
    this.queuedBytes += end - start;
    this.queuedBytesMax = Math.max(this.queuedBytesMax, this.queuedBytes);
    this.#schedule();
  }

  end(): void {
    this.#isEnding = true;
    this.#schedule();
  }

  /** The own consumer hears of it at once, as with HTTP/2; the other one later. */
  reset(reason: ResetReason): void {
    if (this.isClosed) return;
    this.#close({ by: "local", detail: reason, isRefused: false });
    const isRefused = reason === "refused";
    setImmediate(() => this.#other!.#close({ by: "peer", detail: reason, isRefused }));
  }

  credit(count: number): void {
    assert(count >= 0, "negative credit");
    if (this.isClosed) return;
    this.creditedBytes += count;
    assert(this.heldBytes >= 0, "more credit than bytes");
    this.#window += count;
    this.#other!.#schedule();
  }

  #schedule(): void {
    if (this.#isFlushing || this.isClosed) return;
    this.#isFlushing = true;
    setImmediate(() => this.#flush());
  }

  #flush(): void {
    const other = this.#other!;
    while (this.#queue.length > 0 && other.#window > 0 && !this.isClosed) {
      const first = this.#queue[0]!;
      const left = first.bytes.length - first.start;
      const count = Math.min(left, other.#window, this.#pieceBytes);
      const piece = Buffer.from(first.bytes.subarray(first.start, first.start + count));
      first.start += count;
      if (count === left) this.#queue.shift();
      this.queuedBytes -= count;
      first.source?.credit(count);
      other.#receive(piece);
    }
    this.#isFlushing = false;
    if (this.#queue.length > 0 || !this.#isEnding || this.#hasSentEnd || this.isClosed) return;
    this.#hasSentEnd = true;
    other.#receiveEnd();
    if (this.#hasReceivedEnd) this.#close(undefined);
  }

  #receive(piece: Buffer): void {
    if (this.isClosed) return;
    this.#window -= piece.length;
    this.receivedBytes += piece.length;
    this.consumer.onData(piece, 0, piece.length);
    piece.fill(0x21);
  }

  #receiveEnd(): void {
    if (this.isClosed) return;
    this.#hasReceivedEnd = true;
    this.consumer.onEnd();
    if (this.#hasSentEnd) this.#close(undefined);
  }

  #close(reset: StreamReset | undefined): void {
    if (this.isClosed) return;
    this.isClosed = true;
    for (const { bytes, start, source } of this.#queue.splice(0)) {
      source?.credit(bytes.length - start);
    }
    this.queuedBytes = 0;
    this.consumer.onClosed(reset);
  }
}

/** Somebody at the other end: keeps what arrives, and gives credit as long as it reads. */
export class MemoryPeer implements ByteConsumer {
  readonly stream: MemoryStream;
  readonly #received: Buffer[] = [];
  isReading = true;
  isEnded = false;
  isClosed = false;
  reset: StreamReset | undefined;

  constructor(stream: MemoryStream) {
    this.stream = stream;
    stream.consumer = this;
  }

  get text(): string {
    return Buffer.concat(this.#received).toString("latin1");
  }

  get receivedBytes(): number {
    return this.stream.receivedBytes;
  }

  send(text: string | Buffer): void {
    const bytes = typeof text === "string" ? Buffer.from(text, "latin1") : text;
    this.stream.write(bytes, 0, bytes.length, null);
  }

  resume(): void {
    this.isReading = true;
    this.stream.credit(this.stream.heldBytes);
  }

  onData(bytes: Buffer, start: number, end: number): void {
    this.#received.push(Buffer.from(bytes.subarray(start, end)));
    if (this.isReading) this.stream.credit(end - start);
  }

  onEnd(): void {
    this.isEnded = true;
  }

  onClosed(reset: StreamReset | undefined): void {
    this.isClosed = true;
    this.reset = reset;
  }
}

/** Lets everything that is under way in memory arrive. */
export async function settle(turns = 12): Promise<void> {
  for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Waits for what needs a timer. */
export async function until(condition: () => boolean, what = "condition"): Promise<void> {
  const deadlineMs = performance.now() + 4000;
  while (!condition()) {
    if (performance.now() > deadlineMs) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
