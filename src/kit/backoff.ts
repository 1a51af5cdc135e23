/**
 * How long to wait before the next try: twice as long each time, with jitter, so that many who
 * lost the same server do not come back to it at the same moment.
 */
export interface BackoffOptions {
  readonly firstMs: number;
  readonly maxMs: number;
  /** From 0 to 1; a test may draw it from a seed. */
  readonly random?: () => number;
}

export class Backoff {
  readonly #options: BackoffOptions;
  #delayMs: number;

  constructor(options: BackoffOptions) {
    this.#options = options;
    this.#delayMs = options.firstMs;
  }

  /** From half of the present delay to all of it; the next one is twice as long. */
  next(): number {
    const { maxMs, random = Math.random } = this.#options;
    const delayMs = Math.min(this.#delayMs, maxMs);
    this.#delayMs = Math.min(delayMs * 2, maxMs);
    return jittered(delayMs, random);
  }

  /** It has worked: the next wait is the shortest. */
  reset(): void {
    this.#delayMs = this.#options.firstMs;
  }
}

/** From half of it to all of it. */
export function jittered(ms: number, random: () => number = Math.random): number {
  return ms * (0.5 + random() / 2);
}

/** Ends early, and without an error, when the signal aborts. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
  });
}
