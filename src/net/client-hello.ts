/**
 * The server name that a TLS client asks for (RFC 6066 §3), read from its first message without
 * taking part in the handshake.
 *
 * A ClientHello may come in pieces: in several records, and those in several reads. Nothing here
 * believes a length before the bytes are there, and what is longer than any real client's is
 * malformed. With encrypted ClientHello it is the outer name that is read, which is all there is.
 */

export type ClientHello =
  /** `serverName` is in lower case; undefined: it names none. */
  | { readonly kind: "hello"; readonly serverName: string | undefined }
  /** It is not TLS, or not as RFC 8446 §4.1.2 has it. */
  | { readonly kind: "malformed" };

const MALFORMED: ClientHello = { kind: "malformed" };

/** Post-quantum key shares make a hello of 2 KiB; tickets may make it longer. */
export const CLIENT_HELLO_BYTES_MAX = 64 * 1024;

const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const RECORD_BYTES_MAX = 16_384;
const RECORD_HEAD_BYTES = 5;
const MESSAGE_HEAD_BYTES = 4;

/** One client's hello. What it has gone through it does not look at again. */
export class ClientHelloReader {
  /** Where the handshake's bytes stand that are whole records: start, end, start, end … */
  readonly #parts: number[] = [];
  #partsBytes = 0;
  /** Of the handshake message, with its head; 0: not known yet. */
  #needed = 0;
  /** The record to be read next. */
  #at = 0;

  /** `bytes`: all that have come, from the first on. `undefined`: more are needed. */
  read(bytes: Buffer): ClientHello | undefined {
    for (;;) {
      const at = this.#at;
      if (bytes.length > at && bytes[at] !== HANDSHAKE) return MALFORMED;
      if (bytes.length > at + 1 && bytes[at + 1] !== 3) return MALFORMED;
      if (bytes.length < at + RECORD_HEAD_BYTES) return undefined;
      const length = bytes.readUInt16BE(at + 3);
      if (length === 0 || length > RECORD_BYTES_MAX) return MALFORMED;
      const start = at + RECORD_HEAD_BYTES;
      const end = Math.min(start + length, bytes.length);
      const held = this.#partsBytes + end - start;
      if (this.#needed === 0 && held >= MESSAGE_HEAD_BYTES) {
        const head = this.#join(bytes, start, end);
        if (head[0] !== CLIENT_HELLO) return MALFORMED;
        this.#needed = MESSAGE_HEAD_BYTES + head.readUIntBE(1, 3);
        if (this.#needed > CLIENT_HELLO_BYTES_MAX) return MALFORMED;
      }
      if (this.#needed > 0 && held >= this.#needed) {
        const message = this.#join(bytes, start, end).subarray(0, this.#needed);
        return parseHello(new Reader(message, MESSAGE_HEAD_BYTES));
      }
      if (end < start + length) return undefined;
      this.#parts.push(start, end);
      this.#partsBytes = held;
      this.#at = end;
    }
  }

  /** The whole records' bytes, and these behind them. */
  #join(bytes: Buffer, start: number, end: number): Buffer {
    const parts: Buffer[] = [];
    for (let i = 0; i < this.#parts.length; i += 2) {
      parts.push(bytes.subarray(this.#parts[i], this.#parts[i + 1]));
    }
    parts.push(bytes.subarray(start, end));
    return Buffer.concat(parts);
  }
}

/** Reads numbers and pieces; past the end it is broken, once and for all. */
class Reader {
  readonly #bytes: Buffer;
  #at: number;
  isBroken = false;

  constructor(bytes: Buffer, at = 0) {
    this.#bytes = bytes;
    this.#at = at;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  number(size: 1 | 2): number {
    const piece = this.piece(size);
    return piece.length < size ? 0 : piece.readUIntBE(0, size);
  }

  piece(length: number): Buffer {
    if (this.isBroken || this.#at + length > this.#bytes.length) {
      this.isBroken = true;
      return Buffer.alloc(0);
    }
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  /** A vector: its length in `size` bytes, then that much. */
  vector(size: 1 | 2): Buffer {
    return this.piece(this.number(size));
  }
}

const RANDOM_BYTES = 34;
const SESSION_ID_BYTES_MAX = 32;
const SERVER_NAME = 0;

function parseHello(hello: Reader): ClientHello {
  hello.piece(RANDOM_BYTES);
  const sessionId = hello.vector(1);
  const suites = hello.vector(2);
  const compressions = hello.vector(1);
  const isOdd = suites.length < 2 || suites.length % 2 === 1 || compressions.length === 0;
  if (hello.isBroken || isOdd || sessionId.length > SESSION_ID_BYTES_MAX) return MALFORMED;
  // TLS 1.2 and before knew hellos without extensions.
  if (hello.isAtEnd) return { kind: "hello", serverName: undefined };
  const extensions = new Reader(hello.vector(2));
  if (hello.isBroken || !hello.isAtEnd) return MALFORMED;
  let serverName: string | undefined;
  while (!extensions.isAtEnd) {
    const type = extensions.number(2);
    const value = extensions.vector(2);
    if (extensions.isBroken) return MALFORMED;
    if (type !== SERVER_NAME) continue;
    // Twice is forbidden (RFC 8446 §4.2), or two hops could each believe another one.
    const name = serverName === undefined ? nameIn(value) : undefined;
    if (name === undefined) return MALFORMED;
    serverName = name;
  }
  return { kind: "hello", serverName };
}

/** As DNS has names; an address is none (RFC 6066 §3). */
const HOST_NAME = /^[a-z0-9_](?:[a-z0-9_.-]{0,253}[a-z0-9_])?$/;

function nameIn(extension: Buffer): string | undefined {
  const outer = new Reader(extension);
  const list = new Reader(outer.vector(2));
  const type = list.number(1);
  const name = list.vector(2).toString("latin1").toLowerCase();
  const isWhole = !outer.isBroken && outer.isAtEnd && !list.isBroken && list.isAtEnd;
  // One name, of the one type there is.
  return isWhole && type === 0 && HOST_NAME.test(name) ? name : undefined;
}
