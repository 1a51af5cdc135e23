import fc from "fast-check";
import { expect, test } from "vitest";
import {
  DNS_TYPE,
  type DnsQuery,
  encodeAnswer,
  isAnswerTo,
  isTruncated,
  parseQuery,
  RCODE,
  refusalOf,
  udpBytesMax,
} from "./message.ts";

const label = (text: string) => Buffer.concat([Buffer.of(text.length), Buffer.from(text)]);
const nameOf = (...labels: string[]) => Buffer.concat([...labels.map(label), Buffer.of(0)]);

function header(counts: readonly number[], flags = 0x0100, id = 0x1234): Buffer {
  const bytes = Buffer.alloc(12);
  [id, flags, ...counts].forEach((value, i) => {
    bytes.writeUInt16BE(value, i * 2);
  });
  return bytes;
}

const QUESTION = Buffer.concat([nameOf("Reviews", "default"), Buffer.of(0, 1, 0, 1)]);
const OPT = Buffer.of(0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0);
const ONE = [1, 0, 0, 0];
const query = (...parts: Buffer[]) => Buffer.concat(parts);
const parsed = (bytes: Buffer) => parseQuery(bytes) as DnsQuery;
const answer = { rcode: RCODE.NOERROR, isAuthoritative: true, ttlSeconds: 30 };

test("a query is read with its letter case kept for the answer", () => {
  const read = parsed(query(header([1, 0, 0, 1]), QUESTION, OPT));
  expect(read).toMatchObject({ id: 0x1234, name: "reviews.default", type: DNS_TYPE.A, class: 1 });
  expect(read.isRecursionDesired).toBe(true);
  expect(read.question).toEqual(QUESTION);
  expect(read.edns).toEqual({ payloadBytes: 4096, version: 0 });
  expect(udpBytesMax(read)).toBe(1232);
  expect(udpBytesMax({ ...read, edns: undefined })).toBe(512);
});

test("what is not exactly a query is refused, and an answer is never answered", () => {
  const long = Array.from({ length: 5 }, () => "x".repeat(60));
  const root = Buffer.of(0, 0, 1, 0, 1);
  const bad: readonly (readonly [string, Buffer, number | undefined])[] = [
    ["a fragment", header(ONE).subarray(0, 11), undefined],
    ["an answer", query(header(ONE, 0x8180), QUESTION), undefined],
    ["an update", query(header(ONE, 0x2800), QUESTION), RCODE.NOTIMP],
    ["no question", header([0, 0, 0, 0]), RCODE.FORMERR],
    ["two questions", query(header([2, 0, 0, 0]), QUESTION, QUESTION), RCODE.FORMERR],
    ["a question with an answer", query(header([1, 1, 0, 0]), QUESTION, OPT), RCODE.FORMERR],
    ["nothing behind the header", header(ONE), RCODE.FORMERR],
    ["a name without end", query(header(ONE), label("a")), RCODE.FORMERR],
    ["a label over the end", query(header(ONE), Buffer.of(9, 97)), RCODE.FORMERR],
    ["a name of 305 bytes", query(header(ONE), nameOf(...long), root), RCODE.FORMERR],
    ["a pointer to itself", query(header(ONE), Buffer.of(0xc0, 12, 0, 1, 0, 1)), RCODE.FORMERR],
    ["a pointer to the header", query(header(ONE), Buffer.of(0xc0, 2, 0, 1, 0, 1)), RCODE.FORMERR],
    ["a reserved label type", query(header(ONE), Buffer.of(0x41, 0, 0, 1, 0, 1)), RCODE.FORMERR],
    ["a byte too much", query(header(ONE), QUESTION, Buffer.of(0)), RCODE.FORMERR],
    ["two OPT", query(header([1, 0, 0, 2]), QUESTION, OPT, OPT), RCODE.FORMERR],
    ["OPT cut short", query(header([1, 0, 0, 1]), QUESTION, OPT.subarray(0, 10)), RCODE.FORMERR],
    ["OPT of a name", query(header([1, 0, 0, 1]), QUESTION, label("a"), OPT), RCODE.FORMERR],
  ];
  for (const [what, bytes, rcode] of bad) expect(parseQuery(bytes), what).toMatchObject({ rcode });
});

test("a dot or a byte that no host name has makes the name nobody's, not another one", () => {
  for (const odd of ["a.b", "a\\0", "ä"]) {
    const labels = Buffer.concat([Buffer.of(odd.length), Buffer.from(odd, "latin1")]);
    const bytes = query(header(ONE), labels, label("svc"), Buffer.of(0, 0, 1, 0, 1));
    expect(parsed(bytes).name, odd).toBeUndefined();
  }
});

test("an answer is one to its question, and what does not fit is left out with TC", () => {
  const read = parsed(query(header([1, 0, 0, 1]), QUESTION, OPT));
  const addresses = Array.from({ length: 100 }, (_, i) => `10.0.0.${i}`);
  const canonicalName = "reviews.default.svc.cluster.local";
  const whole = encodeAnswer(read, { ...answer, addresses, canonicalName }, 65_535);
  expect(isAnswerTo(whole, read.id, read.question)).toBe("yes");
  expect(whole.readUInt16BE(6)).toBe(101);
  expect(isTruncated(whole)).toBe(false);
  const cut = encodeAnswer(read, { ...answer, addresses }, 512);
  expect(cut.length).toBeLessThanOrEqual(512);
  expect(isTruncated(cut)).toBe(true);
  expect(isAnswerTo(cut, read.id, read.question)).toBe("yes");
  expect(refusalOf({ id: 7, rcode: RCODE.BADVERS }, read).at(-6)).toBe(1);
  expect(isAnswerTo(refusalOf({ id: 7, rcode: RCODE.SERVFAIL }, read), 7, read.question)).toBe(
    "yes",
  );
});

test("answers of others: another id or question is not ours, loops and cuts are broken", () => {
  const question = QUESTION;
  const record = (owner: Buffer) => Buffer.concat([owner, Buffer.of(0, 1, 0, 1, 0, 0, 0, 9, 0, 0)]);
  const reply = (...parts: Buffer[]) => query(header([1, 1, 0, 0], 0x8180), QUESTION, ...parts);
  const back = Buffer.of(0xc0, 12);
  expect(isAnswerTo(reply(record(back)), 0x1234, question)).toBe("yes");
  const upper = Buffer.concat([nameOf("REVIEWS", "default"), Buffer.of(0, 1, 0, 1)]);
  expect(isAnswerTo(reply(record(back)), 0x1234, upper)).toBe("yes");
  expect(isAnswerTo(reply(record(back)), 0x1235, question)).toBe("other");
  const other = Buffer.concat([nameOf("Reviewz", "default"), Buffer.of(0, 1, 0, 1)]);
  expect(isAnswerTo(reply(record(back)), 0x1234, other)).toBe("other");
  const at = 12 + QUESTION.length;
  for (const [what, owner] of [
    ["to itself", Buffer.of(0xc0, at)],
    ["forwards", Buffer.of(0xc0, at + 2)],
    ["a label and back to it", Buffer.concat([label("a"), Buffer.of(0xc0, at)])],
  ] as const) {
    expect(isAnswerTo(reply(record(owner)), 0x1234, question), what).toBe("broken");
  }
  expect(isAnswerTo(reply(record(back).subarray(0, 11)), 0x1234, question)).toBe("broken");
  expect(isAnswerTo(reply(), 0x1234, question)).toBe("broken");
});

test("IPv6 addresses in every spelling become their 16 bytes", () => {
  const six = Buffer.concat([nameOf("a"), Buffer.of(0, 28, 0, 1)]);
  const read = parsed(query(header(ONE), six));
  const bytesOf = (address: string) =>
    encodeAnswer(read, { ...answer, addresses: [address] }, 512)
      .subarray(-16)
      .toString("hex");
  expect(bytesOf("::1")).toBe("00000000000000000000000000000001");
  expect(bytesOf("fd00::")).toBe("fd000000000000000000000000000000");
  expect(bytesOf("2001:db8:1:2:3:4:5:6")).toBe("20010db8000100020003000400050006");
  expect(bytesOf("::ffff:10.0.1.2")).toBe("00000000000000000000ffff0a000102");
});

test("no bytes make a reader throw, and what is read can be answered", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (array) => {
      const bytes = Buffer.concat([header(ONE), array]);
      isAnswerTo(bytes, 0x1234, QUESTION);
      const read = parseQuery(bytes);
      if ("rcode" in read) return;
      const reply = encodeAnswer(read, { ...answer, addresses: ["10.0.0.1"] }, 512);
      expect(isAnswerTo(reply, read.id, read.question)).toBe("yes");
    }),
  );
});
