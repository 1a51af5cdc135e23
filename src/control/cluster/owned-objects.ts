/**
 * Keeps objects in the cluster as they are to be, by server-side apply, for owners that want them:
 *
 *     owner touched ─> plan ─> each object: as it was applied? ─yes─> nothing
 *                                  no ─> there, and not ours? ─yes─> left alone, said once
 *                                            no ─> apply
 *     now and then ─> list what is ours ─ changed or gone by another hand ─> owner touched
 *                                       └ not wanted any more ─> removed (kinds that come and go)
 *
 * What is ours says so in a label. Objects go with their owner by Kubernetes' garbage collection.
 */
import { setMaxListeners } from "node:events";
import type { KubeObject } from "../../api/object.ts";
import { Backoff, jittered, pause } from "../../kit/backoff.ts";
import { type Logger, log } from "../../kit/log.ts";
import { isRefusal, type KubeClient, type Refusal } from "../source/kubernetes/kube-client.ts";

export interface OwnedObjectsOptions {
  readonly client: Pick<KubeClient, "get" | "write">;
  readonly fieldManager: string;
  /** What stands on everything of ours. */
  readonly label: { readonly key: string; readonly value: string };
  /** False: objects are looked after one by one, since all of their kind may not be listed. */
  readonly isListed: boolean;
  /** Of an owner, in the order of applying; undefined: all is left as it is. */
  readonly plan: (owner: string) => Promise<readonly KubeObject[] | undefined>;
  /** Whose an object is that has our label. */
  readonly ownerOf: (object: KubeObject) => string | undefined;
  /** What the server does not take as it is planned; undefined: all is there. */
  readonly onInvalid?: (owner: string, reason: string | undefined) => void;
  /** Until it aborts. */
  readonly signal: AbortSignal;
  readonly lookMs?: number;
  readonly logger?: Logger;
}

/** Where objects of the kinds are that are applied; a `prunable` one goes when it is not wanted. */
const KINDS: Readonly<Record<string, { readonly path: string; readonly isPrunable: boolean }>> = {
  ServiceAccount: { path: "/api/v1 serviceaccounts", isPrunable: false },
  Deployment: { path: "/apis/apps/v1 deployments", isPrunable: false },
  Service: { path: "/api/v1 services", isPrunable: false },
  HorizontalPodAutoscaler: {
    path: "/apis/autoscaling/v2 horizontalpodautoscalers",
    isPrunable: true,
  },
  PodDisruptionBudget: { path: "/apis/policy/v1 poddisruptionbudgets", isPrunable: true },
  ConfigMap: { path: "/api/v1 configmaps", isPrunable: false },
};

/** Statuses of an object that is none (Bad Request, Unprocessable Content). */
const INVALID: ReadonlySet<number> = new Set([400, 422]);
const LOOK_MS = 15_000;
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 30_000;
const PARALLEL_OWNERS = 4;

interface Applied {
  readonly owner: string;
  readonly text: string;
  /** Another one: somebody changed it. */
  readonly mark: string;
}

export class OwnedObjects {
  readonly #options: OwnedObjectsOptions;
  readonly #log: Logger;
  /** By path. */
  readonly #applied = new Map<string, Applied>();
  readonly #dirty = new Set<string>();
  readonly #busy = new Set<string>();
  readonly #waiting = new Set<string>();
  readonly #backoffs = new Map<string, Backoff>();
  readonly #told = new Set<string>();

  constructor(options: OwnedObjectsOptions) {
    this.#options = options;
    this.#log = options.logger ?? log("deploy");
    setMaxListeners(0, options.signal);
  }

  /** Looks after what others do, until the signal aborts. */
  start(): void {
    void this.#lookAgain();
  }

  get isIdle(): boolean {
    return this.#dirty.size === 0 && this.#busy.size === 0 && this.#waiting.size === 0;
  }

  /** What the owner wants may be something else. */
  touch(owner: string): void {
    if (this.#options.signal.aborted) return;
    this.#dirty.add(owner);
    this.#turn();
  }

  #turn(): void {
    for (const owner of this.#dirty) {
      if (this.#busy.size >= PARALLEL_OWNERS) return;
      if (this.#busy.has(owner)) continue;
      this.#dirty.delete(owner);
      this.#busy.add(owner);
      void this.#reconcile(owner).finally(() => {
        this.#busy.delete(owner);
        if (!this.#options.signal.aborted) this.#turn();
      });
    }
  }

  async #reconcile(owner: string): Promise<void> {
    const { plan, signal, onInvalid } = this.#options;
    try {
      const objects = await plan(owner);
      for (const object of objects ?? []) {
        const refusal = await this.#put(owner, object);
        if (refusal === undefined) continue;
        this.#tell(owner, object, `${refusal.status} ${refusal.message}`);
        // Anything else may pass; this is what is planned.
        if (INVALID.has(refusal.status)) {
          onInvalid?.(owner, `${object.kind} ${object.metadata.name}: ${refusal.message}`);
        }
        this.#again(owner, refusal.retryAfterMs);
        return;
      }
      this.#backoffs.delete(owner);
      onInvalid?.(owner, undefined);
    } catch (caught) {
      if (signal.aborted) return;
      this.#tell(owner, undefined, (caught as Error).message);
      this.#again(owner, 0);
    }
  }

  async #put(owner: string, object: KubeObject): Promise<Refusal | undefined> {
    const { client, fieldManager, label, signal } = this.#options;
    const path = objectPath(object);
    const text = JSON.stringify(object);
    const known = this.#applied.get(path);
    if (known?.text === text) return undefined;
    if (known === undefined) {
      const found = await client.get(path, {}, signal);
      if (isRefusal(found)) {
        if (found.status !== 404) return found;
      } else if ((found.body as KubeObject).metadata.labels?.[label.key] !== label.value) {
        const why = `is there without the label ${label.key}=${label.value}: it is left alone`;
        this.#tell(owner, object, why);
        return undefined;
      }
    }
    const query = { fieldManager, force: "true" };
    const answer = await client.write("apply", path, query, object, signal);
    if (isRefusal(answer)) return answer;
    this.#applied.set(path, { owner, text, mark: markOf(answer.body as KubeObject) });
    const { kind, metadata } = object;
    this.#log.info({ kind, object: `${metadata.namespace}/${metadata.name}` }, "applied");
    return undefined;
  }

  #again(owner: string, atLeastMs: number): void {
    const { signal } = this.#options;
    let backoff = this.#backoffs.get(owner);
    if (backoff === undefined) {
      backoff = new Backoff({ firstMs: RETRY_FIRST_MS, maxMs: RETRY_MAX_MS });
      this.#backoffs.set(owner, backoff);
    }
    const waitMs = Math.max(atLeastMs, backoff.next());
    if (this.#waiting.has(owner)) return;
    this.#waiting.add(owner);
    void pause(waitMs, signal).then(() => {
      this.#waiting.delete(owner);
      this.touch(owner);
    });
  }

  /** Once for each trouble. */
  #tell(owner: string, object: KubeObject | undefined, reason: string): void {
    const what = object && `${object.kind} ${object.metadata.namespace}/${object.metadata.name}`;
    const key = `${owner} ${what} ${reason}`;
    if (this.#told.has(key)) return;
    if (this.#told.size > 1000) this.#told.clear();
    this.#told.add(key);
    this.#log.warn({ gateway: owner, object: what, reason }, "an object is not as it is to be");
  }

  async #lookAgain(): Promise<void> {
    const { signal, lookMs = LOOK_MS } = this.#options;
    while (!signal.aborted) {
      await pause(jittered(lookMs), signal);
      if (signal.aborted) return;
      // A server that is away has nothing to show; what it refuses, its kinds' own requests tell.
      const look = this.#options.isListed ? this.#look() : this.#lookAtEach();
      await look.catch(() => {});
    }
  }

  async #lookAtEach(): Promise<void> {
    const { client, signal } = this.#options;
    for (const [path, { owner, mark }] of [...this.#applied]) {
      const found = await client.get(path, {}, signal);
      if (isRefusal(found) ? found.status !== 404 : markOf(found.body as KubeObject) === mark) {
        continue;
      }
      this.#applied.delete(path);
      this.touch(owner);
    }
  }

  async #look(): Promise<void> {
    const { client, label, signal, ownerOf } = this.#options;
    const query = { labelSelector: `${label.key}=${label.value}` };
    for (const [kind, { path, isPrunable }] of Object.entries(KINDS)) {
      const [base, plural] = path.split(" ");
      const isOfUse =
        isPrunable || [...this.#applied.keys()].some((at) => at.includes(`/${plural}/`));
      // Of what is not applied nothing can be changed, and it may be forbidden.
      if (!isOfUse) continue;
      const answer = await client.get(`${base}/${plural}`, query, signal);
      if (isRefusal(answer)) continue;
      const { items } = answer.body as { readonly items?: readonly KubeObject[] | null };
      const seen = new Map<string, KubeObject>();
      for (const item of items ?? []) seen.set(objectPath({ ...item, kind }), item);
      for (const [at, { owner, mark }] of this.#applied) {
        if (!at.includes(`/${plural}/`)) continue;
        const now = seen.get(at);
        if (now !== undefined && markOf(now) === mark) continue;
        this.#applied.delete(at);
        this.touch(owner);
      }
      if (isPrunable) await this.#prune(kind, [...seen], ownerOf);
    }
  }

  async #prune(
    kind: string,
    seen: readonly (readonly [string, KubeObject])[],
    ownerOf: OwnedObjectsOptions["ownerOf"],
  ): Promise<void> {
    const { client, plan, signal } = this.#options;
    for (const [path, { metadata }] of seen) {
      const owner = ownerOf({ apiVersion: "", kind, metadata });
      const objects = owner === undefined ? undefined : await plan(owner);
      if (objects === undefined || objects.some((one) => objectPath(one) === path)) continue;
      this.#applied.delete(path);
      const body = { preconditions: { uid: metadata.uid } };
      await client.write("remove", path, {}, body, signal);
      this.#log.info({ kind, object: `${metadata.namespace}/${metadata.name}` }, "removed");
    }
  }
}

/** Kinds that count their generations do so only when what is wanted of them changes. */
function markOf({ metadata }: KubeObject): string {
  const { resourceVersion } = metadata as { readonly resourceVersion?: string };
  const { uid, generation } = metadata;
  return `${uid} ${generation ?? resourceVersion}`;
}

function objectPath({ kind, metadata }: KubeObject): string {
  const { path = "" } = KINDS[kind] ?? {};
  const [base, plural] = path.split(" ");
  return `${base}/namespaces/${metadata.namespace}/${plural}/${metadata.name}`;
}
