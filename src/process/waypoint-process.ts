/**
 * `waystone waypoint`: one instance of a waypoint as a process of its own.
 */
import type net from "node:net";
import { Certificates } from "../agent/certificates.ts";
import { assert } from "../kit/assert.ts";
import { log } from "../kit/log.ts";
import { type HostPort, Listeners, OWN_ADDRESSES, portFailure } from "../net/listeners.ts";
import type { ControlPlaneLink } from "./control-plane-link.ts";
import { type HostPorts, ProcessHost, type ProcessHostOptions } from "./process-host.ts";
import type { DataPath } from "./program.ts";
import { WaypointProgram, type WaypointProgramOptions } from "./waypoint-program.ts";
import { type WorkerPath, type WorkerPathOptions, workerPath } from "./worker-path.ts";

export interface WaypointProcessOptions
  extends Omit<ProcessHostOptions, "component" | "drainDelayMs"> {
  readonly waypoint: WaypointProgramOptions;
  /** Where tunnels come in. */
  readonly at: HostPort;
  readonly link: ControlPlaneLink;
  readonly certificateTtlMs: number;
  /** 0: the data path is in this process. */
  readonly workers?: number;
  /** What is forked for a worker; this binary's hidden command by default. */
  readonly workerCommand?: WorkerPathOptions["command"];
}

export class WaypointProcess {
  readonly #options: WaypointProcessOptions;
  readonly #host: ProcessHost;
  readonly #certificates: Certificates;
  readonly #path: DataPath;
  readonly #workers: WorkerPath | undefined;
  readonly #listeners: Listeners;
  #ports: HostPorts | undefined;

  /** Resolves when the ports are open; configuration and readiness come when they come. */
  static async start(options: WaypointProcessOptions): Promise<WaypointProcess> {
    const started = new WaypointProcess(options);
    try {
      await started.#start();
    } catch (caught) {
      await started.#end(true);
      throw caught;
    }
    return started;
  }

  private constructor(options: WaypointProcessOptions) {
    this.#options = options;
    // The waypoint itself keeps accepting for a while, with GOAWAY at once.
    this.#host = new ProcessHost({ ...options, component: "waypoint", drainDelayMs: 0 });
    const { registry, readiness, drain } = this.#host;
    const { certificateTtlMs: ttlMs, link } = options;
    const certificates = new Certificates(link.authority, {
      ttlMs,
      log: log("certificates"),
      registry,
    });
    this.#certificates = certificates;
    this.#workers = this.#workersFor(options.workers ?? 0);
    this.#path =
      this.#workers?.pool ??
      new WaypointProgram(
        options.waypoint,
        { certificates, registry, readiness, drain },
        link.state,
      );
    this.#listeners = new Listeners(
      OWN_ADDRESSES,
      ({ message }) => log("waypoint").error(message),
      { pauseOnConnect: this.#workers !== undefined },
    );
  }

  #workersFor(count: number): WorkerPath | undefined {
    if (count === 0) return undefined;
    const { waypoint, link, drainTimeoutMs, workerCommand } = this.#options;
    return workerPath({
      count,
      program: "waypoint",
      programOptions: waypoint,
      link,
      host: this.#host,
      certificates: this.#certificates,
      drainTimeoutMs,
      ...(workerCommand === undefined ? {} : { command: workerCommand }),
    });
  }

  async #start(): Promise<void> {
    const { at, link, waypoint } = this.#options;
    this.#ports = await this.#host.listen(this.#path);
    const accept = (socket: net.Socket) => this.#path.accept(socket, undefined);
    const purpose = `waypoint ${waypoint.namespace}/${waypoint.name}`;
    await this.#listeners.sync([{ address: at.host, port: at.port, purpose, accept }]);
    const [problem] = this.#listeners.problems;
    if (problem !== undefined) throw portFailure(problem);
    this.#workers?.pool.start();
    await link.start(this.#host.registry, this.#workers?.relay);
  }

  /** Where its own ports are. */
  get ports(): HostPorts {
    assert(this.#ports !== undefined, "it has been started");
    return this.#ports;
  }

  stop(): Promise<void> {
    return this.#end(false);
  }

  /** Cuts every connection; a `stop` that waits for them then resolves. */
  cut(): void {
    this.#host.hasten();
    this.#path.destroy();
  }

  #end(isHasty: boolean): Promise<void> {
    return this.#host.stop(async () => {
      this.#listeners.destroy();
      await this.#options.link.close();
      await this.#path.close();
      this.#certificates.close();
    }, isHasty);
  }
}
