/**
 * Bodies as they arrive (RFC 9112 §6, §7): tells payload from framing, byte by byte if need be.
 *
 * Chunked is read strictly and its framing never leaves this hop: extensions are dropped, sizes
 * have a limit, line ends are CRLF. Trailers are kept when they may be (RFC 9110 §6.5.1).
 */
import { latin1 } from "../../kit/bytes.ts";
import { FIELD, HEX, TOKEN } from "./characters.ts";
import type { Framing } from "./head.ts";

/** One chunk's extensions. */
const EXTENSION_BYTES_MAX = 4096;
/**
 * All extensions of a body, beyond the bytes of its payload: who sends one byte a chunk behind
 * kilobytes of extension wants us to work for nothing (RFC 9112 §7.1.1).
 */
const EXCESS_BYTES_MAX = 16 * 1024;
const TRAILER_BYTES_MAX = 16 * 1024;
/** 2^40: more hexadecimal digits than that are a lie. */
const CHUNK_BYTES_MAX = 2 ** 40;

/** Fields that must not come behind a body: framing, routing, authentication, who sent it. */
export const FORBIDDEN_TRAILERS = new Set([
  "authorization",
  "cache-control",
  "connection",
  "content-encoding",
  "content-length",
  "content-range",
  "content-type",
  "cookie",
  "expect",
  "forwarded",
  "host",
  "keep-alive",
  "location",
  "max-forwards",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "range",
  "set-cookie",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "www-authenticate",
  "x-forwarded-client-cert",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-proto",
  "x-request-id",
]);

const NO_TRAILERS: readonly (readonly [string, string])[] = [];

const NONE = 0;
const LENGTH = 1;
const UNTIL_CLOSE = 2;
const SIZE = 3;
const EXTENSION = 4;
const SIZE_FEED = 5;
const CHUNK = 6;
const CHUNK_RETURN = 7;
const CHUNK_FEED = 8;
const TRAILERS = 9;

export class BodyReader {
  #state = NONE;
  #leftBytes = 0;
  #digits = 0;
  #extensionBytes = 0;
  /** Bytes of extensions so far, less those of payload; not below 0. */
  #excessBytes = 0;
  #trailerText = "";
  /** The run of payload that the last `read` found: [start, end) of its bytes. */
  payloadStart = 0;
  payloadEnd = 0;
  isDone = true;
  problem: string | undefined;
  trailers: readonly (readonly [string, string])[] = NO_TRAILERS;

  reset(framing: Framing, contentLength: number): void {
    this.#leftBytes = contentLength;
    this.#digits = 0;
    this.#extensionBytes = 0;
    this.#excessBytes = 0;
    this.isDone = framing === "none";
    this.problem = undefined;
    this.trailers = NO_TRAILERS;
    this.payloadStart = 0;
    this.payloadEnd = 0;
    if (framing === "length") this.#state = LENGTH;
    else if (framing === "chunked") this.#startChunk();
    else this.#state = framing === "close" ? UNTIL_CLOSE : NONE;
  }

  #startChunk(): void {
    this.#state = SIZE;
    this.#leftBytes = 0;
    this.#digits = 0;
    this.#extensionBytes = 0;
  }

  /**
   * Looks at `bytes[start..end)`, which is not empty, up to the end of the next run of payload.
   * Returns the position behind what it consumed; call again with the rest.
   */
  read(bytes: Buffer, start: number, end: number): number {
    this.payloadStart = start;
    this.payloadEnd = start;
    if (this.isDone || this.problem !== undefined) return start;
    if (this.#state === UNTIL_CLOSE) {
      this.payloadEnd = end;
      return end;
    }
    if (this.#state === LENGTH) {
      const next = this.#takePayload(start, end);
      this.isDone = this.#leftBytes === 0;
      return next;
    }
    return this.#readChunked(bytes, start, end);
  }

  #takePayload(start: number, end: number): number {
    const count = Math.min(this.#leftBytes, end - start);
    this.#leftBytes -= count;
    this.payloadStart = start;
    this.payloadEnd = start + count;
    return start + count;
  }

  #readChunked(bytes: Buffer, start: number, end: number): number {
    let position = start;
    while (position < end && !this.isDone && this.problem === undefined) {
      if (this.#state === CHUNK) {
        position = this.#takePayload(position, end);
        if (this.#leftBytes === 0) this.#state = CHUNK_RETURN;
        return position;
      }
      this.#byte(bytes[position++]!);
    }
    this.payloadStart = position;
    this.payloadEnd = position;
    return position;
  }

  #byte(byte: number): void {
    switch (this.#state) {
      case SIZE:
        this.#sizeByte(byte);
        return;
      case EXTENSION:
        if (byte === 0x0d) this.#state = SIZE_FEED;
        else this.#extensionByte(byte);
        return;
      case SIZE_FEED:
        if (byte === 0x0a) this.#endSize();
        else this.problem = "malformed end of a chunk's size";
        return;
      case CHUNK_RETURN:
        if (byte === 0x0d) this.#state = CHUNK_FEED;
        else this.problem = "a chunk longer than its size";
        return;
      case CHUNK_FEED:
        if (byte === 0x0a) this.#startChunk();
        else this.problem = "malformed end of a chunk";
        return;
      default:
        this.#trailerByte(byte);
    }
  }

  #sizeByte(byte: number): void {
    const digit = HEX[byte]!;
    if (digit !== 255) {
      this.#digits++;
      this.#leftBytes = this.#leftBytes * 16 + digit;
      if (this.#leftBytes > CHUNK_BYTES_MAX || this.#digits > 16) this.problem = "chunk too large";
    } else if (this.#digits === 0) this.problem = "malformed chunk size";
    else if (byte === 0x0d) this.#state = SIZE_FEED;
    else if (byte === 0x3b) this.#state = EXTENSION;
    else this.problem = "malformed chunk size";
  }

  #extensionByte(byte: number): void {
    if (FIELD[byte] !== 1) this.problem = "malformed chunk extension";
    this.#extensionBytes++;
    this.#excessBytes++;
    const isTooLong =
      this.#extensionBytes > EXTENSION_BYTES_MAX || this.#excessBytes > EXCESS_BYTES_MAX;
    if (isTooLong) this.problem = "chunk extensions too long";
  }

  #endSize(): void {
    if (this.#leftBytes > 0) {
      this.#excessBytes = Math.max(0, this.#excessBytes - this.#leftBytes);
      this.#state = CHUNK;
      return;
    }
    this.#state = TRAILERS;
    this.#trailerText = "";
  }

  #trailerByte(byte: number): void {
    this.#trailerText += String.fromCharCode(byte);
    if (this.#trailerText.length > TRAILER_BYTES_MAX) {
      this.problem = "trailers too large";
      return;
    }
    if (byte !== 0x0a) return;
    if (this.#trailerText === "\r\n") this.#finish([]);
    else if (this.#trailerText.endsWith("\r\n\r\n")) {
      this.#finish(this.#trailerText.slice(0, -4).split("\r\n"));
    } else if (!this.#trailerText.endsWith("\r\n")) this.problem = "malformed trailer";
  }

  #finish(lines: readonly string[]): void {
    const trailers: [string, string][] = [];
    for (const line of lines) {
      const trailer = parseTrailer(line);
      if (trailer === undefined) {
        this.problem = "malformed trailer";
        return;
      }
      if (!FORBIDDEN_TRAILERS.has(trailer[0])) trailers.push(trailer);
    }
    if (trailers.length > 0) this.trailers = trailers;
    this.isDone = true;
  }
}

/** Not `trim()`, which takes U+00A0 too: a byte of somebody's text. */
const BLANKS = /^[ \t]+|[ \t]+$/g;

function parseTrailer(line: string): [string, string] | undefined {
  const bytes = Buffer.from(line, "latin1");
  let position = 0;
  while (TOKEN[bytes[position] ?? 0] === 1) position++;
  if (position === 0 || bytes[position] !== 0x3a) return undefined;
  for (const byte of bytes) if (FIELD[byte] !== 1) return undefined;
  const name = latin1(bytes, 0, position).toLowerCase();
  return [name, latin1(bytes, position + 1, bytes.length).replace(BLANKS, "")];
}

/** `<size in hexadecimal>CRLF`. Returns the position behind it. */
export function writeChunkHead(out: Buffer, position: number, bytes: number): number {
  return position + out.write(`${bytes.toString(16)}\r\n`, position, "latin1");
}
