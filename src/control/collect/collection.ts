/**
 * Incremental collections: maps from string keys to immutable values, of which some are sources and
 * the others follow from them by pure functions. A change recomputes only what read it.
 *
 * Laws:
 *   1. After `commit`, every derived collection is what a fresh build from the present sources
 *      would give, whatever happened before, and in whichever order.
 *   2. A transform is a pure function of its input and of what it read through its context.
 *      Everything it reads is tracked, also that a key was absent.
 *   3. It reads only collections made before its own, so one pass in order of making settles all.
 *   4. An output that equals (deeply) the previous one of its key keeps that one's identity
 *      (`===`), and nothing behind it is recomputed.
 *   5. Of several inputs that yield one key, the one with the smallest input key is shown.
 *   6. What a lookup returns is sorted by key and never changes afterwards.
 *   7. Between commits readers see the last committed state of derived collections.
 */
import { Dependents } from "./dependents.ts";

/** One value that came, went (`after` undefined) or was replaced. */
export interface Change<V> {
  readonly before: V | undefined;
  readonly after: V | undefined;
}

export interface Collection<V> {
  readonly name: string;
  readonly size: number;
  get(key: string): V | undefined;
  entries(): IterableIterator<[string, V]>;
  /** What the last commit changed. */
  readonly changes: ReadonlyMap<string, Change<V>>;
}

/** The values of a collection under other keys than their own. */
export interface CollectionIndex<V> {
  readonly name: string;
  /** Sorted by the values' own keys. */
  lookup(key: string): readonly V[];
}

/** What a transform may read. */
export interface Context {
  fetch<V>(collection: Collection<V>, key: string): V | undefined;
  lookup<V>(index: CollectionIndex<V>, key: string): readonly V[];
}

export type Transform<I, O> = (
  context: Context,
  input: I,
  key: string,
) => Iterable<readonly [string, O]>;

/** A collection as the graph drives it. */
export abstract class GraphCollection<V> implements Collection<V> {
  readonly name: string;
  /** Place in the order of making. */
  readonly order: number;
  readonly dependents = new Dependents();
  protected readonly values = new Map<string, V>();
  #changes = new Map<string, Change<V>>();
  readonly #followers: ((key: string, change: Change<V>) => void)[] = [];

  constructor(name: string, order: number) {
    this.name = name;
    this.order = order;
  }

  get size(): number {
    return this.values.size;
  }

  get(key: string): V | undefined {
    return this.values.get(key);
  }

  entries(): IterableIterator<[string, V]> {
    return this.values.entries();
  }

  get changes(): ReadonlyMap<string, Change<V>> {
    return this.#changes;
  }

  /** Called with each change; only while the graph is built. */
  follow(follower: (key: string, change: Change<V>) => void): void {
    for (const [key, after] of this.values) follower(key, { before: undefined, after });
    this.#followers.push(follower);
  }

  forgetChanges(): void {
    if (this.#changes.size > 0) this.#changes = new Map();
  }

  /** Brings the collection up to date with those before it. */
  abstract settle(): void;

  protected publish(key: string, after: V | undefined): void {
    const before = this.values.get(key);
    if (before === after) return;
    if (after === undefined) this.values.delete(key);
    else this.values.set(key, after);
    const change = { before, after };
    const earlier = this.#changes.get(key);
    this.#changes.set(key, earlier ? { before: earlier.before, after } : change);
    for (const follower of this.#followers) follower(key, change);
    this.dependents.touch(key);
  }
}

/** Values that come from outside. They change at once; what follows from them, at the commit. */
export class SourceCollection<V> extends GraphCollection<V> {
  set(key: string, value: V): void {
    this.publish(key, value);
  }

  delete(key: string): void {
    this.publish(key, undefined);
  }

  settle(): void {}
}
