/**
 * Header blocks that arrive: put together, decoded, judged (RFC 9113 §8), and made into a new
 * stream, a response, or trailers. Every block is decoded, whatever becomes of its stream.
 */
import type { Http2Connection } from "./connection.ts";
import { ErrorCode } from "./errors.ts";
import type { Faults } from "./faults.ts";
import { FrameType } from "./frames.ts";
import { HeaderBlocks } from "./header-blocks.ts";
import { contentLength, type HeaderList, header, headerListProblem } from "./headers.ts";
import type { Http2Limits } from "./limits.ts";
import type { Http2Stream } from "./stream.ts";
import type { StreamTable } from "./stream-table.ts";

/** Pad length, priority fields, and the longest padding. */
const HEADERS_EXTRA_BYTES = 1 + 5 + 255;
const INTERIM_RESPONSES_MAX = 32;

export class HeaderReceiver {
  readonly #connection: Http2Connection;
  readonly #table: StreamTable;
  readonly #faults: Faults;
  readonly #limits: Http2Limits;
  readonly #blocks: HeaderBlocks;
  readonly #isServer: boolean;

  constructor(
    connection: Http2Connection,
    table: StreamTable,
    faults: Faults,
    limits: Http2Limits,
  ) {
    this.#connection = connection;
    this.#table = table;
    this.#faults = faults;
    this.#limits = limits;
    this.#blocks = new HeaderBlocks(limits);
    this.#isServer = connection.role === "server";
  }

  /** A block is open: only its CONTINUATION may come. */
  get isInBlock(): boolean {
    return this.#blocks.isOpen;
  }

  /** The stream of the open block. */
  get blockStream(): number {
    return this.#blocks.stream;
  }

  /** The head of HEADERS or CONTINUATION: how much of it is wanted, or STOP. */
  onHead(length: number, type: number, id: number): number {
    const isFirst = type === FrameType.HEADERS;
    if (!isFirst && !this.#blocks.isOpen) {
      return this.#faults.fail(
        ErrorCode.PROTOCOL_ERROR,
        `CONTINUATION on stream ${id} without HEADERS`,
      );
    }
    if (id === 0 || (this.#isServer && id % 2 === 0)) {
      return this.#faults.fail(ErrorCode.PROTOCOL_ERROR, `HEADERS on stream ${id}`);
    }
    if (!this.#blocks.hasRoomFor(isFirst ? Math.max(0, length - HEADERS_EXTRA_BYTES) : length)) {
      return this.#faults.fail(ErrorCode.ENHANCE_YOUR_CALM, "a header block above the limit");
    }
    return length;
  }

  onHeaders(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    const problem = this.#blocks.begin(flags, id, bytes, start, end);
    if (problem !== undefined) this.#faults.fail(problem.code, problem.detail);
    else if (!this.#blocks.isOpen) this.#onBlock();
  }

  onContinuation(flags: number, bytes: Buffer, start: number, end: number): void {
    this.#blocks.append(flags, bytes, start, end);
    if (!this.#blocks.isOpen) this.#onBlock();
  }

  /** The peer has ended the stream. */
  onEndStream(stream: Http2Stream): void {
    if (stream.isClosed) return;
    if (stream.isBodyDue) this.#faults.resetStream(stream, ErrorCode.PROTOCOL_ERROR);
    else stream.remoteEnd();
  }

  #onBlock(): void {
    const { stream: id, endStream } = this.#blocks;
    const headers = this.#blocks.decode();
    if (headers === undefined) {
      this.#faults.fail(ErrorCode.COMPRESSION_ERROR, "the header block cannot be decoded");
      return;
    }
    const stream = this.#table.open.get(id);
    if (stream !== undefined) this.#onStreamHeaders(stream, headers, endStream);
    else if (this.#isServer && this.#table.isIdle(id)) this.#onRequest(id, headers, endStream);
    else this.#faults.stray(id, "HEADERS");
  }

  #onRequest(id: number, headers: HeaderList, endStream: boolean): void {
    this.#table.takePeerId(id);
    // Behind the final GOAWAY a stream is ignored: the peer knows it was not looked at.
    if (this.#connection.ignores(id)) return;
    const { isTooLarge, isSelfDependent } = this.#blocks;
    const isTunnel = header(headers, ":method") === "CONNECT";
    const length = isTunnel ? -1 : contentLength(headers);
    if (this.#table.open.size >= this.#limits.maxConcurrentStreams) {
      this.#faults.refuse(id, ErrorCode.REFUSED_STREAM);
    } else if (isTooLarge) this.#faults.refuse(id, ErrorCode.ENHANCE_YOUR_CALM);
    else if (isSelfDependent || headerListProblem(headers, "request") !== undefined) {
      this.#faults.refuse(id, ErrorCode.PROTOCOL_ERROR);
    } else if (endStream && length > 0) this.#faults.refuse(id, ErrorCode.PROTOCOL_ERROR);
    else {
      const stream = this.#connection.addStream(id);
      stream.hasHeaders = true;
      stream.isTunnel = isTunnel;
      stream.declareBody(length);
      this.#connection.handler.onStream?.(stream, headers, endStream);
      if (endStream) this.onEndStream(stream);
    }
  }

  /** Of a stream that is there: a response (client role), or trailers. */
  #onStreamHeaders(stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    if (stream.isRemoteEnded) {
      this.#faults.resetStream(stream, ErrorCode.STREAM_CLOSED);
      return;
    }
    const isTrailers = stream.hasHeaders;
    const { isTooLarge, isSelfDependent } = this.#blocks;
    // Trailers end the stream (§8.1); in a tunnel there are none (§8.5).
    const isOutOfPlace = isTrailers && (!endStream || stream.isTunnel);
    const problem = headerListProblem(headers, isTrailers ? "trailers" : "response");
    const isBad = isTooLarge || isSelfDependent || isOutOfPlace || problem !== undefined;
    if (isBad || (!isTrailers && !this.#isGoodResponse(stream, headers, endStream))) {
      this.#faults.resetStream(stream, ErrorCode.PROTOCOL_ERROR);
      return;
    }
    stream.listener.onHeaders(headers, endStream, isTrailers);
    if (endStream) this.onEndStream(stream);
  }

  #isGoodResponse(stream: Http2Stream, headers: HeaderList, endStream: boolean): boolean {
    const status = header(headers, ":status")!;
    if (status.charCodeAt(0) === 0x31) {
      // An interim response ends nothing (§8.1) and switches nothing (§8.6).
      return !endStream && status !== "101" && ++stream.interimResponses <= INTERIM_RESPONSES_MAX;
    }
    stream.hasHeaders = true;
    // A refused CONNECT has an ordinary response, with a body and trailers if it likes.
    stream.isTunnel &&= status.charCodeAt(0) === 0x32;
    if (!stream.isTunnel && status !== "304") stream.declareBody(contentLength(headers));
    return true;
  }
}
