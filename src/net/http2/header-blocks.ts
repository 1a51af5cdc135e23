/**
 * Header blocks: HEADERS and its CONTINUATIONs put together, within limits, then decoded.
 */
import { ErrorCode } from "./errors.ts";
import { Flag } from "./frames.ts";
import { HpackDecoder, HpackError } from "./hpack/decoder.ts";
import type { Http2Limits } from "./limits.ts";
import type { ConnectionProblem } from "./settings.ts";

/** HPACK's default table; we do not announce another. */
const TABLE_BYTES = 4096;

const PRIORITY_BYTES = 5;

export class HeaderBlocks {
  readonly #limits: Http2Limits;
  readonly #decoder = new HpackDecoder(TABLE_BYTES);
  #bytes: Buffer = Buffer.alloc(0);
  #start = 0;
  #end = 0;
  #parts: Buffer[] = [];
  #partsBytes = 0;
  /** END_HEADERS is still to come. */
  isOpen = false;
  stream = 0;
  endStream = false;

  constructor(limits: Http2Limits) {
    this.#limits = limits;
  }

  /** The payload of HEADERS. */
  begin(
    flags: number,
    stream: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): ConnectionProblem | undefined {
    let from = start;
    let to = end;
    if ((flags & Flag.PADDED) !== 0) {
      if (from === to) return { code: ErrorCode.FRAME_SIZE_ERROR, detail: "HEADERS cut short" };
      to -= bytes[from]!;
      from++;
    }
    if ((flags & Flag.PRIORITY) !== 0) {
      const dependency = end - from >= PRIORITY_BYTES ? bytes.readUInt32BE(from) & 0x7fffffff : -1;
      if (dependency < 0) return { code: ErrorCode.FRAME_SIZE_ERROR, detail: "HEADERS cut short" };
      if (dependency === stream) {
        return { code: ErrorCode.PROTOCOL_ERROR, detail: "a stream that depends on itself" };
      }
      from += PRIORITY_BYTES;
    }
    if (from > to)
      return { code: ErrorCode.PROTOCOL_ERROR, detail: "padding longer than its frame" };
    this.stream = stream;
    this.endStream = (flags & Flag.END_STREAM) !== 0;
    this.isOpen = (flags & Flag.END_HEADERS) === 0;
    this.#bytes = bytes;
    this.#start = from;
    this.#end = to;
    if (this.isOpen) {
      this.#parts = [Buffer.from(bytes.subarray(from, to))];
      this.#partsBytes = to - from;
    }
    return this.#limitProblem(to - from);
  }

  /** The payload of CONTINUATION. */
  append(flags: number, bytes: Buffer, start: number, end: number): ConnectionProblem | undefined {
    this.#parts.push(Buffer.from(bytes.subarray(start, end)));
    this.#partsBytes += end - start;
    const problem = this.#limitProblem(this.#partsBytes);
    if (problem !== undefined) return problem;
    if ((flags & Flag.END_HEADERS) !== 0) {
      this.isOpen = false;
      this.#bytes = Buffer.concat(this.#parts);
      this.#start = 0;
      this.#end = this.#bytes.length;
      this.#parts = [];
    }
    return undefined;
  }

  #limitProblem(bytes: number): ConnectionProblem | undefined {
    const { maxHeaderBlockBytes, maxContinuationFrames } = this.#limits;
    if (bytes <= maxHeaderBlockBytes && this.#parts.length <= maxContinuationFrames + 1) {
      return undefined;
    }
    return { code: ErrorCode.ENHANCE_YOUR_CALM, detail: "a header block above the limit" };
  }

  /** The complete block's headers; `undefined` when it cannot be decoded. */
  decode(): string[] | undefined {
    try {
      const { maxHeaderListBytes } = this.#limits;
      return this.#decoder.decode(this.#bytes, this.#start, this.#end, maxHeaderListBytes);
    } catch (caught) {
      if (caught instanceof HpackError) return undefined;
      throw caught;
    }
  }

  /** The block decoded last was above maxHeaderListBytes; its list is not complete. */
  readonly isTooLarge = () => this.#decoder.isTooLarge;
}
