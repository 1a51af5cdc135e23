/**
 * What one blocked stream still has to send: bytes packed into pooled chunks, and beside them whose
 * they are, so that a source gets its credit when its bytes leave.
 *
 * A queue exists only while its stream is blocked. It is bounded by its sources: each stops when
 * its own window is used up, and gets no credit before the bytes are gone from here.
 */
import type { ByteStream } from "../byte-stream.ts";

const CHUNK_BYTES = 16_384;
/** Chunks kept for reuse, by all streams together: 8 MiB. */
const POOL_MAX = 512;
const pool: Buffer[] = [];

/** Who gives sources their credit, now or when the transport has caught up. */
interface Settler {
  settle(source: ByteStream, count: number): void;
}

const AT_ONCE: Settler = { settle: (source, count) => source.credit(count) };

export class SendQueue {
  /** Bytes in the queue. */
  bytes = 0;
  #chunks: Buffer[] = [];
  #start = 0;
  #end = CHUNK_BYTES;
  #sources: (ByteStream | null)[] = [];
  #counts: number[] = [];

  push(bytes: Buffer, start: number, end: number, source: ByteStream | null): void {
    let from = start;
    while (from < end) {
      if (this.#end === CHUNK_BYTES) {
        this.#chunks.push(pool.pop() ?? Buffer.allocUnsafeSlow(CHUNK_BYTES));
        this.#end = 0;
      }
      const chunk = this.#chunks[this.#chunks.length - 1]!;
      const count = Math.min(end - from, CHUNK_BYTES - this.#end);
      bytes.copy(chunk, this.#end, from, from + count);
      this.#end += count;
      from += count;
    }
    this.bytes += end - start;
    const last = this.#sources.length - 1;
    if (last >= 0 && this.#sources[last] === source) this.#counts[last]! += end - start;
    else {
      this.#sources.push(source);
      this.#counts.push(end - start);
    }
  }

  /** The first run of bytes stands in `run[runStart..runEnd)`. Not of an empty queue. */
  get run(): Buffer {
    return this.#chunks[0]!;
  }

  get runStart(): number {
    return this.#start;
  }

  get runEnd(): number {
    return this.#chunks.length === 1 ? this.#end : CHUNK_BYTES;
  }

  /** So many bytes of the first run are sent; the sender settles with their sources. */
  consume(count: number, sender: Settler): void {
    this.#start += count;
    this.bytes -= count;
    if (this.#start === this.runEnd) {
      const chunk = this.#chunks.shift()!;
      if (pool.length < POOL_MAX) pool.push(chunk);
      this.#start = 0;
      if (this.#chunks.length === 0) this.#end = CHUNK_BYTES;
    }
    this.#credit(count, sender);
  }

  /** The bytes go nowhere; their sources get credit all the same, for nobody waits for ever. */
  drop(): void {
    for (const chunk of this.#chunks) if (pool.length < POOL_MAX) pool.push(chunk);
    const count = this.bytes;
    this.#chunks = [];
    this.#start = 0;
    this.#end = CHUNK_BYTES;
    this.bytes = 0;
    this.#credit(count, AT_ONCE);
  }

  #credit(count: number, settler: Settler): void {
    let rest = count;
    while (rest > 0) {
      const source = this.#sources[0]!;
      const due = Math.min(rest, this.#counts[0]!);
      rest -= due;
      if (due === this.#counts[0]) {
        this.#sources.shift();
        this.#counts.shift();
      } else this.#counts[0]! -= due;
      if (source !== null) settler.settle(source, due);
    }
  }
}
