/**
 * A weighted draw in constant time, whatever the number of weights (Walker's alias method).
 *
 * Each column holds a share of its own index and gives the rest to one other, so that all columns
 * are equally high: one random number chooses the column and the place in it.
 */
export class AliasTable {
  readonly #share: Float64Array;
  readonly #other: Int32Array;

  /** At least one weight is above 0, and none below. */
  constructor(weights: readonly number[]) {
    const count = weights.length;
    this.#share = new Float64Array(count);
    this.#other = new Int32Array(count);
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const low: number[] = [];
    const high: number[] = [];
    for (let i = 0; i < count; i++) {
      this.#share[i] = (weights[i]! * count) / total;
      (this.#share[i]! < 1 ? low : high).push(i);
    }
    while (low.length > 0 && high.length > 0) {
      const poor = low.pop()!;
      const rich = high.pop()!;
      this.#other[poor] = rich;
      this.#share[rich] = this.#share[rich]! - (1 - this.#share[poor]!);
      (this.#share[rich]! < 1 ? low : high).push(rich);
    }
    // What rounding has left over is full; but a weight of nothing never is.
    const heaviest = weights.reduce((best, weight, i) => (weight > weights[best]! ? i : best), 0);
    for (const i of [...low, ...high]) {
      if (weights[i]! > 0) this.#share[i] = 1;
      else this.#other[i] = heaviest;
    }
  }

  /** `at` is in [0, 1). */
  draw(at: number): number {
    const place = at * this.#share.length;
    const column = place | 0;
    return place - column < this.#share[column]! ? column : this.#other[column]!;
  }
}
