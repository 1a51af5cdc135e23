/**
 * HPACK encoding without a dynamic table: static table, and literals that are not indexed.
 *
 * A block made so depends on nothing the connection has sent before: it can be encoded once and
 * used for every stream of every connection, and it needs no memory per connection. What it costs
 * is bytes on a loopback or data-centre link.
 */
import { STATIC_TABLE } from "./static-table.ts";

const exact = new Map<string, number>();
const names = new Map<string, number>();
STATIC_TABLE.forEach(([name, value], index) => {
  exact.set(`${name}\0${value}`, index + 1);
  if (!names.has(name)) names.set(name, index + 1);
});

/** Values that intermediaries must not put into tables either (RFC 7541 §7.1.3). */
const NEVER_INDEXED = new Set(["authorization", "cookie", "proxy-authorization", "set-cookie"]);

/** The header block of a list: name, value, name, value … */
export function encodeBlock(list: readonly string[]): Buffer {
  const bytes: number[] = [];
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    const value = list[i + 1]!;
    const index = exact.get(`${name}\0${value}`);
    if (index !== undefined) {
      pushInteger(bytes, 0x80, 7, index);
      continue;
    }
    const nameIndex = names.get(name) ?? 0;
    pushInteger(bytes, NEVER_INDEXED.has(name) ? 0x10 : 0x00, 4, nameIndex);
    if (nameIndex === 0) pushString(bytes, name);
    pushString(bytes, value);
  }
  return Buffer.from(bytes);
}

function pushInteger(bytes: number[], pattern: number, bits: number, value: number): void {
  const mask = (1 << bits) - 1;
  if (value < mask) {
    bytes.push(pattern | value);
    return;
  }
  bytes.push(pattern | mask);
  let rest = value - mask;
  while (rest >= 128) {
    bytes.push((rest & 127) | 128);
    rest >>>= 7;
  }
  bytes.push(rest);
}

function pushString(bytes: number[], text: string): void {
  pushInteger(bytes, 0, 7, text.length);
  for (let i = 0; i < text.length; i++) bytes.push(text.charCodeAt(i) & 255);
}
