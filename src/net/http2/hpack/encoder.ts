/**
 * HPACK encoding without a dynamic table: static table, and literals that are not indexed.
 *
 * A block made so depends on nothing the connection has sent before: it can be encoded once and
 * used for every stream of every connection, and it needs no memory per connection. What it costs
 * is bytes on a loopback or data-centre link. `IndexingEncoder` has the peer's dynamic table.
 */
import { beginBlock, finishBlock, putInteger, putString, reserveHeader } from "./block-writer.ts";
import { STATIC_TABLE } from "./static-table.ts";

interface StaticName {
  readonly index: number;
  /** Index by value. */
  readonly values: Map<string, number>;
}

export const STATIC_NAMES: ReadonlyMap<string, StaticName> = staticNames();

function staticNames(): Map<string, StaticName> {
  const names = new Map<string, StaticName>();
  STATIC_TABLE.forEach(([name, value], row) => {
    const known = names.get(name) ?? { index: row + 1, values: new Map<string, number>() };
    names.set(name, known);
    known.values.set(value, row + 1);
  });
  return names;
}

/** Values that intermediaries must not put into tables either (RFC 7541 §7.1.3). */
export const NEVER_INDEXED: ReadonlySet<string> = new Set([
  "authorization",
  "cookie",
  "proxy-authorization",
  "set-cookie",
]);

/** How the representations begin (RFC 7541 §6). */
export const INDEXED = 0x80;
export const LITERAL_INDEXED = 0x40;
export const LITERAL_NEVER_INDEXED = 0x10;
export const LITERAL = 0x00;

/**
 * The header block of a list (name, value, name, value …): a view of a shared buffer, valid until
 * the next call.
 */
export function encodeBlock(list: readonly string[]): Buffer {
  beginBlock();
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    const value = list[i + 1]!;
    reserveHeader(name, value);
    const known = STATIC_NAMES.get(name);
    const index = known?.values.get(value);
    if (index !== undefined) {
      putInteger(INDEXED, 7, index);
      continue;
    }
    const pattern = NEVER_INDEXED.has(name) ? LITERAL_NEVER_INDEXED : LITERAL;
    putInteger(pattern, 4, known?.index ?? 0);
    if (known === undefined) putString(name);
    putString(value);
  }
  return finishBlock();
}
