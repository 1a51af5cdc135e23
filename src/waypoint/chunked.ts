/** Bodies of unknown length on HTTP/1.1: payload re-framed as chunks of our own (RFC 9112 §7.1). */
import type { ByteStream } from "../net/byte-stream.ts";
import { writeChunkHead } from "../net/http1/body.ts";

const chunkHead = Buffer.allocUnsafeSlow(32);
const CRLF = Buffer.from("\r\n");
const LAST_CHUNK = Buffer.from("0\r\n\r\n");

/** Sends one run of payload as a chunk. The sender's framing is never passed on. */
export function writeChunk(
  stream: ByteStream,
  bytes: Buffer,
  start: number,
  end: number,
  source: ByteStream | null,
): void {
  const headEnd = writeChunkHead(chunkHead, 0, end - start);
  stream.write(chunkHead, 0, headEnd, null);
  stream.write(bytes, start, end, source);
  stream.write(CRLF, 0, CRLF.length, null);
}

/** Ends the chunked body, with its trailers. */
export function writeLastChunk(stream: ByteStream, trailers: readonly string[] = []): void {
  if (trailers.length === 0) {
    stream.write(LAST_CHUNK, 0, LAST_CHUNK.length, null);
    return;
  }
  let lines = "";
  for (let i = 0; i < trailers.length; i += 2) lines += `${trailers[i]!}: ${trailers[i + 1]!}\r\n`;
  const bytes = Buffer.from(`0\r\n${lines}\r\n`, "latin1");
  stream.write(bytes, 0, bytes.length, null);
}

const NONE: readonly string[] = [];

/** Trailers as the body's reader has them, as they are passed on. */
export function flat(trailers: readonly (readonly [string, string])[]): readonly string[] {
  return trailers.length === 0 ? NONE : trailers.flat();
}
