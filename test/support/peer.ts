/**
 * The other end of an HTTP/2 connection, by hand: a test says which bytes it sends and looks at the
 * frames that come back. It shares no code with src/net/http2, so that it can judge it.
 *
 * A `ScriptedPeer` is the transport of the connection under test; bytes sent arrive during the
 * call. `MemoryTransport` joins two connections of ours.
 */
import type { Transport, TransportReceiver } from "../../src/net/http2/transport.ts";

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly id: number;
  readonly payload: Buffer;
}

export const T = {
  data: 0,
  headers: 1,
  priority: 2,
  rst: 3,
  settings: 4,
  push: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const END_STREAM = 1;
export const END_HEADERS = 4;
export const PADDED = 8;
export const PRIORITY = 32;
export const ACK = 1;
export const CLIENT_PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

export function frame(
  type: number,
  flags: number,
  id: number,
  payload: Buffer | string = "",
): Buffer {
  const body = Buffer.from(payload as Buffer);
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(id, 5);
  return Buffer.concat([head, body]);
}

export function words(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [i, value] of values.entries()) bytes.writeUInt32BE(value, i * 4);
  return bytes;
}

export function settings(...entries: readonly (readonly [number, number])[]): Buffer {
  const bytes = Buffer.alloc(entries.length * 6);
  for (const [i, [setting, value]] of entries.entries()) {
    bytes.writeUInt16BE(setting, i * 6);
    bytes.writeUInt32BE(value, i * 6 + 2);
  }
  return frame(T.settings, 0, 0, bytes);
}

/** A header block of literals without indexing (RFC 7541 §6.2.2). */
export function block(...list: readonly string[]): Buffer {
  const parts: Buffer[] = [];
  for (let i = 0; i < list.length; i += 2) {
    parts.push(Buffer.of(0), text(list[i]!), text(list[i + 1]!));
  }
  return Buffer.concat(parts);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, "latin1");
  if (bytes.length < 127) return Buffer.concat([Buffer.of(bytes.length), bytes]);
  const size = [127];
  let rest = bytes.length - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) size.push((rest % 128) + 128);
  return Buffer.concat([Buffer.from([...size, rest]), bytes]);
}

export const CONNECT_BLOCK = block(":method", "CONNECT", ":authority", "10.0.0.1:80");
export const GET_BLOCK = block(
  ...[":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/"],
);
export const OK_BLOCK = block(":status", "200");

export function connect(id: number, flags = 0): Buffer {
  return frame(T.headers, END_HEADERS | flags, id, CONNECT_BLOCK);
}

export class ScriptedPeer implements Transport {
  readonly isNested = false;
  isEnded = false;
  isDestroyed = false;
  /** The connection does not want to read. */
  isPaused = false;
  /** Writes are not reported done: the peer does not read. */
  isStalled = false;
  readonly #stalled: (() => void)[] = [];
  #received: Buffer[] = [];
  #receiver: TransportReceiver | undefined;

  write(bytes: Buffer, length: number, done: () => void): void {
    if (this.isEnded || this.isDestroyed) throw new Error("written behind the end");
    this.#received.push(Buffer.from(bytes.subarray(0, length)));
    if (this.isStalled) this.#stalled.push(done);
    else setImmediate(done);
  }

  end(): void {
    this.isEnded = true;
  }

  pauseReading(): void {
    this.isPaused = true;
  }

  resumeReading(): void {
    this.isPaused = false;
  }

  destroy(): void {
    this.isDestroyed = true;
  }

  attach(receiver: TransportReceiver): void {
    this.#receiver = receiver;
  }

  /** The peer reads again. */
  unstall(): void {
    this.isStalled = false;
    for (const done of this.#stalled.splice(0)) done();
  }

  send(...parts: readonly Buffer[]): void {
    const bytes = Buffer.concat(parts);
    this.#receiver!.onBytes(bytes, 0, bytes.length);
    // Nobody may keep a view of what was read.
    bytes.fill(0xee);
  }

  sendEnd(): void {
    this.#receiver!.onEnd();
  }

  /** Preface (as a client) and empty SETTINGS, and ours acknowledged. */
  greet(role: "client" | "server", ...entries: readonly (readonly [number, number])[]): void {
    if (role === "client") this.send(CLIENT_PREFACE);
    this.send(settings(...entries), frame(T.settings, ACK, 0));
  }

  /** What the connection has sent since the last call, when it has nothing more to send. */
  async frames(): Promise<Frame[]> {
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
    let bytes = Buffer.concat(this.#received);
    this.#received = [];
    if (bytes.subarray(0, 3).toString() === "PRI") bytes = bytes.subarray(CLIENT_PREFACE.length);
    return framesOf(bytes);
  }
}

/** Whole frames, one behind the other. */
export function framesOf(all: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let bytes = all; bytes.length > 0; ) {
    const end = 9 + bytes.readUIntBE(0, 3);
    if (bytes.length < end) throw new Error("a frame was cut short");
    const id = bytes.readUInt32BE(5);
    frames.push({ type: bytes[3]!, flags: bytes[4]!, id, payload: bytes.subarray(9, end) });
    bytes = bytes.subarray(end);
  }
  return frames;
}

/** How a connection or stream was ended by what a peer sent, in words: `GOAWAY 1`, `RST 3 8`. */
export function ends(frames: readonly Frame[]): string[] {
  return frames.flatMap(({ type, id, payload }) => {
    if (type === T.goaway) return [`GOAWAY ${payload.readUInt32BE(4)}`];
    return type === T.rst ? [`RST ${id} ${payload.readUInt32BE(0)}`] : [];
  });
}

/** Two transports joined; bytes travel on the next turn, in pieces of `pieceBytes`. */
export class MemoryTransport implements Transport {
  readonly isNested = false;
  readonly #pieceBytes: number;
  #other: MemoryTransport | undefined;
  #receiver: TransportReceiver | undefined;
  #isClosed = false;

  private constructor(pieceBytes: number) {
    this.#pieceBytes = pieceBytes;
  }

  static pair(pieceBytes = 65_536): [MemoryTransport, MemoryTransport] {
    const [left, right] = [new MemoryTransport(pieceBytes), new MemoryTransport(pieceBytes)];
    left.#other = right;
    right.#other = left;
    return [left, right];
  }

  write(bytes: Buffer, length: number, done: () => void): void {
    const copy = Buffer.from(bytes.subarray(0, length));
    setImmediate(() => {
      done();
      for (let at = 0; at < length; at += this.#pieceBytes) {
        const piece = Buffer.from(copy.subarray(at, at + this.#pieceBytes));
        this.#other!.#receiver?.onBytes(piece, 0, piece.length);
        piece.fill(0xee);
      }
    });
  }

  end(): void {
    setImmediate(() => this.#other!.#receiver?.onEnd());
  }

  pauseReading(): void {}

  resumeReading(): void {}

  destroy(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const side of [this, this.#other!])
      setImmediate(() => side.#receiver?.onClosed(undefined));
  }

  attach(receiver: TransportReceiver): void {
    this.#receiver = receiver;
  }
}
