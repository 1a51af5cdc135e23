/**
 * Shutting down is one idea (D10): every long-lived thing registers how it stops taking work, and
 * the drain waits until all of them have finished what they hold, or until the deadline.
 *
 * A participant's callback starts the stop at once (close listeners, send GOAWAY) and returns a
 * promise for "nothing left". After the deadline `onForce` callbacks cut what remains.
 */
export interface Drainable {
  /** Stop taking work; resolve when nothing is left. After `deadlineMs` comes `destroy()`. */
  drain(deadlineMs: number): Promise<void>;
  /** The deadline has passed: cut everything now. */
  destroy(): void;
}

export class Drain {
  readonly #members = new Set<Drainable>();
  #done: Promise<void> | undefined;

  /** Registers a participant; the result takes it out again. */
  add(member: Drainable): () => void {
    this.#members.add(member);
    return () => this.#members.delete(member);
  }

  get isDraining(): boolean {
    return this.#done !== undefined;
  }

  /** Drains everything once; later calls get the same promise. */
  start(deadlineMs: number): Promise<void> {
    this.#done ??= this.#run(deadlineMs);
    return this.#done;
  }

  async #run(deadlineMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, deadlineMs);
    });
    // Async, so that one that throws at once does not keep the others from it.
    const draining = [...this.#members].map(async (member) => member.drain(deadlineMs));
    await Promise.race([Promise.allSettled(draining), deadline]);
    clearTimeout(timer);
    // Also those that came while the others were finishing.
    for (const member of this.#members) member.destroy();
  }
}
