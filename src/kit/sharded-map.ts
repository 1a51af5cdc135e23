/**
 * A persistent map with string keys: an edit leaves the old map as it was and shares with it every
 * piece that it did not touch.
 *
 * The entries lie in shards by the hash of their key. An edit copies each touched shard once, so
 * one change among 50,000 entries copies about a hundred of them; `get` stays one hash and one
 * look. A value that is set to itself (`===`) and a key that is deleted in vain change nothing,
 * and an edit that changed nothing gives back the very same map.
 */
type Shard<V> = ReadonlyMap<string, V>;

/**
 * A power of two: large enough that a shard of a big mesh is small, small enough to copy the
 * list.
 */
const SHARDS = 512;

const NOTHING: Shard<never> = new Map<string, never>();

export class ShardedMap<V> {
  readonly size: number;
  readonly #shards: readonly Shard<V>[];

  private constructor(shards: readonly Shard<V>[], size: number) {
    this.#shards = shards;
    this.size = size;
  }

  static empty<V>(): ShardedMap<V> {
    return new ShardedMap<V>(new Array<Shard<V>>(SHARDS).fill(NOTHING), 0);
  }

  static from<V>(entries: Iterable<readonly [string, V]>): ShardedMap<V> {
    const edit = ShardedMap.empty<V>().edit();
    for (const [key, value] of entries) edit.set(key, value);
    return edit.finish();
  }

  get(key: string): V | undefined {
    return this.#shards[shardOf(key)]!.get(key);
  }

  has(key: string): boolean {
    return this.#shards[shardOf(key)]!.has(key);
  }

  *entries(): IterableIterator<[string, V]> {
    for (const shard of this.#shards) yield* shard.entries();
  }

  *values(): IterableIterator<V> {
    for (const shard of this.#shards) yield* shard.values();
  }

  *keys(): IterableIterator<string> {
    for (const shard of this.#shards) yield* shard.keys();
  }

  /** The shards that are not the same ones as in the other map: theirs and ours. */
  *unsharedShards(other: ShardedMap<V>): Iterable<readonly [Shard<V>, Shard<V>]> {
    for (let i = 0; i < SHARDS; i++) {
      const [theirs, ours] = [other.#shards[i]!, this.#shards[i]!];
      if (theirs !== ours) yield [theirs, ours];
    }
  }

  /** Starts a batch of changes; this map never sees them. */
  edit(): ShardedMapEdit<V> {
    return new ShardedMapEdit(this, this.#shards, this.size, (shards, size) => {
      return new ShardedMap(shards, size);
    });
  }
}

/** What `differences` compares: any map that can be asked and walked. */
interface Readable<V> {
  get(key: string): V | undefined;
  entries(): Iterable<[string, V]>;
}

/**
 * What is another value in `now` than in `before`, by key; undefined: it is gone. Of two sharded
 * maps that share shards only the others are looked at.
 */
export function differences<V>(
  before: Readable<V>,
  now: Readable<V>,
): ReadonlyMap<string, V | undefined> {
  const found = new Map<string, V | undefined>();
  if (before === now) return found;
  const pairs =
    before instanceof ShardedMap && now instanceof ShardedMap
      ? (now as ShardedMap<V>).unsharedShards(before as ShardedMap<V>)
      : [[before, now] as const];
  for (const [old, fresh] of pairs) {
    for (const [key, value] of fresh.entries()) {
      if (old.get(key) !== value) found.set(key, value);
    }
    for (const [key] of old.entries()) {
      if (fresh.get(key) === undefined) found.set(key, undefined);
    }
  }
  return found;
}

/** One batch: call `set` and `delete`, then `finish`, once. */
export class ShardedMapEdit<V> {
  readonly #before: ShardedMap<V>;
  readonly #shards: Shard<V>[];
  /** The shards that are ours to write. */
  readonly #own = new Map<number, Map<string, V>>();
  readonly #make: (shards: readonly Shard<V>[], size: number) => ShardedMap<V>;
  #size: number;

  constructor(
    before: ShardedMap<V>,
    shards: readonly Shard<V>[],
    size: number,
    make: (shards: readonly Shard<V>[], size: number) => ShardedMap<V>,
  ) {
    this.#before = before;
    this.#shards = shards.slice();
    this.#size = size;
    this.#make = make;
  }

  set(key: string, value: V): void {
    const index = shardOf(key);
    const shard = this.#shards[index]!;
    const before = shard.get(key);
    const isNew = before === undefined && !shard.has(key);
    if (!isNew && before === value) return;
    if (isNew) this.#size++;
    this.#writable(index).set(key, value);
  }

  delete(key: string): void {
    const index = shardOf(key);
    if (!this.#shards[index]!.has(key)) return;
    this.#size--;
    this.#writable(index).delete(key);
  }

  finish(): ShardedMap<V> {
    return this.#own.size === 0 ? this.#before : this.#make(this.#shards, this.#size);
  }

  /** How many entries have been copied for this batch. */
  get copiedEntries(): number {
    let sum = 0;
    for (const shard of this.#own.values()) sum += shard.size;
    return sum;
  }

  #writable(index: number): Map<string, V> {
    const own = this.#own.get(index);
    if (own !== undefined) return own;
    const copy = new Map(this.#shards[index]!);
    this.#own.set(index, copy);
    this.#shards[index] = copy;
    return copy;
  }
}

/**
 * FNV-1a over UTF-16 code units. Keys are names of objects: nobody gains by making them collide.
 */
function shardOf(key: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) {
    hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  }
  return (hash ^ (hash >>> 15)) & (SHARDS - 1);
}
