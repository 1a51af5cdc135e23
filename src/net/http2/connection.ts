/**
 * One HTTP/2 connection, in either role (RFC 9113): its life, its streams, its ends. `Receiver` has
 * the frames that come, `Sender` the data that goes, `StreamTable` the ids.
 *
 *     open ──drain()──> draining ──last stream──> closed
 *       └──fail(): GOAWAY with the RFC's code──────^ ^
 *       └──destroy(), the transport is gone──────────┘
 *
 * Draining (§6.8): GOAWAY with the highest stream id, so that streams already on their way are
 * still taken; after a round trip GOAWAY with the real one; the end when the last is done.
 *
 * Closing tells the handler before the transport is gone: what was sent last (GOAWAY, END_STREAM)
 * is still on its way, and whoever owns the socket decides how long it may take.
 */
import { assert } from "../../kit/assert.ts";
import { type DeadlineEntry, Deadlines, deadlinesOf } from "../../kit/deadlines.ts";
import { Failure } from "../../kit/failure.ts";
import type { StreamReset } from "../byte-stream.ts";
import { ErrorCode, errorName, type PeerError } from "./errors.ts";
import { Faults } from "./faults.ts";
import { FloodGuard } from "./flood-guard.ts";
import { FrameReader } from "./frame-reader.ts";
import { DEFAULT_WINDOW_BYTES, FrameType, PREFACE, WINDOW_MAX } from "./frames.ts";
import { type HeaderList, isMethod } from "./headers.ts";
import type { Http2Limits } from "./limits.ts";
import { Receiver } from "./receiver.ts";
import { Sender } from "./sender.ts";
import { ourSettings } from "./settings.ts";
import { type HeadersListener, Http2Stream } from "./stream.ts";
import { StreamTable } from "./stream-table.ts";
import type { Transport, TransportReceiver } from "./transport.ts";

export interface ConnectionHandler {
  /** Server role: a stream was opened. Set its consumer and listener here. */
  onStream?(stream: Http2Stream, headers: HeaderList, endStream: boolean): void;
  /** The peer's first SETTINGS have been seen. */
  onReady?(): void;
  /** The peer wants no more streams. */
  onGoaway?(): void;
  /** A stream has ended: there may be room for another. */
  onStreamClosed?(): void;
  /** The last stream has ended. */
  onIdle?(): void;
  /** The peer has broken the protocol, or a limit: on one stream, or the connection ends by it. */
  onPeerError?(error: PeerError): void;
  onClosed(failure: Failure | undefined): void;
}

/** First word of the PING whose answer ends the first step of a drain. */
const DRAIN_PING = 0x77617973;

export class Http2Connection implements TransportReceiver, DeadlineEntry {
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  deadlineAtMs = 0;

  readonly role: "client" | "server";
  readonly limits: Http2Limits;
  readonly handler: ConnectionHandler;
  /** For this folder's own use. */
  readonly sender: Sender;
  readonly #transport: Transport;
  readonly #table: StreamTable;
  readonly #reader: FrameReader;
  readonly #receiver: Receiver;
  #prefaceBytes: number;
  /** What a new stream's window is for the peer. */
  #initialReceiveWindow: number;
  /** What streams' windows may still grow by. */
  #growthLeft: number;
  #isSettingsAcked = false;
  /** The last stream id of our final GOAWAY; -1: not sent. */
  #goawayLast = -1;
  #peerGoaway: string | undefined;
  #isDraining = false;
  #isClosed = false;
  #hasHeardPeer = false;
  #isPingUnanswered = false;
  #onDrained: (() => void)[] | null = null;

  constructor(
    transport: Transport,
    role: "client" | "server",
    handler: ConnectionHandler,
    limits: Http2Limits,
  ) {
    this.role = role;
    this.limits = limits;
    this.handler = handler;
    this.#growthLeft = limits.windowGrowthBytes;
    this.#transport = transport;
    const guard = new FloodGuard(limits);
    this.sender = new Sender(transport, guard, limits);
    this.#table = new StreamTable(role);
    const faults = new Faults(this, this.sender, this.#table, guard);
    this.#receiver = new Receiver(this, this.sender, this.#table, guard, faults);
    this.#reader = new FrameReader(this.#receiver);
    this.#prefaceBytes = role === "server" ? PREFACE.length : 0;
    // Until the peer has acknowledged our SETTINGS it may go by the default.
    this.#initialReceiveWindow = Math.max(limits.streamWindowBytes, DEFAULT_WINDOW_BYTES);
    this.#sendPreface();
    deadlinesOf(limits.settingsTimeoutMs).arm(this, performance.now());
    transport.attach(this);
  }

  #sendPreface(): void {
    const { output } = this.sender;
    if (this.role === "client") output.raw(PREFACE);
    const settings = ourSettings(this.role, this.limits);
    output.frame(FrameType.SETTINGS, 0, 0, settings, 0, settings.length);
    this.sender.windowUpdate(0, this.limits.connectionWindowBytes - DEFAULT_WINDOW_BYTES);
  }

  // ---- state

  /** Client role: below the peer's limit of streams, and neither side is leaving. */
  get canOpen(): boolean {
    if (this.#isClosed || this.#isDraining || this.#peerGoaway !== undefined) return false;
    return this.#table.open.size < this.sender.peer.maxConcurrentStreams && this.#table.hasOwnIds;
  }

  /** Client role: a CONNECT may have `:protocol` (RFC 8441). Known from `onReady` on. */
  get allowsExtendedConnect(): boolean {
    return this.sender.peer.allowsExtendedConnect;
  }

  get streamCount(): number {
    return this.#table.open.size;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get isDraining(): boolean {
    return this.#isDraining || this.#peerGoaway !== undefined;
  }

  /** Client role; the caller has looked at `canOpen`. */
  open(block: Buffer | HeaderList, endStream: boolean, listener: HeadersListener): Http2Stream {
    assert(this.role === "client" && !this.#isClosed, "open() on a connection that cannot");
    const stream = this.addStream(this.#table.takeOwnId());
    stream.listener = listener;
    stream.isLocalEnded = endStream;
    stream.isTunnel = isMethod("CONNECT", block);
    stream.isHead = isMethod("HEAD", block);
    this.sender.headers(stream.id, block, endStream);
    return stream;
  }

  // ---- from the transport

  onBytes(bytes: Buffer, start: number, end: number): void {
    if (this.#isClosed) return;
    this.#hasHeardPeer = true;
    let position = start;
    while (this.#prefaceBytes > 0 && position < end) {
      if (bytes[position] !== PREFACE[PREFACE.length - this.#prefaceBytes]) {
        this.fail(ErrorCode.PROTOCOL_ERROR, "§3.4: no HTTP/2 preface");
        return;
      }
      this.#prefaceBytes--;
      position++;
    }
    this.#reader.read(bytes, position, end);
  }

  onEnd(): void {
    if (this.#isClosed) return;
    const isMidway = this.streamCount > 0 || this.#reader.isMidFrame || this.#receiver.isInBlock;
    const why = this.#peerGoaway === undefined ? "" : ` behind GOAWAY ${this.#peerGoaway}`;
    this.#end(
      isMidway
        ? new Failure("DOWNSTREAM_RESET", `the peer ended the connection midway${why}`)
        : undefined,
    );
  }

  onClosed(error: Error | undefined): void {
    if (error !== undefined) this.#shut(Failure.from(error, "DOWNSTREAM_RESET"));
    else if (this.streamCount === 0) this.#shut(undefined);
    else this.#shut(new Failure("DOWNSTREAM_RESET", "the transport was closed under streams"));
  }

  // ---- from the folder

  addStream(id: number): Http2Stream {
    const sendWindow = this.sender.peer.initialWindowBytes;
    const stream = new Http2Stream(this, id, sendWindow, this.#initialReceiveWindow);
    this.#table.open.set(id, stream);
    return stream;
  }

  /** How much of `wanted` a stream's window may grow by. */
  takeGrowth(wanted: number): number {
    const growth = Math.min(wanted, this.#growthLeft);
    this.#growthLeft -= growth;
    return growth;
  }

  /** The stream is closed; its consumer is yet to be told. */
  forget(stream: Http2Stream, reset: StreamReset | undefined): void {
    this.#growthLeft += stream.growthBytes;
    this.#table.open.delete(stream.id);
    if (reset?.by === "local") this.#table.rememberReset(stream.id, "reset by us");
    else if (reset?.by === "peer") this.#table.rememberReset(stream.id, "reset by peer");
  }

  /** A stream's consumer has been told. */
  afterClose(): void {
    this.handler.onStreamClosed?.();
    if (this.streamCount > 0 || this.#isClosed) return;
    this.handler.onIdle?.();
    this.#endWhenIdle();
  }

  /** The peer's stream was opened behind our final GOAWAY (§6.8). */
  ignores(id: number): boolean {
    return this.#goawayLast >= 0 && this.role === "server" && id > this.#goawayLast;
  }

  onSettingsAck(): void {
    if (this.#isSettingsAcked) return;
    this.#isSettingsAcked = true;
    const delta = this.limits.streamWindowBytes - this.#initialReceiveWindow;
    this.#initialReceiveWindow += delta;
    for (const stream of this.#table.open.values()) stream.receiveWindow += delta;
  }

  onPong(firstWord: number): void {
    this.#isPingUnanswered = false;
    if (this.#isDraining && firstWord === DRAIN_PING) this.#sendFinalGoaway();
  }

  onGoaway(last: number, code: number): void {
    const isFirst = this.#peerGoaway === undefined;
    this.#peerGoaway = errorName(code);
    if (this.role === "client") {
      const detail = `GOAWAY ${errorName(code)}`;
      for (const stream of [...this.#table.open.values()]) {
        if (stream.id > last) stream.close({ by: "peer", detail, isRefused: true });
      }
    }
    if (this.#isClosed) return;
    if (isFirst) this.handler.onGoaway?.();
    this.#endWhenIdle();
  }

  /** A connection error (§5.4.1): GOAWAY with the code, then the end. */
  fail(code: number, detail: string): void {
    if (this.#isClosed) return;
    const isFlood = code === ErrorCode.ENHANCE_YOUR_CALM;
    const failure = new Failure(
      isFlood ? "HTTP2_FLOOD" : "HTTP2_PROTOCOL_ERROR",
      `${errorName(code)}: ${detail}`,
    );
    this.handler.onPeerError?.({ code: errorName(code), detail, stream: 0 });
    if (this.#isClosed) return;
    this.#sendGoaway(code);
    this.#end(failure);
  }

  // ---- ends

  /** Graceful: resolves when the last stream is done and the transport has been told to end. */
  drain(): Promise<void> {
    if (this.#isClosed) return Promise.resolve();
    const drained = new Promise<void>((resolve) => {
      this.#onDrained ??= [];
      this.#onDrained.push(resolve);
    });
    if (this.#isDraining) return drained;
    this.#isDraining = true;
    if (this.role === "client") this.#sendFinalGoaway();
    else {
      const { output } = this.sender;
      output.words(FrameType.GOAWAY, 0, 0, WINDOW_MAX, ErrorCode.NO_ERROR);
      output.words(FrameType.PING, 0, 0, DRAIN_PING, 0);
    }
    return drained;
  }

  #sendFinalGoaway(): void {
    if (this.#goawayLast >= 0) return;
    this.#sendGoaway(ErrorCode.NO_ERROR);
    this.#endWhenIdle();
  }

  #sendGoaway(code: number): void {
    if (this.#goawayLast < 0) this.#goawayLast = this.#table.lastPeer;
    this.sender.output.words(FrameType.GOAWAY, 0, 0, this.#goawayLast, code);
  }

  #endWhenIdle(): void {
    const mayEnd =
      this.#goawayLast >= 0 || (this.#peerGoaway !== undefined && this.role === "client");
    if (mayEnd && this.streamCount === 0 && !this.#isClosed) this.#end(undefined);
  }

  /** What is written goes out; then nothing more. */
  #end(failure: Failure | undefined): void {
    this.sender.output.finish();
    this.#transport.end();
    this.#shut(failure);
  }

  destroy(failure?: Failure): void {
    if (this.#isClosed) return;
    this.#transport.destroy();
    this.#shut(failure);
  }

  #shut(failure: Failure | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    Deadlines.disarm(this);
    this.#reader.stop();
    this.sender.close();
    const detail = failure?.message ?? "the connection ended";
    for (const stream of [...this.#table.open.values()]) {
      stream.close({ by: "connection", detail, isRefused: false });
    }
    this.handler.onClosed(failure);
    const onDrained = this.#onDrained ?? [];
    this.#onDrained = null;
    for (const resolve of onDrained) resolve();
  }

  /**
   * First the time-out of our SETTINGS, then the keep-alive: silence for an interval brings a PING;
   * silence after it, the end.
   */
  onDeadline(): void {
    const { keepaliveIntervalMs, keepaliveTimeoutMs } = this.limits;
    if (!this.#isSettingsAcked) {
      this.fail(ErrorCode.SETTINGS_TIMEOUT, "§6.5.3: our SETTINGS were not acknowledged");
      return;
    }
    if (this.#isPingUnanswered && !this.#hasHeardPeer) {
      this.destroy(new Failure("TIMEOUT", "no answer to PING"));
      return;
    }
    // A peer that is there but answers no PING does not hold up a drain.
    if (this.#isDraining) this.#sendFinalGoaway();
    if (this.#isClosed) return;
    this.#isPingUnanswered = !this.#hasHeardPeer;
    if (this.#isPingUnanswered) this.sender.output.words(FrameType.PING, 0, 0, 0, 0);
    this.#hasHeardPeer = false;
    const waitMs = this.#isPingUnanswered ? keepaliveTimeoutMs : keepaliveIntervalMs;
    deadlinesOf(waitMs).arm(this, performance.now());
  }
}
