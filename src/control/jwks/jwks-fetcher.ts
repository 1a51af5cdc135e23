/**
 * Fetches the keys of issuers, for all proxies: a proxy never asks an issuer, so no token, whatever
 * `kid` it claims, makes anybody fetch. Keys that were had once stay in force while the issuer is
 * away; until the first are had, its tokens are refused.
 */
import { log } from "../../kit/log.ts";
import type { Snapshot } from "../../model/snapshot.ts";
import type { HostPort } from "../../net/listeners.ts";
import type { CounterFamily, MetricRegistry } from "../../telemetry/metrics.ts";
import { type FetchedJwks, jwksProblem } from "../../translate/jwks.ts";
import type { JwksRequest } from "../../translate/request-authentications.ts";
import { fetchText } from "./http-text.ts";

/** The part of a ControlPlane that is needed. */
export interface JwksControl {
  readonly current: Snapshot;
  readonly jwksRequests: ReadonlyMap<string, JwksRequest>;
  onJwksRequests(listener: () => void): () => void;
  applyJwks(key: string, fetched: FetchedJwks): void;
}

export interface JwksFetcherOptions {
  readonly control: JwksControl;
  readonly registry: MetricRegistry;
  /** Where a workload's port is to be dialled, when it is not where it seems. */
  readonly dialAddress?: (address: string, port: number) => HostPort;
  /** Istio's default (PILOT_JWT_PUB_KEY_REFRESH_INTERVAL): 20 minutes. */
  readonly refreshMs?: number;
}

const REFRESH_MS = 20 * 60_000;
const RETRY_MIN_MS = 1_000;
const RETRY_MAX_MS = 60_000;
const DISCOVERY = "/.well-known/openid-configuration";

export function jwksFetches(registry: MetricRegistry): CounterFamily {
  return registry.counter(
    "waystone_jwks_fetches_total",
    "Times that the keys of an issuer were asked for, by what came of it.",
    ["result"],
  );
}

interface Task {
  timer: NodeJS.Timeout | undefined;
  failures: number;
  fetched: FetchedJwks;
  isOver: boolean;
}

export class JwksFetcher {
  readonly #options: JwksFetcherOptions;
  readonly #log = log("jwks");
  readonly #fetches: CounterFamily;
  readonly #tasks = new Map<string, Task>();
  readonly #unsubscribe: () => void;

  constructor(options: JwksFetcherOptions) {
    this.#options = options;
    this.#fetches = jwksFetches(options.registry);
    this.#unsubscribe = options.control.onJwksRequests(() => this.#look());
    this.#look();
  }

  close(): void {
    this.#unsubscribe();
    for (const task of this.#tasks.values()) end(task);
    this.#tasks.clear();
  }

  #look(): void {
    const { jwksRequests } = this.#options.control;
    for (const [key, task] of this.#tasks) {
      if (jwksRequests.has(key)) continue;
      end(task);
      this.#tasks.delete(key);
    }
    for (const [key, request] of jwksRequests) {
      if (this.#tasks.has(key)) continue;
      const fetched = { jwks: undefined, problem: undefined };
      const task = { timer: undefined, failures: 0, fetched, isOver: false };
      this.#tasks.set(key, task);
      void this.#fetch(key, request, task);
    }
  }

  async #fetch(key: string, request: JwksRequest, task: Task): Promise<void> {
    const fetched = await this.#ask(request, task.fetched.jwks);
    if (task.isOver) return;
    const { problem } = fetched;
    this.#fetches.child([problem === undefined ? "success" : "failure"]).add(1);
    if (problem !== undefined && problem !== task.fetched.problem) {
      const { url } = request;
      this.#log.warn(
        { url, problem, keepsOld: fetched.jwks !== undefined },
        "no keys of an issuer",
      );
    }
    task.failures = problem === undefined ? 0 : task.failures + 1;
    const { refreshMs = REFRESH_MS } = this.#options;
    const retryMs = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** (task.failures - 1));
    task.timer = setTimeout(
      () => void this.#fetch(key, this.#options.control.jwksRequests.get(key) ?? request, task),
      problem === undefined ? refreshMs : retryMs,
    );
    task.timer.unref();
    const isNew = fetched.jwks !== task.fetched.jwks || problem !== task.fetched.problem;
    task.fetched = fetched;
    if (isNew) this.#options.control.applyJwks(key, fetched);
  }

  async #ask(request: JwksRequest, before: string | undefined): Promise<FetchedJwks> {
    try {
      const jwks = await this.#keysOf(request);
      const problem = jwksProblem(jwks);
      return problem === undefined ? { jwks, problem } : { jwks: before, problem };
    } catch (caught) {
      return { jwks: before, problem: caught instanceof Error ? caught.message : String(caught) };
    }
  }

  async #keysOf({ url, isDiscovery, timeoutMs }: JwksRequest): Promise<string> {
    const locate = (hostname: string, port: number) => this.#locate(hostname, port);
    if (!isDiscovery) return fetchText({ url, timeoutMs, locate });
    const place = `${url.replace(/\/$/, "")}${DISCOVERY}`;
    const document = await fetchText({ url: place, timeoutMs, locate });
    const { jwks_uri: uri } = (JSON.parse(document) ?? {}) as { jwks_uri?: unknown };
    if (typeof uri !== "string") throw new Error(`${place} names no jwks_uri`);
    return fetchText({ url: uri, timeoutMs, locate });
  }

  /** A Service of the mesh: one of its healthy endpoints. */
  #locate(hostname: string, port: number): HostPort | undefined {
    const { services, endpoints } = this.#options.control.current;
    for (const service of services.values()) {
      if (service.hostname !== hostname) continue;
      const healthy = endpoints.get(service.key)?.find((endpoint) => endpoint.isHealthy);
      const targetPort = healthy?.ports.get(port);
      if (healthy === undefined || targetPort === undefined) continue;
      const dial = this.#options.dialAddress;
      return dial?.(healthy.address, targetPort) ?? { host: healthy.address, port: targetPort };
    }
    return undefined;
  }
}

function end(task: Task): void {
  task.isOver = true;
  clearTimeout(task.timer);
}
