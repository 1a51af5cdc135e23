/** A source of objects, and what it tells. */
import type { ObjectChange, ObjectKey, ParsedObject } from "../../src/api/object.ts";
import type { ObjectSource } from "../../src/control/source/object-source.ts";

const WAIT_MS = 10_000;

export class WatchedSource<S extends ObjectSource = ObjectSource> {
  readonly source: S;
  readonly changes: ObjectChange[] = [];
  /** All of the changes so far, applied: what is in force. */
  readonly objects = new Map<string, ParsedObject>();
  first: ObjectChange = { upserted: [], removed: [] };
  #wake: () => void = () => {};

  static async start<S extends ObjectSource>(source: S): Promise<WatchedSource<S>> {
    const watched = new WatchedSource(source);
    const { change } = await source.start();
    watched.first = change;
    watched.#apply(change);
    return watched;
  }

  constructor(source: S) {
    this.source = source;
    source.subscribe((change) => {
      this.#apply(change);
      this.changes.push(change);
      this.#wake();
    });
  }

  /** The next change that `isWanted`; those before it are dropped. */
  async next(isWanted: (change: ObjectChange) => boolean = () => true): Promise<ObjectChange> {
    const endMs = performance.now() + WAIT_MS;
    for (;;) {
      const change = this.changes.shift();
      if (change !== undefined && isWanted(change)) return change;
      if (change !== undefined) continue;
      const leftMs = endMs - performance.now();
      if (leftMs <= 0) throw new Error("no such change came");
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  get codes(): string[] {
    return this.source.diagnostics.map((d) => d.code);
  }

  #apply({ upserted, removed }: ObjectChange): void {
    for (const { kind, namespace, name } of removed) {
      this.objects.delete(`${kind}/${namespace}/${name}`);
    }
    for (const object of upserted) {
      const { namespace = "", name } = object.value.metadata;
      this.objects.set(`${object.kind}/${namespace}/${name}`, object);
    }
  }
}

export const names = (objects: readonly ParsedObject[]) =>
  objects.map((o) => o.value.metadata.name);

export const keys = (removed: readonly ObjectKey[]) =>
  removed.map((k) => `${k.kind}/${k.namespace}/${k.name}`);

export const hasObjects = (change: ObjectChange) =>
  change.upserted.length + change.removed.length > 0;
