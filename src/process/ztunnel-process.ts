/**
 * `waystone ztunnel`: the L4 proxy of one node as a process of its own.
 *
 *     control plane ─ configuration ─> state ─┬─> the data path (ztunnel-program.ts)
 *                    └ certificates           └─> tunnel ports of the node's workloads
 */
import { readFile } from "node:fs/promises";
import type net from "node:net";

import { Certificates } from "../agent/certificates.ts";
import { SocksPort } from "../agent/proxy-ports.ts";
import { assert } from "../kit/assert.ts";
import { log } from "../kit/log.ts";
import { parseResolvConf } from "../net/dns/resolver-config.ts";
import {
  type HostPort,
  Listeners,
  OWN_ADDRESSES,
  portFailure,
  type WantedListener,
} from "../net/listeners.ts";
import { DnsProxy } from "../ztunnel/dns-proxy.ts";
import type { ControlPlaneLink } from "./control-plane-link.ts";
import { type HostPorts, ProcessHost, type ProcessHostOptions } from "./process-host.ts";
import type { DataPath } from "./program.ts";
import { type WorkerPath, type WorkerPathOptions, workerPath } from "./worker-path.ts";
import type { WantedPort } from "./workers/messages.ts";
import { OwnState } from "./workers/own-state.ts";
import {
  type ZtunnelEntry,
  ZtunnelProgram,
  type ZtunnelProgramOptions,
} from "./ztunnel-program.ts";

export interface ZtunnelProcessOptions extends Omit<ProcessHostOptions, "component"> {
  readonly node: string;
  readonly link: ControlPlaneLink;
  readonly certificateTtlMs: number;
  /** SOCKS5: where, and the password. */
  readonly socks: { readonly at: HostPort; readonly password: string } | undefined;
  /** Listened on as if it were captured: what connects there goes to `to`. */
  readonly captures: readonly { readonly at: HostPort; readonly to: HostPort }[];
  /** 0: the data path is in this process. */
  readonly workers?: number;
  /** Answers the names of the mesh there: this process does, also where workers carry traffic. */
  readonly dns?: HostPort | undefined;
  /** Applications see their client's address, where it is this machine's. */
  readonly keepsSource: boolean;
  /** What is forked for a worker; this binary's hidden command by default. */
  readonly workerCommand?: WorkerPathOptions["command"];
}

const RESOLV_CONF = "/etc/resolv.conf";

export class ZtunnelProcess {
  readonly #options: ZtunnelProcessOptions;
  readonly #host: ProcessHost;
  readonly #log = log("ztunnel");
  readonly #certificates: Certificates;
  readonly #path: DataPath;
  readonly #workers: WorkerPath | undefined;
  readonly #listeners: Listeners;
  #tunnelPorts: readonly WantedPort[] = [];
  #ports: (HostPorts & { readonly socks: HostPort | undefined }) | undefined;

  /** Resolves when the ports are open; configuration and readiness come when they come. */
  static async start(options: ZtunnelProcessOptions): Promise<ZtunnelProcess> {
    const started = new ZtunnelProcess(options);
    try {
      await started.#start();
    } catch (caught) {
      await started.#end(true);
      throw caught;
    }
    return started;
  }

  private constructor(options: ZtunnelProcessOptions) {
    this.#options = options;
    this.#host = new ProcessHost({ ...options, component: "ztunnel" });
    const { registry, readiness, drain } = this.#host;
    const { certificateTtlMs: ttlMs, link, node } = options;
    this.#certificates = new Certificates(link.authority, {
      ttlMs,
      log: log("certificates"),
      registry,
    });
    const certificates = this.#certificates;
    const pauseOnConnect = (options.workers ?? 0) > 0;
    const onProblem = ({ message }: { message: string }) => this.#log.error(message);
    this.#listeners = new Listeners(OWN_ADDRESSES, onProblem, { pauseOnConnect });
    drain.add(this.#listeners);
    const { version } = options;
    const { keepsSource } = options;
    const socksPassword = options.socks?.password;
    const programOptions = { node, version, socksPassword, keepsSource };
    const wantPorts = (ports: readonly WantedPort[]) => this.#onPorts(ports);
    this.#workers = this.#workersFor(options.workers ?? 0, programOptions);
    const context = { certificates, registry, readiness, drain, wantPorts };
    this.#path = this.#workers?.pool ?? new ZtunnelProgram(programOptions, context, link.state);
    readiness.require("listeners", "the ports are not open yet");
  }

  #workersFor(count: number, programOptions: ZtunnelProgramOptions): WorkerPath | undefined {
    if (count === 0) return undefined;
    const { link, drainTimeoutMs, workerCommand } = this.#options;
    return workerPath({
      count,
      program: "ztunnel",
      programOptions,
      link,
      host: this.#host,
      certificates: this.#certificates,
      drainTimeoutMs,
      onPorts: (ports) => this.#onPorts(ports),
      ...(workerCommand === undefined ? {} : { command: workerCommand }),
    });
  }

  async #start(): Promise<void> {
    const { link, socks, captures, dns } = this.#options;
    const ports = await this.#host.listen(this.#path);
    this.#ports = { ...ports, socks: socks && (await this.#listenSocks(socks.at)) };
    if (dns !== undefined) await this.#listenDns(dns);
    await this.#listeners.sync(this.#wanted());
    for (const { at } of captures) {
      const problem = this.#listeners.problems.find(
        ({ address, port }) => address === at.host && port === at.port,
      );
      if (problem !== undefined) throw portFailure(problem);
    }
    this.#workers?.pool.start();
    await link.start(this.#host.registry, this.#workers?.relay);
  }

  async #listenDns({ host, port }: HostPort): Promise<void> {
    const { registry, drain } = this.#host;
    const resolvers = parseResolvConf(await readFile(RESOLV_CONF, "utf8").catch(() => ""));
    const snapshots = this.#workers ? OwnState.join(this.#workers.relay) : this.#options.link.state;
    const proxy = new DnsProxy({ snapshots, registry, host, port, resolvers });
    drain.add(proxy);
    await proxy.listen();
  }

  async #listenSocks(at: HostPort): Promise<HostPort> {
    const pauseOnConnect = this.#workers !== undefined;
    const accept = (socket: net.Socket) => this.#accept(socket, { kind: "socks" });
    const port = new SocksPort(accept, { pauseOnConnect });
    this.#host.drain.add(port);
    return await port.listenAt(at);
  }

  #accept(socket: net.Socket, entry: ZtunnelEntry): void {
    this.#path.accept(socket, entry);
  }

  /** The node's workloads have changed. */
  #onPorts(ports: readonly WantedPort[]): void {
    this.#tunnelPorts = ports;
    this.#listeners.sync(this.#wanted()).then(
      () => this.#host.readiness.meet("listeners"),
      (caught: unknown) => this.#log.error({ caught }, "ports"),
    );
  }

  #wanted(): WantedListener[] {
    const tunnels = this.#tunnelPorts.map(
      ({ address, port, purpose, entry }): WantedListener => ({
        address,
        port,
        purpose,
        accept: (socket) => this.#path.accept(socket, entry),
      }),
    );
    const captures = this.#options.captures.map(
      ({ at, to }): WantedListener => ({
        address: at.host,
        port: at.port,
        purpose: `captured traffic to ${to.host}:${to.port}`,
        accept: (socket) =>
          this.#accept(socket, { kind: "captured", address: to.host, port: to.port }),
      }),
    );
    return [...captures, ...tunnels];
  }

  /** Where its own ports are. */
  get ports(): HostPorts & { readonly socks: HostPort | undefined } {
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
      await this.#options.link.close();
      await this.#path.close();
      this.#certificates.close();
    }, isHasty);
  }
}
