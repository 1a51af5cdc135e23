/**
 * Header blocks that arrive: put together, decoded, judged (RFC 9113 §8), and made into a new
 * stream, a response, or trailers. Every block is decoded, whatever becomes of its stream.
 */
import type { Http2Connection } from "./connection.ts";
import { ErrorCode } from "./errors.ts";
import type { Faults } from "./faults.ts";
import { FrameType } from "./frames.ts";
import { HeaderBlocks } from "./header-blocks.ts";
import {
  contentLength,
  type HeaderList,
  type HeaderListKind,
  header,
  headerListProblem,
} from "./headers.ts";
import type { Http2Limits } from "./limits.ts";
import type { Http2Stream } from "./stream.ts";
import type { StreamTable } from "./stream-table.ts";

/** Pad length, priority fields, and the longest padding. */
const HEADERS_EXTRA_BYTES = 1 + 5 + 255;
const INTERIM_RESPONSES_MAX = 32;
const CUT_BODY = "§8.1.1: a body shorter than its content-length";

export class HeaderReceiver {
  readonly #connection: Http2Connection;
  readonly #table: StreamTable;
  readonly #faults: Faults;
  readonly #limits: Http2Limits;
  readonly #blocks: HeaderBlocks;
  readonly #isServer: boolean;
  readonly #requestKind: HeaderListKind;

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
    this.#requestKind = limits.allowsExtendedConnect ? "extendedRequest" : "request";
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
        `§6.10: CONTINUATION on stream ${id} without HEADERS`,
      );
    }
    if (id === 0 || (this.#isServer && id % 2 === 0)) {
      return this.#faults.fail(ErrorCode.PROTOCOL_ERROR, `§5.1.1: HEADERS on stream ${id}`);
    }
    if (!this.#blocks.hasRoomFor(isFirst ? Math.max(0, length - HEADERS_EXTRA_BYTES) : length)) {
      return this.#faults.fail(
        ErrorCode.ENHANCE_YOUR_CALM,
        "§10.5.1: a header block above the limit",
      );
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
    if (stream.isBodyDue) this.#faults.resetStream(stream, ErrorCode.PROTOCOL_ERROR, CUT_BODY);
    else stream.remoteEnd();
  }

  #onBlock(): void {
    const { stream: id, endStream } = this.#blocks;
    const headers = this.#blocks.decode();
    if (headers === undefined) {
      this.#faults.fail(ErrorCode.COMPRESSION_ERROR, "§4.3: the header block cannot be decoded");
      return;
    }
    const stream = this.#table.open.get(id);
    if (stream !== undefined) this.#onStreamHeaders(stream, headers, endStream);
    else if (this.#isServer && this.#table.isIdle(id)) this.#onRequest(id, headers, endStream);
    else this.#faults.stray(id, "HEADERS");
  }

  #onRequest(id: number, headers: HeaderList, endStream: boolean): void {
    this.#table.takePeerId(id);
    this.#faults.guard.opened();
    // Behind the final GOAWAY a stream is ignored: the peer knows it was not looked at.
    if (this.#connection.ignores(id)) return;
    const isTunnel = header(headers, ":method") === "CONNECT";
    const length = isTunnel ? -1 : contentLength(headers);
    if (this.#table.open.size >= this.#limits.maxConcurrentStreams) {
      this.#faults.refuse(id, ErrorCode.REFUSED_STREAM, "§5.1.2: too many streams at a time");
      return;
    }
    if (this.#blocks.isTooLarge) {
      this.#faults.refuseTooLarge(id, endStream);
      return;
    }
    const problem =
      this.#selfDependence() ??
      headerListProblem(headers, this.#requestKind) ??
      (endStream && length > 0 ? CUT_BODY : undefined);
    if (problem !== undefined) this.#faults.refuse(id, ErrorCode.PROTOCOL_ERROR, problem);
    else {
      const stream = this.#connection.addStream(id);
      stream.hasHeaders = true;
      stream.openedAtMs = performance.now();
      stream.isTunnel = isTunnel;
      stream.declareBody(length);
      this.#connection.handler.onStream?.(stream, headers, endStream);
      if (endStream) this.onEndStream(stream);
    }
  }

  #selfDependence(): string | undefined {
    return this.#blocks.isSelfDependent ? "§5.3.1: a stream that depends on itself" : undefined;
  }

  /** Of a stream that is there: a response (client role), or trailers. */
  #onStreamHeaders(stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    if (stream.isRemoteEnded) {
      this.#faults.resetStream(stream, ErrorCode.STREAM_CLOSED, "§5.1: HEADERS behind END_STREAM");
      return;
    }
    const isTrailers = stream.hasHeaders;
    const problem =
      this.#selfDependence() ??
      (this.#blocks.isTooLarge ? "§10.5.1: a header list above the limit" : undefined) ??
      headerListProblem(headers, isTrailers ? "trailers" : "response") ??
      (isTrailers
        ? trailersProblem(stream, endStream)
        : this.#responseProblem(stream, headers, endStream));
    if (problem !== undefined) {
      this.#faults.resetStream(stream, ErrorCode.PROTOCOL_ERROR, problem);
      return;
    }
    stream.listener.onHeaders(headers, endStream, isTrailers);
    if (endStream) this.onEndStream(stream);
  }

  #responseProblem(
    stream: Http2Stream,
    headers: HeaderList,
    endStream: boolean,
  ): string | undefined {
    const status = header(headers, ":status")!;
    if (status.charCodeAt(0) === 0x31) {
      if (endStream) return "§8.1: an interim response that ends the stream";
      if (status === "101") return "§8.6: status 101";
      const isTooMany = ++stream.interimResponses > INTERIM_RESPONSES_MAX;
      return isTooMany ? "§10.5: too many interim responses" : undefined;
    }
    stream.hasHeaders = true;
    // A refused CONNECT has an ordinary response, with a body and trailers if it likes.
    stream.isTunnel &&= status.charCodeAt(0) === 0x32;
    if (!stream.isTunnel && status !== "304") stream.declareBody(contentLength(headers));
    return undefined;
  }
}

/** Trailers end the stream (§8.1); in a tunnel there are none (§8.5). */
function trailersProblem(stream: Http2Stream, endStream: boolean): string | undefined {
  if (stream.isTunnel) return "§8.5: trailers in a tunnel";
  return endStream ? undefined : "§8.1: trailers that do not end the stream";
}
