/**
 * One of several control planes writes to the cluster: the one that holds a Lease
 * (coordination.k8s.io/v1). All of them serve.
 *
 *     follower ── the Lease is free, or was not renewed for its duration ──> leader
 *     leader ── not renewed within the deadline, or lost to another ──> follower
 *
 * Whether a Lease has run out is judged by the time since its content was last seen to change, on
 * this machine's clock: clocks of other machines do not matter. A leader that cannot renew stops
 * before others may begin: its deadline is shorter than the Lease's duration.
 */
import { jittered, pause } from "../../kit/backoff.ts";
import { type Logger, log } from "../../kit/log.ts";
import { isRefusal, type KubeClient, type Refusal } from "../source/kubernetes/kube-client.ts";

export interface LeaseTimings {
  /** Others wait so long for a sign of the leader. */
  readonly durationMs: number;
  /** A leader that has not renewed for so long stops. */
  readonly deadlineMs: number;
  readonly retryMs: number;
}

/** Those of Kubernetes' own controllers. */
export const LEASE_TIMINGS: LeaseTimings = {
  durationMs: 15_000,
  deadlineMs: 10_000,
  retryMs: 2_000,
};

export interface LeaderLeaseOptions {
  readonly client: Pick<KubeClient, "get" | "write">;
  readonly namespace: string;
  readonly name: string;
  /** Of this process: no other may have it. */
  readonly identity: string;
  /** Leads until the signal aborts; called again with each new lead. */
  readonly lead: (signal: AbortSignal) => void;
  readonly timings?: LeaseTimings;
  readonly logger?: Logger;
}

interface LeaseSpec {
  readonly holderIdentity?: string | null;
  readonly leaseDurationSeconds?: number | null;
  readonly acquireTime?: string | null;
  readonly renewTime?: string | null;
  readonly leaseTransitions?: number | null;
}

interface Lease {
  readonly metadata: { readonly resourceVersion?: string };
  readonly spec?: LeaseSpec;
}

export class LeaderLease {
  readonly #options: LeaderLeaseOptions;
  readonly #timings: LeaseTimings;
  readonly #log: Logger;
  readonly #closing = new AbortController();
  /** What the Lease said last, and since when. */
  #seen: { readonly text: string; readonly atMs: number } | undefined;
  #renewedMs = 0;
  #leading: AbortController | undefined;
  #deadline: NodeJS.Timeout | undefined;
  #isToldAway = false;
  #ended: Promise<void> = Promise.resolve();

  constructor(options: LeaderLeaseOptions) {
    this.#options = options;
    this.#timings = options.timings ?? LEASE_TIMINGS;
    this.#log = options.logger ?? log("leader");
  }

  get isLeader(): boolean {
    return this.#leading !== undefined;
  }

  /** Tries to lead from now on. */
  start(): void {
    this.#ended = this.#run();
  }

  /** Gives the Lease up, so that another need not wait for its end. */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return await this.#ended;
    const wasLeader = this.isLeader;
    this.#closing.abort();
    this.#follow();
    await this.#ended;
    if (wasLeader) await this.#release().catch(() => {});
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        const refusal = await this.#step();
        if (refusal === undefined) this.#isToldAway = false;
        else this.#tellAway(`${refusal.status} ${refusal.message}`);
      } catch (caught) {
        if (!signal.aborted) this.#tellAway((caught as Error).message);
      }
      await pause(jittered(this.#timings.retryMs), signal);
    }
  }

  /** Once: more often would only be more of the same. */
  #tellAway(reason: string): void {
    if (this.#isToldAway) return;
    this.#isToldAway = true;
    const { namespace, name } = this.#options;
    this.#log.warn({ lease: `${namespace}/${name}`, reason }, "the lease cannot be had or renewed");
  }

  /** One look at the Lease, and what follows; a refusal that is no news about it. */
  async #step(): Promise<Refusal | undefined> {
    const startMs = performance.now();
    const found = await this.#options.client.get(this.#path, {}, this.#limited());
    if (isRefusal(found)) {
      return found.status === 404 ? await this.#write("create", undefined, startMs) : found;
    }
    const lease = found.body as Lease;
    const { spec = {} } = lease;
    const text = JSON.stringify([spec, lease.metadata.resourceVersion]);
    if (this.#seen?.text !== text) this.#seen = { text, atMs: startMs };
    const { holderIdentity: holder } = spec;
    const durationMs = (spec.leaseDurationSeconds ?? this.#timings.durationMs / 1000) * 1000;
    const isFree = !holder || startMs - this.#seen.atMs >= durationMs;
    if (holder === this.#options.identity || isFree) {
      return await this.#write("replace", lease, startMs);
    }
    if (this.isLeader) {
      this.#log.warn({ holder }, "another leads now");
      this.#follow();
    }
    return undefined;
  }

  async #write(
    kind: "create" | "replace",
    before: Lease | undefined,
    startMs: number,
  ): Promise<Refusal | undefined> {
    const { client, namespace, name, identity } = this.#options;
    const isRenewal = before?.spec?.holderIdentity === identity;
    const now = microTime();
    const spec = {
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(this.#timings.durationMs / 1000),
      acquireTime: (isRenewal && before.spec?.acquireTime) || now,
      renewTime: now,
      leaseTransitions: (before?.spec?.leaseTransitions ?? 0) + (isRenewal || !before ? 0 : 1),
    };
    const lease = {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { ...before?.metadata, namespace, name },
      spec,
    };
    const path = kind === "create" ? this.#collection : this.#path;
    const answer = await client.write(kind, path, {}, lease, this.#limited());
    if (isRefusal(answer)) {
      // Somebody was quicker: the next look says who.
      return answer.status === 409 ? undefined : answer;
    }
    const { metadata, spec: written } = answer.body as Lease;
    this.#seen = { text: JSON.stringify([written, metadata.resourceVersion]), atMs: startMs };
    this.#renewed(startMs);
    return undefined;
  }

  /** Counts from when the request was sent: it cannot have been written before. */
  #renewed(atMs: number): void {
    if (this.#closing.signal.aborted) return;
    this.#renewedMs = atMs;
    clearTimeout(this.#deadline);
    const leftMs = Math.max(0, this.#renewedMs + this.#timings.deadlineMs - performance.now());
    this.#deadline = setTimeout(() => {
      this.#log.warn("the lease was not renewed in time");
      this.#follow();
    }, leftMs).unref();
    if (this.#leading !== undefined) return;
    this.#leading = new AbortController();
    this.#log.info({ identity: this.#options.identity }, "leads: writes to the cluster");
    this.#options.lead(this.#leading.signal);
  }

  #follow(): void {
    clearTimeout(this.#deadline);
    const leading = this.#leading;
    this.#leading = undefined;
    leading?.abort();
  }

  async #release(): Promise<void> {
    const { client, identity } = this.#options;
    const signal = AbortSignal.timeout(this.#timings.retryMs);
    const found = await client.get(this.#path, {}, signal);
    if (isRefusal(found)) return;
    const { metadata, ...lease } = found.body as Lease;
    if (lease.spec?.holderIdentity !== identity) return;
    const released = { ...lease, metadata, spec: { ...lease.spec, holderIdentity: "" } };
    await client.write("replace", this.#path, {}, released, signal);
  }

  /** A request may not outlast the deadline. */
  #limited(): AbortSignal {
    return AbortSignal.any([
      this.#closing.signal,
      AbortSignal.timeout(this.#timings.deadlineMs / 2),
    ]);
  }

  get #collection(): string {
    return `/apis/coordination.k8s.io/v1/namespaces/${this.#options.namespace}/leases`;
  }

  get #path(): string {
    return `${this.#collection}/${this.#options.name}`;
  }
}

/** Kubernetes' MicroTime. */
function microTime(): string {
  return new Date().toISOString().replace("Z", "000Z");
}
