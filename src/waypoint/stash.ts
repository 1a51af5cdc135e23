/**
 * Bytes kept until more arrive: the beginning of a head, or pipelined requests. Grows by doubling,
 * so that a peer that sends one byte at a time does not make us copy everything for each.
 */
export class Stash {
  #bytes: Buffer | null = null;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  append(bytes: Buffer, start: number, end: number): void {
    const needed = this.#length + end - start;
    if (this.#bytes === null || this.#bytes.length < needed) {
      const grown = Buffer.allocUnsafe(Math.max(512, needed, (this.#bytes?.length ?? 0) * 2));
      this.#bytes?.copy(grown, 0, 0, this.#length);
      this.#bytes = grown;
    }
    bytes.copy(this.#bytes, this.#length, start, end);
    this.#length = needed;
  }

  /** All of it, to look at. */
  peek(): Buffer {
    return this.#bytes === null ? EMPTY : this.#bytes.subarray(0, this.#length);
  }

  /** All of it; the stash is empty afterwards. */
  take(): Buffer {
    const taken = this.peek();
    this.clear();
    return taken;
  }

  clear(): void {
    this.#bytes = null;
    this.#length = 0;
  }
}

const EMPTY = Buffer.alloc(0);
