/**
 * Who has read which key: the edges along which changes travel.
 *
 * An edge is held from both ends, so that a reader that is computed again can be taken out of
 * everything that it has read before, and a key that nobody reads any more costs nothing.
 */
export interface Reader {
  /** Where the reader stands. */
  readonly reads: ReaderSet[];
  /** Something it has read is different now. Only takes note: nothing is computed here. */
  onTouched(): void;
}

/** The readers of one key. */
export interface ReaderSet {
  readonly key: string;
  readonly readers: Set<Reader>;
  readonly home: Map<string, ReaderSet>;
}

export class Dependents {
  readonly #sets = new Map<string, ReaderSet>();

  add(key: string, reader: Reader): void {
    let set = this.#sets.get(key);
    if (set === undefined) {
      set = { key, readers: new Set(), home: this.#sets };
      this.#sets.set(key, set);
    }
    if (set.readers.has(reader)) return;
    set.readers.add(reader);
    reader.reads.push(set);
  }

  touch(key: string): void {
    const set = this.#sets.get(key);
    if (set === undefined) return;
    for (const reader of set.readers) reader.onTouched();
  }

  /** Takes the reader out of all it has read. */
  static forget(reader: Reader): void {
    for (const { key, readers, home } of reader.reads) {
      readers.delete(reader);
      if (readers.size === 0) home.delete(key);
    }
    reader.reads.length = 0;
  }
}
