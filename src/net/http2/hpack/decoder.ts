/**
 * HPACK decoding (RFC 7541), with the peer's dynamic table.
 *
 * A block must be decoded to its end even when its headers are refused, or the table would no
 * longer be the peer's; so a list that is too large is dropped and reported, not broken off.
 * Anything that cannot be decoded ends the connection (COMPRESSION_ERROR).
 */
import { latin1 } from "../../../kit/bytes.ts";
import { decodeHuffman } from "./huffman.ts";
import { STATIC_TABLE } from "./static-table.ts";

/** What an entry costs beyond its characters (RFC 7541 §4.1). */
const ENTRY_OVERHEAD = 32;
const NOTHING = Buffer.alloc(0);

export class HpackError extends Error {
  override readonly name = "HpackError";
}

export class HpackDecoder {
  /** Our SETTINGS_HEADER_TABLE_SIZE: the peer's encoder may not use more. */
  #tableBytesMax: number;
  #tableBytesAllowed: number;
  /** Our setting fell below what the encoder uses: its next block has to say a new size. */
  #needsResize = false;
  /** Newest first. */
  #entries: (readonly [string, string])[] = [];
  #tableBytes = 0;
  #bytes: Buffer = NOTHING;
  #position = 0;
  #end = 0;
  /** The last block's headers together were larger than allowed; its list is not complete. */
  isTooLarge = false;

  constructor(tableBytesMax: number) {
    this.#tableBytesMax = tableBytesMax;
    this.#tableBytesAllowed = tableBytesMax;
  }

  /** Our setting has changed, and the peer has acknowledged it (RFC 7541 §4.2). */
  limitTable(bytes: number): void {
    this.#tableBytesMax = bytes;
    this.#needsResize = this.#tableBytesAllowed > bytes;
  }

  /** The headers as name, value, name, value … Throws HpackError. */
  decode(bytes: Buffer, start: number, end: number, listBytesMax: number): string[] {
    this.#bytes = bytes;
    this.#position = start;
    this.#end = end;
    this.isTooLarge = false;
    try {
      return this.#decode(bytes, end, listBytesMax);
    } finally {
      // The read buffer must not live on here: idle connections are many.
      this.#bytes = NOTHING;
    }
  }

  #decode(bytes: Buffer, end: number, listBytesMax: number): string[] {
    const list: string[] = [];
    let listBytes = 0;
    let mayResize = true;
    while (this.#position < end) {
      const byte = bytes[this.#position]!;
      if ((byte & 0xe0) === 0x20) {
        if (!mayResize) throw new HpackError("table size update behind a header");
        this.#resize(this.#integer(5));
        continue;
      }
      mayResize = false;
      if (this.#needsResize) throw new HpackError("no table size update after our setting");
      const [name, value] = byte & 0x80 ? this.#entry(this.#integer(7)) : this.#literal(byte);
      listBytes += name.length + value.length + ENTRY_OVERHEAD;
      if (listBytes > listBytesMax) this.isTooLarge = true;
      else list.push(name, value);
    }
    return list;
  }

  #literal(byte: number): readonly [string, string] {
    const isIndexed = (byte & 0xc0) === 0x40;
    const index = this.#integer(isIndexed ? 6 : 4);
    const name = index === 0 ? this.#string() : this.#entry(index)[0];
    const header = [name, this.#string()] as const;
    if (isIndexed) this.#add(header);
    return header;
  }

  #entry(index: number): readonly [string, string] {
    const entry =
      index <= STATIC_TABLE.length
        ? STATIC_TABLE[index - 1]
        : this.#entries[index - STATIC_TABLE.length - 1];
    if (entry === undefined) throw new HpackError(`no table entry ${index}`);
    return entry;
  }

  #integer(bits: number): number {
    const mask = (1 << bits) - 1;
    let value = this.#bytes[this.#position++]! & mask;
    if (value < mask) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      if (this.#position >= this.#end) throw new HpackError("integer cut short");
      const byte = this.#bytes[this.#position++]!;
      value += (byte & 127) << shift;
      if ((byte & 128) === 0) return value;
    }
    throw new HpackError("integer too large");
  }

  #string(): string {
    if (this.#position >= this.#end) throw new HpackError("string cut short");
    const isHuffman = (this.#bytes[this.#position]! & 128) !== 0;
    const length = this.#integer(7);
    const start = this.#position;
    if (start + length > this.#end) throw new HpackError("string cut short");
    this.#position = start + length;
    if (!isHuffman) return latin1(this.#bytes, start, start + length);
    const text = decodeHuffman(this.#bytes, start, start + length);
    if (text === undefined) throw new HpackError("invalid Huffman code");
    return text;
  }

  #resize(bytes: number): void {
    if (bytes > this.#tableBytesMax) throw new HpackError("table size above our setting");
    this.#tableBytesAllowed = bytes;
    this.#needsResize = false;
    this.#evict(0);
  }

  #add(header: readonly [string, string]): void {
    const bytes = header[0].length + header[1].length + ENTRY_OVERHEAD;
    this.#evict(bytes);
    if (bytes > this.#tableBytesAllowed) return;
    this.#entries.unshift(header);
    this.#tableBytes += bytes;
  }

  /** Makes room; an entry larger than the table empties it (RFC 7541 §4.4). */
  #evict(room: number): void {
    while (this.#entries.length > 0 && this.#tableBytes + room > this.#tableBytesAllowed) {
      const [name, value] = this.#entries.pop()!;
      this.#tableBytes -= name.length + value.length + ENTRY_OVERHEAD;
    }
  }
}
