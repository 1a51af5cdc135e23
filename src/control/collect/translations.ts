/**
 * How translations become collections: each object's own, with its status heard and everything that
 * it looked at noted.
 */
import type { KindName } from "../../api/kinds.ts";
import type { ParsedObject } from "../../api/object.ts";
import type { ObjectStatus } from "../../translate/findings.ts";
import type { Surroundings } from "../../translate/surroundings.ts";
import type { Collection, CollectionIndex, Context } from "./collection.ts";
import type { Graph } from "./graph.ts";
import type { MeshReads } from "./mesh-reads.ts";
import { TrackedSurroundings } from "./tracked-surroundings.ts";

export interface WithStatus {
  readonly status: ObjectStatus | undefined;
}

export class Translations {
  readonly #graph: Graph;
  readonly #reads: MeshReads;
  readonly #statuses: Collection<ObjectStatus>[];

  constructor(graph: Graph, reads: MeshReads, first: Collection<ObjectStatus>) {
    this.#graph = graph;
    this.#reads = reads;
    this.#statuses = [first];
  }

  /** Of all objects that were translated. */
  statuses(): Collection<ObjectStatus> {
    return this.#graph.union("statuses", this.#statuses);
  }

  /**
   * Translates each object, and sees to it that its status is heard. Where one object is translated
   * twice, `part` keeps the statuses apart.
   */
  translate<T, O extends WithStatus>(
    kind: KindName,
    input: Collection<ParsedObject<T>>,
    translate: (object: ParsedObject<T>, near: Surroundings) => O,
    part = "",
  ): Collection<O> {
    const name = `${kind}#${this.#statuses.length}`;
    const translated = this.derive(name, input, (near, object, key) => [
      [key, translate(object, near)] as const,
    ]);
    this.#statuses.push(
      this.#graph.derive(`${name} status`, translated, (_context, { status }, key) =>
        status === undefined ? [] : [[`${kind}/${key}${part}`, status]],
      ),
    );
    return translated;
  }

  derive<I, O>(
    name: string,
    input: Collection<I>,
    transform: (near: Surroundings, input: I, key: string) => Iterable<readonly [string, O]>,
  ): Collection<O> {
    return this.#graph.derive(name, input, (context, value, key) =>
      transform(this.near(context), value, key),
    );
  }

  near(context: Context): Surroundings {
    return new TrackedSurroundings(context, this.#reads);
  }

  /** Values under other keys, as lists in the order of their own. */
  group<V>(
    name: string,
    input: Collection<V>,
    keysOf: (value: V) => Iterable<string>,
  ): Collection<readonly V[]> {
    const index: CollectionIndex<V> = this.#graph.index(`${name} index`, input, keysOf);
    const keys = this.#graph.keys(`${name} keys`, [index]);
    return this.#graph.derive(name, keys, (context, key) => [[key, context.lookup(index, key)]]);
  }
}
