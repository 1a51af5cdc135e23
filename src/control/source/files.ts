/**
 * Configuration from files and folders, watched (D11).
 *
 * A change is applied whole or not at all: while any file of it does not parse, breaks its schema,
 * or describes an object that another file describes too, the objects that were in force stay, and
 * the diagnostics say why. The first load is no exception: it then fails.
 */
import { isDeepStrictEqual } from "node:util";
import { KINDS } from "../../api/kinds.ts";
import type { ObjectChange, ObjectKey, ParsedObject, Position } from "../../api/object.ts";
import { type Diagnostic, diagnostic, isRefusing } from "../../kit/diagnostic.ts";
import { Failure } from "../../kit/failure.ts";
import { log } from "../../kit/log.ts";
import { FileReader, type Listing } from "./file-reader.ts";
import { FolderWatch } from "./folder-watch.ts";
import { type LoadResult, NO_CHANGE, type ObjectSource } from "./object-source.ts";

export class FileSource implements ObjectSource {
  readonly #reader: FileReader;
  readonly #watch = new FolderWatch(() => this.#reload());
  readonly #listeners = new Set<(change: ObjectChange) => void>();
  /** What is in force, by key. */
  #objects: ReadonlyMap<string, ParsedObject> = new Map();
  #diagnostics: readonly Diagnostic[] = [];
  /** One load at a time. */
  #loading: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(paths: readonly string[]) {
    this.#reader = new FileReader(paths);
  }

  /** What is wrong with the files as they are now. */
  get diagnostics(): readonly Diagnostic[] {
    return this.#diagnostics;
  }

  /** Reads everything and watches from then on. Throws CONFIGURATION_INVALID when refused. */
  async start(): Promise<LoadResult> {
    const loaded = this.#load();
    this.#loading = loaded.then(
      () => undefined,
      () => undefined,
    );
    const change = await loaded;
    if (change !== undefined) return { change };
    this.close();
    const count = this.#diagnostics.filter(isRefusing).length;
    const what = count === 1 ? "an error" : `${count} errors`;
    throw new Failure("CONFIGURATION_INVALID", `the configuration has ${what}`);
  }

  subscribe(listener: (change: ObjectChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#isClosed = true;
    this.#watch.close();
  }

  /** The change that the files make; `undefined` when it is refused. */
  async #load(): Promise<ObjectChange | undefined> {
    const read = await this.#reader.read(await this.#listWatched());
    if (typeof read === "number") {
      this.#watch.remind(read);
      return NO_CHANGE;
    }
    const diagnostics = [...read.diagnostics];
    const objects = new Map<string, ParsedObject>();
    for (const file of read.files) {
      diagnostics.push(...file.diagnostics);
      for (const object of file.objects) {
        const key = keyText(keyOf(object));
        const other = objects.get(key);
        if (other === undefined) objects.set(key, object);
        else diagnostics.push(duplicate(object, other));
      }
    }
    this.#diagnostics = diagnostics;
    if (diagnostics.some(isRefusing)) return undefined;
    return this.#swap(objects);
  }

  /** What is listed is watched already: an edit is read twice rather than missed. */
  async #listWatched(): Promise<Listing> {
    let listing = await this.#reader.list();
    for (let round = 0; round < LISTINGS_MAX && this.#watch.set(listing.interests); round++) {
      listing = await this.#reader.list();
    }
    return listing;
  }

  /** Puts the new objects in force; those that say the same as before keep their values. */
  #swap(objects: Map<string, ParsedObject>): ObjectChange {
    const upserted: ParsedObject[] = [];
    const removed: ObjectKey[] = [];
    for (const [key, object] of objects) {
      const before = this.#objects.get(key);
      if (before === undefined) {
        upserted.push(object);
        continue;
      }
      const isEqual = isDeepStrictEqual(before.value, object.value);
      const kept = isEqual ? withValueOf(object, before) : object;
      objects.set(key, kept);
      if (!isEqual || !isSamePlace(before.position, object.position)) upserted.push(kept);
    }
    for (const [key, before] of this.#objects) if (!objects.has(key)) removed.push(keyOf(before));
    this.#objects = objects;
    return { upserted, removed };
  }

  #reload(): void {
    this.#loading = this.#loading.then(() => this.#loadAgain());
  }

  async #loadAgain(): Promise<void> {
    if (this.#isClosed) return;
    const before = this.#diagnostics;
    try {
      const change = await this.#load();
      const isEmpty = change && change.upserted.length === 0 && change.removed.length === 0;
      if (this.#isClosed || (isEmpty && isDeepStrictEqual(before, this.#diagnostics))) return;
      // A refused edit changes nothing; listeners look at the diagnostics.
      for (const listener of this.#listeners) listener(change ?? NO_CHANGE);
    } catch (caught) {
      log("files").error({ caught }, "the files could not be read");
    }
  }
}

/** While somebody makes folders faster than we list them. */
const LISTINGS_MAX = 8;

function isSamePlace(one: Position, other: Position): boolean {
  return one.file === other.file && one.line === other.line && one.column === other.column;
}

function withValueOf(object: ParsedObject, before: ParsedObject): ParsedObject {
  if (object.value === before.value) return object;
  return {
    kind: object.kind,
    value: before.value,
    position: object.position,
    positionOf: (path) => object.positionOf(path),
  };
}

function keyOf(object: ParsedObject): ObjectKey {
  const { name, namespace } = object.value.metadata;
  const isNamespaced = KINDS[object.kind].isNamespaced;
  return { kind: object.kind, namespace: isNamespaced ? (namespace ?? "default") : "", name };
}

function keyText({ kind, namespace, name }: ObjectKey): string {
  return `${kind}/${namespace}/${name}`;
}

function labelOf(object: ParsedObject): string {
  const { kind, namespace, name } = keyOf(object);
  return `${kind} ${namespace === "" ? name : `${namespace}/${name}`}`;
}

function duplicate(object: ParsedObject, other: ParsedObject): Diagnostic {
  const { file, line } = other.position;
  const message = `the same object stands in ${file}:${line} already; remove one of the two`;
  return diagnostic("WS0004", message, { object: labelOf(object), ...object.position });
}
