/**
 * Which names are referred to, and by whom: a name is there as long as somebody refers to it. What
 * comes and goes is found as referrers change, so a change costs what its referrers name.
 */
const NOTHING: readonly string[] = [];

export class References {
  readonly #namesBy = new Map<string, readonly string[]>();
  readonly #counts = new Map<string, number>();
  #touched = new Set<string>();

  has(name: string): boolean {
    return this.#counts.has(name);
  }

  /** From now on the referrer refers to these, and to nothing else. */
  set(referrer: string, names: readonly string[]): void {
    const before = this.#namesBy.get(referrer) ?? NOTHING;
    if (names.length === 0) this.#namesBy.delete(referrer);
    else this.#namesBy.set(referrer, names);
    for (const name of names) this.#count(name, 1);
    for (const name of before) this.#count(name, -1);
  }

  #count(name: string, added: 1 | -1): void {
    const before = this.#counts.get(name) ?? 0;
    const now = before + added;
    if (now === 0) this.#counts.delete(name);
    else this.#counts.set(name, now);
    if (before === 0 || now === 0) this.#touched.add(name);
  }

  /** Names that have come or gone since the last call; one that did both may be among them. */
  takeTouched(): ReadonlySet<string> {
    const touched = this.#touched;
    this.#touched = new Set();
    return touched;
  }
}
