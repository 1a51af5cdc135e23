/**
 * A head, changed, as bytes: lines that stay are copied as they came, runs of them in one copy.
 *
 * Hop-by-hop lines go (RFC 9110 §7.6.1), framing is written anew from what was understood, so what
 * the next hop reads is what was judged here. A Connection header may nominate headers to be
 * dropped; nominations of headers that carry meaning end to end (NOT_NOMINABLE) are ignored, or a
 * client could have its credentials' checks or our own headers taken out on the way.
 */
import { assert } from "../../kit/assert.ts";
import { FIELD } from "./characters.ts";
import type { Http1Head } from "./head.ts";
import { H, headerName, knownHeaderId, NAMES_MAX } from "./header-names.ts";

/** 1 at the id of each. A table and not a set: it is asked for every line of every head. */
const HOP_BY_HOP = new Uint8Array(NAMES_MAX);
for (const id of [
  H.connection,
  H.contentLength,
  H.keepAlive,
  H.proxyConnection,
  H.te,
  H.trailer,
  H.transferEncoding,
  H.upgrade,
]) {
  HOP_BY_HOP[id] = 1;
}

const NOT_NOMINABLE = new Set<number>([
  H.authorization,
  H.contentLength,
  H.contentType,
  H.cookie,
  H.date,
  H.expect,
  H.forwarded,
  H.host,
  H.server,
  H.traceparent,
  H.transferEncoding,
  H.xForwardedClientCert,
  H.xForwardedFor,
  H.xForwardedProto,
  H.xRequestId,
]);

/** Changes to a head. One object serves one head after the other. */
export class HeadEdits {
  /** Ids whose lines are dropped, and the same as a table. */
  readonly #dropped: number[] = [];
  readonly #isDropped = new Uint8Array(NAMES_MAX);
  #added = "";
  #target: string | undefined;

  reset(): void {
    for (let i = 0; i < this.#dropped.length; i++) this.#isDropped[this.#dropped[i]!] = 0;
    this.#dropped.length = 0;
    this.#added = "";
    this.#target = undefined;
  }

  remove(id: number): void {
    this.#dropped.push(id);
    this.#isDropped[id] = 1;
  }

  /** Replaces all lines of that name by one. */
  set(id: number, value: string): void {
    this.remove(id);
    this.add(id, value);
  }

  add(id: number, value: string): void {
    assert(isFieldValue(value), `a line break in the value of ${headerName(id)}`);
    this.#added += `${headerName(id)}: ${value}\r\n`;
  }

  /** Another request target, in origin form. */
  replaceTarget(target: string): void {
    this.#target = target;
  }

  drops(id: number): boolean {
    return this.#isDropped[id] === 1;
  }

  get added(): string {
    return this.#added;
  }

  get target(): string | undefined {
    return this.#target;
  }
}

function isFieldValue(value: string): boolean {
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i);
    if (code > 255 || FIELD[code] !== 1) return false;
  }
  return true;
}

/** What is written beyond lines of the head: start line, framing, Connection. */
const OWN_LINES_BYTES = 256;

/** Room that the written head needs at most. */
export function headBytesMax(head: Http1Head, edits: HeadEdits): number {
  return head.end - head.start + edits.added.length + (edits.target?.length ?? 0) + OWN_LINES_BYTES;
}

/** Names that the present head's Connection nominates; few heads have any. */
const nominated = new Set<string>();

function readNominations(head: Http1Head): void {
  if (nominated.size > 0) nominated.clear();
  if (!head.hasNominations) return;
  for (let i = 0; i < head.count; i++) {
    if (head.ids[i] !== H.connection) continue;
    for (const part of head.value(i).toLowerCase().split(",")) {
      const name = part.trim();
      if (!NOT_NOMINABLE.has(knownHeaderId(name))) nominated.add(name);
    }
  }
}

function isDropped(head: Http1Head, edits: HeadEdits, line: number): boolean {
  const id = head.ids[line]!;
  if (id >= 0 && (HOP_BY_HOP[id] === 1 || edits.drops(id))) return true;
  // By name, for a name beyond the bounded table has no number.
  return nominated.size > 0 && nominated.has(head.name(line));
}

/** Copies the lines that stay; returns the new position. */
function copyLines(head: Http1Head, edits: HeadEdits, out: Buffer, position: number): number {
  const { bytes, count } = head;
  readNominations(head);
  let at = position;
  let from = head.headersStart;
  for (let i = 0; i < count; i++) {
    if (!isDropped(head, edits, i)) continue;
    const line = head.lineStarts[i]!;
    if (line > from) at += bytes.copy(out, at, from, line);
    from = head.lineEnd(i);
  }
  const end = head.end - 2;
  if (end > from) at += bytes.copy(out, at, from, end);
  return at;
}

/** Lines are short: a loop is done before a call of `write` has found out what to do. */
function writeText(text: string, out: Buffer, position: number): number {
  for (let i = 0; i < text.length; i++) out[position + i] = text.charCodeAt(i);
  return position + text.length;
}

/** A request's head for the next hop. Returns the position behind it. */
export function writeRequestHead(
  head: Http1Head,
  edits: HeadEdits,
  out: Buffer,
  position: number,
): number {
  const target = edits.target ?? head.target;
  let at = writeText(`${head.method} ${target} HTTP/1.1\r\n`, out, position);
  // RFC 9112 §3.2.2: Host is made to agree with an absolute target.
  const isHostReplaced = head.isAbsoluteTarget || (head.minorVersion === 0 && !head.has(H.host));
  if (isHostReplaced) edits.remove(H.host);
  at = copyLines(head, edits, out, at);
  let own = edits.added;
  if (isHostReplaced) own += `host: ${head.authority}\r\n`;
  if (head.upgrade !== "") own += `connection: upgrade\r\nupgrade: ${head.upgrade}\r\n`;
  if (acceptsTrailers(head)) own += "te: trailers\r\n";
  own += framingLine(head.framing === "chunked", head.has(H.contentLength), head.contentLength);
  return writeText(`${own}\r\n`, out, at);
}

function framingLine(isChunked: boolean, hasLength: boolean, length: number): string {
  if (isChunked) return "transfer-encoding: chunked\r\n";
  return hasLength ? `content-length: ${length}\r\n` : "";
}

function acceptsTrailers(head: Http1Head): boolean {
  return head.has(H.te) && /(^|,)\s*trailers\s*(,|$)/i.test(head.get(H.te)!);
}

export interface ResponseHeadOptions {
  /** The body is sent chunked. */
  readonly isChunked: boolean;
  /** The connection ends behind this response. */
  readonly isClosing: boolean;
  /** It does not, and an HTTP/1.0 client has to be told. */
  readonly isKeptAlive?: boolean;
  /** 101: Connection and Upgrade stay. */
  readonly isUpgrade?: boolean;
}

/** A response's head for the client. Returns the position behind it. */
export function writeResponseHead(
  head: Http1Head,
  edits: HeadEdits,
  out: Buffer,
  position: number,
  options: ResponseHeadOptions,
): number {
  let at = writeText("HTTP/1.1", out, position);
  // The status and its phrase, as they came.
  at += head.bytes.copy(out, at, head.start + 8, head.headersStart);
  at = copyLines(head, edits, out, at);
  let own = edits.added;
  if (options.isUpgrade) own += `connection: upgrade\r\nupgrade: ${head.get(H.upgrade) ?? ""}\r\n`;
  else if (options.isClosing) own += "connection: close\r\n";
  else if (options.isKeptAlive) own += "connection: keep-alive\r\n";
  // RFC 9110 §8.6: 1xx and 204 never say a length.
  const hasLength = head.status >= 200 && head.status !== 204 && head.has(H.contentLength);
  own += framingLine(options.isChunked, hasLength, head.contentLength);
  return writeText(`${own}\r\n`, out, at);
}
