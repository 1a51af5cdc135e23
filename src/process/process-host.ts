/**
 * What each process of the mesh has around its work: readiness, metrics, admin, and an end without
 * loss (D10):
 *
 *     SIGTERM ─> not ready ─ delay: what still comes is served ─> GOAWAY, finish ─> cut
 *
 * The delay is what the rest of the mesh needs to see that this process is leaving.
 */
import {
  ADMIN_PORT,
  createAdminServer,
  createMetricsServer,
  createReadinessServer,
  METRICS_PORT,
  READINESS_PORT,
} from "../agent/admin-routes.ts";
import type { AdminRoute, AdminServer } from "../agent/admin-server.ts";
import { listenAt } from "../agent/proxy-ports.ts";
import { Readiness } from "../agent/readiness.ts";
import { Drain } from "../kit/drain.ts";
import { log, setLogLevel } from "../kit/log.ts";
import type { HostPort } from "../net/listeners.ts";
import { recordBuild } from "../telemetry/istio-metrics.ts";
import { MetricRegistry } from "../telemetry/metrics.ts";

export interface ProcessHostOptions {
  /** In metrics: `ztunnel`, `waypoint`, `pilot`. */
  readonly component: string;
  readonly version: string;
  readonly admin?: HostPort | undefined;
  readonly metrics?: HostPort | undefined;
  readonly readiness?: HostPort | undefined;
  /** From not ready to GOAWAY. */
  readonly drainDelayMs: number;
  /** From the signal to the cut. */
  readonly drainTimeoutMs: number;
  /** POST /quitquitquit. */
  readonly onQuit: () => void;
}

const ADMIN: HostPort = { host: "127.0.0.1", port: ADMIN_PORT };
const METRICS: HostPort = { host: "0.0.0.0", port: METRICS_PORT };
const READINESS: HostPort = { host: "0.0.0.0", port: READINESS_PORT };

/** What the admin port shows of the work. */
export interface Inspected {
  /** May be a promise. */
  configDump(): unknown;
  /** May be a promise. */
  decision?(id: string): unknown;
  /** Of all processes; this one's by default. */
  setLogLevel?(level: string): void;
  /** The metrics of all processes as one; this one's by default. */
  exposition?(): Promise<Iterable<string>>;
}

/** Where the three ports are. */
export interface HostPorts {
  readonly admin: HostPort;
  readonly metrics: HostPort;
  readonly readiness: HostPort;
}

export class ProcessHost {
  readonly readiness = new Readiness();
  readonly registry = new MetricRegistry();
  readonly drain = new Drain();
  readonly #options: ProcessHostOptions;
  readonly #servers: AdminServer[] = [];
  #metricsServer: AdminServer | undefined;
  readonly #log = log("process");
  #stopping: Promise<void> | undefined;
  #endDelay: (() => void) | undefined;

  constructor(options: ProcessHostOptions) {
    this.#options = options;
    recordBuild(this.registry, options.component, options.version);
  }

  /** Opens the three ports. Rejects with PORT_IN_USE. */
  async listen(inspected: Inspected): Promise<HostPorts> {
    const { admin = ADMIN, metrics = METRICS, readiness = READINESS, onQuit } = this.#options;
    const { decision, exposition } = inspected;
    const metricsSource =
      exposition === undefined ? this.registry : { exposition: () => exposition.call(inspected) };
    const adminServer = createAdminServer({
      configDump: () => inspected.configDump(),
      ...(decision === undefined ? {} : { decision: (id: string) => inspected.decision?.(id) }),
      setLogLevel: (level) => (inspected.setLogLevel ?? setLogLevel).call(inspected, level),
      quit: onQuit,
      readiness: this.readiness,
    });
    this.#metricsServer = createMetricsServer(metricsSource);
    return {
      admin: await this.#listen(adminServer, admin),
      readiness: await this.#listen(createReadinessServer(this.readiness), readiness),
      metrics: await this.#listen(this.#metricsServer, metrics),
    };
  }

  /** More to be had at the port of the metrics, after `listen`. */
  addMonitoring(routes: readonly AdminRoute[]): void {
    for (const route of routes) this.#metricsServer?.addRoute(route);
  }

  /** One more port. Rejects with PORT_IN_USE. */
  async serve(server: AdminServer, at: HostPort): Promise<void> {
    this.drain.add(server);
    await this.#listen(server, at);
  }

  async #listen(server: AdminServer, where: HostPort): Promise<HostPort> {
    this.#servers.push(server);
    await listenAt(server, where);
    return { host: where.host, port: server.port };
  }

  /** Once; later calls wait for the first. `finish` runs when everything has drained. */
  stop(finish: () => Promise<void>, isHasty = false): Promise<void> {
    this.#stopping ??= this.#stop(finish, isHasty);
    return this.#stopping;
  }

  async #stop(finish: () => Promise<void>, isHasty: boolean): Promise<void> {
    const { drainDelayMs, drainTimeoutMs } = this.#options;
    await this.readiness.drain();
    const delayMs = isHasty ? 0 : Math.min(drainDelayMs, drainTimeoutMs);
    if (delayMs > 0) {
      await new Promise<void>((resolve) => {
        this.#endDelay = resolve;
        setTimeout(resolve, delayMs).unref();
      });
    }
    const startMs = performance.now();
    await this.drain.start(isHasty ? 0 : drainTimeoutMs - delayMs);
    await finish();
    for (const server of this.#servers) server.destroy();
    this.#log.info({ tookMs: Math.round(performance.now() - startMs) }, "drained");
  }

  /** The delay is over now. */
  hasten(): void {
    this.#endDelay?.();
  }
}
