/**
 * The graph of collections: where they are made, in order, and where a batch of changes is settled.
 */
import { isDeepStrictEqual } from "node:util";
import {
  type Collection,
  type CollectionIndex,
  GraphCollection,
  SourceCollection,
  type Transform,
} from "./collection.ts";
import { IndexKeys, ValueIndex } from "./collection-index.ts";
import { DerivedCollection, type WorkCounter } from "./derived-collection.ts";

/** Several collections as one. Where they share a key, the first that has it is shown. */
class UnionCollection<V> extends GraphCollection<V> {
  readonly #parts: readonly GraphCollection<V>[];
  #dirty = new Set<string>();

  constructor(name: string, order: number, parts: readonly GraphCollection<V>[]) {
    super(name, order);
    this.#parts = parts;
    for (const part of parts) part.follow((key) => this.#dirty.add(key));
  }

  settle(): void {
    const dirty = this.#dirty;
    if (dirty.size === 0) return;
    this.#dirty = new Set();
    for (const key of dirty) {
      const part = this.#parts.find((p) => p.get(key) !== undefined);
      this.publish(key, part?.get(key));
    }
  }
}

/** A part of each value, under the same key. It reads nothing else, and so needs no bookkeeping. */
class SelectedCollection<I, O> extends GraphCollection<O> {
  readonly #input: GraphCollection<I>;
  readonly #select: (input: I) => O | undefined;
  readonly #work: WorkCounter;
  #dirty = new Set<string>();

  constructor(
    name: string,
    order: number,
    input: GraphCollection<I>,
    select: (input: I) => O | undefined,
    work: WorkCounter,
  ) {
    super(name, order);
    this.#input = input;
    this.#select = select;
    this.#work = work;
    input.follow((key) => this.#dirty.add(key));
  }

  settle(): void {
    if (this.#dirty.size === 0) return;
    const dirty = this.#dirty;
    this.#dirty = new Set();
    for (const key of dirty) {
      const input = this.#input.get(key);
      if (input !== undefined) this.#work.recomputed++;
      const after = input === undefined ? undefined : this.#select(input);
      if (!isDeepStrictEqual(this.get(key), after)) this.publish(key, after);
    }
  }
}

/** What the graph drives. */
interface Settling {
  settle(): void;
  forgetChanges(): void;
}

/** All collections that belong together, in order of making. */
export class Graph {
  readonly #collections: Settling[] = [];
  readonly #work: WorkCounter = { recomputed: 0 };
  #order = 0;

  /** How often a transform has run since the beginning. */
  get recomputed(): number {
    return this.#work.recomputed;
  }

  source<V>(name: string): SourceCollection<V> {
    return this.#add(new SourceCollection<V>(name, this.#order++));
  }

  derive<I, O>(name: string, input: Collection<I>, transform: Transform<I, O>): Collection<O> {
    const from = input as GraphCollection<I>;
    return this.#add(new DerivedCollection(name, this.#order++, from, transform, this.#work));
  }

  /** A part of each value, or none (`undefined`). */
  select<I, O>(
    name: string,
    input: Collection<I>,
    select: (input: I) => O | undefined,
  ): Collection<O> {
    const from = input as GraphCollection<I>;
    return this.#add(new SelectedCollection(name, this.#order++, from, select, this.#work));
  }

  union<V>(name: string, parts: readonly Collection<V>[]): Collection<V> {
    return this.#add(new UnionCollection(name, this.#order++, parts as GraphCollection<V>[]));
  }

  /** The values of a collection by other keys than their own; a value may stand under several. */
  index<V>(
    name: string,
    collection: Collection<V>,
    keysOf: (value: V, key: string) => Iterable<string>,
  ): CollectionIndex<V> {
    const index = new ValueIndex<V>(name, this.#order++, keysOf);
    (collection as GraphCollection<V>).follow((key, change) => index.update(key, change));
    return index;
  }

  /** The keys under which at least one of the indexes has something, as a collection. */
  keys(name: string, indexes: readonly CollectionIndex<unknown>[]): Collection<string> {
    const parts = indexes as readonly ValueIndex<unknown>[];
    return this.#add(new IndexKeys(name, this.#order++, parts));
  }

  /** Settles everything that follows from changed sources. */
  commit(): void {
    for (const collection of this.#collections) collection.settle();
  }

  /** To be called when the changes of a commit have been read, before sources change again. */
  forgetChanges(): void {
    for (const collection of this.#collections) collection.forgetChanges();
  }

  #add<C extends Settling>(collection: C): C {
    this.#collections.push(collection);
    return collection;
  }
}
