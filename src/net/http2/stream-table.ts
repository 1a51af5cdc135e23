/**
 * The streams of a connection by id: the open ones, and what is known of the others (§5.1).
 *
 *     idle       above every id that its side has used
 *     open       in the table
 *     reset      remembered for a while: frames that were under way are no error
 *     skipped    below an id that was used, never used itself: closed, without ever being open
 *     ended      everything else
 */
import { WINDOW_MAX } from "./frames.ts";
import type { Http2Stream } from "./stream.ts";

export type StreamState = "idle" | "skipped" | "reset by us" | "reset by peer" | "ended";

const RESETS_REMEMBERED = 512;

export class StreamTable {
  readonly open = new Map<number, Http2Stream>();
  readonly #ownParity: 0 | 1;
  #nextOwn: number;
  #lastPeer = 0;
  /** The latest range of ids that the peer has skipped. */
  #gapStart = 0;
  #gapEnd = 0;
  /** Oldest first. */
  #resets: Map<number, "reset by us" | "reset by peer"> | null = null;

  constructor(role: "client" | "server", firstOwn = role === "client" ? 1 : 2) {
    this.#ownParity = role === "client" ? 1 : 0;
    this.#nextOwn = firstOwn;
  }

  /** The highest id that the peer has opened. */
  get lastPeer(): number {
    return this.#lastPeer;
  }

  get hasOwnIds(): boolean {
    return this.#nextOwn <= WINDOW_MAX;
  }

  takeOwnId(): number {
    const id = this.#nextOwn;
    this.#nextOwn += 2;
    return id;
  }

  /** The peer uses an id that was idle; all lower idle ones are closed by that (§5.1.1). */
  takePeerId(id: number): void {
    const expected = this.#lastPeer === 0 ? 1 + this.#ownParity : this.#lastPeer + 2;
    if (id > expected) {
      this.#gapStart = expected;
      this.#gapEnd = id;
    }
    this.#lastPeer = id;
  }

  isIdle(id: number): boolean {
    return id % 2 === this.#ownParity ? id >= this.#nextOwn : id > this.#lastPeer;
  }

  /** Of a stream that is not open. */
  stateOf(id: number): StreamState {
    if (this.isIdle(id)) return "idle";
    if (id % 2 !== this.#ownParity && id >= this.#gapStart && id < this.#gapEnd) return "skipped";
    return this.#resets?.get(id) ?? "ended";
  }

  rememberReset(id: number, state: "reset by us" | "reset by peer"): void {
    this.#resets ??= new Map();
    this.#resets.set(id, state);
    if (this.#resets.size <= RESETS_REMEMBERED) return;
    for (const oldest of this.#resets.keys()) {
      this.#resets.delete(oldest);
      return;
    }
  }
}
