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
import { headerName, isBesideTable, knownHeaderId } from "./header-names.ts";
import { parseLines } from "./lines.ts";
import { bad } from "./problem.ts";
import { splitTarget } from "./target.ts";

/** A head larger than this is refused with 431. */
export const HEAD_BYTES_MAX = 64 * 1024;
export const HEADER_LINES_MAX = 256;

export interface HeadLimits {
  readonly headBytesMax: number;
  readonly headerLinesMax: number;
}

export const HEAD_LIMITS: HeadLimits = {
  headBytesMax: HEAD_BYTES_MAX,
  headerLinesMax: HEADER_LINES_MAX,
};

/** How a body's end is found: `close` is the end of the connection (responses only). */
export type Framing = "none" | "length" | "chunked" | "close";

export interface HeadProblem {
  readonly status: 400 | 405 | 431 | 501 | 505;
  readonly detail: string;
}

const NO_BYTES = Buffer.alloc(0);
const NO_OPTIONS: readonly string[] = [];

export class Http1Head {
  readonly limits: HeadLimits;
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
  /** The last Host that was found well-formed; kept from message to message. */
  checkedHost = "";
  // Response
  status = 0;

  minorVersion = 1;
  framing: Framing = "none";
  contentLength = 0;
  isPersistent = true;
  expectsContinue = false;
  /** `websocket` when it is asked for and Connection names Upgrade; else "". */
  upgrade = "";
  /** Options of Connection that are names of headers: lower case, without the hop-by-hop ones. */
  nominations: readonly string[] = NO_OPTIONS;

  /** Header lines. */
  count = 0;
  /** Bit n: there is a line whose name has the number n. */
  present = 0;
  /** Some line's name has no number (-1). */
  hasUnnumbered = false;
  readonly ids: Int32Array;
  readonly lineStarts: Int32Array;
  readonly valueStarts: Int32Array;
  readonly valueEnds: Int32Array;

  constructor(limits: HeadLimits = HEAD_LIMITS) {
    this.limits = limits;
    this.ids = new Int32Array(limits.headerLinesMax).fill(-1);
    this.lineStarts = new Int32Array(limits.headerLinesMax);
    this.valueStarts = new Int32Array(limits.headerLinesMax);
    this.valueEnds = new Int32Array(limits.headerLinesMax);
  }

  /** Nothing of an earlier message is left, so that one refused half-way shows none of it. */
  begin(bytes: Buffer, start: number, end: number): void {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
    this.headersStart = end - 2;
    this.method = "";
    this.target = "";
    this.path = "";
    this.query = "";
    this.authority = "";
    this.isAbsoluteTarget = false;
    this.status = 0;
    this.minorVersion = 1;
    this.framing = "none";
    this.contentLength = 0;
    this.isPersistent = true;
    this.expectsContinue = false;
    this.upgrade = "";
    this.nominations = NO_OPTIONS;
    this.count = 0;
    this.present = 0;
    this.hasUnnumbered = false;
  }

  get headBytes(): number {
    return this.end - this.start;
  }

  has(id: number): boolean {
    if (id >= 0 && id < 32) return ((this.present >>> id) & 1) === 1;
    return this.find(id, 0) >= 0;
  }

  /** The first line at or behind `from` that has that name, or -1. */
  find(id: number, from: number): number {
    const { ids, count } = this;
    if (id < 0) return -1;
    for (let i = from; i < count; i++) if (ids[i] === id) return i;
    if (!this.hasUnnumbered || !isBesideTable(id)) return -1;
    return this.#findByName(headerName(id), from);
  }

  /** For a name that has a number, but not in the table of names on the wire. */
  #findByName(name: string, from: number): number {
    for (let i = from; i < this.count; i++) {
      if (this.ids[i] === -1 && this.name(i) === name) return i;
    }
    return -1;
  }

  /** The values of all lines of that name, joined with "," (RFC 9110 §5.3). */
  get(id: number): string | undefined {
    let line = this.has(id) ? this.find(id, 0) : -1;
    if (line < 0) return undefined;
    let value = this.value(line);
    for (;;) {
      line = this.find(id, line + 1);
      if (line < 0) return value;
      value += `,${this.value(line)}`;
    }
  }

  /** `name` is in lower case. */
  getByName(name: string): string | undefined {
    const id = knownHeaderId(name);
    if (id >= 0) return this.get(id);
    if (!this.hasUnnumbered) return undefined;
    const values: string[] = [];
    for (let i = this.#findByName(name, 0); i >= 0; i = this.#findByName(name, i + 1)) {
      values.push(this.value(i));
    }
    return values.length === 0 ? undefined : values.join(",");
  }

  /** The value of one line. */
  value(index: number): string {
    return latin1(this.bytes, this.valueStarts[index]!, this.valueEnds[index]!);
  }

  /** The name of one line, in lower case. */
  name(index: number): string {
    const id = this.ids[index]!;
    if (id >= 0) return headerName(id);
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
 * An empty line after bare line feeds ends a head too, so that it is refused at once and not
 * waited for; it is looked for only when there is no proper end.
 */
export function findHeadEnd(bytes: Buffer, start: number, end: number, scanned: number): number {
  // Where the last byte of CR LF CR LF may stand. Another byte there rules out the next three too.
  let position = start + Math.max(3, scanned);
  while (position < end) {
    const byte = bytes[position]!;
    if (byte === 0x0a) {
      const isEmptyLine = bytes[position - 1] === 0x0d && bytes[position - 2] === 0x0a;
      if (isEmptyLine && bytes[position - 3] === 0x0d) return position + 1;
      position += 2;
    } else position += byte === 0x0d ? 1 : 4;
  }
  return findBareEnd(bytes, start, end, scanned);
}

function findBareEnd(bytes: Buffer, start: number, end: number, scanned: number): number {
  for (let i = start + Math.max(1, scanned); i < end; i++) {
    if (bytes[i] !== 0x0a) continue;
    const before = bytes[i - 1];
    if (before === 0x0a || (before === 0x0d && i - 2 >= start && bytes[i - 2] === 0x0a)) {
      return i + 1;
    }
  }
  return -1;
}

/** RFC 9112 §2.2: empty lines before a request line are ignored. The position behind them. */
export function skipEmptyLines(bytes: Buffer, start: number, end: number): number {
  let position = start;
  while (position + 1 < end && bytes[position] === 0x0d && bytes[position + 1] === 0x0a) {
    position += 2;
  }
  return position;
}

/** Reads a request's head from `bytes[start..end)`, which `findHeadEnd` has found. */
export function parseRequestHead(
  head: Http1Head,
  bytes: Buffer,
  start: number,
  end: number,
): HeadProblem | undefined {
  head.begin(bytes, start, end);
  if (end - start > head.limits.headBytesMax) return bad("head too large", 431);
  return (
    parseRequestLine(head, bytes, start) ??
    parseLines(head) ??
    splitTarget(head) ??
    readRequestFraming(head)
  );
}

/** The usual methods, as one string each: making them anew costs a tenth of the parse. */
const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT"];

function methodAt(bytes: Buffer, start: number, end: number): string {
  for (const method of METHODS) {
    if (method.length === end - start && isText(method, bytes, start)) return method;
  }
  return latin1(bytes, start, end);
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
  head.begin(bytes, start, end);
  if (end - start > head.limits.headBytesMax) return bad("head too large", 431);
  return (
    parseVersion(head, bytes, start, false) ??
    parseStatus(head, bytes, start + 8) ??
    parseLines(head) ??
    readResponseFraming(head, requestMethod)
  );
}

/**
 * SP, three digits, SP, reason phrase. The phrase may be missing, and with it (leniently, as
 * everybody is) the space before it.
 */
function parseStatus(head: Http1Head, bytes: Buffer, start: number): HeadProblem | undefined {
  let status = 0;
  for (let i = 1; i <= 3; i++) {
    const digit = bytes[start + i]! - 0x30;
    if (!(digit >= 0 && digit <= 9)) return bad("malformed status");
    status = status * 10 + digit;
  }
  let position = start + 4;
  if (bytes[start] !== 0x20 || status < 100) return bad("malformed status");
  if (bytes[position] === 0x20) {
    while (FIELD[bytes[position]!] === 1) position++;
  }
  if (bytes[position] !== 0x0d || bytes[position + 1] !== 0x0a) return bad("malformed status line");
  head.status = status;
  head.headersStart = position + 2;
  return undefined;
}
