/**
 * Objects of a Kubernetes API server, as they are and as they change:
 *
 *     API server ─ KindWatch, one for each kind ─ KindStore ─ batch ─> listeners
 *
 * What has been read stays in force while the server is away, and until it says something else.
 * The first change waits for all kinds: serving without the policies that are there would let
 * traffic pass. An object that cannot be used keeps its last usable version (D11).
 */
import { setMaxListeners } from "node:events";
import { KINDS, type KindName } from "../../../api/kinds.ts";
import type { ObjectChange, ObjectKey, ParsedObject } from "../../../api/object.ts";
import { loadSchemas } from "../../../api/schema.ts";
import type { Diagnostic } from "../../../kit/diagnostic.ts";
import { Failure } from "../../../kit/failure.ts";
import { type Logger, log } from "../../../kit/log.ts";
import { DEFAULT_SETTINGS } from "../../../model/settings.ts";
import { type LoadResult, NO_CHANGE, type ObjectSource } from "../object-source.ts";
import { ClusterAccess, type ClusterAccessOptions } from "./cluster-access.ts";
import { Discovery, type ServedKind } from "./discovery.ts";
import { Faults } from "./faults.ts";
import { KindStore, type Observed } from "./kind-store.ts";
import { KindWatch, type WatchTimings } from "./kind-watch.ts";
import { isRefusal, KubeClient } from "./kube-client.ts";
import { WATCHED_KINDS } from "./watched-kinds.ts";

export interface KubernetesTimings extends WatchTimings {
  /** Changes that come within it are one. */
  readonly batchMs: number;
  /** A server that is silent in the middle of an answer. */
  readonly silenceMs: number;
  /** What the server says of its kinds is good for so long. */
  readonly discoveryMs: number;
}

export interface KubernetesSourceOptions extends ClusterAccessOptions {
  /** Other than in production: tests cannot wait. */
  readonly timings?: Partial<KubernetesTimings>;
  readonly logger?: Logger;
}

/** docs/reference/kubernetes.md has them. */
export const TIMINGS: KubernetesTimings = {
  retryFirstMs: 200,
  retryMaxMs: 30_000,
  probeMs: 30_000,
  goneAfterMs: 60_000,
  lastedMs: 1_000,
  watchSeconds: 300,
  batchMs: 10,
  silenceMs: 30_000,
  discoveryMs: 5_000,
};

export class KubernetesSource implements ObjectSource {
  /** For others who ask the same server. */
  readonly client: KubeClient;
  readonly #access: ClusterAccess;
  readonly #timings: KubernetesTimings;
  readonly #stores: ReadonlyMap<KindName, KindStore>;
  readonly #log: Logger;
  readonly #faults: Faults;
  readonly #listeners = new Set<(change: ObjectChange) => void>();
  readonly #statusListeners = new Set<(kind: KindName, key: string) => void>();
  readonly #closing = new AbortController();
  /** What listeners were told last, of the objects that are others now, by kind and key. */
  readonly #touched = new Map<KindName, Map<string, ParsedObject | undefined>>();
  #batch: NodeJS.Timeout | undefined;
  #discovery: Discovery | undefined;
  #isStarted = false;

  constructor(options: KubernetesSourceOptions = {}) {
    this.#access = new ClusterAccess(options);
    this.#log = options.logger ?? log("kubernetes");
    this.#faults = new Faults(this.#log);
    this.#timings = { ...TIMINGS, ...options.timings };
    this.client = new KubeClient(this.#access, this.#timings.silenceMs);
    const store = (kind: KindName) =>
      new KindStore(
        kind,
        (key, before) => this.#onTouch(kind, key, before),
        (key) => {
          for (const listener of this.#statusListeners) listener(kind, key);
        },
      );
    this.#stores = new Map(WATCHED_KINDS.map((kind) => [kind, store(kind)]));
  }

  get diagnostics(): readonly Diagnostic[] {
    return [...this.#stores.values()].flatMap((store) => store.diagnostics);
  }

  /**
   * Resolves when every kind has been read or is known not to be there, however long that takes.
   * Throws KUBERNETES_ACCESS_INVALID when there is no way to any server.
   */
  async start(): Promise<LoadResult> {
    const { server } = await this.#access.authorized();
    this.#log.info({ server }, "reading objects");
    await loadSchemas(WATCHED_KINDS);
    const { signal } = this.#closing;
    // One for each request in progress, and each of them takes its own away.
    setMaxListeners(0, signal);
    const { discoveryMs, probeMs } = this.#timings;
    const { client } = this;
    const { rootNamespace } = DEFAULT_SETTINGS;
    const discovery = new Discovery({
      client,
      rootNamespace,
      roundMs: discoveryMs,
      probeMs,
      signal,
    });
    this.#discovery = discovery;
    const common = { client, discovery, faults: this.#faults, timings: this.#timings, signal };
    const watches = [...this.#stores].map(
      ([kind, store]) => new KindWatch({ kind, store, ...common }),
    );
    for (const watch of watches) {
      watch.run().catch((caught: unknown) => this.#log.error({ caught }, "a watch ended"));
    }
    await this.#allSettled(watches, discovery);
    this.#faults.started();
    clearTimeout(this.#batch);
    this.#batch = undefined;
    this.#touched.clear();
    this.#isStarted = true;
    const upserted = [...this.#stores.values()].flatMap((store) => store.objects);
    return { change: { upserted, removed: [] } };
  }

  /** Throws KUBERNETES_UNAVAILABLE when it is closed before. */
  async #allSettled(watches: readonly KindWatch[], discovery: Discovery): Promise<void> {
    const { signal } = this.#closing;
    for (;;) {
      const startMs = performance.now();
      await Promise.race([Promise.all(watches.map((watch) => watch.settled)), aborted(signal)]);
      if (signal.aborted) {
        throw new Failure("KUBERNETES_UNAVAILABLE", "given up before everything was read");
      }
      if (performance.now() - startMs < this.#timings.discoveryMs) return;
      // In so long a time definitions may have been installed, with policies of theirs.
      for (const watch of watches) watch.unsettle();
      discovery.forget();
      discovery.wake();
    }
  }

  /** An object as the server told it last; undefined: there is none. */
  observed(kind: KindName, key: string): Observed | undefined {
    return this.#stores.get(kind)?.observed(key);
  }

  /** Calls back with each object that has another version, status or all, or is gone. */
  onObserved(listener: (kind: KindName, key: string) => void): () => void {
    this.#statusListeners.add(listener);
    return () => this.#statusListeners.delete(listener);
  }

  /** Where the kind's objects are; undefined: the server does not have it, or does not say. */
  async served(kind: KindName): Promise<ServedKind | undefined> {
    const found = await this.#discovery?.find(kind);
    return found === undefined || isRefusal(found) ? undefined : found;
  }

  subscribe(listener: (change: ObjectChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#closing.abort();
    clearTimeout(this.#batch);
  }

  #onTouch(kind: KindName, key: string, before: ParsedObject | undefined): void {
    if (!this.#isStarted || this.#closing.signal.aborted) return;
    let keys = this.#touched.get(kind);
    if (keys === undefined) {
      keys = new Map();
      this.#touched.set(kind, keys);
    }
    if (!keys.has(key)) keys.set(key, before);
    this.#batch ??= setTimeout(() => this.#tell(), this.#timings.batchMs);
  }

  #tell(): void {
    this.#batch = undefined;
    const upserted: ParsedObject[] = [];
    const removed: ObjectKey[] = [];
    for (const [kind, keys] of this.#touched) {
      for (const [key, before] of keys) {
        const now = this.#stores.get(kind)?.get(key);
        if (now === before) continue;
        if (now === undefined) removed.push(objectKey(kind, key));
        else upserted.push(now);
      }
    }
    this.#touched.clear();
    const isEmpty = upserted.length === 0 && removed.length === 0;
    const change = isEmpty ? NO_CHANGE : { upserted, removed };
    for (const listener of [...this.#listeners]) listener(change);
  }
}

function objectKey(kind: KindName, key: string): ObjectKey {
  if (!KINDS[kind].isNamespaced) return { kind, namespace: "", name: key };
  const slash = key.indexOf("/");
  return { kind, namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve()));
}
