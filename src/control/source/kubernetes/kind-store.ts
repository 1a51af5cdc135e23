/**
 * The objects of one kind as the API server tells them, whatever order they come in.
 *
 * Versions (`resourceVersion`) only grow, so an event that is not newer than what is held is a
 * repetition or late, and is passed over; those that were deleted are remembered for a while for
 * the same reason. A list says everything: after it, what it does not name is gone.
 */
import { isDeepStrictEqual } from "node:util";
import { KINDS, type KindName } from "../../../api/kinds.ts";
import type { KubeObject, ParsedObject } from "../../../api/object.ts";
import type { Diagnostic } from "../../../kit/diagnostic.ts";
import { readObject, standIn, unusable } from "./object-reader.ts";

interface Entry {
  readonly version: string;
  /** The last version that could be used, or what stands in for it. */
  readonly object: ParsedObject | undefined;
  /** Of the object as it is now; one that was deleted and made anew has another. */
  readonly uid: string | undefined;
  /** False: `object` is a stand-in, or there is none. */
  readonly isOwn: boolean;
  readonly observed: Observed;
}

/** What is known of an object beside what it means: what a writer of its status needs. */
export interface Observed {
  readonly apiVersion: string;
  readonly version: string;
  readonly uid: string | undefined;
  readonly generation: number | undefined;
  /** Undefined also for kinds whose status nobody here writes. */
  readonly status: unknown;
}

/** An object as it came, without what is not needed. */
export interface VersionedObject {
  readonly value: KubeObject;
  readonly version: string;
  readonly status?: unknown;
}

const DELETED_MAX = 10_000;

export class KindStore {
  readonly kind: KindName;
  readonly #onTouch: (key: string, before: ParsedObject | undefined) => void;
  readonly #onStatus: (key: string) => void;
  readonly #entries = new Map<string, Entry>();
  readonly #diagnostics = new Map<string, readonly Diagnostic[]>();
  /** Oldest first. */
  readonly #deleted = new Map<string, string>();

  /**
   * `onTouch` hears of each object that is another one now, and which it was before; `onStatus` of
   * each whose version or status is.
   */
  constructor(
    kind: KindName,
    onTouch: (key: string, before: ParsedObject | undefined) => void,
    onStatus: (key: string) => void = () => {},
  ) {
    this.kind = kind;
    this.#onTouch = onTouch;
    this.#onStatus = onStatus;
  }

  get(key: string): ParsedObject | undefined {
    return this.#entries.get(key)?.object;
  }

  /** The newest version, whether it can be used or not. */
  observed(key: string): Observed | undefined {
    return this.#entries.get(key)?.observed;
  }

  get objects(): readonly ParsedObject[] {
    return [...this.#entries.values()].flatMap(({ object }) => object ?? []);
  }

  get diagnostics(): readonly Diagnostic[] {
    return [...this.#diagnostics.values()].flat();
  }

  keyOf({ metadata }: KubeObject): string {
    return KINDS[this.kind].isNamespaced ? `${metadata.namespace}/${metadata.name}` : metadata.name;
  }

  /** An event: the object is there now. */
  put(object: VersionedObject): void {
    const key = this.keyOf(object.value);
    const known = this.#entries.get(key)?.version ?? this.#deleted.get(key);
    if (known !== undefined && !isNewer(object.version, known)) return;
    this.#deleted.delete(key);
    this.#set(key, object);
  }

  /** An event: the object is gone. */
  remove({ value, version }: VersionedObject): void {
    const key = this.keyOf(value);
    const entry = this.#entries.get(key);
    // It has been made anew since.
    if (entry !== undefined && isNewer(entry.version, version)) return;
    this.#deleted.delete(key);
    this.#deleted.set(key, version);
    if (this.#deleted.size > DELETED_MAX) this.#deleted.delete(first(this.#deleted.keys()));
    this.#delete(key);
  }

  /** A list: everything that there is. */
  replace(objects: ReadonlyMap<string, VersionedObject>): void {
    this.#deleted.clear();
    for (const [key, object] of objects) {
      if (this.#entries.get(key)?.version !== object.version) this.#set(key, object);
    }
    for (const key of [...this.#entries.keys()]) if (!objects.has(key)) this.#delete(key);
  }

  #set(key: string, { value, version, status }: VersionedObject): void {
    const { apiVersion } = value;
    const { uid, generation } = value.metadata;
    const observed = { apiVersion, version, uid, generation, status };
    const entry = this.#entries.get(key);
    const before = entry?.object;
    const read = readObject(this.kind, value);
    if (read.object !== undefined) {
      const object = sameOr(before, read.object);
      this.#entries.set(key, { version, object, uid, isOwn: true, observed });
      this.#onStatus(key);
      this.#tell(key, before, object, read.diagnostics);
      return;
    }
    const hasLast = entry?.isOwn === true && entry.uid === uid;
    const object = hasLast ? before : sameOr(before, standIn(this.kind, value));
    this.#entries.set(key, { version, object, uid, isOwn: hasLast, observed });
    this.#onStatus(key);
    const instead = hasLast ? "last" : object === undefined ? "nothing" : "denies";
    this.#tell(key, before, object, unusable(read.diagnostics, value, instead));
  }

  #delete(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#onStatus(key);
    this.#tell(key, entry.object, undefined, []);
  }

  #tell(
    key: string,
    before: ParsedObject | undefined,
    now: ParsedObject | undefined,
    diagnostics: readonly Diagnostic[],
  ): void {
    const isSaid = isDeepStrictEqual(this.#diagnostics.get(key) ?? [], diagnostics);
    if (diagnostics.length === 0) this.#diagnostics.delete(key);
    else if (!isSaid) this.#diagnostics.set(key, diagnostics);
    if (before !== now || !isSaid) this.#onTouch(key, before);
  }
}

/** What says the same keeps its identity. */
function sameOr<T extends ParsedObject | undefined>(
  before: ParsedObject | undefined,
  now: T,
): ParsedObject | T {
  return before !== undefined && isDeepStrictEqual(before.value, now?.value) ? before : now;
}

function first<T>(values: Iterable<T>): T {
  const [value] = values;
  return value as T;
}

const NUMBER = /^\d+$/;

/**
 * Versions are decimal numbers that may exceed 2^53. One that is not a number cannot be compared:
 * it is taken as newer, for then events come in order or not at all.
 */
export function isNewer(version: string, than: string): boolean {
  if (!NUMBER.test(version) || !NUMBER.test(than)) return version !== than;
  return version.length === than.length ? version > than : version.length > than.length;
}
