/**
 * What an HTTP/1.1 client is sent: heads, bodies framed anew, interim answers, answers of our own.
 *
 * Credit for request heads is paid here, too: at once, or when answers have left. Else a client
 * that pipelines and reads nothing would fill our memory with answers.
 */
import type { ByteStream } from "../net/byte-stream.ts";
import { localResponse } from "../net/http1/responses.ts";
import {
  type HeadEdits,
  headBytesMax,
  type ResponseHeadOptions,
  writeResponseHead,
} from "../net/http1/rewrite.ts";
import type { LimitsReached } from "../telemetry/limits-reached.ts";
import { writeChunk, writeLastChunk } from "./chunked.ts";
import { grpcHeaders } from "./grpc.ts";
import { responseText } from "./http2-heads.ts";
import { ListHead } from "./list-head.ts";
import type { LocalReply } from "./local-replies.ts";
import type { MessageHead } from "./message-head.ts";
import { scratch } from "./scratch.ts";
import { interimEdits, SERVER_NAME } from "./stages/rewrite.ts";
import type { Trailers } from "./upstream.ts";

/** More than this unsent towards a client that does not read, and its requests are not credited. */
const QUEUED_BYTES_MAX = 64 * 1024;

export class Http1Output {
  readonly #stream: ByteStream;
  readonly #limitsReached: LimitsReached;
  /** Bytes of request heads that get their credit when an answer has left. */
  #owedBytes = 0;
  #isChunked = false;

  constructor(stream: ByteStream, limitsReached: LimitsReached) {
    this.#stream = stream;
    this.#limitsReached = limitsReached;
  }

  /** The client reads none of what it is sent. */
  get isBehind(): boolean {
    return this.#stream.queuedBytes > QUEUED_BYTES_MAX;
  }

  /** Credit for a head. */
  payForHead(bytes: number): void {
    if (!this.isBehind) {
      this.#stream.credit(bytes);
      return;
    }
    if (this.#owedBytes === 0) this.#limitsReached.reached("queued_answers");
    this.#owedBytes += bytes;
  }

  /** Sends bytes of our own; what is owed is paid when they have left. */
  #write(bytes: Buffer, start: number, end: number): void {
    const paid = Math.min(this.#owedBytes, end - start);
    this.#owedBytes -= paid;
    if (start < end - paid) this.#stream.write(bytes, start, end - paid, null);
    if (paid > 0) this.#stream.write(bytes, end - paid, end, this.#stream);
  }

  head(
    head: MessageHead,
    edits: HeadEdits,
    options: { isChunked: boolean; isClosing: boolean; isKeptAlive: boolean },
  ): void {
    this.#isChunked = options.isChunked;
    this.#writeHead(head, edits, options);
  }

  interim(head: MessageHead): void {
    this.#writeHead(head, interimEdits(), { isChunked: false, isClosing: false });
  }

  #writeHead(head: MessageHead, edits: HeadEdits, options: ResponseHeadOptions): void {
    if (head instanceof ListHead) {
      const text = responseText(head, edits, options);
      const out = scratch(text.length);
      this.#write(out, 0, out.write(text, 0, "latin1"));
      return;
    }
    const out = scratch(headBytesMax(head, edits));
    this.#write(out, 0, writeResponseHead(head, edits, out, 0, options));
  }

  upgrade(head: MessageHead, edits: HeadEdits): void {
    this.#writeHead(head, edits, { isChunked: false, isClosing: false, isUpgrade: true });
  }

  body(bytes: Buffer, start: number, end: number, source: ByteStream): void {
    if (this.#isChunked) writeChunk(this.#stream, bytes, start, end, source);
    else this.#stream.write(bytes, start, end, source);
  }

  bodyEnd(trailers: Trailers): void {
    if (this.#isChunked) writeLastChunk(this.#stream, trailers);
    this.#isChunked = false;
  }

  local(reply: LocalReply, isHead: boolean, isClosing: boolean): void {
    let headers: readonly (readonly [string, string])[] =
      reply.body === "" || reply.headers?.includes("content-type") ? PLAIN_HEADERS : TEXT_HEADERS;
    if (reply.headers !== undefined) headers = [...headers, ...pairsOf(reply.headers)];
    const bytes = localResponse(reply.status, headers, reply.body, isHead, isClosing);
    this.#write(bytes, 0, bytes.length);
  }

  /** Trailers follow nothing but chunks: the status stands in the head, as Envoy has it. */
  localGrpc(reply: LocalReply, isClosing: boolean): void {
    const headers = pairsOf(grpcHeaders(reply, SERVER_NAME));
    const bytes = localResponse(200, headers, "", false, isClosing);
    this.#write(bytes, 0, bytes.length);
  }
}

function pairsOf(list: readonly string[]): (readonly [string, string])[] {
  const pairs: (readonly [string, string])[] = [];
  for (let i = 0; i < list.length; i += 2) pairs.push([list[i]!, list[i + 1]!]);
  return pairs;
}

const PLAIN_HEADERS = [["server", SERVER_NAME]] as const;
const TEXT_HEADERS = [
  ["content-type", "text/plain"],
  ["server", SERVER_NAME],
] as const;
