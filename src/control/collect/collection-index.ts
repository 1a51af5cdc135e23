/**
 * Indexes over collections: the values by other keys than their own, and those keys as a
 * collection.
 *
 * A bucket is sorted when it is first asked for and patched when little has changed since, so that
 * one pod among the 5,000 of a service does not sort them all again.
 */
import { type Change, type CollectionIndex, GraphCollection } from "./collection.ts";
import { Dependents } from "./dependents.ts";

/** Above so many changes a bucket is sorted anew. */
const PATCHES_MAX = 8;

interface Sorted<V> {
  readonly keys: readonly string[];
  readonly values: readonly V[];
}

class Bucket<V> {
  readonly members = new Map<string, V>();
  readonly #changed = new Set<string>();
  #sorted: Sorted<V> | undefined;

  set(key: string, value: V): void {
    this.members.set(key, value);
    this.#note(key);
  }

  delete(key: string): void {
    this.members.delete(key);
    this.#note(key);
  }

  #note(key: string): void {
    if (this.#sorted === undefined) return;
    this.#changed.add(key);
    if (this.#changed.size <= PATCHES_MAX) return;
    this.#sorted = undefined;
    this.#changed.clear();
  }

  get values(): readonly V[] {
    if (this.#sorted === undefined) {
      const keys = [...this.members.keys()].sort();
      this.#sorted = { keys, values: keys.map((key) => this.members.get(key)!) };
    } else if (this.#changed.size > 0) {
      this.#sorted = this.#patched(this.#sorted);
      this.#changed.clear();
    }
    return this.#sorted.values;
  }

  #patched(sorted: Sorted<V>): Sorted<V> {
    const keys = sorted.keys.slice();
    const values = sorted.values.slice();
    for (const key of this.#changed) {
      const at = firstNotBelow(keys, key);
      const isThere = keys[at] === key;
      const value = this.members.get(key);
      if (value === undefined) {
        if (isThere) removeAt(keys, values, at);
      } else if (isThere) values[at] = value;
      else {
        keys.splice(at, 0, key);
        values.splice(at, 0, value);
      }
    }
    return { keys, values };
  }
}

function removeAt(keys: string[], values: unknown[], at: number): void {
  keys.splice(at, 1);
  values.splice(at, 1);
}

function firstNotBelow(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keys[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

const NONE: readonly never[] = [];

export class ValueIndex<V> implements CollectionIndex<V> {
  readonly name: string;
  readonly order: number;
  readonly dependents = new Dependents();
  readonly #keysOf: (value: V, key: string) => Iterable<string>;
  readonly #buckets = new Map<string, Bucket<V>>();
  readonly #followers: ((key: string) => void)[] = [];

  constructor(name: string, order: number, keysOf: (value: V, key: string) => Iterable<string>) {
    this.name = name;
    this.order = order;
    this.#keysOf = keysOf;
  }

  lookup(key: string): readonly V[] {
    return this.#buckets.get(key)?.values ?? NONE;
  }

  has(key: string): boolean {
    return this.#buckets.has(key);
  }

  keys(): Iterable<string> {
    return this.#buckets.keys();
  }

  /** Called with each key under which something has changed. */
  follow(follower: (key: string) => void): void {
    for (const key of this.#buckets.keys()) follower(key);
    this.#followers.push(follower);
  }

  update(key: string, { before, after }: Change<V>): void {
    const left = new Set(before === undefined ? NONE : this.#keysOf(before, key));
    if (after !== undefined) {
      for (const indexKey of new Set(this.#keysOf(after, key))) {
        left.delete(indexKey);
        this.#bucket(indexKey).set(key, after);
        this.#tell(indexKey);
      }
    }
    for (const indexKey of left) {
      const bucket = this.#bucket(indexKey);
      bucket.delete(key);
      if (bucket.members.size === 0) this.#buckets.delete(indexKey);
      this.#tell(indexKey);
    }
  }

  #bucket(key: string): Bucket<V> {
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      bucket = new Bucket();
      this.#buckets.set(key, bucket);
    }
    return bucket;
  }

  #tell(key: string): void {
    this.dependents.touch(key);
    for (const follower of this.#followers) follower(key);
  }
}

/** The keys of indexes, as a collection: each is its own value. */
export class IndexKeys extends GraphCollection<string> {
  readonly #indexes: readonly ValueIndex<unknown>[];
  #dirty = new Set<string>();

  constructor(name: string, order: number, indexes: readonly ValueIndex<unknown>[]) {
    super(name, order);
    this.#indexes = indexes;
    for (const index of indexes) index.follow((key) => this.#dirty.add(key));
  }

  settle(): void {
    if (this.#dirty.size === 0) return;
    const dirty = this.#dirty;
    this.#dirty = new Set();
    for (const key of dirty) {
      const isThere = this.#indexes.some((index) => index.has(key));
      this.publish(key, isThere ? key : undefined);
    }
  }
}
