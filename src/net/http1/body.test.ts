import fc from "fast-check";
import { expect, test } from "vitest";
import { BodyReader, writeChunkHead } from "./body.ts";
import type { Framing } from "./head.ts";

interface Read {
  payload: string;
  isDone: boolean;
  problem: string | undefined;
  trailers: readonly (readonly [string, string])[];
  /** Bytes behind the body. */
  left: number;
}

function read(text: string | Buffer, framing: Framing = "chunked", length = 0, pieces = [0]): Read {
  const bytes = typeof text === "string" ? Buffer.from(text, "latin1") : text;
  const reader = new BodyReader();
  reader.reset(framing, length);
  let payload = "";
  let position = 0;
  for (let turn = 0; position < bytes.length && !reader.isDone && !reader.problem; turn++) {
    const piece = pieces[turn % pieces.length] || bytes.length;
    const end = Math.min(bytes.length, position + piece);
    while (position < end && !reader.isDone && reader.problem === undefined) {
      const next = reader.read(bytes, position, end);
      expect(next).toBeGreaterThan(position);
      expect(reader.payloadStart).toBeGreaterThanOrEqual(position);
      expect(reader.payloadEnd).toBeLessThanOrEqual(next);
      payload += bytes.toString("latin1", reader.payloadStart, reader.payloadEnd);
      position = next;
    }
  }
  const { isDone, problem, trailers } = reader;
  return { payload, isDone, problem, trailers, left: bytes.length - position };
}

test("a body of known length ends there", () => {
  expect(read("hello+rest", "length", 5)).toMatchObject({
    payload: "hello",
    isDone: true,
    left: 5,
  });
  expect(read("hel", "length", 5)).toMatchObject({ payload: "hel", isDone: false });
  expect(read("all of it", "close")).toMatchObject({ payload: "all of it", isDone: false });
  expect(read("nothing", "none")).toMatchObject({ payload: "", isDone: true, left: 7 });
});

test("chunked: extensions are dropped, allowed trailers kept", () => {
  const text =
    '5;a="b c"\r\nhello\r\n00A\r\n0123456789\r\n0;x\r\nX-Sum:\t7 \r\nHost: evil\r\n\r\nGET';
  expect(read(text)).toEqual({
    payload: "hello0123456789",
    isDone: true,
    problem: undefined,
    trailers: [["x-sum", "7"]],
    left: 3,
  });
});

test.each([
  "\r\n",
  "g\r\n",
  "-1\r\n",
  "0x1\r\n",
  "+1\r\n",
  "1 \r\n",
  " 1\r\n",
  "1\n",
  "1\rx",
  "1;\n",
  "1;a\x00\r\n",
  "1\r\nab",
  "1\r\na\n",
  "1\r\na\rx",
  "ffffffffffff\r\n",
  `${"0".repeat(17)}\r\n`,
  `1;${"x".repeat(5000)}`,
  "0\r\na: b\n\r\n",
  "0\r\nno colon\r\n\r\n",
  "0\r\n: b\r\n\r\n",
  "0\r\na : b\r\n\r\n",
  "0\r\n a: b\r\n\r\n",
  "0\r\na: b\x00\r\n\r\n",
  "0\r\na: b\rc: d\r\n\r\n",
  `0\r\na: ${"x".repeat(17_000)}`,
])("malformed (%#)", (text) => {
  expect(read(text).problem).toBeDefined();
  expect(read(text, "chunked", 0, [1]).problem).toBe(read(text).problem);
});

test("a byte of text is not a blank in a trailer", () => {
  expect(read("0\r\nx-t:  \xa0a\xa0 \r\n\r\n").trailers).toEqual([["x-t", "\xa0a\xa0"]]);
});

const chunks = fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 6 });
const pieces = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 });

function encode(parts: readonly Uint8Array[], trailer: string): Buffer {
  const head = Buffer.alloc(32);
  const written = parts.flatMap((part) => [
    Buffer.from(head.subarray(0, writeChunkHead(head, 0, part.length))),
    Buffer.from(part),
    Buffer.from("\r\n"),
  ]);
  return Buffer.concat([...written, Buffer.from(`0\r\n${trailer}\r\n`)]);
}

test("what is written in chunks is read back, however it is cut", () => {
  fc.assert(
    fc.property(chunks, pieces, fc.boolean(), (parts, cut, hasTrailer) => {
      const bytes = encode(parts, hasTrailer ? "x-a: 1\r\nx-b: 2\r\n" : "");
      const payload = Buffer.concat(parts).toString("latin1");
      const whole = read(bytes);
      expect(whole).toMatchObject({ payload, isDone: true, problem: undefined, left: 0 });
      expect(whole.trailers).toHaveLength(hasTrailer ? 2 : 0);
      expect(read(bytes, "chunked", 0, cut)).toEqual(whole);
    }),
  );
});

test("mutated chunks never throw, and read the same however they are cut", () => {
  const mutations = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 3 });
  fc.assert(
    fc.property(chunks, mutations, pieces, (parts, changes, cut) => {
      const bytes = encode(parts, "x-a: 1\r\n");
      for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
      expect(read(bytes, "chunked", 0, cut)).toEqual(read(bytes));
    }),
    { numRuns: 500 },
  );
});
