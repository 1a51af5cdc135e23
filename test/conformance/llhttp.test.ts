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

/** By the end of the case's name, within its file. */
const DEVIATIONS: readonly [name: string, why: string][] = [];

const START_SPANS = new Set(["method", "url", "status"]);

/** The messages that llhttp reported, up to where its head was complete. */
function expected(bytes: Buffer, events: readonly string[]): Message[] {
  const found: Message[] = [];
  let message: Message | undefined;
  for (const event of events) {
    const span = /^off=(\d+) len=(\d+) span\[(\w+)\]/.exec(event);
    if (event.endsWith("message begin")) message = { start: "", headers: [], body: "" };
    else if (event.includes("headers complete")) found.push(message!);
    if (span === null) continue;
    const start = Number(span[1]);
    const text = bytes.toString("latin1", start, start + Number(span[2]));
    const [kind = ""] = span.slice(3);
    if (START_SPANS.has(kind)) message!.start += `${text} `;
    else if (kind === "header_field") message!.headers.push(text.toLowerCase());
    else if (kind === "header_value") message!.headers.push(text.replace(/[ \t]+$/, ""));
    else if (kind === "body") message!.body += text;
  }
  return found;
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
    text = text.replaceAll(/( HTTP\/1\.1\r\n[^]*?)\r\n\r\n/g, "$1\r\nHost: a\r\n\r\n");
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
  const known = new Map(DEVIATIONS);
  const differing = new Map(set!.cases.map((one) => [one.name, difference(one)] as const));
  const unexplained = [...differing].filter(([name, found]) => {
    return found !== undefined && !known.has(name.slice("test/".length));
  });
  expect(unexplained).toEqual([]);
  const stale = [...known.keys()].filter((name) => differing.get(`test/${name}`) === undefined);
  expect(stale).toEqual([]);
});
