/**
 * Where a body ends, and whether the connection goes on (RFC 9112 §6.3, §9.3).
 *
 * Two lengths, a length beside chunked, a length that is not a number: each is how one parser is
 * made to see a request where another sees a body. All are refused.
 */
import type { HeadProblem, Http1Head } from "./head.ts";
import { H } from "./header-names.ts";
import { bad } from "./problem.ts";

/** Options of one head's Connection; more are not honest. */
const CONNECTION_OPTIONS_MAX = 64;

/** Headers that are looked at here, as bits of `Http1Head.present`. */
const LOOKED_AT =
  (1 << H.contentLength) | (1 << H.transferEncoding) | (1 << H.connection) | (1 << H.expect);

/** What the framing lines of a head say, taken together. */
interface FramingLines {
  contentLength: number;
  isChunked: boolean;
  hasClose: boolean;
  hasKeepAlive: boolean;
  hasUpgrade: boolean;
}

/** One is enough: a head is read within one call. */
const lines: FramingLines = {
  contentLength: -1,
  isChunked: false,
  hasClose: false,
  hasKeepAlive: false,
  hasUpgrade: false,
};

function readLines(head: Http1Head): HeadProblem | undefined {
  lines.contentLength = -1;
  lines.isChunked = false;
  lines.hasClose = false;
  lines.hasKeepAlive = false;
  lines.hasUpgrade = false;
  if ((head.present & LOOKED_AT) !== 0) {
    for (let i = 0; i < head.count; i++) {
      const problem = readLine(head, i);
      if (problem !== undefined) return problem;
    }
  }
  if (lines.isChunked && lines.contentLength >= 0) {
    return bad("Content-Length beside Transfer-Encoding");
  }
  const isVersion11 = head.minorVersion === 1;
  head.upgrade = lines.hasUpgrade && isVersion11 ? forwardedUpgrade(head) : "";
  // RFC 9112 §9.3: `close` comes first, whatever stands beside it.
  head.isPersistent = !lines.hasClose && (isVersion11 || lines.hasKeepAlive);
  return undefined;
}

function readLine(head: Http1Head, line: number): HeadProblem | undefined {
  const id = head.ids[line]!;
  if (id === H.contentLength) return readContentLength(head, line);
  if (id === H.transferEncoding) return readTransferEncoding(head, line);
  if (id === H.connection) return readConnection(head, line);
  // RFC 9110 §10.1.1: in an HTTP/1.0 request it is ignored.
  if (id === H.expect && head.minorVersion === 1) {
    head.expectsContinue = head.value(line).toLowerCase() === "100-continue";
  }
  return undefined;
}

/**
 * WebSocket is what a waypoint forwards; other protocols (h2c above all: a second parser behind
 * the proxy's back) are ignored, as RFC 9110 §7.8 lets any recipient do.
 */
function forwardedUpgrade(head: Http1Head): string {
  const upgrade = head.get(H.upgrade) ?? "";
  return upgrade.toLowerCase() === "websocket" ? upgrade : "";
}

function readContentLength(head: Http1Head, line: number): HeadProblem | undefined {
  if (lines.contentLength >= 0) return bad("more than one Content-Length");
  const { bytes } = head;
  const start = head.valueStarts[line]!;
  const end = head.valueEnds[line]!;
  if (start === end || end - start > 15) return bad("malformed Content-Length");
  let length = 0;
  for (let i = start; i < end; i++) {
    const digit = bytes[i]! - 0x30;
    if (digit < 0 || digit > 9) return bad("malformed Content-Length");
    length = length * 10 + digit;
  }
  lines.contentLength = length;
  return undefined;
}

function readTransferEncoding(head: Http1Head, line: number): HeadProblem | undefined {
  if (head.minorVersion === 0) return bad("Transfer-Encoding in HTTP/1.0");
  if (lines.isChunked) return bad("more than one Transfer-Encoding");
  const coding = head.value(line).toLowerCase();
  if (coding === "chunked") {
    lines.isChunked = true;
    return undefined;
  }
  // Chunked must come last and once; other codings are not known here (RFC 9112 §6.1: 501).
  const codings = coding.split(/[ \t]*,[ \t]*/);
  const isLast = codings.indexOf("chunked") === codings.length - 1;
  return isLast ? bad("a transfer coding other than chunked", 501) : bad("chunked is not last");
}

function readConnection(head: Http1Head, line: number): HeadProblem | undefined {
  if (isValue(head, line, "keep-alive")) {
    lines.hasKeepAlive = true;
    return undefined;
  }
  const options = head
    .value(line)
    .toLowerCase()
    .split(",", CONNECTION_OPTIONS_MAX + 1);
  for (const part of options) {
    const option = part.trim();
    if (option === "close") lines.hasClose = true;
    else if (option === "keep-alive") lines.hasKeepAlive = true;
    else if (option === "upgrade") lines.hasUpgrade = true;
    else if (option !== "" && option !== "te") head.nominations = [...head.nominations, option];
  }
  const isTooMany = Math.max(options.length, head.nominations.length) > CONNECTION_OPTIONS_MAX;
  return isTooMany ? bad("too many Connection options") : undefined;
}

/** Without making a string: nearly every Connection says just this. */
function isValue(head: Http1Head, line: number, lowerCase: string): boolean {
  const start = head.valueStarts[line]!;
  if (head.valueEnds[line]! - start !== lowerCase.length) return false;
  for (let i = 0; i < lowerCase.length; i++) {
    const byte = head.bytes[start + i]!;
    const isUpper = byte >= 0x41 && byte <= 0x5a;
    if ((isUpper ? byte | 0x20 : byte) !== lowerCase.charCodeAt(i)) return false;
  }
  return true;
}

export function readRequestFraming(head: Http1Head): HeadProblem | undefined {
  const problem = readLines(head);
  if (problem !== undefined) return problem;
  head.contentLength = Math.max(0, lines.contentLength);
  head.framing = lines.isChunked ? "chunked" : lines.contentLength > 0 ? "length" : "none";
  // With a body in between, where the other protocol begins is a matter of opinion. And only GET
  // opens a WebSocket (RFC 6455 §4.1).
  if (head.framing !== "none" || head.method !== "GET") head.upgrade = "";
  return undefined;
}

export function readResponseFraming(
  head: Http1Head,
  requestMethod: string,
): HeadProblem | undefined {
  const problem = readLines(head);
  if (problem !== undefined) return problem;
  const { status } = head;
  head.contentLength = Math.max(0, lines.contentLength);
  const isBodiless = status < 200 || status === 204 || status === 304 || requestMethod === "HEAD";
  if (isBodiless) head.framing = "none";
  else if (lines.isChunked) head.framing = "chunked";
  else if (lines.contentLength >= 0) head.framing = lines.contentLength > 0 ? "length" : "none";
  else head.framing = "close";
  return undefined;
}
