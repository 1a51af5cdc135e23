/**
 * HTTP/1.1 heads (RFC 9112), scanned in place: where each line stands and which name it has. Values
 * become strings only when somebody asks.
 *
 * Strict on everything that two parsers could read differently, for that is where smuggling lives:
 * lines end in CRLF, nothing is folded, names are tokens, a message has one framing. What is not
 * clear is refused with the status that the RFC names.
 */
import { latin1 } from "../../kit/bytes.ts";
import { FIELD, TARGET, TOKEN } from "./characters.ts";
import { readRequestFraming, readResponseFraming } from "./framing.ts";
import { hashByte, internHeader, knownHeaderId } from "./header-names.ts";
import { splitTarget } from "./target.ts";

/** A head larger than this is refused with 431. */
export const HEAD_BYTES_MAX = 64 * 1024;
export const HEADER_LINES_MAX = 256;

/** How a body's end is found: `close` is the end of the connection (responses only). */
export type Framing = "none" | "length" | "chunked" | "close";

export interface HeadProblem {
  readonly status: 400 | 405 | 431 | 501 | 505;
  readonly detail: string;
}

const NO_BYTES = Buffer.alloc(0);

export class Http1Head {
  /** Valid until the buffer is used again. */
  bytes: Buffer = NO_BYTES;
  start = 0;
  /** Behind the empty line. */
  end = 0;
  /** Behind the request or status line. */
  headersStart = 0;

  // Request
  method = "";
  target = "";
  /** The target up to `?`, as sent. */
  path = "";
  /** Without `?`. */
  query = "";
  /** Host, or that of an absolute target, which comes first (RFC 9112 §3.2.2). */
  authority = "";
  isAbsoluteTarget = false;
  // Response
  status = 0;

  minorVersion = 1;
  framing: Framing = "none";
  contentLength = 0;
  isPersistent = true;
  expectsContinue = false;
  /** Connection names something besides close, keep-alive and upgrade. */
  hasNominations = false;
  /** `websocket` when it is asked for and Connection names Upgrade; else "". */
  upgrade = "";

  /** Header lines. */
  count = 0;
  readonly ids = new Int32Array(HEADER_LINES_MAX);
  readonly lineStarts = new Int32Array(HEADER_LINES_MAX);
  readonly valueStarts = new Int32Array(HEADER_LINES_MAX);
  readonly valueEnds = new Int32Array(HEADER_LINES_MAX);

  has(id: number): boolean {
    for (let i = 0; i < this.count; i++) if (this.ids[i] === id) return true;
    return false;
  }

  /** The values of all lines of that name, joined with "," (RFC 9110 §5.3). */
  get(id: number): string | undefined {
    let value: string | undefined;
    for (let i = 0; i < this.count; i++) {
      if (this.ids[i] !== id) continue;
      value = value === undefined ? this.value(i) : `${value},${this.value(i)}`;
    }
    return value;
  }

  /** `name` is in lower case. */
  getByName(name: string): string | undefined {
    const id = knownHeaderId(name);
    if (id >= 0) return this.get(id);
    let value: string | undefined;
    for (let i = 0; i < this.count; i++) {
      if (this.ids[i] !== -1 || this.name(i) !== name) continue;
      value = value === undefined ? this.value(i) : `${value},${this.value(i)}`;
    }
    return value;
  }

  /** The value of one line. */
  value(index: number): string {
    return latin1(this.bytes, this.valueStarts[index]!, this.valueEnds[index]!);
  }

  /** The name of one line, in lower case. */
  name(index: number): string {
    const start = this.lineStarts[index]!;
    return latin1(this.bytes, start, this.bytes.indexOf(0x3a, start)).toLowerCase();
  }

  /** Behind the CRLF of one line. */
  lineEnd(index: number): number {
    return index + 1 < this.count ? this.lineStarts[index + 1]! : this.end - 2;
  }

  /** All headers: name, value, name, value … */
  list(): string[] {
    const list: string[] = [];
    for (let i = 0; i < this.count; i++) list.push(this.name(i), this.value(i));
    return list;
  }
}

/** Stands for a head where there is none. */
export const NO_HEAD = new Http1Head();

/**
 * Behind the empty line that ends a head, or -1. `scanned` bytes from `start` were searched before.
 * Looks for LF LF with an optional CR between, so that a head with bare line feeds is found and
 * refused at once and not waited for.
 */
export function findHeadEnd(bytes: Buffer, start: number, end: number, scanned: number): number {
  // A loop of our own: a call of `indexOf` for each line costs more than all the bytes between.
  for (let position = start + Math.max(0, scanned - 3); position < end; position++) {
    if (bytes[position] !== 0x0a) continue;
    const next = bytes[position + 1] === 0x0d ? position + 2 : position + 1;
    if (next < end && bytes[next] === 0x0a) return next + 1;
  }
  return -1;
}

const bad = (detail: string, status: HeadProblem["status"] = 400): HeadProblem => ({
  status,
  detail,
});

/** Reads a request's head from `bytes[start..end)`, which `findHeadEnd` has found. */
export function parseRequestHead(
  head: Http1Head,
  bytes: Buffer,
  start: number,
  end: number,
): HeadProblem | undefined {
  head.bytes = bytes;
  head.start = start;
  head.end = end;
  if (end - start > HEAD_BYTES_MAX) return bad("head too large", 431);
  const problem = parseRequestLine(head, bytes, start) ?? parseHeaders(head);
  if (problem !== undefined) return problem;
  return splitTarget(head) ?? readRequestFraming(head);
}

/** Methods as one string each: making them anew for every request costs a tenth of the parse. */
const methods = new Map<number, string>();

function methodAt(bytes: Buffer, start: number, end: number): string {
  const length = end - start;
  if (length < 3 || length > 7) return latin1(bytes, start, end);
  // First, third and last letter and the length tell the registered methods apart.
  const key = (bytes[start]! << 24) | (bytes[start + 2]! << 16) | (bytes[end - 1]! << 8) | length;
  const known = methods.get(key);
  if (known !== undefined && isText(known, bytes, start)) return known;
  const method = latin1(bytes, start, end);
  if (methods.size < 64) methods.set(key, method);
  return method;
}

function isText(text: string, bytes: Buffer, start: number): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) !== bytes[start + i]) return false;
  return true;
}

function parseRequestLine(head: Http1Head, bytes: Buffer, start: number): HeadProblem | undefined {
  let position = start;
  while (TOKEN[bytes[position]!] === 1) position++;
  if (position === start || bytes[position] !== 0x20) return bad("malformed method");
  head.method = methodAt(bytes, start, position);
  const targetStart = position + 1;
  position = targetStart;
  while (TARGET[bytes[position]!] === 1) position++;
  if (position === targetStart || bytes[position] !== 0x20) return bad("malformed target");
  head.target = latin1(bytes, targetStart, position);
  return parseVersion(head, bytes, position + 1, true);
}

/** `HTTP/1.x`, and for requests the end of the line. */
function parseVersion(
  head: Http1Head,
  bytes: Buffer,
  start: number,
  endsLine: boolean,
): HeadProblem | undefined {
  const isHttp =
    bytes[start] === 0x48 &&
    bytes[start + 1] === 0x54 &&
    bytes[start + 2] === 0x54 &&
    bytes[start + 3] === 0x50 &&
    bytes[start + 4] === 0x2f;
  const major = bytes[start + 5]! - 0x30;
  const minor = bytes[start + 7]! - 0x30;
  const isNumber = major >= 0 && major <= 9 && minor >= 0 && minor <= 9;
  if (!isHttp || !isNumber || bytes[start + 6] !== 0x2e) return bad("malformed version");
  if (endsLine && (bytes[start + 8] !== 0x0d || bytes[start + 9] !== 0x0a)) {
    return bad("malformed request line");
  }
  if (major !== 1 || minor > 1) return bad(`HTTP/${major}.${minor}`, 505);
  head.minorVersion = minor;
  head.headersStart = start + 10;
  return undefined;
}

/** Reads a response's head; `requestMethod` tells whether there is a body. */
export function parseResponseHead(
  head: Http1Head,
  bytes: Buffer,
  start: number,
  end: number,
  requestMethod: string,
): HeadProblem | undefined {
  head.bytes = bytes;
  head.start = start;
  head.end = end;
  if (end - start > HEAD_BYTES_MAX) return bad("head too large", 431);
  const version = parseVersion(head, bytes, start, false);
  if (version !== undefined) return version;
  const status = statusAt(bytes, start + 8);
  if (status < 100) return bad("malformed status");
  head.status = status;
  // The reason phrase may be missing, and with it (leniently, as everybody) the space before it.
  let position = start + 12;
  if (bytes[position] === 0x20) position++;
  while (FIELD[bytes[position]!] === 1) position++;
  if (bytes[position] !== 0x0d || bytes[position + 1] !== 0x0a) return bad("malformed status line");
  head.headersStart = position + 2;
  return parseHeaders(head) ?? readResponseFraming(head, requestMethod);
}

/** SP and three digits, or 0. */
function statusAt(bytes: Buffer, position: number): number {
  let status = 0;
  for (let i = 1; i <= 3; i++) {
    const digit = bytes[position + i]! - 0x30;
    if (!(digit >= 0 && digit <= 9)) return 0;
    status = status * 10 + digit;
  }
  return bytes[position] === 0x20 ? status : 0;
}

function parseHeaders(head: Http1Head): HeadProblem | undefined {
  const { bytes, ids, lineStarts, valueStarts, valueEnds } = head;
  const stop = head.end - 2;
  let position = head.headersStart;
  let count = 0;
  while (position < stop) {
    const lineStart = position;
    let hash = 0;
    let byte = bytes[position]!;
    while (TOKEN[byte] === 1) {
      hash = hashByte(hash, byte);
      byte = bytes[++position]!;
    }
    if (byte !== 0x3a || position === lineStart) return bad("malformed header name");
    const nameEnd = position++;
    while (bytes[position] === 0x20 || bytes[position] === 0x09) position++;
    const valueStart = position;
    while (FIELD[bytes[position]!] === 1) position++;
    if (bytes[position] !== 0x0d || bytes[position + 1] !== 0x0a)
      return bad("malformed header value");
    if (count === HEADER_LINES_MAX) return bad("too many header lines", 431);
    let valueEnd = position;
    while (valueEnd > valueStart && isBlank(bytes[valueEnd - 1]!)) valueEnd--;
    ids[count] = internHeader(bytes, lineStart, nameEnd, hash);
    lineStarts[count] = lineStart;
    valueStarts[count] = valueStart;
    valueEnds[count] = valueEnd;
    count++;
    position += 2;
  }
  head.count = count;
  if (position !== stop || bytes[stop] !== 0x0d) return bad("malformed end of head");
  return undefined;
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || byte === 0x09;
}
