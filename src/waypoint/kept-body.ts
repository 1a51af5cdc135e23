/**
 * What was sent of a request's body, as long as that is not too much: for another attempt, or for
 * a backend that leaves (GOAWAY) and refuses streams whose body is on its way already.
 *
 * Bounded twice: each request, and all requests of a waypoint together. What goes beyond is not
 * kept (nor what was before it), and streams on.
 */
import { BytePile } from "../net/byte-pile.ts";
import type { Upstream } from "./upstream.ts";

/** What all requests of a waypoint may keep together, here and for authorizers. */
export class KeptBytes {
  bytes = 0;
  readonly bytesMax: number;
  readonly #onNotKept: (limit: "request" | "waypoint") => void;

  constructor(bytesMax: number, onNotKept: (limit: "request" | "waypoint") => void) {
    this.bytesMax = bytesMax;
    this.#onNotKept = onNotKept;
  }

  notKept(limit: "request" | "waypoint"): void {
    this.#onNotKept(limit);
  }
}

export class KeptBody {
  readonly #all: KeptBytes;
  readonly #pile = new BytePile();
  #sentBytes = 0;

  constructor(all: KeptBytes) {
    this.#all = all;
  }

  /** Nothing has been sent. */
  get isEmpty(): boolean {
    return this.#sentBytes === 0;
  }

  /** All that was sent is here. */
  get isWhole(): boolean {
    return this.#sentBytes === this.#pile.bytes;
  }

  /** `bytesMax`: as much is worth a copy. `isCounted`: somebody asked for it to be kept. */
  add(bytes: Buffer, start: number, end: number, bytesMax: number, isCounted: boolean): void {
    const count = end - start;
    const wasWhole = this.isWhole;
    this.#sentBytes += count;
    if (!wasWhole || count === 0) return;
    const all = this.#all;
    const isTooMuch = this.#sentBytes > bytesMax;
    if (isTooMuch || all.bytes + count > all.bytesMax) {
      if (isCounted) all.notKept(isTooMuch ? "request" : "waypoint");
      this.#release();
      return;
    }
    this.#pile.add(bytes, start, end);
    all.bytes += count;
  }

  sendAgain(upstream: Upstream, isChunked: boolean): void {
    if (this.#pile.bytes === 0) return;
    for (const bytes of this.#pile.parts())
      upstream.sendBody(bytes, 0, bytes.length, null, isChunked);
  }

  #release(): void {
    this.#all.bytes -= this.#pile.bytes;
    this.#pile.clear();
  }

  /** No further attempt will be made, or another request begins. */
  clear(): void {
    if (this.#pile.bytes > 0) this.#release();
    this.#sentBytes = 0;
  }
}
