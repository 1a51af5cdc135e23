/**
 * HPACK encoding without a dynamic table: static table, and literals that are not indexed.
 *
 * A block made so depends on nothing the connection has sent before: it can be encoded once and
 * used for every stream of every connection, and it needs no memory per connection. What it costs
 * is bytes on a loopback or data-centre link. An encoder with the peer's dynamic table would be a
 * class of its own beside this, one per connection, used by `Sender.headers` for header lists.
 */
import { STATIC_TABLE } from "./static-table.ts";

interface StaticName {
  readonly index: number;
  /** Index by value. */
  readonly values: Map<string, number>;
}

const names = new Map<string, StaticName>();
STATIC_TABLE.forEach(([name, value], row) => {
  const known = names.get(name) ?? { index: row + 1, values: new Map<string, number>() };
  names.set(name, known);
  known.values.set(value, row + 1);
});

/** Values that intermediaries must not put into tables either (RFC 7541 §7.1.3). */
const NEVER_INDEXED = new Set(["authorization", "cookie", "proxy-authorization", "set-cookie"]);

/** An integer of 31 bits at most takes 6 bytes; a header has three. */
const INTEGERS_BYTES = 18;

let scratch = Buffer.allocUnsafeSlow(4096);
let position = 0;

/**
 * The header block of a list (name, value, name, value …): a view of a shared buffer, valid until
 * the next call.
 */
export function encodeBlock(list: readonly string[]): Buffer {
  position = 0;
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    const value = list[i + 1]!;
    // Three bytes a character: what is not latin1 goes out as UTF-8.
    reserve((name.length + value.length) * 3 + INTEGERS_BYTES);
    const known = names.get(name);
    const index = known?.values.get(value);
    if (index !== undefined) {
      putInteger(0x80, 7, index);
      continue;
    }
    putInteger(NEVER_INDEXED.has(name) ? 0x10 : 0x00, 4, known?.index ?? 0);
    if (known === undefined) putString(name);
    putString(value);
  }
  return scratch.subarray(0, position);
}

function reserve(count: number): void {
  if (scratch.length - position >= count) return;
  const larger = Buffer.allocUnsafeSlow(Math.max(scratch.length * 2, position + count));
  scratch.copy(larger, 0, 0, position);
  scratch = larger;
}

function putInteger(pattern: number, bits: number, value: number): void {
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

const WIDE = /[^\x00-\xff]/;

/**
 * CR, LF and NUL become spaces (RFC 9110 §5.5): whatever the caller let through, nobody behind us
 * is made to see another header.
 */
function putString(text: string): void {
  const isWide = WIDE.test(text);
  const length = isWide ? Buffer.byteLength(text) : text.length;
  putInteger(0, 7, length);
  const start = position;
  position += scratch.write(text, start, isWide ? "utf8" : "latin1");
  for (let i = start; i < position; i++) {
    const byte = scratch[i]!;
    if (byte <= 13 && (byte === 0 || byte === 10 || byte === 13)) scratch[i] = 32;
  }
}
