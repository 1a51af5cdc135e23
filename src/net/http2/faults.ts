/**
 * What becomes of a peer's mistakes (RFC 9113 §5.4): what breaks one stream resets it; what breaks
 * the framing, the compression state or the peer's promises ends the connection. Streams that come
 * to nothing by the peer's doing are counted, however they did.
 */
import type { Http2Connection } from "./connection.ts";
import { ErrorCode } from "./errors.ts";
import type { FloodGuard } from "./flood-guard.ts";
import type { Sender } from "./sender.ts";
import type { Http2Stream } from "./stream.ts";
import type { StreamTable } from "./stream-table.ts";

/** What a `FrameSink` answers to a frame head in error. */
export const STOP = -1;

export class Faults {
  readonly #connection: Http2Connection;
  readonly #sender: Sender;
  readonly #table: StreamTable;
  readonly #guard: FloodGuard;

  constructor(connection: Http2Connection, sender: Sender, table: StreamTable, guard: FloodGuard) {
    this.#connection = connection;
    this.#sender = sender;
    this.#table = table;
    this.#guard = guard;
  }

  /** GOAWAY and the end. */
  fail(code: number, detail: string): number {
    this.#connection.fail(code, detail);
    return STOP;
  }

  flood(what: string): number {
    return this.fail(ErrorCode.ENHANCE_YOUR_CALM, `too many ${what}`);
  }

  /** RST_STREAM, by the peer's doing (CVE-2025-8671: that is a flood too). */
  resetStream(stream: Http2Stream, code: number): void {
    stream.resetWith(code);
    if (this.#guard.prematureReset()) this.flood("stream errors");
  }

  /** RST_STREAM for a stream that was not let in. */
  refuse(id: number, code: number): void {
    this.#sender.reset(id, code);
    this.#table.rememberReset(id, "reset by us");
    if (this.#guard.prematureReset()) this.flood("streams that had to be refused");
  }

  /** The peer gave a stream up before it had an answer (CVE-2023-44487). */
  prematureReset(): void {
    if (this.#guard.prematureReset()) this.flood("streams reset at once");
  }

  /** DATA or HEADERS for a stream that is not open (§5.1). 0: it is let pass. */
  stray(id: number, what: string): number {
    if (this.#connection.ignores(id)) return 0;
    const state = this.#table.stateOf(id);
    switch (state) {
      case "reset by us": // under way when our RST_STREAM was
        return 0;
      case "reset by peer":
        this.#sender.reset(id, ErrorCode.STREAM_CLOSED);
        return this.#guard.prematureReset() ? this.flood("frames behind RST_STREAM") : 0;
      case "ended":
        return this.fail(ErrorCode.STREAM_CLOSED, `${what} on stream ${id}, which has ended`);
      default: // §5.1.1
        return this.fail(ErrorCode.PROTOCOL_ERROR, `${what} on stream ${id}, which is ${state}`);
    }
  }
}
