/**
 * Header blocks: HEADERS and its CONTINUATIONs put together, within limits, then decoded.
 *
 * A block that must be refused is decoded all the same: the peer's HPACK state goes on. Nothing is
 * kept of a block behind its end, above all not the read buffer it stood in.
 */
import { ErrorCode } from "./errors.ts";
import { Flag } from "./frames.ts";
import { HpackDecoder, HpackError } from "./hpack/decoder.ts";
import type { Http2Limits } from "./limits.ts";
import type { ConnectionProblem } from "./settings.ts";

/** HPACK's default table; we do not announce another. */
const TABLE_BYTES = 4096;

const PRIORITY_BYTES = 5;
const NOTHING = Buffer.alloc(0);

const CUT_SHORT = { code: ErrorCode.FRAME_SIZE_ERROR, detail: "§6.2: HEADERS cut short" };
const PADDED_TOO_FAR = {
  code: ErrorCode.PROTOCOL_ERROR,
  detail: "§6.2: padding longer than its frame",
};

export class HeaderBlocks {
  readonly #limits: Http2Limits;
  readonly #decoder = new HpackDecoder(TABLE_BYTES);
  #bytes: Buffer = NOTHING;
  #start = 0;
  #end = 0;
  #parts: Buffer[] | null = null;
  #partsBytes = 0;
  /** END_HEADERS is still to come. */
  isOpen = false;
  stream = 0;
  endStream = false;
  /** The stream depends on itself, by its priority fields: a stream error. */
  isSelfDependent = false;
  /** The block decoded last was above maxHeaderListBytes; its list is not complete. */
  isTooLarge = false;

  constructor(limits: Http2Limits) {
    this.#limits = limits;
  }

  /** Before the payload of a HEADERS or CONTINUATION frame is stored. */
  hasRoomFor(length: number): boolean {
    const { maxHeaderBlockBytes, maxContinuationFrames } = this.#limits;
    const parts = this.#parts?.length ?? 0;
    const before = this.isOpen ? this.#partsBytes : 0;
    return before + length <= maxHeaderBlockBytes && parts <= maxContinuationFrames;
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
    this.isSelfDependent = false;
    if ((flags & Flag.PADDED) !== 0) {
      if (from === to) return CUT_SHORT;
      to -= bytes[from]!;
      from++;
    }
    if ((flags & Flag.PRIORITY) !== 0) {
      if (end - from < PRIORITY_BYTES) return CUT_SHORT;
      this.isSelfDependent = (bytes.readUInt32BE(from) & 0x7fffffff) === stream;
      from += PRIORITY_BYTES;
    }
    if (from > to) return PADDED_TOO_FAR;
    this.stream = stream;
    this.endStream = (flags & Flag.END_STREAM) !== 0;
    this.isOpen = (flags & Flag.END_HEADERS) === 0;
    if (this.isOpen) {
      this.#parts = [Buffer.from(bytes.subarray(from, to))];
      this.#partsBytes = to - from;
      return undefined;
    }
    this.#bytes = bytes;
    this.#start = from;
    this.#end = to;
    return undefined;
  }

  /** The payload of CONTINUATION. */
  append(flags: number, bytes: Buffer, start: number, end: number): void {
    const parts = this.#parts!;
    parts.push(Buffer.from(bytes.subarray(start, end)));
    this.#partsBytes += end - start;
    if ((flags & Flag.END_HEADERS) === 0) return;
    this.isOpen = false;
    this.#bytes = Buffer.concat(parts);
    this.#start = 0;
    this.#end = this.#bytes.length;
    this.#parts = null;
  }

  /** The complete block's headers; `undefined` when it cannot be decoded. */
  decode(): string[] | undefined {
    const bytes = this.#bytes;
    this.#bytes = NOTHING;
    try {
      const { maxHeaderListBytes } = this.#limits;
      const list = this.#decoder.decode(bytes, this.#start, this.#end, maxHeaderListBytes);
      this.isTooLarge = this.#decoder.isTooLarge;
      return list;
    } catch (caught) {
      if (caught instanceof HpackError) return undefined;
      throw caught;
    }
  }
}
