/**
 * One HTTP/2 stream as a ByteStream: its DATA payload is the bytes.
 *
 *                     open() / HEADERS
 *      idle ─────────────────────────────────> open
 *                                            ╱      ╲
 *                      end() / END_STREAM sent      END_STREAM received
 *                                 ╱                      ╲
 *               half-closed (local)                half-closed (remote)
 *                                 ╲                      ╱
 *                 END_STREAM received          end() / END_STREAM sent
 *                                   ╲              ╱
 *      RST_STREAM either way ──────> closed <─────
 *
 * (RFC 9113 §5.1; nothing is pushed, so there are no reserved states.)
 *
 * Sending: bytes go straight into the connection's output while both windows and the transport
 * allow, else they are copied and queued, and the stream waits its turn with the connection.
 * Receiving: the window is given back as the consumer credits bytes, in steps of half a window.
 */
import { assert } from "../../kit/assert.ts";
import { ByteStream, type ResetReason, type StreamReset } from "../byte-stream.ts";
import type { Http2Connection } from "./connection.ts";
import { errorCodeOf } from "./errors.ts";
import type { HeaderList } from "./headers.ts";

/** Headers of a stream: 1xx, final, trailers. */
export interface HeadersListener {
  onHeaders(headers: HeaderList, endStream: boolean, isTrailers: boolean): void;
}

const IGNORE: HeadersListener = { onHeaders() {} };

/** What one blocked stream may send before the next one has its turn. */
const TURN_BYTES = 64 * 1024;

export class Http2Stream extends ByteStream {
  readonly id: number;
  readonly connection: Http2Connection;
  listener: HeadersListener = IGNORE;
  /** What the peer still lets us send; may be negative after a SETTINGS change. */
  sendWindow: number;
  /** What we still let the peer send. */
  receiveWindow: number;
  isLocalEnded = false;
  isRemoteEnded = false;
  /** The final response (client) or request (server) headers have been seen. */
  hasHeaders = false;
  hasResponded = false;
  /** In the connection's list of streams that wait to send. */
  isWaiting = false;
  #isClosed = false;
  #creditedBytes = 0;
  /** Received and not yet credited: what our consumer holds. */
  #heldBytes = 0;
  #queue: Buffer[] = [];
  #sources: (ByteStream | null)[] = [];
  #queueHead = 0;
  #offset = 0;
  #queuedBytes = 0;
  #isEndQueued = false;

  constructor(connection: Http2Connection, id: number, sendWindow: number, receiveWindow: number) {
    super();
    this.connection = connection;
    this.id = id;
    this.sendWindow = sendWindow;
    this.receiveWindow = receiveWindow;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Server role: the response's headers. */
  respond(block: Buffer | HeaderList, endStream: boolean): void {
    if (this.#isClosed || this.isLocalEnded) return;
    this.hasResponded = true;
    this.connection.sendHeaders(this, block, endStream);
    if (endStream) this.#localEnd();
  }

  write(bytes: Buffer, start: number, end: number, source: ByteStream | null): void {
    const length = end - start;
    if (length <= 0) return;
    if (this.#isClosed || this.isLocalEnded || this.#isEndQueued) {
      source?.credit(length);
      return;
    }
    if (this.#queuedBytes === 0 && this.connection.takeSendWindow(this, length)) {
      this.connection.sendData(this, bytes, start, end);
      source?.credit(length);
      return;
    }
    this.#queue.push(Buffer.from(bytes.subarray(start, end)));
    this.#sources.push(source);
    this.#queuedBytes += length;
    this.connection.wait(this);
  }

  end(): void {
    if (this.#isClosed || this.isLocalEnded || this.#isEndQueued) return;
    if (this.#queuedBytes > 0) {
      this.#isEndQueued = true;
      return;
    }
    this.connection.sendEnd(this);
    this.#localEnd();
  }

  reset(reason: ResetReason): void {
    this.resetWith(errorCodeOf(reason));
  }

  /** RST_STREAM with a code of RFC 9113 §7. */
  resetWith(code: number): void {
    if (this.#isClosed) return;
    this.connection.sendReset(this, code);
    this.close({ by: "local", detail: "reset", isRefused: false });
  }

  credit(count: number): void {
    if (this.#isClosed) return;
    this.#heldBytes -= count;
    assert(this.#heldBytes >= 0, "more credit than bytes");
    this.connection.creditBytes(count);
    this.#creditedBytes += count;
    if (this.isRemoteEnded) return;
    if (this.#creditedBytes >= this.connection.limits.streamWindowBytes / 2) {
      this.receiveWindow += this.#creditedBytes;
      this.connection.sendWindowUpdate(this.id, this.#creditedBytes);
      this.#creditedBytes = 0;
    }
  }

  // ---- from the connection

  /** A run of payload has arrived. */
  receive(bytes: Buffer, start: number, end: number): void {
    this.#heldBytes += end - start;
    this.consumer.onData(bytes, start, end);
  }

  /** Padding counts in flow control, and nobody sees it. */
  receivePadding(count: number): void {
    this.#heldBytes += count;
    this.credit(count);
  }

  /** It is this stream's turn. True when it has more to send and must wait again. */
  sendQueued(): boolean {
    let turn = TURN_BYTES;
    while (this.#queueHead < this.#queue.length) {
      const bytes = this.#queue[this.#queueHead]!;
      const rest = bytes.length - this.#offset;
      const room = this.connection.sendRoom(this);
      const count = Math.min(rest, room, turn);
      if (count <= 0) return true;
      this.connection.takeSendWindow(this, count);
      this.connection.sendData(this, bytes, this.#offset, this.#offset + count);
      this.#offset += count;
      this.#queuedBytes -= count;
      turn -= count;
      const source = this.#sources[this.#queueHead]!;
      if (count === rest) {
        this.#queueHead++;
        this.#offset = 0;
      }
      source?.credit(count);
      if (this.#isClosed) return false;
    }
    this.#clearQueue();
    if (this.#isEndQueued) {
      this.#isEndQueued = false;
      this.connection.sendEnd(this);
      this.#localEnd();
    }
    return false;
  }

  #clearQueue(): void {
    this.#queue = [];
    this.#sources = [];
    this.#queueHead = 0;
    this.#offset = 0;
    this.#queuedBytes = 0;
  }

  #localEnd(): void {
    this.isLocalEnded = true;
    if (this.isRemoteEnded) this.close(undefined);
  }

  /** END_STREAM has arrived. */
  remoteEnd(): void {
    this.isRemoteEnded = true;
    this.consumer.onEnd();
    if (this.isLocalEnded && !this.#isClosed) this.close(undefined);
  }

  /** Over, in whatever way. Sources of queued bytes get their credit: nobody waits for ever. */
  close(reset: StreamReset | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const sources = this.#sources;
    const queue = this.#queue;
    const first = this.#queueHead;
    const offset = this.#offset;
    this.#clearQueue();
    // What the consumer still holds must not narrow the connection's window for ever.
    this.connection.creditBytes(this.#heldBytes);
    this.connection.forget(this);
    for (let i = first; i < queue.length; i++) {
      sources[i]?.credit(queue[i]!.length - (i === first ? offset : 0));
    }
    this.consumer.onClosed(reset);
  }
}
