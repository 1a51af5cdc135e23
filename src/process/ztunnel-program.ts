/**
 * The ztunnel of one node on what a control plane sends. Tunnels come in at its workloads'
 * addresses; clients enter by SOCKS5 or at captured addresses.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type net from "node:net";
import type { DecisionPayload } from "../agent/decision-record.ts";
import { decisionReport } from "../agent/decision-report.ts";
import { whenCertified } from "../agent/when-certified.ts";
import { log } from "../kit/log.ts";
import type { Snapshot } from "../model/snapshot.ts";
import { type Workload, workloadIdentity } from "../model/workload.ts";
import { findMeant } from "../model/workload-names.ts";
import { DecisionLog } from "../telemetry/decision-log.ts";
import { ztunnelConfigDump } from "../ztunnel/config-dump.ts";
import { Ztunnel } from "../ztunnel/ztunnel.ts";
import { LocalWorkloads } from "./local-workloads.ts";
import { ownAddress } from "./own-address.ts";
import type { Program, ProgramContext, ProxyState } from "./program.ts";
import type { WantedPort, WorkerLoad } from "./workers/messages.ts";

export interface ZtunnelProgramOptions {
  /** Of this software, for the config dump. */
  readonly version: string;
  readonly node: string;
  /** The password of the SOCKS5 port. */
  readonly socksPassword: string | undefined;
  /**
   * Applications see their client's address, where it is this machine's. It costs: the system
   * looks for a free port of that address for each connection.
   */
  readonly keepsSource: boolean;
}

/** What a socket's listener is for. */
export type ZtunnelEntry =
  | { readonly kind: "tunnel"; readonly workload: string }
  | { readonly kind: "socks" }
  | { readonly kind: "captured"; readonly address: string; readonly port: number };

export class ZtunnelProgram implements Program {
  readonly state: ProxyState;
  readonly #options: ZtunnelProgramOptions;
  readonly #context: ProgramContext;
  readonly #log = log("ztunnel");
  readonly #decisions = new DecisionLog<DecisionPayload>();
  /** From the first configuration on: its limits and times are the mesh's settings. */
  #ztunnel: Ztunnel | undefined;
  readonly #workloads: LocalWorkloads;
  #hasToldPorts = false;

  constructor(options: ZtunnelProgramOptions, context: ProgramContext, state: ProxyState) {
    this.#options = options;
    this.#context = context;
    this.state = state;
    this.#workloads = new LocalWorkloads(options.node, context.certificates);
    context.readiness.require("configuration", "the control plane has not sent any yet");
    state.subscribe((now) => this.#onSnapshot(now));
    context.certificates.subscribe(() => this.#checkCertificates());
    if (state.current.revision > 0) this.#onSnapshot(state.current);
  }

  #makeZtunnel(): Ztunnel {
    const { certificates, registry, drain } = this.#context;
    return new Ztunnel({
      snapshots: this.state,
      certificates,
      registry,
      decisions: this.#decisions,
      drain,
      tunnelAddress: (host, port) => ({ host, port }),
      dialFrom: ownAddress,
      appAddress: ({ addresses }, port, source) => ({
        host: addresses[0]!,
        port,
        localAddress: this.#options.keepsSource ? ownAddress(source) : undefined,
      }),
    });
  }

  accept(socket: net.Socket, entry: ZtunnelEntry): void {
    const ztunnel = this.#ztunnel;
    if (ztunnel === undefined) {
      socket.destroy();
      return;
    }
    switch (entry.kind) {
      case "tunnel": {
        const workload = this.state.current.workloads.get(entry.workload);
        const spiffeId = workload && workloadIdentity(workload);
        const accept = () => ztunnel.acceptTunnel(socket, entry.workload);
        whenCertified(this.#context.certificates, spiffeId, socket, accept, this.#log);
        return;
      }
      case "captured":
        ztunnel.acceptCaptured(socket, entry);
        return;
      case "socks":
        ztunnel.acceptSocks(socket, (user, password) => this.#authenticate(user, password));
    }
  }

  get load(): WorkerLoad {
    return this.#ztunnel?.load ?? { streams: 0, connections: 0 };
  }

  configDump(): unknown {
    const certificates = this.#context.certificates.list();
    return ztunnelConfigDump(this.state.current, certificates, this.#options.version);
  }

  decision(id: string): unknown {
    const found = this.#decisions.find(id);
    return found && decisionReport(found);
  }

  async close(): Promise<void> {}

  destroy(): void {
    this.#ztunnel?.destroy();
  }

  #onSnapshot(snapshot: Snapshot): void {
    this.#ztunnel ??= this.#makeZtunnel();
    this.#context.readiness.meet("configuration");
    const isChanged = this.#workloads.refresh(snapshot);
    if (!isChanged && this.#hasToldPorts) return;
    this.#hasToldPorts = true;
    this.#checkCertificates();
    const ports = this.#workloads.tunnelPorts().map(({ workload, ...port }): WantedPort => {
      const entry: ZtunnelEntry = { kind: "tunnel", workload };
      return { ...port, entry };
    });
    this.#context.wantPorts?.(ports);
  }

  /** One certificate shows that the CA answers; a node without workloads needs none. */
  #checkCertificates(): void {
    const { certificates, readiness } = this.#context;
    const { identities } = this.#workloads;
    const has = [...identities].some((id) => certificates.current(id) !== undefined);
    if (has || identities.size === 0) readiness.meet("certificate");
    else readiness.require("certificate", "none was obtained yet for the workloads of this node");
  }

  /** The user name says which workload of this node speaks. */
  #authenticate(user: string, password: string): Workload | undefined {
    const expected = this.#options.socksPassword;
    if (expected === undefined || !isEqual(password, expected)) return undefined;
    const here = [...this.state.current.workloads.values()].filter(
      ({ node, tunnelProtocol }) => node === this.#options.node && tunnelProtocol === "HBONE",
    );
    const meant = findMeant(user, here);
    const isClear = new Set(meant.map(({ namespace }) => namespace)).size === 1;
    return isClear ? meant[0] : undefined;
  }
}

/** In a time that does not tell how much of it is right. */
function isEqual(given: string, expected: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}
