/**
 * Counts what a peer may only do so often: frames that make us work and carry nothing.
 *
 * Taught by CVE-2019-9511…9518 (floods of PING, SETTINGS, RST_STREAM, PRIORITY, empty frames,
 * window updates), CVE-2023-44487 (rapid reset), CVE-2024-27316 (CONTINUATION) and CVE-2025-8671
 * (making us reset). Counts are per window of time; frames that belong to real traffic are paid
 * for by it. Every method says true when the limit is passed.
 */
import type { Http2Limits } from "./limits.ts";

/** Window updates that each DATA frame we send may bring. */
const CONTROL_PER_DATA = 10;
/** The clock is read once in so many frames. */
const ROLL_EVERY = 64;

export class FloodGuard {
  readonly #limits: Http2Limits;
  #windowEndMs: number;
  #controlFrames = 0;
  #untilRoll = ROLL_EVERY;
  #prematureResets = 0;
  #openedStreams = 0;
  #emptyFrames = 0;
  #unreadReplies = 0;

  constructor(limits: Http2Limits) {
    this.#limits = limits;
    this.#windowEndMs = performance.now() + limits.floodWindowMs;
  }

  #roll(): void {
    const nowMs = performance.now();
    if (nowMs < this.#windowEndMs) return;
    this.#windowEndMs = nowMs + this.#limits.floodWindowMs;
    this.#controlFrames = 0;
    this.#prematureResets = 0;
    this.#openedStreams = 0;
  }

  /** A frame without payload for anybody. */
  control(): boolean {
    if (--this.#untilRoll <= 0) {
      this.#untilRoll = ROLL_EVERY;
      this.#roll();
    }
    return ++this.#controlFrames > this.#limits.maxControlFrames;
  }

  /** We sent data: the peer may answer with window updates. */
  dataSent(): void {
    this.#controlFrames -= CONTROL_PER_DATA;
    if (this.#controlFrames < 0) this.#controlFrames = 0;
  }

  /** The peer has opened a stream. */
  opened(): void {
    this.#openedStreams++;
  }

  /**
   * A stream came to nothing. That is a flood when it is what becomes of most of them: of very many
   * requests some are always given up.
   */
  prematureReset(): boolean {
    this.#roll();
    const count = ++this.#prematureResets;
    return count > this.#limits.maxPrematureResets && count * 2 > this.#openedStreams;
  }

  emptyFrame(): boolean {
    return ++this.#emptyFrames > this.#limits.maxEmptyFrames;
  }

  /** Something with content came in between. */
  notEmpty(): void {
    this.#emptyFrames = 0;
  }

  /** An answer was queued; `isBehind`: behind much that the peer has not taken yet. */
  reply(isBehind: boolean): boolean {
    if (isBehind) this.#unreadReplies++;
    return this.#unreadReplies > this.#limits.maxUnreadReplies;
  }

  /** The peer has taken most of what we sent. */
  caughtUp(): void {
    this.#unreadReplies = 0;
  }
}
