/**
 * Lines on their way to a slow place: collected in batches, written one batch at a time.
 *
 * The writer never waits. Invariants:
 * - at most one write is under way; lines keep their order;
 * - memory is bounded: with the queue full a new line is dropped and counted, old ones stay;
 * - a batch leaves when it is full, when its first line is `intervalMs` old, or at `flush()`.
 */
export interface LineSink {
  /** Writes all of it, then calls back once. The bytes belong to the sink until then. */
  write(bytes: Buffer, done: (error?: Error) => void): void;
  /** Opens its file anew, for what is written from now on. */
  reopen(): void;
  close(): Promise<void>;
}

export interface LineQueueOptions {
  readonly batchBytes?: number;
  /** Of the batches that wait, beside the one being filled and the one being written. */
  readonly queueBytesMax?: number;
  readonly intervalMs?: number;
  /** How long `close()` waits for the sink. */
  readonly closeTimeoutMs?: number;
  /** Lines that never reached the sink. */
  readonly onDrop?: (lines: number, reason: DropReason, error?: Error) => void;
}

export type DropReason = "queue_full" | "write_failed";

interface Batch {
  bytes: Buffer;
  length: number;
  lines: number;
}

export class LineQueue {
  readonly #sink: LineSink;
  readonly #options: Required<LineQueueOptions>;
  readonly #waiting: Batch[] = [];
  readonly #free: Batch[] = [];
  #filling: Batch;
  #waitingBytes = 0;
  #isWriting = false;
  #isClosed = false;
  #timer: NodeJS.Timeout | undefined;
  /** Batches handed over and batches done with, counted up; flushes wait for the second. */
  #sealed = 0;
  #finished = 0;
  #flushes: { readonly until: number; readonly resolve: () => void }[] = [];

  constructor(sink: LineSink, options: LineQueueOptions = {}) {
    this.#sink = sink;
    this.#options = {
      batchBytes: options.batchBytes ?? 64 * 1024,
      queueBytesMax: options.queueBytesMax ?? 1024 * 1024,
      intervalMs: options.intervalMs ?? 1000,
      closeTimeoutMs: options.closeTimeoutMs ?? 2000,
      onDrop: options.onDrop ?? (() => {}),
    };
    this.#filling = this.#emptyBatch(this.#options.batchBytes);
  }

  /** Copies the line, which ends with its line feed. */
  push(line: { readonly bytes: Buffer; readonly length: number }): void {
    const hasRoom = this.#filling.length + line.length <= this.#filling.bytes.length;
    if (this.#isClosed || !(hasRoom || this.#makeRoom(line.length))) {
      this.#options.onDrop(1, "queue_full");
      return;
    }
    const batch = this.#filling;
    line.bytes.copy(batch.bytes, batch.length, 0, line.length);
    batch.length += line.length;
    batch.lines++;
    if (this.#timer === undefined) this.#startTimer();
  }

  /** Resolves when every line pushed before is written or given up. */
  flush(): Promise<void> {
    this.#seal();
    const until = this.#sealed;
    if (this.#finished >= until) return Promise.resolve();
    return new Promise((resolve) => this.#flushes.push({ until, resolve }));
  }

  /** Writes what is left, within the time-out, and closes the sink. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, this.#options.closeTimeoutMs);
    });
    await Promise.race([this.flush(), timeout]);
    clearTimeout(timer);
    clearTimeout(this.#timer);
    await this.#sink.close();
  }

  /** Room for a line in `#filling`; false when the queue is full. */
  #makeRoom(bytes: number): boolean {
    const { batchBytes, queueBytesMax } = this.#options;
    const isFull = this.#waitingBytes + this.#filling.bytes.length > queueBytesMax;
    if (isFull || bytes > queueBytesMax) return false;
    this.#seal();
    // A line longer than a batch gets one of its own size, so that it is written whole.
    if (bytes > batchBytes) this.#filling = this.#emptyBatch(bytes);
    return true;
  }

  #seal(): void {
    if (this.#filling.lines === 0) return;
    this.#waiting.push(this.#filling);
    this.#waitingBytes += this.#filling.bytes.length;
    this.#filling = this.#free.pop() ?? this.#emptyBatch(this.#options.batchBytes);
    this.#sealed++;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writeNext();
  }

  #startTimer(): void {
    // Unreferenced: a line that waits is no reason to live; whoever shuts down calls close().
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#seal();
    }, this.#options.intervalMs).unref();
  }

  #writeNext(): void {
    if (this.#isWriting) return;
    const batch = this.#waiting.shift();
    if (batch === undefined) return;
    this.#waitingBytes -= batch.bytes.length;
    this.#isWriting = true;
    this.#sink.write(batch.bytes.subarray(0, batch.length), (error) => {
      if (error !== undefined) this.#options.onDrop(batch.lines, "write_failed", error);
      this.#isWriting = false;
      this.#recycle(batch);
      this.#finish();
      this.#writeNext();
    });
  }

  #finish(): void {
    this.#finished++;
    const done = this.#flushes.filter(({ until }) => until <= this.#finished);
    if (done.length === 0) return;
    this.#flushes = this.#flushes.filter(({ until }) => until > this.#finished);
    for (const { resolve } of done) resolve();
  }

  #recycle(batch: Batch): void {
    if (batch.bytes.length !== this.#options.batchBytes || this.#free.length >= 2) return;
    batch.length = 0;
    batch.lines = 0;
    this.#free.push(batch);
  }

  #emptyBatch(bytes: number): Batch {
    return { bytes: Buffer.allocUnsafeSlow(bytes), length: 0, lines: 0 };
  }
}
