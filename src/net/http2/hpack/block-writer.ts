/**
 * The header block that is being written: one buffer for all connections, for a block is copied
 * into a connection's output at once.
 */

/** An integer of 31 bits at most takes 6 bytes; a header has three. */
const INTEGERS_BYTES = 18;

let scratch = Buffer.allocUnsafeSlow(4096);
let position = 0;

export function beginBlock(): void {
  position = 0;
}

/** A view of the shared buffer, valid until the next block. */
export function finishBlock(): Buffer {
  return scratch.subarray(0, position);
}

/** Before a header is put. Three bytes a character: what is not latin1 goes out as UTF-8. */
export function reserveHeader(name: string, value: string): void {
  reserve((name.length + value.length) * 3 + INTEGERS_BYTES);
}

function reserve(count: number): void {
  if (scratch.length - position >= count) return;
  const larger = Buffer.allocUnsafeSlow(Math.max(scratch.length * 2, position + count));
  scratch.copy(larger, 0, 0, position);
  scratch = larger;
}

export function putInteger(pattern: number, bits: number, value: number): void {
  const mask = (1 << bits) - 1;
  if (value < mask) {
    scratch[position++] = pattern | value;
    return;
  }
  scratch[position++] = pattern | mask;
  let rest = value - mask;
  while (rest >= 128) {
    scratch[position++] = (rest & 127) | 128;
    rest >>>= 7;
  }
  scratch[position++] = rest;
}

/** A block that was made before, as it is. */
export function putBlock(block: Buffer): void {
  reserve(block.length);
  block.copy(scratch, position);
  position += block.length;
}

const WIDE = /[^\x00-\xff]/;

/** It goes out as UTF-8. */
export function isWide(text: string): boolean {
  return WIDE.test(text);
}

/**
 * CR, LF and NUL become spaces (RFC 9110 §5.5): whatever the caller let through, nobody behind us
 * is made to see another header.
 */
export function putString(text: string): void {
  const wide = WIDE.test(text);
  const length = wide ? Buffer.byteLength(text) : text.length;
  putInteger(0, 7, length);
  const start = position;
  position += scratch.write(text, start, wide ? "utf8" : "latin1");
  for (let i = start; i < position; i++) {
    const byte = scratch[i]!;
    if (byte <= 13 && (byte === 0 || byte === 10 || byte === 13)) scratch[i] = 32;
  }
}
