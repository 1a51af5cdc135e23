/**
 * HPACK decoder and Huffman code. Oracle: a plain decoder of our own agrees on every block, the
 * only thing thrown is HpackError, and what was decoded can be encoded and decoded again.
 */
import { HpackDecoder, HpackError } from "../../../src/net/http2/hpack/decoder.ts";
import { encodeBlock } from "../../../src/net/http2/hpack/encoder.ts";
import { decodeHuffman } from "../../../src/net/http2/hpack/huffman.ts";
import { check, checkSame, type Target } from "../target.ts";
import { ReferenceHpack, referenceHuffman } from "./reference-hpack.ts";

const LIST_BYTES_MAX = 1 << 20;

/** The first byte is the table's size in steps of 16; then blocks, each behind its length. */
function blocksOf(input: Buffer): Buffer[] {
  const blocks: Buffer[] = [];
  for (let at = 1; at < input.length; ) {
    const end = Math.min(input.length, at + 1 + input[at]!);
    blocks.push(input.subarray(at + 1, end));
    at = end;
  }
  return blocks;
}

function withLengths(tableSteps: number, ...blocks: Buffer[]): Buffer {
  return Buffer.concat([
    Buffer.of(tableSteps),
    ...blocks.flatMap((block) => [Buffer.of(block.length), block]),
  ]);
}

function decodeOrError(decoder: HpackDecoder, block: Buffer): string[] | HpackError {
  try {
    return decoder.decode(block, 0, block.length, LIST_BYTES_MAX);
  } catch (caught) {
    if (caught instanceof HpackError) return caught;
    throw caught;
  }
}

function runHpack(input: Buffer): string {
  const tableBytes = (input[0] ?? 0) * 16;
  const decoder = new HpackDecoder(tableBytes);
  const reference = new ReferenceHpack(tableBytes);
  let signature = "";
  for (const block of blocksOf(input)) {
    const decoded = decodeOrError(decoder, block);
    const expected = reference.decode(block);
    if (decoded instanceof HpackError) {
      check(expected === undefined, `refused, but it is a block: ${decoded.message}`);
      // Behind an error there is no connection any more.
      return `${signature} ${decoded.message.replace(/\d+/, "#")}`;
    }
    check(!decoder.isTooLarge, "too large, below the limit");
    checkSame(decoded, expected, "decoded otherwise");
    checkRoundTrip(decoded);
    signature += ` ${Math.min(8, decoded.length)}`;
  }
  return signature;
}

function checkRoundTrip(list: readonly string[]): void {
  const block = Buffer.from(encodeBlock(list));
  const again = new HpackDecoder(0).decode(block, 0, block.length, LIST_BYTES_MAX);
  // The encoder lets no line end through.
  checkSame(
    again,
    list.map((text) => text.replace(/[\0\r\n]/g, " ")),
    "encoded and decoded",
  );
}

export const hpack: Target = {
  name: "hpack",
  dictionary: [
    Buffer.of(0x82),
    Buffer.of(0x40, 1, 0x61, 1, 0x62),
    Buffer.of(0xbe),
    Buffer.of(0xbf),
    Buffer.of(0xc0),
    Buffer.of(0x20),
    Buffer.of(0x3f, 0xe1, 0x1f),
    Buffer.of(0xff, 0xff, 0xff, 0xff, 0x0f),
    Buffer.of(0x7f, 0),
    Buffer.of(0x88, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b),
  ],
  seeds: () => [
    withLengths(255, Buffer.from(encodeBlock([":method", "GET", ":path", "/", "x-a", "b"]))),
    // RFC 7541, C.4: Huffman and the dynamic table, three requests.
    withLengths(
      255,
      Buffer.from("828684418cf1e3c2e5f23a6ba0ab90f4ff", "hex"),
      Buffer.from("828684be5886a8eb10649cbf", "hex"),
      Buffer.from("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", "hex"),
    ),
    // A small table: entries are evicted, and found by the indices of those that are left.
    withLengths(
      6,
      Buffer.from("40016101624001630164", "hex"),
      Buffer.from("bebf4001650166be", "hex"),
      Buffer.from("20be", "hex"),
      Buffer.from("2020", "hex"),
    ),
    withLengths(16, Buffer.from("3f614001610162be", "hex"), Buffer.from("3f0120", "hex")),
    withLengths(0, Buffer.from("4001610162be", "hex")),
    withLengths(255, Buffer.from("1001610162000161016200817f0162", "hex")),
  ],
  run: runHpack,
};

export const huffman: Target = {
  name: "huffman",
  dictionary: [
    Buffer.of(0xff, 0xff, 0xff, 0xff),
    Buffer.of(0x1f),
    Buffer.of(0xf8),
    Buffer.of(0xff, 0xc7),
  ],
  seeds: () => [
    Buffer.from("f1e3c2e5f23a6ba0ab90f4ff", "hex"),
    Buffer.from("a8eb10649cbf", "hex"),
    Buffer.from("fffffffc", "hex"),
    Buffer.from("1fff", "hex"),
    Buffer.from("d07abe941054d444a8200595040b8166e082a62d1bff", "hex"),
  ],
  run(input) {
    const around = Buffer.concat([Buffer.of(0x55), input, Buffer.of(0xaa)]);
    const text = decodeHuffman(around, 1, input.length + 1);
    checkSame(text, referenceHuffman(input), "decoded otherwise");
    const last = input.at(-1) ?? 0;
    return text === undefined ? `no ${last >> 5}` : `${Math.min(20, text.length)} ${last & 7}`;
  },
};
