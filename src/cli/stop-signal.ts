/**
 * How a long-running command ends: the first signal (or a request at the admin port) drains, the
 * second one cuts.
 */
import type { Output } from "./output.ts";

/** After a drain, as a shell says it. */
const EXIT_CODES: Readonly<Record<string, number>> = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 };

/** One `wait` for each signal. */
export class StopSignal {
  readonly #signals: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP"];
  readonly #pending: string[] = [];
  #first: Promise<string> | undefined;
  #wake: ((why: string) => void) | undefined;
  readonly trigger = (why: string): void => {
    if (this.#wake === undefined) this.#pending.push(why);
    else this.#wake(why);
    this.#wake = undefined;
  };

  constructor() {
    for (const signal of this.#signals) process.on(signal, this.trigger);
  }

  /**
   * Waits for the first signal, then for the drain; a second one cuts it short. The result is the
   * exit code.
   */
  async untilStopped(
    running: { stop(): Promise<void>; cut(): void },
    output: Output,
  ): Promise<number> {
    const why = await this.first;
    output.say(`${why}: finishing what is in progress; again to cut it`);
    const cut = this.wait().then(() => output.say("cut"));
    await Promise.race([running.stop(), cut.then(() => running.cut())]);
    this.close();
    return this.exitCodeOf(why);
  }

  /** The first signal, however many ask. */
  get first(): Promise<string> {
    this.#first ??= this.wait();
    return this.#first;
  }

  /** The exit code after that signal. */
  exitCodeOf(why: string): number {
    return EXIT_CODES[why] ?? 0;
  }

  wait(): Promise<string> {
    const pending = this.#pending.shift();
    if (pending !== undefined) return Promise.resolve(pending);
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  close(): void {
    for (const signal of this.#signals) process.off(signal, this.trigger);
  }
}
