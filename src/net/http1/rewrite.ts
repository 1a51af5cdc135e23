/**
 * A head, changed, as bytes: lines that stay are copied as they came, runs of them in one copy.
 *
 * Hop-by-hop lines go (RFC 9110 §7.6.1), framing is written anew from what was understood, so what
 * the next hop reads is what was judged here. A Connection header may nominate headers to be
 * dropped; nominations of headers that carry meaning end to end (NOT_NOMINABLE) are ignored, or a
 * client could have its credentials' checks or our own headers taken out on the way.
 */
import { assert } from "../../kit/assert.ts";
import { FIELD, TARGET } from "./characters.ts";
import type { Http1Head } from "./head.ts";
import { H, headerName, isBesideTable, knownHeaderId } from "./header-names.ts";

/** As bits of `Http1Head.present`. */
const HOP_BY_HOP =
  (1 << H.connection) |
  (1 << H.contentLength) |
  (1 << H.keepAlive) |
  (1 << H.proxyConnection) |
  (1 << H.te) |
  (1 << H.trailer) |
  (1 << H.transferEncoding) |
  (1 << H.upgrade);

const NOT_NOMINABLE = new Set<number>([
  H.authorization,
  H.baggage,
  H.cacheControl,
  H.contentLength,
  H.contentType,
  H.cookie,
  H.date,
  H.expect,
  H.forwarded,
  H.host,
  H.server,
  H.setCookie,
  H.traceparent,
  H.tracestate,
  H.transferEncoding,
  H.xForwardedClientCert,
  H.xForwardedFor,
  H.xForwardedHost,
  H.xForwardedProto,
  H.xRequestId,
]);

function isHopByHop(id: number): boolean {
  return id >= 0 && id < 32 && ((HOP_BY_HOP >>> id) & 1) === 1;
}

/**
 * Changes to a head. One object serves one head after the other.
 *
 * Framing and the connection belong to the codec: setting or adding a hop-by-hop header does
 * nothing, or a route's header filter could make the next hop see another message than was judged.
 * `Host` has its own change, `replaceAuthority()`, for HTTP/2 says it elsewhere.
 */
export class HeadEdits {
  /** Whose lines are dropped: the first `#droppedCount`. Emptying arrays would cost more. */
  readonly #dropped: number[] = [];
  #droppedCount = 0;
  readonly #addedIds: number[] = [];
  readonly #addedValues: string[] = [];
  #addedCount = 0;
  #target: string | undefined;
  #authority: string | undefined;

  reset(): void {
    this.#authority = undefined;
    this.#droppedCount = 0;
    this.#addedCount = 0;
    this.#target = undefined;
  }

  /** Drops all lines of that name, also those that were added before. */
  remove(id: number): void {
    if (!this.drops(id)) this.#dropped[this.#droppedCount++] = id;
    const count = this.#addedCount;
    this.#addedCount = 0;
    for (let i = 0; i < count; i++) {
      if (this.#addedIds[i] !== id) this.#push(this.#addedIds[i]!, this.#addedValues[i]!);
    }
  }

  /** Replaces all lines of that name by one. */
  set(id: number, value: string): void {
    this.remove(id);
    this.add(id, value);
  }

  add(id: number, value: string): void {
    assert(id >= 0, "a header without a number, see ownHeaderId()");
    assert(isFieldValue(value), "a line break in the value of a header");
    if (!isHopByHop(id) && id !== H.host) this.#push(id, value);
  }

  #push(id: number, value: string): void {
    this.#addedIds[this.#addedCount] = id;
    this.#addedValues[this.#addedCount] = value;
    this.#addedCount++;
  }

  /** Another request target, in origin form. */
  replaceTarget(target: string): void {
    assert(isTarget(target), "a blank or line break in a request target");
    this.#target = target;
  }

  /** Another `Host`, or `:authority`. undefined: the head's own after all. */
  replaceAuthority(authority: string | undefined): void {
    assert(authority === undefined || isTarget(authority), "a blank in an authority");
    this.#authority = authority;
  }

  get authority(): string | undefined {
    return this.#authority;
  }

  get target(): string | undefined {
    return this.#target;
  }

  /** Lines of that name in the head are dropped. */
  drops(id: number): boolean {
    for (let i = 0; i < this.#droppedCount; i++) if (this.#dropped[i] === id) return true;
    return false;
  }

  /** The same of a line's number, -1 for a name that has none. */
  dropsField(id: number): boolean {
    return id >= 0 && this.#droppedCount > 0 && this.drops(id);
  }

  get dropsAny(): boolean {
    return this.#droppedCount > 0;
  }

  /** Some have to be looked for by name. */
  get dropsBeside(): boolean {
    for (let i = 0; i < this.#droppedCount; i++) if (isBesideTable(this.#dropped[i]!)) return true;
    return false;
  }

  /** Of the lines that are added. */
  get addedBytes(): number {
    let bytes = 0;
    for (let i = 0; i < this.#addedCount; i++) {
      bytes += headerName(this.#addedIds[i]!).length + this.#addedValues[i]!.length + 4;
    }
    return bytes;
  }

  /** The lines that are added. */
  addedText(): string {
    let text = "";
    for (let i = 0; i < this.#addedCount; i++) {
      text += `${headerName(this.#addedIds[i]!)}: ${this.#addedValues[i]!}\r\n`;
    }
    return text;
  }

  /** Appends what is added: name, value, name, value … */
  listAdded(list: string[]): void {
    for (let i = 0; i < this.#addedCount; i++) {
      list.push(headerName(this.#addedIds[i]!), this.#addedValues[i]!);
    }
  }

  /** Writes the lines that are added. Returns the position behind them. */
  writeAdded(out: Buffer, position: number): number {
    let at = position;
    for (let i = 0; i < this.#addedCount; i++) {
      at = writeText(headerName(this.#addedIds[i]!), out, at);
      out[at++] = 0x3a;
      out[at++] = 0x20;
      at = writeText(this.#addedValues[i]!, out, at);
      out[at++] = 0x0d;
      out[at++] = 0x0a;
    }
    return at;
  }
}

/** Characters of a header's value, each one byte. */
export function isFieldValue(value: string): boolean {
  for (let i = 0; i < value.length; i++) if (FIELD[value.charCodeAt(i)] !== 1) return false;
  return true;
}

function isTarget(target: string): boolean {
  for (let i = 0; i < target.length; i++) if (TARGET[target.charCodeAt(i)] !== 1) return false;
  return target.length > 0;
}

/** What is written beyond lines of the head: start line, framing, Connection. */
const OWN_LINES_BYTES = 256;

/** Room that the written head needs at most. */
export function headBytesMax(head: Http1Head, edits: HeadEdits): number {
  const replaced = (edits.target?.length ?? 0) + (edits.authority?.length ?? 0);
  return head.end - head.start + edits.addedBytes + replaced + OWN_LINES_BYTES;
}

function isNominated(head: Http1Head, line: number): boolean {
  // By name, for a name beyond the bounded table has no number.
  const name = head.name(line);
  return head.nominations.includes(name) && !NOT_NOMINABLE.has(knownHeaderId(name));
}

/** What goes from the present head. One is enough: a head is written within one call. */
const drops = {
  /** Bits, as in `Http1Head.present`. */
  hopByHop: 0,
  /** Edits or nominations have to be asked, too. */
  hasMore: false,
};

function isDropped(head: Http1Head, edits: HeadEdits, line: number): boolean {
  const id = head.ids[line]!;
  if (id >= 0 && id < 32 && ((drops.hopByHop >>> id) & 1) === 1) return true;
  if (!drops.hasMore) return false;
  if (id >= 0 ? edits.drops(id) : edits.dropsBeside && edits.drops(numberOf(head, line)))
    return true;
  return head.nominations.length > 0 && isNominated(head, line);
}

function numberOf(head: Http1Head, line: number): number {
  return knownHeaderId(head.name(line));
}

/** Copies what stays from `from` on, be it the start line; returns the new position. */
function copyLines(
  head: Http1Head,
  edits: HeadEdits,
  start: number,
  out: Buffer,
  position: number,
): number {
  const { bytes, count } = head;
  drops.hasMore = edits.dropsAny || head.nominations.length > 0;
  let at = position;
  let from = start;
  for (let i = 0; i < count; i++) {
    if (!isDropped(head, edits, i)) continue;
    at = copy(bytes, from, head.lineStarts[i]!, out, at);
    from = head.lineEnd(i);
  }
  return copy(bytes, from, head.end - 2, out, at);
}

/** Below this a loop is faster than a call out of JavaScript. */
const SHORT_BYTES = 96;

function copy(bytes: Buffer, start: number, end: number, out: Buffer, position: number): number {
  const count = end - start;
  if (count > SHORT_BYTES) return position + bytes.copy(out, position, start, end);
  for (let i = 0; i < count; i++) out[position + i] = bytes[start + i]!;
  return position + count;
}

function writeText(text: string, out: Buffer, position: number): number {
  if (text.length > SHORT_BYTES) return position + out.write(text, position, "latin1");
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
  // RFC 9112 §3.2.2: Host is made to agree with an absolute target, unless it is replaced.
  const isHostMissing = head.isAbsoluteTarget || (head.minorVersion === 0 && !head.has(H.host));
  const isHostReplaced = isHostMissing || edits.authority !== undefined;
  drops.hopByHop = HOP_BY_HOP | (isHostReplaced ? 1 << H.host : 0);
  const target = edits.target ?? (head.isAbsoluteTarget ? originForm(head) : undefined);
  let at = position;
  let from = head.start;
  if (target !== undefined || head.minorVersion === 0) {
    at = writeText(`${head.method} ${target ?? head.target} HTTP/1.1\r\n`, out, at);
    from = head.headersStart;
  }
  at = copyLines(head, edits, from, out, at);
  at = edits.writeAdded(out, at);
  let own = "";
  if (isHostReplaced) own += `host: ${edits.authority ?? head.authority}\r\n`;
  if (head.upgrade !== "") own += `connection: upgrade\r\nupgrade: ${head.upgrade}\r\n`;
  if (acceptsTrailers(head)) own += "te: trailers\r\n";
  own += framingLine(head.framing === "chunked", head.has(H.contentLength), head.contentLength);
  return writeText(`${own}\r\n`, out, at);
}

/** RFC 9112 §3.2.1: what a server is sent. */
export function originForm(head: Http1Head): string {
  return head.query === "" ? head.path : `${head.path}?${head.query}`;
}

function framingLine(isChunked: boolean, hasLength: boolean, length: number): string {
  if (isChunked) return "transfer-encoding: chunked\r\n";
  return hasLength ? `content-length: ${length}\r\n` : "";
}

export function acceptsTrailers(head: Http1Head): boolean {
  return head.has(H.te) && /(^|,)[ \t]*trailers[ \t]*(,|$)/i.test(head.get(H.te)!);
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
  // The status and its phrase, as they came.
  let at = writeText("HTTP/1.1", out, position);
  drops.hopByHop = HOP_BY_HOP;
  at = copyLines(head, edits, head.start + 8, out, at);
  at = edits.writeAdded(out, at);
  let own = "";
  if (options.isUpgrade) own += `connection: upgrade\r\nupgrade: ${head.get(H.upgrade) ?? ""}\r\n`;
  else if (options.isClosing) own += "connection: close\r\n";
  else if (options.isKeptAlive) own += "connection: keep-alive\r\n";
  // RFC 9110 §8.6: 1xx and 204 never say a length.
  const hasLength = head.status >= 200 && head.status !== 204 && head.has(H.contentLength);
  own += framingLine(options.isChunked, hasLength, head.contentLength);
  return writeText(`${own}\r\n`, out, at);
}

/** What stays of a head, with what is added, for a protocol that frames by itself. */
export function keptHeaders(head: Http1Head, edits: HeadEdits, list: string[]): void {
  drops.hopByHop = HOP_BY_HOP;
  drops.hasMore = edits.dropsAny || head.nominations.length > 0;
  for (let i = 0; i < head.count; i++) {
    if (!isDropped(head, edits, i)) list.push(head.name(i), head.value(i));
  }
  edits.listAdded(list);
}
