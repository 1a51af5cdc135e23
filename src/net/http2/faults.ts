/**
 * What becomes of a peer's mistakes (RFC 9113 §5.4): what breaks one stream resets it; what breaks
 * the framing, the compression state or the peer's promises ends the connection. Streams that come
 * to nothing by the peer's doing are counted, however they did.
 */
import type { Http2Connection } from "./connection.ts";
import { ErrorCode, errorName } from "./errors.ts";
import type { FloodGuard } from "./flood-guard.ts";
import { encodeStatelessBlock } from "./headers.ts";
import type { Sender } from "./sender.ts";
import type { Http2Stream } from "./stream.ts";
import type { StreamTable } from "./stream-table.ts";

/** What a `FrameSink` answers to a frame head in error. */
export const STOP = -1;

const HEADERS_TOO_LARGE = encodeStatelessBlock([":status", "431"]);

export class Faults {
  readonly #connection: Http2Connection;
  readonly #sender: Sender;
  readonly #table: StreamTable;
  readonly guard: FloodGuard;

  constructor(connection: Http2Connection, sender: Sender, table: StreamTable, guard: FloodGuard) {
    this.#connection = connection;
    this.#sender = sender;
    this.#table = table;
    this.guard = guard;
  }

  /** GOAWAY and the end. */
  fail(code: number, detail: string): number {
    this.#connection.fail(code, detail);
    return STOP;
  }

  flood(what: string): number {
    return this.fail(ErrorCode.ENHANCE_YOUR_CALM, `§10.5: too many ${what}`);
  }

  /** RST_STREAM, by the peer's doing (CVE-2025-8671: that is a flood too). */
  resetStream(stream: Http2Stream, code: number, detail: string): void {
    stream.resetWith(code);
    this.#report(stream.id, code, detail);
    if (this.guard.prematureReset()) this.flood("stream errors");
  }

  /** RST_STREAM for a stream that was not let in. */
  refuse(id: number, code: number, detail: string): void {
    this.#sender.reset(id, code);
    this.#table.rememberReset(id, "reset by us");
    this.#report(id, code, detail);
    if (this.guard.prematureReset()) this.flood("streams that had to be refused");
  }

  /**
   * A request whose header list is above our limit: 431 (§10.5.1), which tells its client more than
   * a reset does. Behind it RST_STREAM, if there is more to come (§8.1).
   */
  refuseTooLarge(id: number, endStream: boolean): void {
    this.#sender.headers(id, HEADERS_TOO_LARGE, true);
    if (!endStream) this.#sender.reset(id, ErrorCode.NO_ERROR);
    this.#table.rememberReset(id, "reset by us");
    const detail = "§10.5.1: a header list above the limit";
    this.#report(id, ErrorCode.ENHANCE_YOUR_CALM, detail);
    if (this.guard.prematureReset()) this.flood("streams that had to be refused");
  }

  #report(stream: number, code: number, detail: string): void {
    this.#connection.handler.onPeerError?.({ code: errorName(code), detail, stream });
  }

  /** The peer gave a stream up at once, answered or not (CVE-2023-44487). */
  prematureReset(): void {
    if (this.guard.prematureReset()) this.flood("streams reset at once");
  }

  /** DATA or HEADERS for a stream that is not open (§5.1). 0: it is let pass. */
  stray(id: number, what: string): number {
    if (this.#connection.ignores(id)) return this.#ignored();
    const state = this.#table.stateOf(id);
    switch (state) {
      case "reset by us": // under way when our RST_STREAM was
        return this.#ignored();
      case "reset by peer":
        this.#sender.reset(id, ErrorCode.STREAM_CLOSED);
        this.#report(id, ErrorCode.STREAM_CLOSED, `§5.1: ${what} behind RST_STREAM`);
        return this.guard.prematureReset() ? this.flood("frames behind RST_STREAM") : 0;
      case "ended":
        return this.fail(ErrorCode.STREAM_CLOSED, `§5.1: ${what} on stream ${id}, which has ended`);
      default: // §5.1.1
        return this.fail(
          ErrorCode.PROTOCOL_ERROR,
          `§5.1.1: ${what} on stream ${id}, which is ${state}`,
        );
    }
  }

  /** There can only be so much under way; who goes on sends us work for nothing. */
  #ignored(): number {
    return this.guard.control() ? this.flood("frames on streams that were reset") : 0;
  }
}
