/**
 * Remembers what was computed from a string, so that the same string is parsed once and judging a
 * request allocates nothing. Bounded: it starts afresh when it is full, and long strings, which an
 * attacker could fill it with, are not kept.
 */
const ENTRIES_MAX = 4096;
const KEY_LENGTH_MAX = 256;

export class Memo<V> {
  readonly #compute: (key: string) => V;
  #values = new Map<string, V>();
  // The last one: requests of one connection ask for the same string again and again.
  #lastKey: string | undefined;
  #lastValue: V | undefined;

  constructor(compute: (key: string) => V) {
    this.#compute = compute;
  }

  get(key: string): V {
    if (key === this.#lastKey) return this.#lastValue as V;
    if (key.length > KEY_LENGTH_MAX) return this.#compute(key);
    let value = this.#values.get(key);
    if (value === undefined && !this.#values.has(key)) {
      value = this.#compute(key);
      if (this.#values.size >= ENTRIES_MAX) this.#values = new Map();
      this.#values.set(key, value);
    }
    this.#lastKey = key;
    this.#lastValue = value;
    return value as V;
  }
}
