/**
 * HPACK once more (RFC 7541), as plainly as the RFC says it: slow, whole, bit by bit. It shares
 * the two tables of the RFC's appendices with the decoder that it judges, and nothing else.
 */
import { HUFFMAN_CODES } from "../../../src/net/http2/hpack/huffman-codes.ts";
import { STATIC_TABLE } from "../../../src/net/http2/hpack/static-table.ts";

const SYMBOLS = new Map(
  HUFFMAN_CODES.map(([code, bits], symbol) => [code.toString(2).padStart(bits, "0"), symbol]),
);
const END_OF_STRING = 256;
/** Our decoder takes four bytes behind the prefix and no more; that is its own limit. */
const INTEGER_BYTES_MAX = 4;

/** The text, or `undefined` when it is not a valid code (§5.2). */
export function referenceHuffman(bytes: Buffer): string | undefined {
  let text = "";
  let code = "";
  for (const byte of bytes) {
    for (const bit of byte.toString(2).padStart(8, "0")) {
      code += bit;
      const symbol = SYMBOLS.get(code);
      if (symbol === undefined) continue;
      if (symbol === END_OF_STRING) return undefined;
      text += String.fromCharCode(symbol);
      code = "";
    }
  }
  return /^1{0,7}$/.test(code) ? text : undefined;
}

export class ReferenceHpack {
  readonly #settingBytes: number;
  #allowedBytes: number;
  #table: [string, string][] = [];
  #rest: number[] = [];

  constructor(tableBytesMax: number) {
    this.#settingBytes = tableBytesMax;
    this.#allowedBytes = tableBytesMax;
  }

  /** The headers; `undefined`: not a block. */
  decode(block: Buffer): string[] | undefined {
    this.#rest = [...block];
    const list: string[] = [];
    try {
      while (this.#rest.length > 0) this.#field(list);
      return list;
    } catch (caught) {
      if (caught === BROKEN) return undefined;
      throw caught;
    }
  }

  #field(list: string[]): void {
    const first = this.#rest[0]!;
    if (first >= 128) list.push(...this.#entry(this.#integer(7)));
    else if (first >= 64) {
      const header = this.#literal(6);
      this.#table.unshift(header);
      list.push(...header);
      this.#evict();
    } else if (first >= 32) {
      const size = this.#integer(5);
      if (list.length > 0 || size > this.#settingBytes) throw BROKEN;
      this.#allowedBytes = size;
      this.#evict();
    } else list.push(...this.#literal(4));
  }

  #literal(bits: number): [string, string] {
    const index = this.#integer(bits);
    const name = index === 0 ? this.#string() : this.#entry(index)[0];
    return [name, this.#string()];
  }

  #entry(index: number): readonly [string, string] {
    const entry = [["", ""] as const, ...STATIC_TABLE, ...this.#table][index];
    if (index === 0 || entry === undefined) throw BROKEN;
    return entry;
  }

  #integer(bits: number): number {
    const prefix = this.#byte() % 2 ** bits;
    if (prefix < 2 ** bits - 1) return prefix;
    let value = prefix;
    for (let i = 0; i < INTEGER_BYTES_MAX; i++) {
      const byte = this.#byte();
      value += (byte % 128) * 128 ** i;
      if (byte < 128) return value;
    }
    throw BROKEN;
  }

  #string(): string {
    const isHuffman = (this.#rest[0] ?? 0) >= 128;
    const length = this.#integer(7);
    if (length > this.#rest.length) throw BROKEN;
    const bytes = Buffer.from(this.#rest.splice(0, length));
    if (!isHuffman) return bytes.toString("latin1");
    const text = referenceHuffman(bytes);
    if (text === undefined) throw BROKEN;
    return text;
  }

  #byte(): number {
    const byte = this.#rest.shift();
    if (byte === undefined) throw BROKEN;
    return byte;
  }

  #evict(): void {
    const size = () => this.#table.reduce((sum, [n, v]) => sum + n.length + v.length + 32, 0);
    while (size() > this.#allowedBytes) this.#table.pop();
  }
}

const BROKEN = new Error("not a header block");
