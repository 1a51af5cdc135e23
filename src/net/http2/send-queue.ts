/**
 * What one blocked stream still has to send: bytes packed into pooled chunks, and beside them whose
 * they are, so that a source gets its credit when its bytes leave.
 *
 * A queue exists only while its stream is blocked. It is bounded by its sources: each stops when
 * its own window is used up, and gets no credit before the bytes are gone from here. A peer decides
 * how many streams are blocked, so a queue of a few bytes costs little: a chunk is as large as what
 * the queue holds by then.
 */
import type { ByteStream } from "../byte-stream.ts";

const CHUNK_BYTES = 16_384;
const CHUNK_BYTES_MIN = 256;
/** Chunks kept for reuse, by all streams together: 8 MiB. */
const POOL_MAX = 512;
const pool: Buffer[] = [];

/** Of a power of two, so that bytes which trickle in cost no more than twice their number. */
function chunkFor(bytes: number): Buffer {
  if (bytes > CHUNK_BYTES / 2) return pool.pop() ?? Buffer.allocUnsafeSlow(CHUNK_BYTES);
  let size = CHUNK_BYTES_MIN;
  while (size < bytes) size *= 2;
  return Buffer.allocUnsafeSlow(size);
}

function keep(chunk: Buffer): void {
  if (chunk.length === CHUNK_BYTES && pool.length < POOL_MAX) pool.push(chunk);
}

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
  /** Of the last chunk. */
  #end = 0;
  #sources: (ByteStream | null)[] = [];
  #counts: number[] = [];

  push(bytes: Buffer, start: number, end: number, source: ByteStream | null): void {
    let from = start;
    while (from < end) {
      let chunk = this.#chunks[this.#chunks.length - 1];
      if (chunk === undefined || this.#end === chunk.length) {
        chunk = chunkFor(this.bytes + end - start);
        this.#chunks.push(chunk);
        this.#end = 0;
      }
      const count = Math.min(end - from, chunk.length - this.#end);
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
    return this.#chunks.length === 1 ? this.#end : this.#chunks[0]!.length;
  }

  /** So many bytes of the first run are sent; the sender settles with their sources. */
  consume(count: number, sender: Settler): void {
    this.#start += count;
    this.bytes -= count;
    if (this.#start === this.runEnd) {
      keep(this.#chunks.shift()!);
      this.#start = 0;
    }
    this.#credit(count, sender);
  }

  /** The bytes go nowhere; their sources get credit all the same, for nobody waits for ever. */
  drop(): void {
    for (const chunk of this.#chunks) keep(chunk);
    const count = this.bytes;
    this.#chunks = [];
    this.#start = 0;
    this.#end = 0;
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
