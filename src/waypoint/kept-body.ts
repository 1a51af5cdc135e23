/**
 * What was sent of a request's body, as long as that is little: a backend that leaves (GOAWAY)
 * refuses streams whose body is on its way already, and then it can be sent again elsewhere.
 */
import type { Upstream } from "./upstream.ts";

const BYTES_MAX = 16 * 1024;

export class KeptBody {
  #parts: Buffer[] | null = null;
  #bytes = 0;

  /** Nothing has been sent. */
  get isEmpty(): boolean {
    return this.#bytes === 0;
  }

  /** All that was sent is here. */
  get isWhole(): boolean {
    return this.#bytes === 0 || this.#parts !== null;
  }

  /** `isKept`: it is worth a copy. */
  add(bytes: Buffer, start: number, end: number, isKept: boolean): void {
    const canKeep = isKept && this.isWhole;
    this.#bytes += end - start;
    if (!canKeep || this.#bytes > BYTES_MAX) this.#parts = null;
    else {
      this.#parts ??= [];
      this.#parts.push(Buffer.from(bytes.subarray(start, end)));
    }
  }

  sendAgain(upstream: Upstream, isChunked: boolean): void {
    for (const bytes of this.#parts ?? []) {
      upstream.sendBody(bytes, 0, bytes.length, null, isChunked);
    }
  }

  /** No further attempt will be made, or another request begins. */
  clear(): void {
    this.#parts = null;
    this.#bytes = 0;
  }
}
