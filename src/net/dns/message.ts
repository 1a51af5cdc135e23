/**
 * DNS messages (RFC 1035, EDNS RFC 6891): queries read strictly, answers written, and the answers
 * of others checked before they are passed on.
 *
 * A name may be compressed only backwards, each pointer lower than the one before, so no message
 * can make a reader go round. What is not exactly a message is refused whole: a proxy that guesses
 * would answer something else than what the resolver behind it reads.
 */
export const DNS_TYPE = { A: 1, CNAME: 5, AAAA: 28, OPT: 41 } as const;
export const RCODE = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  BADVERS: 16,
} as const;
export const CLASS_IN = 1;

const HEADER_BYTES = 12;
const NAME_BYTES_MAX = 255;
/** Records of a query's additional section: OPT, TSIG and little else. */
const ADDITIONAL_MAX = 4;
/** What a client takes over UDP when it says nothing (RFC 1035 §4.2.1). */
export const UDP_BYTES_DEFAULT = 512;
const HOST_LABEL = /^[a-z0-9_-]+$/;

export interface DnsQuery {
  readonly id: number;
  readonly isRecursionDesired: boolean;
  /** Name, type and class as they came: answers repeat them, letter case included. */
  readonly question: Buffer;
  /** In lower case, without the last dot; undefined when it cannot be a host's. */
  readonly name: string | undefined;
  readonly type: number;
  readonly class: number;
  readonly edns: { readonly payloadBytes: number; readonly version: number } | undefined;
}

/** Not a query: answered with a code; or, being an answer or a fragment, not at all. */
export interface BadQuery {
  readonly id: number;
  readonly rcode: number | undefined;
}

export interface DnsAnswer {
  readonly rcode: number;
  readonly isAuthoritative: boolean;
  /** The question's name is another name of this one. */
  readonly canonicalName?: string;
  /** Textual addresses, of the family that was asked for. */
  readonly addresses: readonly string[];
  readonly ttlSeconds: number;
}

export function parseQuery(bytes: Buffer): DnsQuery | BadQuery {
  if (bytes.length < HEADER_BYTES) return { id: 0, rcode: undefined };
  const id = bytes.readUInt16BE(0);
  const flags = bytes.readUInt16BE(2);
  // Never an answer to an answer: two proxies would talk for ever.
  if ((flags & 0x8000) !== 0) return { id, rcode: undefined };
  if ((flags & 0x7800) !== 0) return { id, rcode: RCODE.NOTIMP };
  const malformed = { id, rcode: RCODE.FORMERR };
  const additional = bytes.readUInt16BE(10);
  const hasOneQuestion =
    bytes.readUInt16BE(4) === 1 && bytes.readUInt16BE(6) === 0 && bytes.readUInt16BE(8) === 0;
  if (!hasOneQuestion || additional > ADDITIONAL_MAX) return malformed;
  const name = readName(bytes, HEADER_BYTES, false);
  if (name === undefined || name.next + 4 > bytes.length) return malformed;
  let at = name.next + 4;
  let edns: DnsQuery["edns"];
  for (let i = 0; i < additional; i++) {
    const record = readRecord(bytes, at);
    if (record === undefined) return malformed;
    at = record.next;
    if (record.type !== DNS_TYPE.OPT) continue;
    // One, of the root (RFC 6891 §6.1.1).
    if (edns !== undefined || record.labels.length > 0) return malformed;
    edns = { payloadBytes: record.class, version: (record.ttl >>> 16) & 255 };
  }
  if (at !== bytes.length) return malformed;
  return {
    id,
    isRecursionDesired: (flags & 0x0100) !== 0,
    question: Buffer.from(bytes.subarray(HEADER_BYTES, name.next + 4)),
    name: hostName(name.labels),
    type: bytes.readUInt16BE(name.next),
    class: bytes.readUInt16BE(name.next + 2),
    edns,
  };
}

/** A code for what could not be read, or for a query without an answer. */
export function refusalOf(bad: { id: number; rcode: number }, query?: DnsQuery): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  const recursion = query?.isRecursionDesired ? 0x0100 : 0;
  header.writeUInt16BE(bad.id, 0);
  header.writeUInt16BE(0x8080 | recursion | (bad.rcode & 15), 2);
  if (query === undefined) return header;
  header.writeUInt16BE(1, 4);
  if (query.edns !== undefined) header.writeUInt16BE(1, 10);
  return Buffer.concat([header, query.question, optOf(query, bad.rcode)]);
}

/** How many records a message has in its answer section. */
export function answerCount(message: Buffer): number {
  return message.readUInt16BE(6);
}

/** What does not fit is left out with TC, so that the client asks again over TCP. */
export function encodeAnswer(query: DnsQuery, answer: DnsAnswer, bytesMax: number): Buffer {
  const opt = optOf(query, answer.rcode);
  const parts = [query.question];
  let size = HEADER_BYTES + query.question.length + opt.length;
  let count = 0;
  let isTruncated = false;
  const add = (record: Buffer): void => {
    isTruncated ||= size + record.length > bytesMax;
    if (isTruncated) return;
    parts.push(record);
    size += record.length;
    count++;
  };
  // The question's name stands behind the header.
  let owner = HEADER_BYTES;
  if (answer.canonicalName !== undefined) {
    // Where the CNAME's data will be: owner, type, class, ttl and length before it.
    const target = HEADER_BYTES + query.question.length + 12;
    add(recordOf(owner, DNS_TYPE.CNAME, answer.ttlSeconds, encodeName(answer.canonicalName)));
    owner = target;
  }
  for (const address of answer.addresses) {
    const data = addressBytes(address);
    const type = data.length === 4 ? DNS_TYPE.A : DNS_TYPE.AAAA;
    add(recordOf(owner, type, answer.ttlSeconds, data));
  }
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(query.id, 0);
  const flags =
    0x8080 |
    (answer.isAuthoritative ? 0x0400 : 0) |
    (isTruncated ? 0x0200 : 0) |
    (query.isRecursionDesired ? 0x0100 : 0);
  header.writeUInt16BE(flags | (answer.rcode & 15), 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(count, 6);
  header.writeUInt16BE(query.edns === undefined ? 0 : 1, 10);
  return Buffer.concat([header, ...parts, opt]);
}

/** Whether it is an answer to that question, whole and well-formed. */
export function isAnswerTo(
  bytes: Buffer,
  id: number,
  question: Buffer,
): "yes" | "other" | "broken" {
  if (bytes.length < HEADER_BYTES || bytes.readUInt16BE(0) !== id) return "other";
  const flags = bytes.readUInt16BE(2);
  if ((flags & 0xf800) !== 0x8000 || bytes.readUInt16BE(4) !== 1) return "other";
  const asked = bytes.subarray(HEADER_BYTES, HEADER_BYTES + question.length);
  if (!isSameQuestion(asked, question)) return "other";
  const records = bytes.readUInt16BE(6) + bytes.readUInt16BE(8) + bytes.readUInt16BE(10);
  let at = HEADER_BYTES + question.length;
  for (let i = 0; i < records; i++) {
    const record = readRecord(bytes, at);
    if (record === undefined) return "broken";
    at = record.next;
  }
  return at === bytes.length ? "yes" : "broken";
}

export function isTruncated(answer: Buffer): boolean {
  return (answer.readUInt16BE(2) & 0x0200) !== 0;
}

/** Letter case does not count, wherever a letter may stand in it (RFC 4343). */
function isSameQuestion(a: Buffer, b: Buffer): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length - 4; i++) if (lower(a[i]!) !== lower(b[i]!)) return false;
  return a.subarray(-4).equals(b.subarray(-4));
}

const lower = (byte: number): number => (byte >= 0x41 && byte <= 0x5a ? byte + 32 : byte);

interface Name {
  readonly labels: readonly string[];
  /** Where what follows it begins. */
  readonly next: number;
}

/** RFC 1035 §4.1.4. */
function readName(bytes: Buffer, start: number, mayPoint: boolean): Name | undefined {
  const labels: string[] = [];
  let at = start;
  /** A pointer leads to before this: that is what ends every chain of them. */
  let before = start;
  let next = 0;
  let size = 1;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) return undefined;
    if (length === 0) return { labels, next: next || at + 1 };
    if (length < 64) {
      size += length + 1;
      if (size > NAME_BYTES_MAX || at + 1 + length > bytes.length) return undefined;
      labels.push(bytes.toString("latin1", at + 1, at + 1 + length));
      at += 1 + length;
      continue;
    }
    if (length < 192 || !mayPoint || at + 2 > bytes.length) return undefined;
    const target = bytes.readUInt16BE(at) & 0x3fff;
    if (target >= before || target < HEADER_BYTES) return undefined;
    next ||= at + 2;
    before = target;
    at = target;
  }
}

interface ResourceRecord extends Name {
  readonly type: number;
  readonly class: number;
  readonly ttl: number;
}

function readRecord(bytes: Buffer, start: number): ResourceRecord | undefined {
  const name = readName(bytes, start, true);
  if (name === undefined || name.next + 10 > bytes.length) return undefined;
  const { labels, next: at } = name;
  const next = at + 10 + bytes.readUInt16BE(at + 8);
  if (next > bytes.length) return undefined;
  const type = bytes.readUInt16BE(at);
  return { labels, type, class: bytes.readUInt16BE(at + 2), ttl: bytes.readUInt32BE(at + 4), next };
}

function hostName(labels: readonly string[]): string | undefined {
  const name = labels.map((label) => label.toLowerCase());
  return name.length > 0 && name.every((label) => HOST_LABEL.test(label))
    ? name.join(".")
    : undefined;
}

function encodeName(name: string): Buffer {
  const parts = name.split(".").map((label) => {
    const bytes = Buffer.from(label, "latin1");
    return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  });
  return Buffer.concat([...parts, Buffer.from([0])]);
}

function recordOf(owner: number, type: number, ttlSeconds: number, data: Buffer): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt16BE(0xc000 | owner, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt16BE(CLASS_IN, 4);
  head.writeUInt32BE(ttlSeconds, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

/** EDNS is answered with EDNS (RFC 6891 §6.1.1): our size, our version, the code's upper bits. */
function optOf(query: DnsQuery, rcode: number): Buffer {
  if (query.edns === undefined) return Buffer.alloc(0);
  const opt = Buffer.alloc(11);
  opt.writeUInt16BE(DNS_TYPE.OPT, 1);
  opt.writeUInt16BE(UDP_BYTES_MAX, 3);
  opt.writeUInt8(rcode >> 4, 5);
  return opt;
}

/** What arrives whole over any path (the flag day's 1232). */
const UDP_BYTES_MAX = 1232;

/** How long an answer over UDP may be. */
export function udpBytesMax(query: DnsQuery): number {
  const wanted = query.edns?.payloadBytes ?? UDP_BYTES_DEFAULT;
  return Math.max(UDP_BYTES_DEFAULT, Math.min(wanted, UDP_BYTES_MAX));
}

/** 4 or 16 bytes of a textual address. */
function addressBytes(text: string): Buffer {
  if (!text.includes(":")) return Buffer.from(text.split(".").map(Number));
  const [head = "", tail] = embeddedIpv4(text).split("::");
  const groups = (part: string): number[] =>
    part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16));
  const left = groups(head);
  const right = tail === undefined ? [] : groups(tail);
  const gap = new Array<number>(8 - left.length - right.length).fill(0);
  const bytes = Buffer.alloc(16);
  [...left, ...gap, ...right].forEach((group, i) => {
    bytes.writeUInt16BE(group, i * 2);
  });
  return bytes;
}

/** `::ffff:10.0.0.1` with its last 32 bits as two groups. */
function embeddedIpv4(text: string): string {
  const dotted = /(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  if (dotted === null) return text;
  const [a = 0, b = 0, c = 0, d = 0] = dotted.slice(1).map(Number);
  const groups = `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  return text.slice(0, dotted.index) + groups;
}
