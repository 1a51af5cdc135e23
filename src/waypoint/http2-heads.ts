/**
 * Heads of HTTP/2 messages in the form that the stages know, and back.
 *
 * The stages, the rewriting and the retries have one form of a head: HTTP/1.1's bytes, scanned. A
 * header list is written down in that form and read by the same strict parser, so a list that could
 * mean something else to an HTTP/1.1 server (a space in a path, a control character) is refused
 * here and nowhere else (RFC 9113 §10.3).
 */
import {
  type HeadProblem,
  Http1Head,
  parseRequestHead,
  parseResponseHead,
} from "../net/http1/head.ts";
import { H } from "../net/http1/header-names.ts";
import { acceptsTrailers, HeadEdits, keptHeaders } from "../net/http1/rewrite.ts";
import { type HeaderList, header } from "../net/http2/headers.ts";
import type { Trailers } from "./upstream.ts";

const NO_EDITS = new HeadEdits();
const sentHead = new Http1Head();

/** The regular headers as lines. Several cookies become one (RFC 9113 §8.2.3). */
function lines(list: HeaderList): string {
  let text = "";
  let cookies = "";
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    if (name.charCodeAt(0) === 0x3a || name === "host") continue;
    if (name === "cookie") cookies += cookies === "" ? list[i + 1]! : `; ${list[i + 1]!}`;
    else text += `${name}: ${list[i + 1]!}\r\n`;
  }
  return cookies === "" ? text : `${text}cookie: ${cookies}\r\n`;
}

export function readRequestList(
  head: Http1Head,
  list: HeaderList,
  endStream: boolean,
): HeadProblem | undefined {
  const authority = header(list, ":authority") ?? header(list, "host");
  let text = `${header(list, ":method")} ${header(list, ":path")} HTTP/1.1\r\n`;
  if (authority !== undefined) text += `host: ${authority}\r\n`;
  text += lines(list);
  const isLengthKnown = endStream || header(list, "content-length") !== undefined;
  if (!isLengthKnown) text += "transfer-encoding: chunked\r\n";
  const bytes = Buffer.from(`${text}\r\n`, "latin1");
  return parseRequestHead(head, bytes, 0, bytes.length);
}

/** `isForHttp1`: a response that ends here has to say so by its length. */
export function readResponseList(
  head: Http1Head,
  list: HeaderList,
  endStream: boolean,
  method: string,
  isForHttp1: boolean,
): HeadProblem | undefined {
  const status = header(list, ":status")!;
  let text = `HTTP/1.1 ${status} \r\n${lines(list)}`;
  const hasLength = header(list, "content-length") !== undefined;
  const isBodiless = status === "204" || status === "304" || method === "HEAD";
  if (endStream && isForHttp1 && !hasLength && !isBodiless) text += "content-length: 0\r\n";
  const bytes = Buffer.from(`${text}\r\n`, "latin1");
  return parseResponseHead(head, bytes, 0, bytes.length, method);
}

/** The rewritten request as it goes to an HTTP/2 server; and whether it has a body. */
export function requestList(bytes: Buffer, end: number): { list: string[]; hasBody: boolean } {
  const head = sentHead;
  parseRequestHead(head, bytes, 0, end);
  const list = [":method", head.method, ":scheme", "http", ":path", head.target];
  if (head.authority !== "") list.push(":authority", head.authority);
  NO_EDITS.reset();
  NO_EDITS.remove(H.host);
  keptHeaders(head, NO_EDITS, list);
  if (head.has(H.contentLength)) list.push("content-length", String(head.contentLength));
  if (acceptsTrailers(head)) list.push("te", "trailers");
  return { list, hasBody: head.framing !== "none" };
}

export function responseList(head: Http1Head, edits: HeadEdits): string[] {
  const { status } = head;
  const list = [":status", String(status)];
  keptHeaders(head, edits, list);
  const hasLength = status >= 200 && status !== 204 && head.has(H.contentLength);
  if (hasLength) list.push("content-length", String(head.contentLength));
  return list;
}

/** Trailers that would change what was said before are dropped (RFC 9110 §6.5.1). */
const NOT_IN_TRAILERS = new Set([
  "authorization",
  "content-encoding",
  "content-length",
  "content-range",
  "content-type",
  "host",
  "set-cookie",
  "cookie",
  "te",
  "trailer",
]);

export function trailersOf(list: HeaderList): Trailers {
  const trailers: [string, string][] = [];
  for (let i = 0; i < list.length; i += 2) {
    if (!NOT_IN_TRAILERS.has(list[i]!)) trailers.push([list[i]!, list[i + 1]!]);
  }
  return trailers;
}

export function trailerList(trailers: Trailers): string[] {
  const list: string[] = [];
  for (const [name, value] of trailers) {
    if (!CONNECTION_SPECIFIC.has(name.toLowerCase())) list.push(name.toLowerCase(), value);
  }
  return list;
}

const CONNECTION_SPECIFIC = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);
