/**
 * HTTP/2 inside a byte stream: the transport of a connection that runs in a CONNECT stream.
 *
 * What arrives is credited when the connection has processed it; while the connection does not
 * read, what arrives is kept and not credited, so the outer window bounds it. What is written is
 * `done` when it has left the outer stream's queue: until then the connection's output counts it as
 * on its way, and gives nobody credit for more than that.
 */
import { Failure } from "../../kit/failure.ts";
import { BytePile } from "../byte-pile.ts";
import { type ByteConsumer, ByteStream, type StreamReset } from "../byte-stream.ts";
import type { Transport, TransportReceiver } from "./transport.ts";

/** Gets the outer stream's credit for written bytes: the way to know when they are out. */
class WriteReceipts extends ByteStream {
  readonly isClosed = false;
  readonly queuedBytes = 0;
  readonly #dueBytes: number[] = [];
  readonly #done: (() => void)[] = [];

  expect(bytes: number, done: () => void): void {
    this.#dueBytes.push(bytes);
    this.#done.push(done);
  }

  credit(count: number): void {
    let left = count;
    while (left > 0 && this.#dueBytes.length > 0) {
      const paid = Math.min(left, this.#dueBytes[0]!);
      left -= paid;
      this.#dueBytes[0]! -= paid;
      if (this.#dueBytes[0]! > 0) return;
      this.#dueBytes.shift();
      this.#done.shift()!();
    }
  }

  write(): void {}
  end(): void {}
  reset(): void {}
}

export class StreamTransport implements Transport, ByteConsumer {
  readonly isNested = true;
  readonly #stream: ByteStream;
  readonly #receipts = new WriteReceipts();
  #receiver: TransportReceiver | undefined;
  #isPaused = false;
  /** The receiver is reading: it does so one buffer at a time. */
  #isDelivering = false;
  /** We have ended; nobody reads any more. */
  #isOver = false;
  #isEnded = false;
  #isEndTold = false;
  /** Arrived while paused; not credited. */
  readonly #kept = new BytePile();

  constructor(stream: ByteStream) {
    this.#stream = stream;
  }

  attach(receiver: TransportReceiver): void {
    this.#receiver = receiver;
    this.#stream.consumer = this;
  }

  write(bytes: Buffer, length: number, done: () => void): void {
    this.#receipts.expect(length, done);
    this.#stream.write(bytes, 0, length, this.#receipts);
  }

  pauseReading(): void {
    this.#isPaused = true;
  }

  resumeReading(): void {
    this.#isPaused = false;
    this.#readKept();
  }

  #readKept(): void {
    while (!this.#isPaused && !this.#isDelivering && this.#kept.bytes > 0) {
      const bytes = this.#kept.shift()!;
      this.#deliver(bytes, 0, bytes.length);
    }
    this.#tellEnd();
  }

  /** What is kept, and what still comes, gets its credit, so that the outer stream can end. */
  end(): void {
    this.#isOver = true;
    this.#stream.end();
    const { bytes } = this.#kept;
    this.#kept.clear();
    if (bytes > 0) this.#stream.credit(bytes);
  }

  destroy(): void {
    this.#stream.reset("cancel");
  }

  onData(bytes: Buffer, start: number, end: number): void {
    if (this.#isOver) this.#stream.credit(end - start);
    else if (this.#isPaused || this.#isDelivering || this.#kept.bytes > 0) {
      this.#kept.add(bytes, start, end);
    } else {
      this.#deliver(bytes, start, end);
      // What came meanwhile, while the receiver was busy.
      if (this.#kept.bytes > 0 || this.#isEnded) this.#readKept();
    }
  }

  #deliver(bytes: Buffer, start: number, end: number): void {
    this.#isDelivering = true;
    this.#receiver?.onBytes(bytes, start, end);
    this.#isDelivering = false;
    this.#stream.credit(end - start);
  }

  onEnd(): void {
    this.#isEnded = true;
    this.#tellEnd();
  }

  #tellEnd(): void {
    if (!this.#isEnded || this.#isEndTold || this.#isPaused || this.#kept.bytes > 0) return;
    if (this.#isOver || this.#isDelivering) return;
    this.#isEndTold = true;
    this.#receiver?.onEnd();
  }

  onClosed(reset: StreamReset | undefined): void {
    this.#kept.clear();
    this.#receiver?.onClosed(
      reset === undefined ? undefined : new Failure("DOWNSTREAM_RESET", reset.detail),
    );
  }
}
