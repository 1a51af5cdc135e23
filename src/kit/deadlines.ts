/**
 * Many time-outs of one length, cheaply: a doubly linked list in order of expiry and one timer.
 *
 * Arming and disarming are O(1) and allocate nothing: the entry is the thing that waits. A timer of
 * Node's own costs about 1 µs each, which is a tenth of a request. Precision is `tickMs`.
 */
export interface DeadlineEntry {
  deadlinePrevious: DeadlineEntry | null;
  deadlineNext: DeadlineEntry | null;
  deadlineAtMs: number;
  onDeadline(): void;
}

class Head implements DeadlineEntry {
  deadlinePrevious: DeadlineEntry | null = this;
  deadlineNext: DeadlineEntry | null = this;
  deadlineAtMs = 0;
  onDeadline(): void {}
}

export class Deadlines {
  readonly lengthMs: number;
  readonly #head: DeadlineEntry = new Head();
  readonly #tickMs: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(lengthMs: number, tickMs = Math.min(1000, Math.max(10, lengthMs / 10))) {
    this.lengthMs = lengthMs;
    this.#tickMs = tickMs;
  }

  /** Starts (or restarts) the entry's time. `nowMs` is `performance.now()`. */
  arm(entry: DeadlineEntry, nowMs: number): void {
    Deadlines.disarm(entry);
    const last = this.#head.deadlinePrevious!;
    entry.deadlineAtMs = nowMs + this.lengthMs;
    entry.deadlinePrevious = last;
    entry.deadlineNext = this.#head;
    last.deadlineNext = entry;
    this.#head.deadlinePrevious = entry;
    if (this.#timer === undefined) this.#start();
  }

  /** Takes the entry out of whichever list it waits in. */
  static disarm(entry: DeadlineEntry): void {
    if (entry.deadlineNext === null) return;
    entry.deadlinePrevious!.deadlineNext = entry.deadlineNext;
    entry.deadlineNext.deadlinePrevious = entry.deadlinePrevious;
    entry.deadlineNext = null;
    entry.deadlinePrevious = null;
  }

  #start(): void {
    this.#timer = setInterval(() => this.#tick(performance.now()), this.#tickMs);
    this.#timer.unref();
  }

  #tick(nowMs: number): void {
    for (;;) {
      const first = this.#head.deadlineNext!;
      if (first === this.#head) {
        clearInterval(this.#timer);
        this.#timer = undefined;
        return;
      }
      if (first.deadlineAtMs > nowMs) return;
      Deadlines.disarm(first);
      first.onDeadline();
    }
  }
}

const byLength = new Map<number, Deadlines>();

/** The one list of that length, for lengths that come from settings. */
export function deadlinesOf(lengthMs: number): Deadlines {
  let deadlines = byLength.get(lengthMs);
  if (deadlines === undefined) {
    deadlines = new Deadlines(lengthMs);
    byLength.set(lengthMs, deadlines);
  }
  return deadlines;
}

/**
 * For lengths that peers choose: one that is longer by less than 1/32. So there are 32 lists for
 * each doubling of the length, whatever they send, and none of the entries fires early.
 */
export function deadlinesAfter(lengthMs: number): Deadlines {
  const ms = Math.max(1, lengthMs);
  const stepMs = 2 ** Math.max(0, Math.floor(Math.log2(ms)) - 5);
  return deadlinesOf(Math.ceil(ms / stepMs) * stepMs);
}
