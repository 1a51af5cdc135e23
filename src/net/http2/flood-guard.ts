/**
 * Counts what a peer may only do so often: frames that make us work and carry nothing.
 *
 * Taught by CVE-2019-9511…9518 (floods of PING, SETTINGS, RST_STREAM, PRIORITY, empty frames,
 * window updates), CVE-2023-44487 (rapid reset) and CVE-2024-27316 (CONTINUATION). Counts are
 * per window of time; frames that belong to real traffic are paid for by it.
 */
import type { Http2Limits } from "./limits.ts";

/** Window updates that each DATA frame we send may bring. */
const CONTROL_PER_DATA = 10;

export class FloodGuard {
  readonly #limits: Http2Limits;
  #windowEndMs = 0;
  #controlFrames = 0;
  #prematureResets = 0;
  #emptyFrames = 0;

  constructor(limits: Http2Limits) {
    this.#limits = limits;
  }

  #roll(): void {
    const nowMs = performance.now();
    if (nowMs < this.#windowEndMs) return;
    this.#windowEndMs = nowMs + this.#limits.floodWindowMs;
    this.#controlFrames = 0;
    this.#prematureResets = 0;
  }

  /** A frame without payload for anybody. True: too many. */
  control(): boolean {
    if (++this.#controlFrames % 64 === 0) this.#roll();
    return this.#controlFrames > this.#limits.maxControlFrames;
  }

  /** We sent data: the peer may answer with window updates. */
  dataSent(): void {
    this.#controlFrames -= CONTROL_PER_DATA;
    if (this.#controlFrames < 0) this.#controlFrames = 0;
  }

  prematureReset(): boolean {
    this.#roll();
    return ++this.#prematureResets > this.#limits.maxPrematureResets;
  }

  emptyFrame(): boolean {
    return ++this.#emptyFrames > this.#limits.maxEmptyFrames;
  }

  /** Something with content came in between. */
  notEmpty(): void {
    this.#emptyFrames = 0;
  }
}
