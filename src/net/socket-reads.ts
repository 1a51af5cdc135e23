/**
 * How bytes come out of a socket, the cheapest way this Node has.
 *
 * The public way, `data` events, allocates a buffer outside V8's heap for every read (16 KiB each
 * under TLS). On bulk these make V8 collect its whole heap over and over: measured on TCP through a
 * waypoint with a control plane's heap beside it, 35 % of all CPU, 2.2 ns a byte instead of 1.2.
 * Node can read into a buffer of ours instead, and `net.connect` offers it as `onread`; for accepted
 * sockets and for TLS over a socket there is no public door to the same path. So, behind a feature
 * test, its own symbols are set. Where they are not found, or WAYSTONE_READS=events says so, reads
 * are events.
 */
import type net from "node:net";

export type BytesListener = (bytes: Buffer, start: number, end: number) => void;

/** One for all sockets: what is read is handled before the next read. */
const buffer = Buffer.allocUnsafeSlow(65_536);

/** What Node hangs on a socket that reads into a buffer of its owner's. */
interface UserBufferSocket {
  readonly _handle?: { useUserBuffer?: (buffer: Buffer) => void } | null;
  [symbol: symbol]: unknown;
}

const isWanted = process.env.WAYSTONE_READS !== "events";

/**
 * Calls back with what the socket receives, from now on; bytes are valid during the call only.
 * `pause()` and `resume()` of the socket work as ever.
 */
export function onSocketBytes(
  socket: net.Socket,
  listener: BytesListener,
  intoBuffer = isWanted,
): void {
  if (!intoBuffer || !readIntoBuffer(socket, listener)) {
    socket.on("data", (bytes: Buffer) => listener(bytes, 0, bytes.length));
  }
}

function readIntoBuffer(socket: net.Socket, listener: BytesListener): boolean {
  const target = socket as unknown as UserBufferSocket;
  const handle = target._handle;
  known ??= symbolsOf(socket);
  if (known === undefined || !(known.kBuffer in target)) return false;
  if (typeof handle?.useUserBuffer !== "function") return false;
  // What was read before belongs in front.
  for (;;) {
    const early = socket.readableLength > 0 ? (socket.read() as Buffer | null) : null;
    if (early === null) break;
    listener(early, 0, early.length);
    if (socket.destroyed) return true;
  }
  target[known.kBuffer] = buffer;
  target[known.kBufferCb] = (count: number, bytes: Buffer) => {
    listener(bytes, 0, count);
    return true;
  };
  target[known.kBufferGen] = null;
  handle.useUserBuffer(buffer);
  return true;
}

/** Those of Node's `net`, the same for all sockets: as the first one had them. */
let known: NodeSymbols | undefined;

type NodeSymbols = Readonly<Record<"kBuffer" | "kBufferCb" | "kBufferGen", symbol>>;

function symbolsOf(socket: net.Socket): NodeSymbols | undefined {
  const kBuffer = symbolOf(socket, "kBuffer");
  const kBufferCb = symbolOf(socket, "kBufferCb");
  const kBufferGen = symbolOf(socket, "kBufferGen");
  const isWhole = kBuffer !== undefined && kBufferCb !== undefined && kBufferGen !== undefined;
  return isWhole ? { kBuffer, kBufferCb, kBufferGen } : undefined;
}

/** A symbol that Node has put on the socket or on its class. */
function symbolOf(socket: net.Socket, description: string): symbol | undefined {
  for (let object: unknown = socket; object !== null; object = Object.getPrototypeOf(object)) {
    const found = Object.getOwnPropertySymbols(object).find((s) => s.description === description);
    if (found !== undefined) return found;
  }
  return undefined;
}
