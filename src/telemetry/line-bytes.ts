/**
 * One line while it is being made: bytes, not a string.
 *
 * A line is fifty short pieces: joining them as strings and encoding the result costs twice as
 * much as copying the constant ones and storing the others' characters, nearly always ASCII.
 */
const INITIAL_BYTES = 4096;
/** UTF-8 needs at most three bytes for a UTF-16 unit. */
const BYTES_PER_UNIT_MAX = 3;
const DELETE = 0x7f;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

export class LineBytes {
  bytes = Buffer.allocUnsafeSlow(INITIAL_BYTES);
  length = 0;

  reset(): void {
    this.length = 0;
  }

  appendBytes(constant: Uint8Array): void {
    const start = this.#reserve(constant.length);
    this.bytes.set(constant, start);
    this.length = start + constant.length;
  }

  appendByte(byte: number): void {
    this.bytes[this.#reserve(1)] = byte;
    this.length++;
  }

  append(text: string): void {
    const start = this.#reserve(text.length * BYTES_PER_UNIT_MAX);
    const bytes = this.bytes;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code > DELETE) {
        this.length = start + bytes.write(text, start);
        return;
      }
      bytes[start + i] = code;
    }
    this.length = start + text.length;
  }

  /**
   * Appends `text` if it is plain: ASCII without quotes, backslashes, and anything below `lowest`.
   * Otherwise appends nothing and returns false.
   */
  appendPlain(text: string, lowest: number): boolean {
    const start = this.#reserve(text.length);
    const bytes = this.bytes;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code < lowest || code >= DELETE || code === QUOTE || code === BACKSLASH) return false;
      bytes[start + i] = code;
    }
    this.length = start + text.length;
    return true;
  }

  toString(): string {
    return this.bytes.toString("utf8", 0, this.length);
  }

  #reserve(bytes: number): number {
    const needed = this.length + bytes;
    if (needed > this.bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.bytes.length * 2));
      this.bytes.copy(larger, 0, 0, this.length);
      this.bytes = larger;
    }
    return this.length;
  }
}
