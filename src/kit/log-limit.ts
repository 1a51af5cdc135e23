/**
 * Lines that strangers can cause, kept from filling the log: so many a second of each kind, and
 * then one line that says how many were left out.
 *
 * Kinds are the caller's few fixed words, never a peer's. A counter tells the whole number; this
 * is for the reader. Nothing is kept and no timer runs while nothing happens.
 */

export interface LogLimitOptions {
  /** Lines of one kind in `intervalMs`; default 5. */
  readonly linesPerInterval?: number;
  /** Default 1,000. */
  readonly intervalMs?: number;
  /** Called behind the interval, when lines of the kind were left out in it. */
  readonly onLeftOut: (kind: string, count: number) => void;
}

interface Kind {
  written: number;
  leftOut: number;
}

const LINES = 5;
const INTERVAL_MS = 1_000;

export class LogLimit {
  readonly #lines: number;
  readonly #intervalMs: number;
  readonly #onLeftOut: (kind: string, count: number) => void;
  readonly #kinds = new Map<string, Kind>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: LogLimitOptions) {
    this.#lines = options.linesPerInterval ?? LINES;
    this.#intervalMs = options.intervalMs ?? INTERVAL_MS;
    this.#onLeftOut = options.onLeftOut;
  }

  /** True: the line may be written. Ask before making it. */
  allows(kind: string): boolean {
    let state = this.#kinds.get(kind);
    if (state === undefined) {
      state = { written: 0, leftOut: 0 };
      this.#kinds.set(kind, state);
    }
    if (this.#timer === undefined) {
      this.#timer = setTimeout(() => this.#onInterval(), this.#intervalMs);
      this.#timer.unref();
    }
    if (state.written < this.#lines) {
      state.written++;
      return true;
    }
    state.leftOut++;
    return false;
  }

  /** The lines about what was left out, now: before the log is closed. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#onInterval();
  }

  #onInterval(): void {
    this.#timer = undefined;
    const kinds = [...this.#kinds];
    this.#kinds.clear();
    for (const [kind, { leftOut }] of kinds) if (leftOut > 0) this.#onLeftOut(kind, leftOut);
  }
}
