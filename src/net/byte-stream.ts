/**
 * A reliable stream of bytes in both directions: a TCP connection, or one HTTP/2 CONNECT stream.
 *
 * Back-pressure is by credit, end to end. Bytes that arrive are handed to the consumer at once, in
 * the read buffer of the connection: **who wants to keep them copies them**, and gives credit
 * for every byte when it is done with it. The stream lets its peer send only as much as there is
 * credit for, so what a consumer holds is bounded by the stream's window.
 *
 * Writing never fails and never waits: what cannot go out now is copied and queued. The writer
 * passes the stream the bytes came from; that stream gets its credit when the bytes have left the
 * queue. So a slow reader at one end stops the sender at the other, and no hop holds more than a
 * window.
 *
 * Invariants:
 * - after `end()` nothing is written; after `onEnd()` nothing arrives;
 * - `onClosed` is called once, last, on every way a stream can end, and no other callback follows;
 * - a consumer may call any method from any callback.
 */
export abstract class ByteStream {
  /** Who receives what arrives. Set it before the stream can receive anything. */
  consumer: ByteConsumer = IGNORE;

  /** True once nothing more can be written or read: reset, or both directions ended. */
  abstract readonly isClosed: boolean;

  /** Bytes accepted by `write` that are still queued here. */
  abstract readonly queuedBytes: number;

  /**
   * Sends `bytes[start..end)`. The caller may reuse the buffer as soon as this returns.
   * `source` (or null for bytes of our own) gets credit once the bytes are in the output.
   * On a closed stream the bytes are dropped and credited.
   */
  abstract write(bytes: Buffer, start: number, end: number, source: ByteStream | null): void;

  /** Half-close: nothing more will be written (queued bytes still go out first). */
  abstract end(): void;

  /** Ends both directions at once; queued bytes are dropped. Idempotent. */
  abstract reset(reason: ResetReason): void;

  /** The consumer is done with `count` received bytes. */
  abstract credit(count: number): void;
}

/** Why a stream is cut. `http2/errors.ts` has the RST_STREAM code of each. */
export type ResetReason =
  | "cancel"
  | "refused"
  | "protocol"
  | "internal"
  | "connect"
  | "timeout"
  | "flood";

export interface ByteConsumer {
  /** Bytes have arrived. They are only valid during the call. */
  onData(bytes: Buffer, start: number, end: number): void;
  /** The peer has half-closed. */
  onEnd(): void;
  /** The stream is over. `reset` is undefined after an orderly end of both directions. */
  onClosed(reset: StreamReset | undefined): void;
}

export interface StreamReset {
  /** Who cut it. */
  readonly by: "peer" | "local" | "connection";
  /** For logs: `RST_STREAM CANCEL`, `ECONNRESET`, … */
  readonly detail: string;
  /** RST_STREAM REFUSED_STREAM, or GOAWAY below this stream: the peer did not look at it. */
  readonly isRefused: boolean;
}

const IGNORE: ByteConsumer = { onData() {}, onEnd() {}, onClosed() {} };
