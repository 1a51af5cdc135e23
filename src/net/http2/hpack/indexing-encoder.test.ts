import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { HpackDecoder } from "./decoder.ts";
import { encodeBlock } from "./encoder.ts";
import { IndexingEncoder } from "./indexing-encoder.ts";

function sides(tableBytes = 4096) {
  const encoder = new IndexingEncoder(true);
  const decoder = new HpackDecoder(tableBytes);
  if (tableBytes !== 4096) encoder.limitTable(tableBytes);
  const carry = (list: readonly string[]) => {
    const block = Buffer.from(encoder.encode(list));
    return { block, list: decoder.decode(block, 0, block.length, 1 << 20) };
  };
  return { encoder, decoder, carry };
}

describe("IndexingEncoder", () => {
  test("writes a header that comes again as one byte", () => {
    const { carry } = sides();
    const list = [":status", "200", "server", "istio-envoy", "x-app", "reviews"];
    expect(carry(list).list).toEqual(list);
    const again = carry(list);
    expect(again.list).toEqual(list);
    expect(again.block).toHaveLength(3);
  });

  test("never puts secrets into the table, nor what is another every time", () => {
    const secrets = ["authorization", "cookie", "proxy-authorization", "set-cookie"];
    const changing = [":path", "date", "content-length", "x-request-id", "traceparent"];
    const { carry } = sides();
    for (const name of [...secrets, ...changing]) {
      const first = carry([name, "/a-value"]).block;
      // Literals: 0001 says that nobody may index it, 0000 that we do not.
      expect(first[0]! >> 4, name).toBe(secrets.includes(name) ? 1 : 0);
      expect(carry([name, "/a-value"]).block, name).toEqual(first);
    }
  });

  test("says a smaller table at the next block's start, the smallest and the last", () => {
    const { encoder, decoder, carry } = sides();
    carry(["a", "b"]);
    encoder.limitTable(0);
    encoder.limitTable(100);
    decoder.limitTable(0);
    decoder.limitTable(100);
    const { block, list } = carry(["a", "b"]);
    expect(list).toEqual(["a", "b"]);
    // 0, then 100 with a prefix of 5 bits.
    expect(block.subarray(0, 3)).toEqual(Buffer.of(0x20, 0x3f, 69));
    expect(carry(["a", "b"]).block).toEqual(Buffer.of(0xbe));
  });

  test("says it before a block that was made beforehand, too, once", () => {
    const { encoder, decoder } = sides();
    const made = Buffer.from(encodeBlock([":status", "200"]));
    encoder.limitTable(0);
    decoder.limitTable(0);
    const carried = Buffer.from(encoder.carry(made));
    expect(carried).toEqual(Buffer.concat([Buffer.of(0x20), made]));
    expect(decoder.decode(carried, 0, carried.length, 1000)).toEqual([":status", "200"]);
    expect(encoder.carry(made)).toBe(made);
  });

  test("leaves out of the table what is not latin1: the decoder would count other bytes", () => {
    const { carry } = sides();
    const first = carry(["x-a", "日本"]);
    expect(Buffer.from(first.list[1]!, "latin1").toString()).toBe("日本");
    expect(carry(["x-a", "日本"]).block).toEqual(first.block);
  });

  test("uses no more than HPACK's default of what the peer offers", () => {
    const { encoder, carry } = sides();
    encoder.limitTable(1 << 30);
    for (let i = 0; i < 1000; i++) carry([`x-${i}`, "v".repeat(200)]);
    expect(carry(["x-999", "v".repeat(200)]).block).toHaveLength(1);
    expect(carry(["x-900", "v".repeat(200)]).block.length).toBeGreaterThan(1);
  });

  test("whatever the headers and the settings, the decoder reads what was written", () => {
    const name = fc.constantFrom("a", "server", "x-b", "cookie", ":path", "date", "content-type");
    const value = fc.oneof(
      fc.constantFrom("", "1", "text/plain", "é", "v".repeat(60), "w".repeat(300)),
      fc.integer({ min: 0, max: 30 }).map(String),
      fc.string({ maxLength: 5 }).filter((text) => !/[\0\r\n]/.test(text)),
    );
    const list = fc.array(fc.tuple(name, value), { maxLength: 12 }).map((l) => l.flat());
    const step = fc.oneof(
      { weight: 8, arbitrary: list },
      { weight: 1, arbitrary: fc.integer({ min: 0, max: 5000 }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { encoder, decoder, carry } = sides();
        for (const each of steps) {
          if (typeof each === "number") {
            encoder.limitTable(each);
            decoder.limitTable(each);
          } else expect(carry(each).list).toEqual(each);
        }
      }),
    );
  });
});
