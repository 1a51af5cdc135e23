/**
 * `waystone ztunnel`: the L4 proxy of one node as a process of its own.
 *
 *     control plane ─ configuration ─> state ─┬─> the data path (ztunnel-program.ts)
 *                    └ certificates           └─> tunnel ports of the node's workloads
 */
import { Certificates } from "../agent/certificates.ts";
import { SocksPort } from "../agent/proxy-ports.ts";
import { assert } from "../kit/assert.ts";
import { log } from "../kit/log.ts";
import type { Snapshot } from "../model/snapshot.ts";
import {
  type HostPort,
  Listeners,
  OWN_ADDRESSES,
  portFailure,
  type WantedListener,
} from "../net/listeners.ts";
import type { ControlPlaneLink } from "./control-plane-link.ts";
import { LocalWorkloads } from "./local-workloads.ts";
import { type HostPorts, ProcessHost, type ProcessHostOptions } from "./process-host.ts";
import { type ZtunnelEntry, ZtunnelProgram } from "./ztunnel-program.ts";

export interface ZtunnelProcessOptions extends Omit<ProcessHostOptions, "component"> {
  readonly node: string;
  readonly link: ControlPlaneLink;
  readonly certificateTtlMs: number;
  /** SOCKS5: where, and the password. */
  readonly socks: { readonly at: HostPort; readonly password: string } | undefined;
  /** Listened on as if it were captured: what connects there goes to `to`. */
  readonly captures: readonly { readonly at: HostPort; readonly to: HostPort }[];
}

export class ZtunnelProcess {
  readonly #options: ZtunnelProcessOptions;
  readonly #host: ProcessHost;
  readonly #log = log("ztunnel");
  readonly #certificates: Certificates;
  readonly #program: ZtunnelProgram;
  readonly #workloads: LocalWorkloads;
  readonly #listeners: Listeners;
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
    this.#workloads = new LocalWorkloads(node, certificates);
    this.#listeners = new Listeners(OWN_ADDRESSES, ({ message }) => this.#log.error(message));
    drain.add(this.#listeners);
    const socksPassword = options.socks?.password;
    const context = { certificates, registry, readiness, drain };
    this.#program = new ZtunnelProgram({ node, socksPassword }, context, link.state);
    readiness.require("listeners", "the ports are not open yet");
    certificates.subscribe(() => this.#checkCertificates());
  }

  async #start(): Promise<void> {
    const { link, socks, captures } = this.#options;
    const { state } = link;
    const ports = await this.#host.listen(this.#program);
    this.#ports = { ...ports, socks: socks && (await this.#listenSocks(socks.at)) };
    state.subscribe((now) => this.#onSnapshot(now));
    await this.#listeners.sync(this.#wanted());
    for (const { at } of captures) {
      const problem = this.#listeners.problems.find(
        ({ address, port }) => address === at.host && port === at.port,
      );
      if (problem !== undefined) throw portFailure(problem);
    }
    this.#onSnapshot(state.current);
    await link.start(this.#host.registry);
  }

  async #listenSocks(at: HostPort): Promise<HostPort> {
    const port = new SocksPort((socket) => this.#accept(socket, { kind: "socks" }));
    this.#host.drain.add(port);
    return await port.listenAt(at);
  }

  #accept(socket: Parameters<ZtunnelProgram["accept"]>[0], entry: ZtunnelEntry): void {
    this.#program.accept(socket, entry);
  }

  #onSnapshot(snapshot: Snapshot): void {
    if (!this.#workloads.refresh(snapshot)) return;
    this.#checkCertificates();
    this.#listeners.sync(this.#wanted()).then(
      () => this.#host.readiness.meet("listeners"),
      (caught: unknown) => this.#log.error({ caught }, "ports"),
    );
  }

  #wanted(): WantedListener[] {
    const tunnels = this.#workloads.tunnelPorts().map(
      ({ address, port, purpose, workload }): WantedListener => ({
        address,
        port,
        purpose,
        accept: (socket) => this.#accept(socket, { kind: "tunnel", workload }),
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

  /** One certificate shows that the CA answers; a node without workloads needs none. */
  #checkCertificates(): void {
    const { identities } = this.#workloads;
    const has = [...identities].some((id) => this.#certificates.current(id) !== undefined);
    const { readiness } = this.#host;
    if (has || identities.size === 0) readiness.meet("certificate");
    else readiness.require("certificate", "none was obtained yet for the workloads of this node");
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
    this.#program.destroy();
  }

  #end(isHasty: boolean): Promise<void> {
    return this.#host.stop(async () => {
      await this.#options.link.close();
      await this.#program.close();
      this.#certificates.close();
    }, isHasty);
  }
}
