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
 * (RFC 9113 §5.1; nothing is pushed, so there are no reserved states. What a closed stream's id
 * stands for afterwards is `StreamTable`'s.) Within a direction: HEADERS, DATA …, then trailers or
 * END_STREAM; of a CONNECT stream only HEADERS and DATA (§8.5).
 *
 * Sending: bytes go straight into the connection's output as far as both windows allow; the rest is
 * copied into a queue, and the stream waits its turn with the connection. `Sender` gives sources
 * their credit, later when the transport is behind.
 * Receiving: the window is given back as the consumer credits bytes, in steps of half a window, and
 * twice as wide each time that the consumer holds little, as far as the connection has room.
 */
import { assert } from "../../kit/assert.ts";
import { ByteStream, type ResetReason, type StreamReset } from "../byte-stream.ts";
import type { Http2Connection } from "./connection.ts";
import { errorCodeOf, errorName } from "./errors.ts";
import type { HeaderList } from "./headers.ts";
import { SendQueue } from "./send-queue.ts";

/** Headers of a stream: 1xx, final, trailers. */
export interface HeadersListener {
  onHeaders(headers: HeaderList, endStream: boolean, isTrailers: boolean): void;
}

const IGNORE: HeadersListener = { onHeaders() {} };

/** What one waiting stream may send before the next one has its turn. */
const TURN_BYTES = 64 * 1024;

/** A stream that lived so long was worth opening. */
const YOUNG_MS = 1_000;

export class Http2Stream extends ByteStream {
  readonly id: number;
  readonly connection: Http2Connection;
  listener: HeadersListener = IGNORE;
  /** What the peer still lets us send; negative after SETTINGS that narrow it (§6.9.2). */
  sendWindow: number;
  /** What we still let the peer send. */
  receiveWindow: number;
  isLocalEnded = false;
  isRemoteEnded = false;
  /** The final response (client) or request (server) headers have been seen. */
  hasHeaders = false;
  /** Server role: when it was opened, by `performance.now()`. */
  openedAtMs = 0;
  interimResponses = 0;
  /** CONNECT: no trailers, and content-length means nothing. */
  isTunnel = false;
  /** The request was HEAD: its response declares a body that does not come. */
  isHead = false;
  /** In the connection's line of streams that wait to send. */
  isWaiting = false;
  /** Payload still due by content-length; -1: not declared. */
  #dueBytes = -1;
  #hasReceivedData = false;
  #hasSentData = false;
  #isClosed = false;
  /** What the window is when everything has been credited. */
  #windowBytes: number;
  /** Credited, but not yet given back to the peer. */
  #creditedBytes = 0;
  /** Received and not yet credited: what our consumer holds. */
  #heldBytes = 0;
  #queue: SendQueue | null = null;
  /** What follows the queue. */
  #isEndQueued = false;
  #trailers: HeaderList | null = null;

  constructor(connection: Http2Connection, id: number, sendWindow: number, receiveWindow: number) {
    super();
    this.connection = connection;
    this.id = id;
    this.sendWindow = sendWindow;
    this.receiveWindow = receiveWindow;
    this.#windowBytes = connection.limits.streamWindowBytes;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get queuedBytes(): number {
    return this.#queue === null ? 0 : this.#queue.bytes;
  }

  /** Server role: the response's headers. */
  respond(block: Buffer | HeaderList, endStream: boolean): void {
    if (this.#isClosed || this.isLocalEnded || this.#isEndQueued) return;
    this.connection.sender.headers(this.id, block, endStream);
    if (endStream) this.#localEnd();
  }

  write(bytes: Buffer, start: number, end: number, source: ByteStream | null): void {
    const length = end - start;
    if (length <= 0) return;
    if (this.#isClosed || this.isLocalEnded || this.#isEndQueued) {
      source?.credit(length);
      return;
    }
    this.#hasSentData = true;
    const { sender } = this.connection;
    let sent = 0;
    if (this.#queue === null && !sender.hasLine) {
      sent = sender.take(this, length);
      if (sent > 0) sender.data(this.id, bytes, start, start + sent);
    }
    if (sent < length) {
      this.#queue ??= new SendQueue();
      this.#queue.push(bytes, start + sent, end, source);
      if (this.sendWindow > 0) sender.wait(this);
    }
    if (sent > 0 && source !== null) sender.settle(source, sent);
  }

  end(): void {
    if (this.#isClosed || this.isLocalEnded || this.#isEndQueued) return;
    if (this.#queue === null) this.#finish();
    else this.#isEndQueued = true;
  }

  /** Ends our direction with a trailer section; queued bytes still go out first. */
  sendTrailers(headers: HeaderList): void {
    if (this.#isClosed || this.isLocalEnded || this.#isEndQueued) return;
    assert(!this.isTunnel, "trailers on a CONNECT stream");
    this.#trailers = headers;
    this.end();
  }

  reset(reason: ResetReason): void {
    this.resetWith(errorCodeOf(reason));
  }

  /** RST_STREAM with a code of RFC 9113 §7. */
  resetWith(code: number): void {
    if (this.#isClosed) return;
    this.connection.sender.reset(this.id, code);
    this.close({ by: "local", detail: `RST_STREAM ${errorName(code)}`, isRefused: false });
  }

  credit(count: number): void {
    if (this.#isClosed) return;
    this.#heldBytes -= count;
    assert(this.#heldBytes >= 0, "more credit than bytes");
    if (this.isRemoteEnded) return;
    this.#creditedBytes += count;
    if (this.#creditedBytes * 2 < this.#windowBytes) return;
    if (this.#heldBytes * 2 <= this.#windowBytes) this.#growWindow();
    this.receiveWindow += this.#creditedBytes;
    this.connection.sender.windowUpdate(this.id, this.#creditedBytes);
    this.#creditedBytes = 0;
  }

  /** The consumer keeps up: it may have more under way. */
  #growWindow(): void {
    const room = this.connection.limits.streamWindowBytesMax - this.#windowBytes;
    if (room <= 0) return;
    const growth = this.connection.takeGrowth(Math.min(room, this.#windowBytes));
    this.#windowBytes += growth;
    this.#creditedBytes += growth;
  }

  // ---- for the connection

  /** By how much the window has grown. */
  get growthBytes(): number {
    return this.#windowBytes - this.connection.limits.streamWindowBytes;
  }

  /**
   * Given up at once, answered or not: it is young and has not carried data in both directions. Who
   * resets such streams has us dial and answer for nothing; who asks, reads an answer and then
   * resets does not, nor who gives up after a while.
   */
  get isUnused(): boolean {
    if (this.#hasReceivedData && this.#hasSentData) return false;
    return performance.now() - this.openedAtMs < YOUNG_MS;
  }

  /** The headers say how long the body is (RFC 9113 §8.1.1). */
  declareBody(bytes: number): void {
    this.#dueBytes = bytes;
  }

  /** A run of payload has arrived. False: the body is longer than declared. */
  receive(bytes: Buffer, start: number, end: number): boolean {
    const count = end - start;
    this.#heldBytes += count;
    this.#hasReceivedData = true;
    if (this.#dueBytes >= 0) {
      this.#dueBytes -= count;
      if (this.#dueBytes < 0) return false;
    }
    this.consumer.onData(bytes, start, end);
    return true;
  }

  /** Padding counts in flow control, and nobody sees it. */
  receivePadding(count: number): void {
    this.#heldBytes += count;
    this.credit(count);
  }

  /** END_STREAM would cut the body short. */
  get isBodyDue(): boolean {
    if (this.#dueBytes <= 0) return false;
    return !(this.isHead && !this.#hasReceivedData);
  }

  /** END_STREAM has arrived. */
  remoteEnd(): void {
    this.isRemoteEnded = true;
    this.consumer.onEnd();
    if (this.isLocalEnded && !this.#isClosed) this.close(undefined);
  }

  /** The peer's window has grown. */
  onWindow(): void {
    if (this.#queue === null || this.sendWindow <= 0) return;
    const { sender } = this.connection;
    sender.wait(this);
    sender.resume();
  }

  /** It is this stream's turn in the line. With more to send it goes to the line's end. */
  sendTurn(): void {
    const queue = this.#queue;
    if (queue === null) return;
    const { sender } = this.connection;
    let turn = TURN_BYTES;
    while (queue.bytes > 0 && turn > 0) {
      const start = queue.runStart;
      const count = sender.take(this, Math.min(queue.runEnd - start, turn));
      if (count === 0) break;
      turn -= count;
      sender.data(this.id, queue.run, start, start + count);
      queue.consume(count, sender);
      if (this.#isClosed) return;
    }
    if (queue.bytes > 0) {
      if (this.sendWindow > 0) sender.wait(this);
      return;
    }
    this.#queue = null;
    if (this.#isEndQueued) this.#finish();
  }

  /** Over, in whatever way. */
  close(reset: StreamReset | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.connection.forget(this, reset);
    const queue = this.#queue;
    this.#queue = null;
    queue?.drop();
    this.consumer.onClosed(reset);
    this.connection.afterClose();
  }

  #finish(): void {
    this.#isEndQueued = false;
    const { sender } = this.connection;
    if (this.#trailers === null) sender.endStream(this.id);
    else sender.headers(this.id, this.#trailers, true);
    this.#localEnd();
  }

  #localEnd(): void {
    this.isLocalEnded = true;
    if (this.isRemoteEnded) this.close(undefined);
  }
}
