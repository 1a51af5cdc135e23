import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { conformancePath } from "../../../../test/support/conformance.ts";
import { HpackDecoder, HpackError } from "./decoder.ts";
import { encodeBlock } from "./encoder.ts";

const LIST_MAX = 1 << 20;

function decode(decoder: HpackDecoder, hex: string): string[] {
  const bytes = Buffer.from(hex.replaceAll(" ", ""), "hex");
  return decoder.decode(bytes, 0, bytes.length, LIST_MAX);
}

interface Story {
  readonly cases: readonly {
    readonly wire: string;
    readonly headers: readonly Readonly<Record<string, string>>[];
    readonly header_table_size?: number | null;
  }[];
}

const folder = conformancePath("http", "hpack");

test.skipIf(folder === undefined)("HpackDecoder.decode() reads what eleven encoders wrote", () => {
  let cases = 0;
  for (const encoder of readdirSync(folder!)) {
    for (const file of readdirSync(join(folder!, encoder))) {
      const path = join(folder!, encoder, file);
      const story = JSON.parse(readFileSync(path, "utf8")) as Story;
      const decoder = new HpackDecoder(4096);
      for (const { wire, headers, header_table_size: size } of story.cases) {
        if (typeof size === "number") decoder.limitTable(size);
        const expected = headers.flatMap((each) => Object.entries(each).flat());
        expect(decode(decoder, wire), path).toEqual(expected);
        cases++;
      }
    }
  }
  expect(cases).toBeGreaterThan(500);
});

describe("HpackDecoder.decode() of RFC 7541 Appendix C", () => {
  test("reads the requests of C.3 (literals) and C.4 (Huffman), with one table each", () => {
    const first = [
      ":method",
      "GET",
      ":scheme",
      "http",
      ":path",
      "/",
      ":authority",
      "www.example.com",
    ];
    const second = [...first, "cache-control", "no-cache"];
    const third = [
      ...[":method", "GET", ":scheme", "https", ":path", "/index.html"],
      ...[":authority", "www.example.com", "custom-key", "custom-value"],
    ];
    const plain = new HpackDecoder(4096);
    expect(decode(plain, "828684410f7777772e6578616d706c652e636f6d")).toEqual(first);
    expect(decode(plain, "828684be58086e6f2d6361636865")).toEqual(second);
    expect(decode(plain, "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565")).toEqual(
      third,
    );
    const huffman = new HpackDecoder(4096);
    expect(decode(huffman, "828684418cf1e3c2e5f23a6ba0ab90f4ff")).toEqual(first);
    expect(decode(huffman, "828684be5886a8eb10649cbf")).toEqual(second);
    expect(decode(huffman, "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf")).toEqual(third);
  });

  test("evicts as in C.6: a table of 256 bytes", () => {
    const decoder = new HpackDecoder(256);
    const location = "https://www.example.com";
    const rest = ["cache-control", "private", "date", "Mon, 21 Oct 2013 20:13:21 GMT"];
    expect(
      decode(
        decoder,
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff" +
          "6e919d29ad171863c78f0b97c8e9ae82ae43d3",
      ),
    ).toEqual([":status", "302", ...rest, "location", location]);
    // The new :status evicts the old one.
    expect(decode(decoder, "4883640effc1c0bf")).toEqual([
      ...[":status", "307"],
      ...[...rest, "location", location],
    ]);
    expect(decode(decoder, "c1")).toEqual(["cache-control", "private"]);
    expect(() => decode(decoder, "c2")).toThrow(HpackError);
  });

  test("reads the integers of C.1 as lengths and indices", () => {
    const value = "a".repeat(1337);
    const bytes = Buffer.concat([Buffer.from("00016b7fba09", "hex"), Buffer.from(value, "latin1")]);
    expect(new HpackDecoder(4096).decode(bytes, 0, bytes.length, LIST_MAX)).toEqual(["k", value]);
  });
});

describe("HpackDecoder.decode() refuses", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["index 0", "80"],
    ["an index behind the tables", "be"],
    ["a name index behind the tables", "7e0161"],
    ["an integer cut short", "ff"],
    ["an integer without end", "ff80808080808080808001"],
    ["an integer beyond 31 bits", "ffffffffff0f"],
    ["a string longer than the block", "0003616263056162"],
    ["a string without length", "00"],
    ["a value that is missing", "000161"],
    ["a size update behind a header", "8220"],
    ["a table larger than our setting", "3fe21f"],
    ["Huffman padding of eight bits", "00016182 1fff"],
    ["Huffman padding of zeros", "00016181 18"],
    ["Huffman EOS", "00016184 ffffffff"],
  ];
  for (const [what, hex] of cases) {
    test(what, () => {
      expect(() => decode(new HpackDecoder(4096), hex)).toThrow(HpackError);
    });
  }

  test("a block without the size update that our lower setting demands", () => {
    const decoder = new HpackDecoder(4096);
    decoder.limitTable(100);
    expect(() => decode(decoder, "82")).toThrow(HpackError);
    const other = new HpackDecoder(4096);
    other.limitTable(100);
    expect(decode(other, "3f45 82")).toEqual([":method", "GET"]);
  });

  test("no block that is merely too large, and keeps the table right", () => {
    const decoder = new HpackDecoder(4096);
    const bytes = Buffer.from("4001610162 400163 0164".replaceAll(" ", ""), "hex");
    decoder.decode(bytes, 0, bytes.length, 40);
    expect(decoder.isTooLarge).toBe(true);
    expect(decode(decoder, "bebf")).toEqual(["c", "d", "a", "b"]);
    expect(decoder.isTooLarge).toBe(false);
  });
});

test("HpackDecoder.decode() never throws anything but HpackError", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (array) => {
      const decoder = new HpackDecoder(4096);
      const bytes = Buffer.from(array);
      try {
        const list = decoder.decode(bytes, 0, bytes.length, LIST_MAX);
        expect(list.length % 2).toBe(0);
      } catch (caught) {
        expect(caught).toBeInstanceOf(HpackError);
      }
    }),
    { numRuns: 2000 },
  );
});

const latin1 = fc
  .uint8Array({ maxLength: 300 })
  .map((bytes) => Buffer.from(bytes.filter((b) => b !== 0 && b !== 10 && b !== 13)))
  .map((bytes) => bytes.toString("latin1"));
const name = fc.oneof(
  fc.constantFrom(":status", ":method", "cookie", "accept", "content-length"),
  fc.stringMatching(/^[a-z-]{1,20}$/),
);

test("encodeBlock() is undone by decode()", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(name, latin1), { maxLength: 40 }), (pairs) => {
      const list = pairs.flat();
      const bytes = encodeBlock(list);
      expect(new HpackDecoder(4096).decode(bytes, 0, bytes.length, LIST_MAX)).toEqual(list);
    }),
  );
});

describe("encodeBlock()", () => {
  test("uses the static table, and indexes nothing", () => {
    expect(encodeBlock([":status", "200", ":method", "GET"]).toString("hex")).toBe("8882");
    expect(encodeBlock([":status", "201"]).toString("hex")).toBe("0803323031");
    expect(encodeBlock(["cookie", "a"]).toString("hex")).toBe("1f110161");
    expect(encodeBlock(["x", "y"]).toString("hex")).toBe("0001780179");
  });

  test("lets no CR, LF or NUL through, nor a character that would become one", () => {
    const bytes = encodeBlock(["x", "a\r\nb\0\u010a\u010d"]);
    const [, value] = new HpackDecoder(4096).decode(bytes, 0, bytes.length, LIST_MAX);
    expect(Buffer.from(value!, "latin1").toString("utf8")).toBe("a  b \u010a\u010d");
  });
});
