/**
 * A TCP connection as a `ByteStream`, and how to open one.
 *
 * Small writes of one event-loop turn leave together; while the kernel is not done with what it
 * was given, more is gathered. Reading stops while the consumer owes credit for `highWaterBytes`.
 */
import net from "node:net";
import { Failure } from "../kit/failure.ts";
import { ByteStream, type ResetReason, type StreamReset } from "./byte-stream.ts";
import { onSocketBytes } from "./socket-reads.ts";

const HIGH_WATER_BYTES = 262_144;
const CHUNK_BYTES = 65_536;
/** Chunks that are kept for reuse, by all streams together: 4 MiB. */
const SPARE_CHUNKS_MAX = 64;

/** Bytes on their way out, all from one source. */
interface Chunk {
  readonly buffer: Buffer;
  length: number;
  source: ByteStream | null;
}

const spare: Buffer[] = [];

export class TcpStream extends ByteStream {
  readonly #socket: net.Socket;
  readonly #highWaterBytes: number;
  /** Chunks in order: the first `#writing` are the socket's, the rest is gathered here. */
  readonly #chunks: Chunk[] = [];
  #writing = 0;
  #queuedBytes = 0;
  /** Received bytes without credit. */
  #owedBytes = 0;
  #isReading = false;
  #isFlushScheduled = false;
  #isEnding = false;
  #hasReceivedEnd = false;
  #isClosed = false;
  #hasToldClosed = false;
  #cut: StreamReset | undefined;

  constructor(socket: net.Socket, highWaterBytes = HIGH_WATER_BYTES) {
    super();
    this.#socket = socket;
    this.#highWaterBytes = highWaterBytes;
    socket.setNoDelay(true);
    // A listener that was made without it is common; it counts when the FIN arrives.
    socket.allowHalfOpen = true;
    socket.on("error", this.#onError);
    socket.on("close", this.#onClose);
    socket.on("end", this.#onEnd);
    if (socket.destroyed) {
      this.#isClosed = true;
      this.#cut = { by: "peer", detail: "closed before it was used", isRefused: false };
      setImmediate(this.#onClose);
      return;
    }
    // The consumer is set behind the constructor, and there may be bytes already.
    queueMicrotask(() => this.#startReading());
  }

  #startReading(): void {
    if (this.#isClosed) return;
    this.#isReading = true;
    onSocketBytes(this.#socket, this.#onBytes);
    if (this.#owedBytes < this.#highWaterBytes) this.#socket.resume();
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  write(bytes: Buffer, start: number, end: number, source: ByteStream | null): void {
    if (this.#isClosed || this.#isEnding) {
      source?.credit(end - start);
      return;
    }
    this.#queuedBytes += end - start;
    for (let position = start; position < end; ) {
      const chunk = this.#chunkFor(source);
      const count = Math.min(end - position, CHUNK_BYTES - chunk.length);
      bytes.copy(chunk.buffer, chunk.length, position, position + count);
      chunk.length += count;
      position += count;
    }
    this.#scheduleFlush();
  }

  end(): void {
    if (this.#isEnding || this.#isClosed) return;
    this.#isEnding = true;
    if (this.#chunks.length === 0) this.#finish();
  }

  reset(reason: ResetReason): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#cut = { by: "local", detail: reason, isRefused: false };
    this.#socket.resetAndDestroy();
    this.#dropQueue();
  }

  credit(count: number): void {
    // Bytes that were read before the stream was there are credited too, but never counted.
    this.#owedBytes = Math.max(0, this.#owedBytes - count);
    if (this.#isClosed || !this.#isReading || !this.#socket.isPaused()) return;
    if (this.#owedBytes <= this.#highWaterBytes / 2) this.#socket.resume();
  }

  /** The last chunk, if more of this source fits; otherwise a new one. */
  #chunkFor(source: ByteStream | null): Chunk {
    const last = this.#chunks.at(-1);
    if (
      last !== undefined &&
      this.#chunks.length > this.#writing &&
      last.source === source &&
      last.length < CHUNK_BYTES
    ) {
      return last;
    }
    const buffer = spare.pop() ?? Buffer.allocUnsafeSlow(CHUNK_BYTES);
    const chunk = { buffer, length: 0, source };
    this.#chunks.push(chunk);
    return chunk;
  }

  #scheduleFlush(): void {
    // With bytes under way the next flush is when they are gone.
    if (this.#isFlushScheduled || this.#writing > 0) return;
    this.#isFlushScheduled = true;
    setImmediate(this.#flush);
  }

  readonly #flush = (): void => {
    this.#isFlushScheduled = false;
    if (this.#isClosed || this.#writing > 0) return;
    this.#writing = this.#chunks.length;
    const socket = this.#socket;
    socket.cork();
    for (let index = 0; index < this.#writing; index++) {
      const { buffer, length } = this.#chunks[index]!;
      socket.write(buffer.subarray(0, length), this.#onWritten);
    }
    socket.uncork();
  };

  /** Called in order, once a chunk; with an error when the socket is closed under it. */
  readonly #onWritten = (error?: Error | null): void => {
    if (error || this.#isClosed) return;
    const chunk = this.#chunks.shift()!;
    this.#writing--;
    this.#queuedBytes -= chunk.length;
    if (spare.length < SPARE_CHUNKS_MAX) spare.push(chunk.buffer);
    chunk.source?.credit(chunk.length);
    if (this.#isClosed || this.#writing > 0) return;
    if (this.#chunks.length > 0) this.#flush();
    else if (this.#isEnding) this.#finish();
  };

  #finish(): void {
    this.#socket.end();
    if (this.#hasReceivedEnd) this.#isClosed = true;
  }

  readonly #onBytes = (bytes: Buffer, start: number, end: number): void => {
    if (this.#isClosed) return;
    this.#owedBytes += end - start;
    this.consumer.onData(bytes, start, end);
    if (!this.#isClosed && this.#owedBytes >= this.#highWaterBytes) this.#socket.pause();
  };

  readonly #onEnd = (): void => {
    if (this.#isClosed) return;
    this.#hasReceivedEnd = true;
    if (this.#isEnding && this.#chunks.length === 0) this.#isClosed = true;
    this.consumer.onEnd();
  };

  readonly #onError = (error: NodeJS.ErrnoException): void => {
    this.#cut ??= { by: "peer", detail: error.code ?? error.message, isRefused: false };
  };

  readonly #onClose = (): void => {
    if (this.#hasToldClosed) return;
    this.#hasToldClosed = true;
    const isOrderly = this.#hasReceivedEnd && this.#isEnding && this.#chunks.length === 0;
    if (!isOrderly) this.#cut ??= { by: "local", detail: "destroyed", isRefused: false };
    this.#isClosed = true;
    this.#dropQueue();
    this.consumer.onClosed(this.#cut);
  };

  /** Buffers that the socket may still be reading are left to the garbage collector. */
  #dropQueue(): void {
    const chunks = this.#chunks.splice(0);
    this.#writing = 0;
    this.#queuedBytes = 0;
    for (const { source, length } of chunks) source?.credit(length);
  }
}

export interface ConnectTcpOptions {
  readonly host: string;
  readonly port: number;
  readonly localAddress?: string | undefined;
  readonly timeoutMs: number;
}

/** Opens a connection. Exactly one callback, never during the call, and none after `abort`. */
export function connectTcp(
  options: ConnectTcpOptions,
  done: (result: net.Socket | Failure) => void,
): { abort(): void } {
  const { host, port, localAddress, timeoutMs } = options;
  const to = net.isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
  const from = localAddress === undefined ? "" : ` from ${localAddress}`;
  const socket = new net.Socket({ allowHalfOpen: true });
  let isOver = false;
  const settle = (result: net.Socket | Failure | undefined) => {
    if (isOver) return;
    isOver = true;
    clearTimeout(timer);
    if (result !== socket) socket.destroy();
    if (result !== undefined) done(result);
  };
  const timer = setTimeout(() => {
    const detail = `${to}${from}: not connected within ${timeoutMs} ms`;
    settle(new Failure("UPSTREAM_CONNECT_TIMEOUT", detail));
  }, timeoutMs);
  const fail = (error: NodeJS.ErrnoException) => {
    const detail = `${to}${from}: ${error.code ?? error.message}`;
    settle(new Failure("UPSTREAM_CONNECT_FAILED", detail, { cause: error }));
  };
  // The listener stays: between this and the next owner's an error must not end the process.
  socket.on("error", fail);
  socket.once("connect", () => settle(socket));
  try {
    // As an option of connect() it is silently ignored: that is for net.connect() only.
    socket.setNoDelay(true);
    socket.connect({ host, port, ...(localAddress && { localAddress }) });
  } catch (caught) {
    setImmediate(fail, caught as NodeJS.ErrnoException);
  }
  return { abort: () => settle(undefined) };
}
