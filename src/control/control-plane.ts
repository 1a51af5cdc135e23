/**
 * The control plane: objects in, Snapshots out.
 *
 * `apply` takes one batch of changed objects, lets the graph of collections recompute what
 * depends on them, and swaps in the next Snapshot if anything in it is different (D2). What is
 * wrong with the objects, and the conditions they would show in Kubernetes, can be asked for at
 * any time.
 */
import { type AnalyzedMesh, analyze } from "../analyze/analyze.ts";
import { KINDS, type KindName } from "../api/kinds.ts";
import type { ObjectChange, ParsedObject } from "../api/object.ts";
import type { Diagnostic } from "../kit/diagnostic.ts";
import { ShardedMap } from "../kit/sharded-map.ts";
import { DEFAULT_SETTINGS, type MeshSettings } from "../model/settings.ts";
import type { Index, Snapshot, SnapshotSource } from "../model/snapshot.ts";
import type { ObjectStatus } from "../translate/findings.ts";
import type { FetchedJwks } from "../translate/jwks.ts";
import { compareText, keyOf, objectKey } from "../translate/object-names.ts";
import type { JwksRequest } from "../translate/request-authentications.ts";
import type { Enrolment } from "../translate/workloads.ts";
import type { Collection } from "./collect/collection.ts";
import { Graph } from "./collect/graph.ts";
import { type MeshCollections, makeMeshCollections } from "./collect/mesh-collections.ts";
import { ONLY } from "./collect/mesh-reads.ts";

export interface ControlPlaneOptions {
  /**
   * How a Pod is known to be in the mesh: by the annotation that Istio's CNI writes, or (where no
   * CNI is: files) by the label `istio.io/dataplane-mode` of its namespace or its own.
   */
  readonly enrolment: Enrolment;
  /** What a mesh without a MeshConfig has. */
  readonly defaults?: Partial<MeshSettings>;
}

/** The indexes of a Snapshot. */
const INDEXES = [
  "workloads",
  "services",
  "endpoints",
  "addresses",
  "waypoints",
  "policies",
  "authentications",
  "l4Policies",
  "l4PoliciesByNamespace",
  "routes",
] as const satisfies readonly (keyof Snapshot & keyof MeshCollections)[];

type Indexes = { readonly [K in (typeof INDEXES)[number]]: ShardedMap<unknown> };

export class ControlPlane implements SnapshotSource {
  readonly enrolment: Enrolment;
  readonly #graph = new Graph();
  readonly #mesh: MeshCollections;
  readonly #listeners = new Set<(snapshot: Snapshot, previous: Snapshot) => void>();
  readonly #jwksRequests = new Map<string, JwksRequest>();
  readonly #jwksListeners = new Set<() => void>();
  readonly #conditionListeners = new Set<(keys: readonly string[]) => void>();
  readonly #changeListeners = new Set<(change: ObjectChange) => void>();
  #current: Snapshot;
  #conditions: ShardedMap<ObjectStatus> = ShardedMap.empty();
  #diagnostics: readonly Diagnostic[] | undefined;

  constructor(options: ControlPlaneOptions) {
    const defaults = { ...DEFAULT_SETTINGS, ...options.defaults };
    this.enrolment = options.enrolment;
    this.#mesh = makeMeshCollections(this.#graph, {
      enrolment: options.enrolment,
      defaults,
    });
    const empty = ShardedMap.empty<never>();
    const indexes = Object.fromEntries(INDEXES.map((name) => [name, empty]));
    this.#current = { revision: 0, settings: defaults, ...indexes } as unknown as Snapshot;
  }

  get current(): Snapshot {
    return this.#current;
  }

  /** One batch: at most one new Snapshot. */
  apply(change: ObjectChange): void {
    const { sources } = this.#mesh;
    for (const { kind, namespace, name } of change.removed) {
      sources.of(kind).delete(objectKey(KINDS[kind].isNamespaced ? namespace : "", name));
    }
    for (const object of change.upserted) sources.of(object.kind).set(keyOf(object), object);
    this.#recompute();
    for (const listener of [...this.#changeListeners]) listener(change);
  }

  /** Keys of an issuer have been fetched, or could not be (`jwksRequests`). */
  applyJwks(key: string, fetched: FetchedJwks): void {
    this.#mesh.sources.jwks.set(key, fetched);
    this.#recompute();
  }

  #recompute(): void {
    this.#graph.commit();
    const { jwksRequests } = this.#mesh;
    const isOtherJwks = jwksRequests.changes.size > 0;
    for (const [key, { after }] of jwksRequests.changes) {
      if (after === undefined) this.#jwksRequests.delete(key);
      else this.#jwksRequests.set(key, after);
    }
    const toldAnew = [...this.#mesh.statuses.changes.keys()];
    this.#conditions = edited(this.#conditions, this.#mesh.statuses);
    this.#diagnostics = undefined;
    const previous = this.#current;
    this.#swap();
    this.#graph.forgetChanges();
    if (this.#current !== previous) {
      for (const listener of [...this.#listeners]) listener(this.#current, previous);
    }
    if (toldAnew.length > 0) {
      for (const listener of [...this.#conditionListeners]) listener(toldAnew);
    }
    if (isOtherJwks) for (const listener of [...this.#jwksListeners]) listener();
  }

  /** The keys of issuers that are to be fetched, by the key that `applyJwks()` takes. */
  get jwksRequests(): ReadonlyMap<string, JwksRequest> {
    return this.#jwksRequests;
  }

  /** Calls back when others are to be fetched. */
  onJwksRequests(listener: () => void): () => void {
    this.#jwksListeners.add(listener);
    return () => this.#jwksListeners.delete(listener);
  }

  #swap(): void {
    const previous = this.#current;
    const before = previous as unknown as Indexes;
    const indexes: Partial<Record<keyof Indexes, ShardedMap<unknown>>> = {};
    let isDifferent = false;
    for (const name of INDEXES) {
      const collection = this.#mesh[name] as Collection<unknown>;
      const index = edited(before[name], collection);
      indexes[name] = index;
      if (index !== before[name]) isDifferent = true;
    }
    const settings = this.#mesh.settings.get(ONLY) ?? previous.settings;
    if (!isDifferent && settings === previous.settings) return;
    const { revision } = previous;
    this.#current = { revision: revision + 1, settings, ...indexes } as unknown as Snapshot;
  }

  subscribe(listener: (snapshot: Snapshot, previous: Snapshot) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** All that is wrong at present, sorted by file and line. */
  get diagnostics(): readonly Diagnostic[] {
    if (this.#diagnostics === undefined) {
      const found = [...this.#conditions.values()].flatMap((status) => status.diagnostics);
      this.#diagnostics = analyze(this.#analyzed(), found).toSorted(compareDiagnostics);
    }
    return this.#diagnostics;
  }

  #analyzed(): AnalyzedMesh {
    const { sources } = this.#mesh;
    return {
      snapshot: this.#current,
      objects: (kind) => sources.of<never>(kind).entries(),
      object: (kind, key) => sources.of<never>(kind).get(key),
    };
  }

  /**
   * What each object's status would say, by `<Kind>/<ns>/<name>`; objects without any are not
   * there.
   */
  get conditions(): Index<ObjectStatus> {
    return this.#conditions;
  }

  /** Calls back with the keys of `conditions` whose entry is another one, after the Snapshot. */
  onConditions(listener: (keys: readonly string[]) => void): () => void {
    this.#conditionListeners.add(listener);
    return () => this.#conditionListeners.delete(listener);
  }

  /** Calls back with each batch of objects, when it is in force. */
  onChange(listener: (change: ObjectChange) => void): () => void {
    this.#changeListeners.add(listener);
    return () => this.#changeListeners.delete(listener);
  }

  /** An object as it is in force, by `<ns>/<name>` or name. */
  object<T>(kind: KindName, key: string): ParsedObject<T> | undefined {
    return this.#mesh.sources.of<T>(kind).get(key);
  }

  /** All of a kind, by key. */
  objects<T>(kind: KindName): Iterable<readonly [string, ParsedObject<T>]> {
    return this.#mesh.sources.of<T>(kind).entries();
  }

  /** How many objects have been recomputed since the start. */
  get recomputedObjects(): number {
    return this.#graph.recomputed;
  }
}

function edited<V>(index: ShardedMap<V>, { changes }: Collection<V>): ShardedMap<V> {
  if (changes.size === 0) return index;
  const edit = index.edit();
  for (const [key, { after }] of changes) {
    if (after === undefined) edit.delete(key);
    else edit.set(key, after);
  }
  return edit.finish();
}

function compareDiagnostics(a: Diagnostic, b: Diagnostic): number {
  return (
    compareText(a.file ?? "", b.file ?? "") ||
    (a.line ?? 0) - (b.line ?? 0) ||
    (a.column ?? 0) - (b.column ?? 0) ||
    compareText(a.object ?? "", b.object ?? "") ||
    compareText(a.message, b.message)
  );
}
