/**
 * Everything that one ztunnel carries at the moment: connections that are being opened and those
 * that are open, both ways. So that their number is bounded, a drain can wait for the last one, and
 * an end can cut what is left (D10).
 */
import type { CutReason } from "./ztunnel-metrics.ts";

export interface Carried {
  /** Ends it at once, in whatever state it is. */
  cut(because: string, cause: CutReason): void;
}

const CARRIED_MAX = 20_000;

export class CarriedConnections {
  readonly max: number;
  readonly #all = new Set<Carried>();
  #onEmpty: (() => void)[] = [];

  constructor(max = CARRIED_MAX) {
    this.max = max;
  }

  /** False: there are as many as may be. */
  add(connection: Carried): boolean {
    if (this.#all.size >= this.max) return false;
    this.#all.add(connection);
    return true;
  }

  remove(connection: Carried): void {
    this.#all.delete(connection);
    if (this.#all.size > 0) return;
    for (const resolve of this.#onEmpty.splice(0)) resolve();
  }

  get size(): number {
    return this.#all.size;
  }

  /** Resolves when there is none. */
  whenEmpty(): Promise<void> {
    if (this.#all.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#onEmpty.push(resolve));
  }

  cutAll(because: string): void {
    for (const connection of [...this.#all]) connection.cut(because, "shutdown");
  }
}
