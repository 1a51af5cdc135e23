/**
 * HPACK encoding with the peer's dynamic table (RFC 7541): a header that comes again is one byte.
 *
 * What is a secret is never put there (§7.1.3), nor what is another with every message: it would
 * push out what comes again. The table is bounded by the peer's setting and by ours. When the
 * peer's setting falls, the next block says so first (§4.2), whoever made that block; of several
 * settings in between it says the smallest and the last.
 *
 * Measured on a response of nine headers, against literals: 0.8 µs, not 1.1, to encode; 0.35, not
 * 0.8, to decode; 77 bytes, not 171. Tunnels do without it all the same: their answers are blocks
 * made once, and 10,000 idle ones need no tables.
 *
 * Entries are numbered as they are added; an index is how many came since.
 */
import {
  beginBlock,
  finishBlock,
  isWide,
  putBlock,
  putInteger,
  putString,
  reserveHeader,
} from "./block-writer.ts";
import {
  INDEXED,
  LITERAL,
  LITERAL_INDEXED,
  LITERAL_NEVER_INDEXED,
  NEVER_INDEXED,
  STATIC_NAMES,
} from "./encoder.ts";
import { STATIC_TABLE } from "./static-table.ts";

/** HPACK's default; we use no more, whatever the peer offers. */
const TABLE_BYTES_MAX = 4096;
const ENTRY_OVERHEAD = 32;
/** A longer value would push out too much. */
const INDEXED_VALUE_MAX = 256;
const SIZE_UPDATE = 0x20;

/** Another value in almost every message. */
const NOT_INDEXED = new Set([
  ":path",
  "age",
  "b3",
  "content-length",
  "content-range",
  "date",
  "etag",
  "expires",
  "grpc-message",
  "grpc-timeout",
  "if-modified-since",
  "if-none-match",
  "last-modified",
  "location",
  "referer",
  "traceparent",
  "tracestate",
  "x-b3-parentspanid",
  "x-b3-spanid",
  "x-b3-traceid",
  "x-envoy-upstream-service-time",
  "x-request-id",
]);

const NO_ENTRIES: string[] = [];

/** The entries of one name that are in the table. */
interface Name {
  /** The latest. */
  number: number;
  /** Number by value. */
  readonly values: Map<string, number>;
}

export class IndexingEncoder {
  readonly #isIndexing: boolean;
  /** Null until there is an entry. */
  #names: Map<string, Name> | null = null;
  /** Names and values in turn, oldest first, from `#first` on. */
  #entries: string[] = NO_ENTRIES;
  #first = 0;
  /** The number of the oldest entry and of the next one. */
  #oldest = 0;
  #next = 0;
  #tableBytes = 0;
  #tableBytesMax = TABLE_BYTES_MAX;
  /** The smallest size since the last block; -1: it has not changed. */
  #smallest = -1;

  /** Without indexing it only keeps to the peer's setting. */
  constructor(isIndexing: boolean) {
    this.#isIndexing = isIndexing;
  }

  /** The peer's SETTINGS_HEADER_TABLE_SIZE. */
  limitTable(bytes: number): void {
    const size = Math.min(bytes, TABLE_BYTES_MAX);
    if (size === this.#tableBytesMax && this.#smallest < 0) return;
    this.#smallest = this.#smallest < 0 ? size : Math.min(size, this.#smallest);
    this.#tableBytesMax = size;
    this.#evict(0);
  }

  /** The block of a list: a view of a shared buffer, valid until the next call. */
  encode(list: readonly string[]): Buffer {
    beginBlock();
    if (this.#smallest >= 0) this.#putSizes();
    for (let i = 0; i < list.length; i += 2) this.#put(list[i]!, list[i + 1]!);
    return finishBlock();
  }

  /** A block that was made without a table, as it has to be sent now. */
  carry(block: Buffer): Buffer {
    if (this.#smallest < 0) return block;
    beginBlock();
    this.#putSizes();
    putBlock(block);
    return finishBlock();
  }

  #putSizes(): void {
    reserveHeader("", "");
    if (this.#smallest < this.#tableBytesMax) putInteger(SIZE_UPDATE, 5, this.#smallest);
    putInteger(SIZE_UPDATE, 5, this.#tableBytesMax);
    this.#smallest = -1;
  }

  #put(name: string, value: string): void {
    reserveHeader(name, value);
    const known = STATIC_NAMES.get(name);
    const index = known?.values.get(value);
    if (index !== undefined) {
      putInteger(INDEXED, 7, index);
      return;
    }
    const number = this.#names?.get(name)?.values.get(value);
    if (number !== undefined) putInteger(INDEXED, 7, this.#indexOf(number));
    else if (this.#mayIndex(name, value)) {
      this.#putLiteral(LITERAL_INDEXED, 6, name, value);
      this.#add(name, value);
    } else {
      const pattern = NEVER_INDEXED.has(name) ? LITERAL_NEVER_INDEXED : LITERAL;
      this.#putLiteral(pattern, 4, name, value);
    }
  }

  #mayIndex(name: string, value: string): boolean {
    if (!this.#isIndexing || value.length > INDEXED_VALUE_MAX || NOT_INDEXED.has(name))
      return false;
    // The decoder counts bytes: of what is not latin1 there are more of them than characters.
    return !(NEVER_INDEXED.has(name) || isWide(value) || isWide(name));
  }

  #putLiteral(pattern: number, bits: number, name: string, value: string): void {
    const known = STATIC_NAMES.get(name);
    const entry = known === undefined ? this.#names?.get(name) : undefined;
    if (known !== undefined) putInteger(pattern, bits, known.index);
    else if (entry !== undefined) putInteger(pattern, bits, this.#indexOf(entry.number));
    else {
      putInteger(pattern, bits, 0);
      putString(name);
    }
    putString(value);
  }

  #indexOf(number: number): number {
    return STATIC_TABLE.length + this.#next - number;
  }

  #add(name: string, value: string): void {
    const bytes = name.length + value.length + ENTRY_OVERHEAD;
    this.#evict(bytes);
    if (bytes > this.#tableBytesMax) return;
    this.#names ??= new Map();
    if (this.#entries === NO_ENTRIES) this.#entries = [];
    const number = this.#next++;
    this.#entries.push(name, value);
    this.#tableBytes += bytes;
    const known = this.#names.get(name);
    if (known === undefined) this.#names.set(name, { number, values: new Map([[value, number]]) });
    else {
      known.number = number;
      known.values.set(value, number);
    }
  }

  /** The decoder makes room in the same way (RFC 7541 §4.4). */
  #evict(room: number): void {
    while (this.#oldest < this.#next && this.#tableBytes + room > this.#tableBytesMax) {
      const name = this.#entries[this.#first]!;
      const value = this.#entries[this.#first + 1]!;
      this.#first += 2;
      const number = this.#oldest++;
      this.#tableBytes -= name.length + value.length + ENTRY_OVERHEAD;
      const known = this.#names!.get(name)!;
      if (known.values.get(value) === number) known.values.delete(value);
      if (known.values.size === 0) this.#names!.delete(name);
    }
    if (this.#first > 256) {
      this.#entries = this.#entries.slice(this.#first);
      this.#first = 0;
    }
  }
}
