/**
 * llhttp's own cases against our codec: what it accepts we read as the same message, what it
 * refuses we refuse. Where we are stricter, or know less, on purpose, DEVIATIONS says why.
 */
import { expect, test } from "vitest";
import { BodyReader } from "../../src/net/http1/body.ts";
import {
  findHeadEnd,
  Http1Head,
  parseRequestHead,
  parseResponseHead,
} from "../../src/net/http1/head.ts";
import { conformanceJson } from "../support/conformance.ts";

interface LlhttpCase {
  name: string;
  type: "request" | "response";
  rawBase64: string;
  accepted: boolean;
  events: string[];
}

interface Message {
  start: string;
  headers: string[];
  body: string;
}

const set = conformanceJson<{ cases: LlhttpCase[] }>("http", "llhttp.json");

const NOT_READ = "what follows a message that ends its connection is not looked at, nor answered";
const ONLY_HTTP = "RTSP is not HTTP";
const CODINGS = "codings other than chunked are refused, as RFC 9112 §6.1 allows";
const EMPTY_LINE = "RFC 9112 §2.2 allows an empty line before a request, not before a response";

/** Why we differ, by the case's name. */
const DEVIATIONS: Record<string, string> = {
  "request/connection.md: `keep-alive` / `close` / CRLF between requests, explicit `close` followed by tab":
    NOT_READ,
  "request/invalid.md: ICE protocol and GET method / ICE protocol, but not really / HTTP protocol and ANNOUNCE method":
    "any token is a method: to know them all is the backend's business",
  "request/method.md: REPORT request / CONNECT request / OPTIONS request with RTSP": ONLY_HTTP,
  "request/method.md: REPORT request / CONNECT request / ANNOUNCE request with RTSP": ONLY_HTTP,
  "request/sample.md: Simple request / No HTTP version": "HTTP/0.9 is not spoken here",
  "request/transfer-encoding.md: `chunked` / POST with `chunked` as last transfer-encoding":
    CODINGS,
  "request/transfer-encoding.md: `chunked` / POST with `chunked` as last transfer-encoding (multiple headers)":
    CODINGS,
  "response/connection.md: Proxy-Connection / HTTP/1.1 with keep-alive disabled and 204 status":
    NOT_READ,
  "response/connection.md: Proxy-Connection / HTTP 304 with Content-Length": EMPTY_LINE,
  "response/connection.md: Proxy-Connection / HTTP 100 first, then 400": EMPTY_LINE,
  "response/pipelining.md: Should parse multiple events": EMPTY_LINE,
  "response/sample.md: Simple response / Response starting with CRLF": EMPTY_LINE,
  "response/transfer-encoding.md: Trailing space on chunked body / `chunked` before other transfer-encoding":
    CODINGS,
};

const START_SPANS = new Set(["method", "url", "status"]);

/**
 * The messages that llhttp reported, up to where its head was complete. Trailers are left out.
 * Its offsets count a byte above 127 as UTF-8 would write the character.
 */
function expected(bytes: Buffer, events: readonly string[]): Message[] {
  const found: Message[] = [];
  const utf8 = Buffer.from(bytes.toString("latin1"));
  let message: Message = { start: "", headers: [], body: "" };
  for (const event of events) {
    if (event.endsWith("message begin")) message = { start: "", headers: [], body: "" };
    else if (event.includes("headers complete")) found.push(message);
    const span = /^off=(\d+) len=(\d+) span\[(\w+)\]/.exec(event);
    if (span === null) continue;
    const [start, length] = [Number(span[1]), Number(span[2])];
    addSpan(
      message,
      span[3]!,
      utf8.toString("utf8", start, start + length),
      found.includes(message),
    );
  }
  return found;
}

function addSpan(message: Message, kind: string, text: string, isBehindHead: boolean): void {
  if (START_SPANS.has(kind)) message.start += `${text} `;
  else if (kind === "body") message.body += text;
  else if (isBehindHead) return;
  else if (kind === "header_field") message.headers.push(text.toLowerCase());
  else if (kind === "header_value") message.headers.push(text.replace(/[ \t]+$/, ""));
}

function startOf(head: Http1Head, isRequest: boolean): string {
  if (isRequest) return `${head.method} ${head.target} `;
  const line = head.bytes.toString("latin1", head.start + 13, head.headersStart - 2);
  return line === "" ? "" : `${line} `;
}

/** What we read, and whether we refused something. */
function read(bytes: Buffer, isRequest: boolean): { messages: Message[]; outcome: string } {
  const messages: Message[] = [];
  const head = new Http1Head();
  const body = new BodyReader();
  let position = 0;
  while (position < bytes.length) {
    // RFC 9112 §2.2, as the waypoint's sessions do.
    while (isRequest && bytes[position] === 13 && bytes[position + 1] === 10) position += 2;
    const end = findHeadEnd(bytes, position, bytes.length, 0);
    if (end < 0) return { messages, outcome: "incomplete" };
    const problem = isRequest
      ? parseRequestHead(head, bytes, position, end)
      : parseResponseHead(head, bytes, position, end, "GET");
    if (problem !== undefined) return { messages, outcome: problem.detail };
    position = end;
    const message = { start: startOf(head, isRequest), headers: head.list(), body: "" };
    messages.push(message);
    body.reset(head.framing, head.contentLength);
    while (!body.isDone && body.problem === undefined && position < bytes.length) {
      position = body.read(bytes, position, bytes.length);
      message.body += bytes.toString("latin1", body.payloadStart, body.payloadEnd);
    }
    if (body.problem !== undefined) return { messages, outcome: body.problem };
    if (!body.isDone && head.framing !== "close") return { messages, outcome: "incomplete" };
    if (!head.isPersistent || head.upgrade !== "" || head.status === 101) break;
  }
  return { messages, outcome: "accepted" };
}

/**
 * The set was cut at line ends: the empty line behind its heads is put back. Host is not what the
 * cases are about, and most have none; it goes behind all else so that offsets stay.
 */
function completed({ rawBase64, type }: LlhttpCase): Buffer {
  let text = Buffer.from(rawBase64, "base64").toString("latin1");
  if (text.endsWith("\r\n")) text += "\r\n";
  if (type === "request" && !/\r\nhost:/i.test(text)) {
    text = text.replaceAll(/( HTTP\/1\.1(?:\r\n[\s\S]*?)??)\r\n\r\n/g, "$1\r\nHost: a\r\n\r\n");
  }
  return Buffer.from(text, "latin1");
}

function withoutAddedHost(headers: string[]): string[] {
  return headers.slice(-2).join(": ") === "host: a" ? headers.slice(0, -2) : headers;
}

function difference(one: LlhttpCase): unknown {
  const { messages, outcome } = read(completed(one), one.type === "request");
  if (!one.accepted) return outcome === "accepted" ? { name: one.name, messages } : undefined;
  const want = expected(Buffer.from(one.rawBase64, "base64"), one.events);
  const got = messages.map((m) => ({ ...m, headers: withoutAddedHost(m.headers) }));
  const isSame = JSON.stringify(got) === JSON.stringify(want);
  return isSame ? undefined : { name: one.name, outcome, got, want };
}

test.skipIf(set === undefined)("the codec reads llhttp's cases as llhttp does", () => {
  const differing = new Map(set!.cases.map((one) => [one.name, difference(one)] as const));
  const unexplained = [...differing].filter(([name, found]) => {
    return found !== undefined && DEVIATIONS[name.slice("test/".length)] === undefined;
  });
  expect(unexplained).toEqual([]);
  const stale = Object.keys(DEVIATIONS).filter(
    (name) => differing.get(`test/${name}`) === undefined,
  );
  expect(stale).toEqual([]);
});
