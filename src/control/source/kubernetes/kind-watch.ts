/**
 * Follows one kind for as long as it runs, and never loses what it has:
 *
 *     ┌─> find ─ missing, forbidden ─> wait, ask again
 *     │     │
 *     │   list: all pages ─────────────────────────┐
 *     │     │                                      │ store.replace
 *     │   watch ── ended, broken ─> back off ─┐    │
 *     │     │                                 │    ▼
 *     │     └─ events, bookmarks <────────────┘  what is in force
 *     │     │
 *     └─ 410 Gone, 404
 *
 * A watch goes on behind the last version that it has seen, so a dropped one costs no list. After
 * several that brought nothing the list is made anew all the same: the version may be one that the
 * server does not know any more.
 */
import type { KindName } from "../../../api/kinds.ts";
import type { KubeObject } from "../../../api/object.ts";
import { Backoff, jittered, pause } from "../../../kit/backoff.ts";
import { log } from "../../../kit/log.ts";
import type { Discovery, ServedKind } from "./discovery.ts";
import type { Faults } from "./faults.ts";
import { isNewer, type KindStore, type VersionedObject } from "./kind-store.ts";
import {
  isRefusal,
  isTooLarge,
  type KubeClient,
  type Refusal,
  refusalFrom,
  type WatchEvent,
} from "./kube-client.ts";
import { neededFields, observedStatus } from "./needed-fields.ts";
import { isEssential, SETTINGS_MAPS } from "./watched-kinds.ts";

export interface WatchTimings {
  /** The first wait after a fault, and the longest. */
  readonly retryFirstMs: number;
  readonly retryMaxMs: number;
  /** Between looks at a kind that is missing or forbidden. */
  readonly probeMs: number;
  /** A kind that was there is believed to be gone after so long. */
  readonly goneAfterMs: number;
  /** A watch that lived for so long was no failure. */
  readonly lastedMs: number;
  /** The server ends a watch after this, up to twice as much. */
  readonly watchSeconds: number;
}

export interface KindWatchOptions {
  readonly kind: KindName;
  readonly client: KubeClient;
  readonly discovery: Discovery;
  readonly store: KindStore;
  readonly faults: Faults;
  readonly timings: WatchTimings;
  readonly signal: AbortSignal;
}

const PAGE_OBJECTS = 500;
const FRUITLESS_WATCHES_MAX = 3;

const GONE = 410;

export class KindWatch {
  readonly #options: KindWatchOptions;
  readonly #backoff: Backoff;
  readonly #log = log("kubernetes");
  #settled: Promise<void>;
  #settle: () => void = () => {};
  #isMissing = false;
  #served: ServedKind | undefined;
  /** Everything up to it is in the store; undefined: a list is due. */
  #version: string | undefined;
  #pageObjects: number | undefined = PAGE_OBJECTS;
  #fruitless = 0;
  /** Since when the server says that it does not have the kind. */
  #missingSinceMs: number | undefined;
  #isNeverRead = true;
  /** Times in a row that the server did not know a path which it had told. */
  #notFound = 0;

  constructor(options: KindWatchOptions) {
    this.#options = options;
    const { retryFirstMs, retryMaxMs } = options.timings;
    this.#backoff = new Backoff({ firstMs: retryFirstMs, maxMs: retryMaxMs });
    this.#settled = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  /** The kind has been read, or is known not to be there. */
  get settled(): Promise<void> {
    return this.#settled;
  }

  /** What is known not to be there has to be looked for again before it is settled. */
  unsettle(): void {
    if (!this.#isMissing) return;
    this.#isMissing = false;
    this.#settled = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  /** Until the signal aborts. */
  async run(): Promise<void> {
    const { signal, faults, kind } = this.#options;
    while (!signal.aborted) {
      let waitMs: number;
      try {
        waitMs = await this.#step();
      } catch (caught) {
        if (signal.aborted) return;
        faults.away(kind, reasonOf(caught));
        waitMs = this.#backoff.next();
      }
      if (waitMs > 0) await pause(waitMs, signal);
    }
  }

  /** One thing after the other; tells how long to wait before the next. */
  async #step(): Promise<number> {
    if (this.#served === undefined) return await this.#find();
    if (this.#version === undefined) return await this.#list(this.#served);
    return await this.#watch(this.#served, this.#version);
  }

  async #find(): Promise<number> {
    const { discovery, kind, faults, timings } = this.#options;
    const found = await discovery.find(kind);
    if (isRefusal(found)) return this.#refused(found, "discover");
    if (found !== undefined) {
      this.#isMissing = false;
      this.#served = found;
      this.#missingSinceMs = undefined;
      return 0;
    }
    const nowMs = performance.now();
    this.#missingSinceMs ??= nowMs;
    // What was there is not given up for a moment's answer of a server that has just started.
    if (this.#isNeverRead || nowMs - this.#missingSinceMs >= timings.goneAfterMs) {
      faults.missing(kind);
      this.#options.store.replace(new Map());
      this.#isMissing = true;
      this.#settle();
    }
    await discovery.nextRound();
    return 0;
  }

  async #list(served: ServedKind): Promise<number> {
    const objects = new Map<string, VersionedObject>();
    const version = await this.#pages(served, objects);
    if (isRefusal(version)) {
      // Pages that expire before they are all read: the next try asks for everything at once.
      if (version.status === GONE) this.#pageObjects = undefined;
      return this.#refused(version, "list");
    }
    const { store, faults, kind } = this.#options;
    store.replace(objects);
    this.#version = version;
    this.#pageObjects = PAGE_OBJECTS;
    this.#isNeverRead = false;
    this.#notFound = 0;
    faults.done(kind, "list");
    this.#settle();
    return 0;
  }

  /** Fills in all objects as of one moment, and tells its version. */
  async #pages(
    served: ServedKind,
    objects: Map<string, VersionedObject>,
  ): Promise<string | Refusal> {
    const { client, signal, store } = this.#options;
    let next: string | undefined;
    for (;;) {
      const query = { limit: this.#pageObjects, continue: next };
      let answer: Awaited<ReturnType<KubeClient["get"]>>;
      try {
        answer = await client.get(served.path, query, signal);
      } catch (caught) {
        const objectsAsked = this.#pageObjects ?? PAGE_OBJECTS;
        if (isTooLarge(caught)) this.#pageObjects = Math.max(1, objectsAsked >> 2);
        throw caught;
      }
      if (isRefusal(answer)) return answer;
      const { items, metadata } = answer.body as List;
      for (const item of items ?? []) {
        const object = this.#needed(item, served);
        if (object !== undefined) objects.set(store.keyOf(object.value), object);
      }
      next = metadata.continue;
      if (next) continue;
      assertVersion(metadata.resourceVersion);
      return metadata.resourceVersion;
    }
  }

  async #watch(served: ServedKind, resourceVersion: string): Promise<number> {
    const { client, signal, timings, faults, kind } = this.#options;
    const timeoutSeconds = Math.ceil(timings.watchSeconds * (1 + Math.random()));
    const query = { resourceVersion, timeoutSeconds, allowWatchBookmarks: "true" };
    const startMs = performance.now();
    let isOpen = false;
    let failure: Refusal | undefined;
    try {
      const refusal = await client.watch(served.path, query, signal, {
        onOpen: () => {
          isOpen = true;
          faults.done(kind, "watch");
        },
        onEvent: (event) => {
          if (event.type === "ERROR") failure = refusalFrom(event.object, 500);
          else this.#onEvent(event, served);
          return failure === undefined;
        },
      });
      failure ??= refusal;
    } catch (caught) {
      // A watch that breaks is no news: if the server is away, the next one says so.
      if (!isOpen || signal.aborted) throw caught;
      this.#log.debug({ kind, reason: reasonOf(caught) }, "a watch broke");
    }
    const hasLasted = isOpen && performance.now() - startMs > timings.lastedMs;
    if (hasLasted) this.#backoff.reset();
    const hasFailed = isOpen || (failure !== undefined && failure.status < 500);
    const isFruitless = hasFailed && !hasLasted && this.#version === resourceVersion;
    this.#fruitless = isFruitless ? this.#fruitless + 1 : 0;
    if (this.#fruitless >= FRUITLESS_WATCHES_MAX) this.#listAnew();
    if (failure !== undefined) return this.#refused(failure, "watch");
    return hasLasted ? 0 : this.#backoff.next();
  }

  #onEvent({ type, object }: WatchEvent, served: ServedKind): void {
    const raw = object as KubeObject & { metadata: { resourceVersion?: string } };
    const { store } = this.#options;
    const needed = type === "BOOKMARK" ? undefined : this.#needed(raw, served);
    if (needed !== undefined) {
      if (type === "DELETED") store.remove(needed);
      else if (type === "ADDED" || type === "MODIFIED") store.put(needed);
    }
    const { resourceVersion = "" } = raw.metadata;
    // One that comes late does not lead back.
    if (resourceVersion !== "" && isNewer(resourceVersion, this.#version ?? "")) {
      this.#version = resourceVersion;
    }
  }

  #needed(raw: KubeObject, served: ServedKind): VersionedObject | undefined {
    const { kind } = this.#options;
    const { metadata } = raw as { metadata: { name: string; resourceVersion?: string } };
    if (kind === "ConfigMap" && !SETTINGS_MAPS.has(metadata.name)) return undefined;
    const { resourceVersion: version = "" } = metadata;
    return { value: neededFields(kind, raw, served), version, status: observedStatus(kind, raw) };
  }

  #listAnew(): void {
    this.#version = undefined;
    this.#fruitless = 0;
  }

  /** What to do about a refusal; tells how long to wait. */
  #refused(refusal: Refusal, verb: "discover" | "list" | "watch"): number {
    const { kind, faults, discovery, client, timings } = this.#options;
    const { status, message } = refusal;
    switch (status) {
      case GONE:
        this.#listAnew();
        return this.#backoff.next();
      case 403:
        this.#listAnew();
        faults.forbidden(kind, verb, this.#served);
        if (verb === "list" && !isEssential(kind)) this.#settle();
        return jittered(timings.probeMs);
      case 404:
        discovery.forget();
        this.#served = undefined;
        this.#listAnew();
        this.#notFound++;
        if (this.#notFound > 1) faults.away(kind, `404 ${message}`.trim());
        return this.#backoff.next();
      case 401:
        client.forgetAccess();
        break;
    }
    faults.away(kind, `${status} ${message}`.trim());
    return Math.max(refusal.retryAfterMs, this.#backoff.next());
  }
}

interface List {
  readonly items?: readonly KubeObject[] | null;
  readonly metadata: { readonly resourceVersion?: string; readonly continue?: string };
}

function assertVersion(version: unknown): asserts version is string {
  if (typeof version !== "string" || version === "") throw new Error("a list without a version");
}

function reasonOf(caught: unknown): string {
  return caught instanceof Error ? caught.message : String(caught);
}
