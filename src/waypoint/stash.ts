/**
 * Bytes kept until more arrive: the beginning of a head, or pipelined requests. Grows by doubling,
 * so that a peer that sends one byte at a time does not make us copy everything for each.
 *
 * What `take` gave out may come back: appending a part of it takes the buffer over again without a
 * copy. Pipelined requests are taken, all of them, once for each, and copying what is left each
 * time would cost the square of their number.
 */
export class Stash {
  #buffer: Buffer = EMPTY;
  #start = 0;
  #end = 0;
  /** What `take` gave out last, and where it stands in its buffer. */
  #lent: Buffer = EMPTY;
  #lentBuffer: Buffer = EMPTY;
  #lentStart = 0;

  get length(): number {
    return this.#end - this.#start;
  }

  append(bytes: Buffer, start: number, end: number): void {
    if (this.length === 0 && bytes === this.#lent && bytes.length > 0) {
      this.#buffer = this.#lentBuffer;
      this.#start = this.#lentStart + start;
      this.#end = this.#lentStart + end;
      return;
    }
    this.#makeRoom(end - start);
    bytes.copy(this.#buffer, this.#end, start, end);
    this.#end += end - start;
  }

  #makeRoom(bytes: number): void {
    if (this.#buffer.length - this.#end >= bytes) return;
    const { length } = this;
    const grown = Buffer.allocUnsafe(Math.max(512, (length + bytes) * 2));
    this.#buffer.copy(grown, 0, this.#start, this.#end);
    this.#buffer = grown;
    this.#start = 0;
    this.#end = length;
  }

  /** All of it, to look at. */
  peek(): Buffer {
    return this.#buffer.subarray(this.#start, this.#end);
  }

  /** All of it; the stash is empty afterwards. */
  take(): Buffer {
    const taken = this.peek();
    this.#lent = taken;
    this.#lentBuffer = this.#buffer;
    this.#lentStart = this.#start;
    this.#forget();
    return taken;
  }

  clear(): void {
    this.#forget();
    this.#lent = EMPTY;
    this.#lentBuffer = EMPTY;
  }

  #forget(): void {
    this.#buffer = EMPTY;
    this.#start = 0;
    this.#end = 0;
  }
}

const EMPTY: Buffer = Buffer.alloc(0);
