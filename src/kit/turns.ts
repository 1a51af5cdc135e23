/** Lets so many pieces of work run at a time; others wait in order, up to a limit. */
export class Turns {
  #free: number;
  readonly #waitingMax: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number, waitingMax = Number.POSITIVE_INFINITY) {
    this.#free = count;
    this.#waitingMax = waitingMax;
  }

  /** False: the queue is full, and `run` would wait in vain behind it. */
  get hasRoom(): boolean {
    return this.#free > 0 || this.#waiting.length < this.#waitingMax;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next !== undefined) next();
      else this.#free++;
    }
  }
}
