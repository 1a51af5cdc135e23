/**
 * Whether this process may be given traffic: named conditions that must all be true, and no drain.
 *
 * A condition that was announced and not yet met says what it waits for; that text is the answer
 * of the readiness probe, so it is written for the person who looks at a pod that is not ready.
 */
import type { Drainable } from "../kit/drain.ts";

export class Readiness implements Drainable {
  readonly #unmet = new Map<string, string>();
  readonly #listeners = new Set<(isReady: boolean) => void>();
  #isDraining = false;

  /** Announces a condition as not met, for a reason: `require("snapshot", "no configuration yet")`. */
  require(name: string, reason: string): void {
    this.#change(() => this.#unmet.set(name, reason));
  }

  /** The condition is met. */
  meet(name: string): void {
    this.#change(() => this.#unmet.delete(name));
  }

  get isReady(): boolean {
    return !this.#isDraining && this.#unmet.size === 0;
  }

  /** One line each: `snapshot: no configuration yet`. */
  get reasons(): readonly string[] {
    const reasons = [...this.#unmet].map(([name, reason]) => `${name}: ${reason}`);
    return this.#isDraining ? ["draining: the process is shutting down", ...reasons] : reasons;
  }

  /** Calls back at each turn of `isReady`. Returns the way to stop. */
  subscribe(listener: (isReady: boolean) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Readiness goes first: nobody should send more while the rest finishes. */
  async drain(): Promise<void> {
    this.#change(() => {
      this.#isDraining = true;
    });
  }

  destroy(): void {
    this.#change(() => {
      this.#isDraining = true;
    });
  }

  #change(change: () => void): void {
    const before = this.isReady;
    change();
    const after = this.isReady;
    if (before !== after) for (const listener of this.#listeners) listener(after);
  }
}
