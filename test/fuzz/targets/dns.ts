/**
 * DNS messages. Oracle: a plain reader of names of our own agrees about every question; nothing is
 * thrown; what was read as a query can be answered, refused and cut short, and each of those is an
 * answer to it; a query is never an answer, nor an answer a query.
 */
import {
  encodeAnswer,
  isAnswerTo,
  isTruncated,
  parseQuery,
  refusalOf,
} from "../../../src/net/dns/message.ts";
import { check, checkSame, type Target } from "../target.ts";

/** The labels of an uncompressed name, or undefined when it is none. */
function plainName(bytes: Buffer, start: number): string[] | undefined {
  const labels: string[] = [];
  let at = start;
  while (at < bytes.length && bytes[at]! > 0) {
    const end = at + 1 + bytes[at]!;
    if (bytes[at]! > 63 || end > bytes.length) return undefined;
    labels.push(bytes.toString("latin1", at + 1, end));
    at = end;
  }
  const size = labels.reduce((sum, label) => sum + label.length + 1, 1);
  return at < bytes.length && size <= 255 ? labels : undefined;
}

function run(input: Buffer): string {
  const query = parseQuery(input);
  if ("rcode" in query) {
    if (query.rcode === undefined) return "silence";
    check(refusalOf({ id: query.id, rcode: query.rcode }).length === 12, "a refusal is a header");
    return `refused ${query.rcode}`;
  }
  const labels = plainName(input, 12);
  check(labels !== undefined, "a question without a name");
  const isHost = labels.length > 0 && labels.every((label) => /^[a-z0-9_-]+$/i.test(label));
  checkSame(query.name, isHost ? labels.join(".").toLowerCase() : undefined, "another name");
  checkSame(isAnswerTo(input, query.id, query.question), "other", "a query that is an answer");
  const addresses = Array.from({ length: 40 }, (_, i) => (i % 2 ? `fd00::${i}` : `10.0.0.${i}`));
  const answer = { rcode: 0, isAuthoritative: true, addresses, ttlSeconds: 30 };
  for (const bytesMax of [512, 65_535]) {
    const reply = encodeAnswer(query, { ...answer, canonicalName: "a.example" }, bytesMax);
    check(reply.length <= bytesMax, "longer than allowed");
    checkSame(isTruncated(reply), bytesMax === 512, "cut, or not cut");
    checkSame(isAnswerTo(reply, query.id, query.question), "yes", "not an answer");
    checkSame(parseQuery(reply), { id: query.id, rcode: undefined }, "an answer that is a query");
  }
  const refusal = refusalOf({ id: query.id, rcode: 2 }, query);
  checkSame(isAnswerTo(refusal, query.id, query.question), "yes", "not a refusal of it");
  return `query ${Math.min(4, labels.length)} ${query.edns !== undefined}`;
}

const HEADER = "123401000001000000000000";
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");

export const dnsQuery: Target = {
  name: "dns-query",
  dictionary: [hex("c00c"), hex("c000"), hex("0000290200000000000000"), hex("00010001"), hex("3f")],
  seeds: () => [
    hex(`${HEADER} 07 72657669657773 00 0001 0001`),
    hex(`${HEADER} 07 72657669657773 07 64656661756c74 03 737663 00 001c 0001`),
    hex("123401000001000000000001 01 61 00 0001 0001 000029100000008000 0000"),
    hex("123401000001000000000001 01 61 00 0001 0001 c00c 0010 0001 00000000 0001 00"),
    hex(`${HEADER} 00 0002 0001`),
    hex("123401000001000000000000 c00c 0001 0001"),
    hex("123428000001000000000000 01 61 00 0006 0001"),
    hex("123481800001000100000000 01 61 00 0001 0001 c00c 0001 0001 0000003c 0004 0a000001"),
  ],
  run,
};

/** The answer of a resolver to `reviews`, A. Oracle: nothing is thrown, and no answer hangs. */
export const dnsAnswer: Target = {
  name: "dns-answer",
  dictionary: [hex("c00c"), hex("c019"), hex("c01a"), hex("0001000100000009"), hex("3f")],
  seeds: () => {
    const head = "1234 8180 0001";
    const question = "07 72657669657773 00 0001 0001";
    const record = "c00c 0001 0001 0000003c 0004 0a000001";
    return [
      hex(`${head} 0001 0000 0000 ${question} ${record}`),
      hex(`${head} 0001 0000 0000 ${question} c019 0001 0001 0000003c 0000`),
      hex(`${head} 0002 0000 0001 ${question} ${record} ${record} 0000290200000000000000`),
      hex(`${head} 0000 0000 0000 ${question}`),
    ];
  },
  run(input) {
    const question = hex("07 72657669657773 00 0001 0001");
    const kind = isAnswerTo(input, 0x1234, question);
    if (kind !== "other") check((input[2]! & 0x80) !== 0, "a query taken for an answer");
    // Whatever is behind a whole answer, it is none any more.
    if (kind === "yes") {
      const more = Buffer.concat([input, Buffer.of(0)]);
      checkSame(isAnswerTo(more, 0x1234, question), "broken", "a byte too much");
    }
    return `${kind} ${input.length >> 4}`;
  },
};
