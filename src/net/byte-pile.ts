/**
 * Bytes that have to wait, copied: into parts that are as large as all before them, so that a peer
 * who sends one byte at a time makes us hold no more than twice what it has sent.
 */
const PART_BYTES_MAX = 64 * 1024;

export class BytePile {
  /** Bytes in the pile. */
  bytes = 0;
  #parts: Buffer[] = [];
  /** Of the last part, that is filled. */
  #end = 0;

  add(bytes: Buffer, start: number, end: number): void {
    let from = start;
    const last = this.#parts.at(-1);
    if (last !== undefined) {
      const count = Math.min(end - from, last.length - this.#end);
      bytes.copy(last, this.#end, from, from + count);
      this.#end += count;
      from += count;
    }
    if (from < end) {
      const part = Buffer.allocUnsafe(Math.max(end - from, Math.min(this.bytes, PART_BYTES_MAX)));
      this.#end = bytes.copy(part, 0, from, end);
      this.#parts.push(part);
    }
    this.bytes += end - start;
  }

  /** Takes the oldest bytes off; `undefined`: there are none. */
  shift(): Buffer | undefined {
    const part = this.#parts.shift();
    if (part === undefined) return undefined;
    const bytes = this.#parts.length === 0 ? part.subarray(0, this.#end) : part;
    this.bytes -= bytes.length;
    return bytes;
  }

  /** All of it, oldest first, which stays. */
  parts(): Buffer[] {
    const { length } = this.#parts;
    return this.#parts.map((part, i) => (i === length - 1 ? part.subarray(0, this.#end) : part));
  }

  clear(): void {
    this.#parts = [];
    this.bytes = 0;
  }
}
