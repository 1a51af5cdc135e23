/**
 * A collection that follows from another one, input by input (laws 1 to 6 of `collection.ts`).
 *
 * For each input it keeps what was read and what came out. Something read that changes marks the
 * input; `settle` runs the transform again for the marked ones alone.
 */
import { isDeepStrictEqual } from "node:util";
import { assert } from "../../kit/assert.ts";
import {
  type Collection,
  type CollectionIndex,
  type Context,
  GraphCollection,
  type Transform,
} from "./collection.ts";
import type { ValueIndex } from "./collection-index.ts";
import { Dependents, type Reader, type ReaderSet } from "./dependents.ts";

export interface WorkCounter {
  recomputed: number;
}

/** What became of one input: its outputs, and what it read on the way. */
class Derivation<I, O> implements Reader {
  readonly key: string;
  readonly owner: DerivedCollection<I, O>;
  readonly reads: ReaderSet[] = [];
  outputs: ReadonlyMap<string, O> = NO_OUTPUTS;

  constructor(owner: DerivedCollection<I, O>, key: string) {
    this.owner = owner;
    this.key = key;
  }

  onTouched(): void {
    this.owner.mark(this.key);
  }
}

const NO_OUTPUTS: ReadonlyMap<string, never> = new Map<string, never>();

export class DerivedCollection<I, O> extends GraphCollection<O> implements Context {
  readonly #work: WorkCounter;
  readonly #input: GraphCollection<I>;
  readonly #transform: Transform<I, O>;
  readonly #derivations = new Map<string, Derivation<I, O>>();
  /** Which inputs yield a key, where there are several. */
  readonly #contested = new Map<string, Set<Derivation<I, O>>>();
  readonly #owners = new Map<string, Derivation<I, O>>();
  #dirty = new Set<string>();
  #current: Derivation<I, O> | undefined;

  constructor(
    name: string,
    order: number,
    input: GraphCollection<I>,
    transform: Transform<I, O>,
    work: WorkCounter,
  ) {
    super(name, order);
    this.#work = work;
    this.#input = input;
    this.#transform = transform;
    input.follow((key) => this.mark(key));
  }

  mark(key: string): void {
    this.#dirty.add(key);
  }

  settle(): void {
    if (this.#dirty.size === 0) return;
    const dirty = this.#dirty;
    this.#dirty = new Set();
    const touched = new Set<string>();
    for (const key of dirty) this.#recompute(key, touched);
    for (const key of touched) this.#show(key);
  }

  #recompute(key: string, touched: Set<string>): void {
    const input = this.#input.get(key);
    let derivation = this.#derivations.get(key);
    if (input === undefined) {
      if (derivation === undefined) return;
      this.#derivations.delete(key);
      Dependents.forget(derivation);
      this.#replaceOutputs(derivation, NO_OUTPUTS, touched);
      return;
    }
    if (derivation === undefined) {
      derivation = new Derivation(this, key);
      this.#derivations.set(key, derivation);
    }
    Dependents.forget(derivation);
    this.#work.recomputed++;
    this.#current = derivation;
    const outputs = new Map(this.#transform(this, input, key));
    this.#current = undefined;
    this.#replaceOutputs(derivation, outputs, touched);
  }

  fetch<V>(collection: Collection<V>, key: string): V | undefined {
    const target = collection as GraphCollection<V>;
    assert(target.order < this.order, `${this.name} reads ${target.name}, which is made later`);
    target.dependents.add(key, this.#current!);
    return target.get(key);
  }

  lookup<V>(index: CollectionIndex<V>, key: string): readonly V[] {
    const target = index as ValueIndex<V>;
    assert(target.order < this.order, `${this.name} reads ${target.name}, which is made later`);
    target.dependents.add(key, this.#current!);
    return target.lookup(key);
  }

  #replaceOutputs(
    derivation: Derivation<I, O>,
    outputs: Map<string, O> | typeof NO_OUTPUTS,
    touched: Set<string>,
  ): void {
    const before = derivation.outputs;
    for (const [key, value] of outputs) {
      const old = before.get(key);
      if (old === undefined) this.#claim(key, derivation);
      else if (isDeepStrictEqual(old, value)) {
        (outputs as Map<string, O>).set(key, old);
        continue;
      }
      touched.add(key);
    }
    for (const key of before.keys()) {
      if (outputs.has(key)) continue;
      this.#renounce(key, derivation);
      touched.add(key);
    }
    derivation.outputs = outputs.size === 0 ? NO_OUTPUTS : outputs;
  }

  #claim(key: string, derivation: Derivation<I, O>): void {
    const owner = this.#owners.get(key);
    if (owner === undefined) {
      this.#owners.set(key, derivation);
      return;
    }
    let rivals = this.#contested.get(key);
    if (rivals === undefined) {
      rivals = new Set([owner]);
      this.#contested.set(key, rivals);
    }
    rivals.add(derivation);
    if (derivation.key < owner.key) this.#owners.set(key, derivation);
  }

  #renounce(key: string, derivation: Derivation<I, O>): void {
    const rivals = this.#contested.get(key);
    if (rivals === undefined) {
      this.#owners.delete(key);
      return;
    }
    rivals.delete(derivation);
    let owner: Derivation<I, O> | undefined;
    for (const rival of rivals) if (owner === undefined || rival.key < owner.key) owner = rival;
    this.#owners.set(key, owner!);
    if (rivals.size === 1) this.#contested.delete(key);
  }

  #show(key: string): void {
    const after = this.#owners.get(key)?.outputs.get(key);
    const before = this.values.get(key);
    // Another input may have taken the key over with an equal value.
    if (before !== undefined && after !== undefined && isDeepStrictEqual(before, after)) return;
    this.publish(key, after);
  }
}
