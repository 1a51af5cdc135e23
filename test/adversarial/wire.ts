/**
 * Peers by hand on real sockets: a connection of frames over TLS, and the same inside one of its
 * streams. They send whatever a dialogue says and keep what comes back in words; they answer
 * nothing by themselves but SETTINGS and, unless told not to, flow control.
 */
import tls from "node:tls";
import { ACK, CLIENT_PREFACE, frame, settings, T, words } from "../support/peer.ts";

export interface Seen {
  readonly type: number;
  readonly flags: number;
  readonly id: number;
  readonly length: number;
  /** The first bytes; of DATA nothing. */
  readonly payload: Buffer;
}

const KEPT_BYTES = 256;
const KEPT_DATA_BYTES = 4_000_000;

/** Bytes in, frames out. */
class FrameParser {
  #rest: Buffer = Buffer.alloc(0);
  readonly #onFrame: (frame: Seen, payload: Buffer) => void;

  constructor(onFrame: (frame: Seen, payload: Buffer) => void) {
    this.#onFrame = onFrame;
  }

  push(bytes: Buffer): void {
    let rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    if (rest.subarray(0, 3).toString("latin1") === "PRI") {
      if (rest.length < CLIENT_PREFACE.length) {
        this.#rest = rest;
        return;
      }
      rest = rest.subarray(CLIENT_PREFACE.length);
    }
    while (rest.length >= 9) {
      const length = rest.readUIntBE(0, 3);
      if (rest.length < 9 + length) break;
      const payload = rest.subarray(9, 9 + length);
      const [type, flags] = [rest[3]!, rest[4]!];
      const kept = type === T.data ? Buffer.alloc(0) : Buffer.from(payload.subarray(0, KEPT_BYTES));
      this.#onFrame(
        { type, flags, id: rest.readUInt32BE(5) & 0x7fffffff, length, payload: kept },
        payload,
      );
      rest = rest.subarray(9 + length);
    }
    this.#rest = Buffer.from(rest);
  }
}

/** Something that carries bytes: a socket, or a stream of another `FramePeer`. */
export interface Carrier {
  write(bytes: Buffer): void;
  end(): void;
  destroy(): void;
}

export class FramePeer {
  readonly seen: Seen[] = [];
  /** DATA payload by stream, as far as anybody asked for it. */
  readonly bodies = new Map<number, string>();
  /** Who wants the DATA of a stream instead. */
  readonly takers = new Map<number, (bytes: Buffer, isEnd: boolean) => void>();
  dataBytes = 0;
  isClosed = false;
  /** Gives the windows back as DATA comes. */
  isCrediting = true;
  /** Acknowledges SETTINGS. */
  isAcking = true;
  readonly carrier: Carrier;
  readonly #parser = new FrameParser((seen, payload) => this.#onFrame(seen, payload));
  onFrame: (seen: Seen) => void = () => {};

  constructor(carrier: Carrier) {
    this.carrier = carrier;
  }

  send(...parts: readonly Buffer[]): void {
    if (!this.isClosed) this.carrier.write(parts.length === 1 ? parts[0]! : Buffer.concat(parts));
  }

  greetAsClient(...entries: readonly (readonly [number, number])[]): void {
    this.send(CLIENT_PREFACE, settings(...entries));
  }

  push(bytes: Buffer): void {
    this.#parser.push(bytes);
  }

  #onFrame(seen: Seen, payload: Buffer): void {
    const { type, flags, id, length } = seen;
    if (type === T.settings && (flags & ACK) === 0 && this.isAcking) {
      this.send(frame(T.settings, ACK, 0));
    }
    if (type === T.data) this.#onData(id, payload, (flags & 1) !== 0);
    else this.seen.push(seen);
    if (type === T.data && length > 0 && this.isCrediting) {
      this.send(
        frame(T.windowUpdate, 0, 0, words(length)),
        frame(T.windowUpdate, 0, id, words(length)),
      );
    }
    this.onFrame(seen);
  }

  #onData(id: number, payload: Buffer, isEnd: boolean): void {
    this.dataBytes += payload.length;
    const taker = this.takers.get(id);
    if (taker !== undefined) taker(Buffer.from(payload), isEnd);
    else {
      const before = this.bodies.get(id) ?? "";
      if (before.length < KEPT_DATA_BYTES) this.bodies.set(id, before + payload.toString("latin1"));
    }
  }

  /** `GOAWAY 11`, `RST 1 8`, `HEADERS 1`, `closed`, in order; what is no end is left out. */
  get ends(): string[] {
    const list = this.seen.flatMap(({ type, id, payload }) => {
      if (type === T.goaway) return [`GOAWAY ${payload.readUInt32BE(4)}`];
      return type === T.rst ? [`RST ${id} ${payload.readUInt32BE(0)}`] : [];
    });
    return this.isClosed ? [...list, "closed"] : list;
  }

  count(type: number, flags = 0): number {
    return this.seen.filter((f) => f.type === type && (f.flags & flags) === flags).length;
  }

  async until(isSo: () => boolean, what: string, timeoutMs = 8_000): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs;
    while (!isSo()) {
      if (performance.now() > deadlineMs) throw new Error(`not in time: ${what}; ${this.ends}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  /** A PING goes there and back: what was sent before it has been judged. */
  async settled(): Promise<void> {
    const before = this.count(T.ping, ACK);
    this.send(frame(T.ping, 0, 0, Buffer.alloc(8)));
    await this.until(() => this.isClosed || this.count(T.ping, ACK) > before, "the PING's answer");
  }

  /** Opens a CONNECT stream; the block names its authority. */
  async tunnel(id: number, block: Buffer): Promise<void> {
    this.send(frame(T.headers, 4, id, block));
    const isAnswered = (f: Seen) => f.id === id && (f.type === T.headers || f.type === T.rst);
    await this.until(() => this.isClosed || this.seen.some(isAnswered), "an answer to CONNECT");
  }
}

export interface Dialled extends FramePeer {
  readonly socket: tls.TLSSocket;
}

export interface TlsOptions {
  readonly port: number;
  readonly key: string;
  readonly cert: string;
  readonly ca: string;
  readonly host?: string;
}

/** A TLS client, and frames over it. Resolves when the handshake is done. */
export function dial(options: TlsOptions): Promise<Dialled> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({
      host: "127.0.0.1",
      ALPNProtocols: ["h2"],
      minVersion: "TLSv1.3",
      checkServerIdentity: () => undefined,
      ...options,
    });
    socket.setNoDelay(true);
    const peer = new FramePeer({
      write: (bytes) => socket.write(bytes),
      end: () => socket.end(),
      destroy: () => socket.destroy(),
    });
    socket.on("data", (bytes: Buffer) => peer.push(bytes));
    socket.once("secureConnect", () => resolve(Object.assign(peer, { socket })));
    socket.on("error", reject);
    socket.once("close", () => {
      peer.isClosed = true;
    });
  });
}

/** HTTP/2 inside stream `id` of `outer`, whose CONNECT has been answered. */
export function inside(outer: FramePeer, id: number): FramePeer {
  const peer = new FramePeer({
    write: (bytes) => {
      for (let at = 0; at < bytes.length; at += 16_384) {
        outer.send(frame(T.data, 0, id, bytes.subarray(at, at + 16_384)));
      }
    },
    end: () => outer.send(frame(T.data, 1, id)),
    destroy: () => outer.send(frame(T.rst, 0, id, words(8))),
  });
  outer.takers.set(id, (bytes, isEnd) => {
    peer.push(bytes);
    if (isEnd) peer.isClosed = true;
  });
  return peer;
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * DATA as far as the stream's window goes, and as far as it is given back, until it has not moved
 * for a while: how many bytes that were. The connection's window is wider than `bytes`.
 */
export async function upload(
  peer: FramePeer,
  id: number,
  head: string,
  bytes: number,
): Promise<number> {
  const announced = peer.seen.find((f) => f.type === T.settings && (f.flags & ACK) === 0);
  const window = initialWindow(announced!.payload);
  let sent = head.length;
  if (sent > 0) peer.send(frame(T.data, 0, id, head));
  const granted = () =>
    peer.seen.reduce((sum, f) => {
      const isOurs = f.type === T.windowUpdate && f.id === id;
      return isOurs ? sum + f.payload.readUInt32BE(0) : sum;
    }, window);
  let quietSinceMs = performance.now();
  while (sent < bytes && performance.now() - quietSinceMs < UPLOAD_QUIET_MS && !peer.isClosed) {
    const count = Math.min(16_384, granted() - sent, bytes - sent);
    if (count > 0) {
      peer.send(frame(T.data, 0, id, Buffer.alloc(count)));
      sent += count;
      quietSinceMs = performance.now();
    } else await sleep(2);
  }
  await peer.settled();
  return sent;
}

const UPLOAD_QUIET_MS = 200;

/** SETTINGS_INITIAL_WINDOW_SIZE of a SETTINGS frame. */
function initialWindow(payload: Buffer): number {
  for (let at = 0; at + 6 <= payload.length; at += 6) {
    if (payload.readUInt16BE(at) === 4) return payload.readUInt32BE(at + 2);
  }
  return 65_535;
}

/** The status in a block of response headers that begins with it, not Huffman-coded. */
export function statusOf(payload: Buffer): string {
  const table: Record<number, string> = { 136: "200", 140: "400", 141: "404", 142: "500" };
  return table[payload[0] ?? 0] ?? /[1-5]\d\d/.exec(payload.toString("latin1"))?.[0] ?? "";
}
