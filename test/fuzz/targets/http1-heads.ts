/**
 * Request and response heads. Oracle: what is accepted must also be right in the eyes of a second,
 * slower reader that knows RFC 9112's grammar as regular expressions, with the same names, values
 * and framing; the end of a head is the same however it arrives; a head object that was used
 * before shows nothing of it; what was read can be written and read again.
 */
import {
  findHeadEnd,
  HEAD_BYTES_MAX,
  type HeadProblem,
  Http1Head,
  parseRequestHead,
  parseResponseHead,
} from "../../../src/net/http1/head.ts";
import { check, checkSame, type Target } from "../target.ts";

const DIRTY = Buffer.from(
  "POST http://old.example/secret?secret=1 HTTP/1.1\r\nHost: old.example\r\nX-Secret: secret\r\n" +
    "Connection: secret\r\nContent-Length: 77\r\nExpect: 100-continue\r\nCookie: secret\r\n\r\n",
  "latin1",
);

const LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*$/;
const REQUEST_LINE = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [\x21-\x7e\x80-\xff]+ HTTP\/1\.[01]$/;
const STATUS_LINE = /^HTTP\/1\.[01] [1-9][0-9]{2}(?: [\t\x20-\x7e\x80-\xff]*)?$/;

type Parse = (head: Http1Head, bytes: Buffer, end: number) => HeadProblem | undefined;

const parseRequest: Parse = (head, bytes, end) => parseRequestHead(head, bytes, 0, end);
const parseResponse: Parse = (head, bytes, end) => parseResponseHead(head, bytes, 0, end, "GET");

function checkHeadEnd(input: Buffer, end: number): void {
  for (let arrived = 1; arrived <= input.length; arrived++) {
    const found = findHeadEnd(input, 0, arrived, arrived - 1);
    if (found >= 0) {
      // A proper end later on must not hide a bare one before it, byte by byte.
      check(end >= 0, "an end is found in pieces only");
      return;
    }
  }
  check(end < 0, "an end is found in the whole only");
}

function summary(head: Http1Head): unknown {
  const { method, target, path, query, authority, status, minorVersion, framing } = head;
  const { contentLength, isPersistent, expectsContinue, upgrade, nominations } = head;
  return [
    ...[method, target, path, query, authority, status, minorVersion, framing],
    ...[contentLength, isPersistent, expectsContinue, upgrade, nominations, head.list()],
  ];
}

/** The second opinion about a head that was accepted. */
function checkAccepted(head: Http1Head, text: string, startLine: RegExp): void {
  check(text.endsWith("\r\n\r\n") && text.length <= HEAD_BYTES_MAX, "accepted without its end");
  const [first = "", ...rest] = text.slice(0, -4).split("\r\n");
  check(startLine.test(first), "accepted a malformed start line");
  const list: string[] = [];
  for (const line of rest) {
    const [, name, value] = LINE.exec(line) ?? [];
    check(name !== undefined && value !== undefined, "accepted a malformed header line");
    list.push(name.toLowerCase(), value);
  }
  checkSame(head.list(), list, "other headers");
  const valuesOf = (wanted: string) =>
    list.filter((_text, i) => i % 2 === 1 && list[i - 1] === wanted);
  const lengths = valuesOf("content-length");
  const codings = valuesOf("transfer-encoding").map((value) => value.toLowerCase());
  check(lengths.length + codings.length <= 1, "accepted two framings");
  check(
    lengths.every((value) => /^[0-9]+$/.test(value)),
    "accepted a malformed Content-Length",
  );
  check(
    codings.every((value) => value === "chunked"),
    "accepted another transfer coding",
  );
  if (head.status > 0) return;
  check(valuesOf("host").length <= 1, "accepted two hosts");
  const length = Number(lengths[0] ?? 0);
  const framing = codings.length === 1 ? "chunked" : length > 0 ? "length" : "none";
  checkSame([head.framing, head.contentLength], [framing, length], "another framing");
}

function writtenAgain(head: Http1Head, text: string): Buffer {
  const lines = [text.slice(0, text.indexOf("\r\n"))];
  const list = head.list();
  for (let i = 0; i < list.length; i += 2) lines.push(`${list[i]}: ${list[i + 1]}`);
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
}

function runHead(input: Buffer, parse: Parse, startLine: RegExp): string {
  const end = findHeadEnd(input, 0, input.length, 0);
  checkHeadEnd(input, end);
  if (end < 0) return "no end";
  const head = new Http1Head();
  const problem = parse(head, input, end);
  const used = new Http1Head();
  parseRequestHead(used, DIRTY, 0, DIRTY.length);
  checkSame(parse(used, input, end), problem, "refused otherwise with a used head");
  if (problem !== undefined) {
    const isRefusal = [400, 405, 431, 501, 505].includes(problem.status);
    check(isRefusal && problem.detail !== "", "a refusal without a reason");
    return `${problem.status} ${problem.detail} ${Math.min(4, head.count)}`;
  }
  checkSame(summary(used), summary(head), "something of an earlier message");
  const text = input.toString("latin1", 0, end);
  checkAccepted(head, text, startLine);
  const again = new Http1Head();
  const bytes = writtenAgain(head, text);
  if (bytes.length <= HEAD_BYTES_MAX) {
    check(parse(again, bytes, bytes.length) === undefined, "refused when written again");
    checkSame(summary(again), summary(head), "another message when written again");
  }
  const { method, framing, count, isPersistent, upgrade, minorVersion, status } = head;
  const kind = `${method.length} ${framing} ${Math.min(6, count)} ${isPersistent}`;
  return `${kind} ${upgrade !== ""} ${minorVersion} ${Math.floor(status / 100)}`;
}

const DICTIONARY = [
  ..."GET POST HEAD OPTIONS CONNECT HTTP/1.1 HTTP/1.0 http:// // * % ? # @ Host: : + - _".split(
    " ",
  ),
  ..."Content-Length: Transfer-Encoding: Connection: Upgrade: Expect: chunked gzip".split(" "),
  ..."close keep-alive websocket 100-continue 0 1 00 18446744073709551616 0x10 1,1".split(" "),
  ...["\r\n", "\r", "\n", "\t", " ", "\0", "\x7f", "\xff", "\r\n\r\n", ", ", "\x0b", "\r\n "],
  ...["Content-Length: 5\r\n", "Content-Length: +", "Transfer-Encoding: chunked\r\n"],
];

const FIELDS = [
  "",
  "Content-Length: 5\r\n",
  "Transfer-Encoding: chunked\r\n",
  "Transfer-Encoding: gzip, chunked\r\n",
  "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
  "Connection: close, x-a\r\nX-A: b\r\nx-a:\t c \r\n",
  "Connection: Upgrade\r\nUpgrade: websocket\r\n",
  "Expect: 100-continue\r\nContent-Length: 0\r\n",
  "X: a\r\n b\r\n",
  "X : a\r\n",
];

export const http1Request: Target = {
  name: "http1-request",
  dictionary: DICTIONARY,
  seeds: () => [
    ...FIELDS.map((lines) => `POST /a?b=c HTTP/1.1\r\nHost: h\r\n${lines}\r\n`),
    "GET http://a.example:80/b HTTP/1.1\r\nHost: c\r\n\r\n",
    "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
    "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
    "GET / HTTP/1.1\nHost: a\n\n",
  ],
  run: (input) => runHead(input, parseRequest, REQUEST_LINE),
};

export const http1Response: Target = {
  name: "http1-response",
  dictionary: [...DICTIONARY, "HTTP/1.1 200 OK\r\n", "204", "304", "101", "099"],
  seeds: () => [
    ...FIELDS.map((lines) => `HTTP/1.1 200 OK\r\n${lines}\r\n`),
    "HTTP/1.1 204\r\n\r\n",
    "HTTP/1.0 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
  ],
  run: (input) => runHead(input, parseResponse, STATUS_LINE),
};
