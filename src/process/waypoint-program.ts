/**
 * The waypoint of one Gateway on what a control plane sends: it starts with the first configuration
 * and serves from the last one for as long as the control plane is away.
 */
import type net from "node:net";
import { configDump } from "../agent/config-dump.ts";
import type { DecisionPayload } from "../agent/decision-record.ts";
import { decisionReport } from "../agent/decision-report.ts";
import { whenCertified } from "../agent/when-certified.ts";
import { type Logger, log } from "../kit/log.ts";
import { formatIdentity } from "../model/identity.ts";
import type { Snapshot } from "../model/snapshot.ts";
import { HBONE_PORT } from "../policy/next-hop.ts";
import { AccessLog } from "../telemetry/access-log.ts";
import { DecisionLog } from "../telemetry/decision-log.ts";
import { Waypoint } from "../waypoint/waypoint.ts";
import { ownAddress } from "./own-address.ts";
import type { Program, ProgramContext, ProxyState } from "./program.ts";
import type { WorkerLoad } from "./workers/messages.ts";

export interface WaypointProgramOptions {
  /** Of the Gateway. */
  readonly namespace: string;
  readonly name: string;
  readonly serviceAccount: string;
  /** The address to dial from, when it is this machine's. */
  readonly instanceIp: string | undefined;
  /** A drain lets idle connections, and late tunnels, come and go this long. */
  readonly drainGraceMs: number;
}

export class WaypointProgram implements Program {
  readonly state: ProxyState;
  readonly #options: WaypointProgramOptions;
  readonly #context: ProgramContext;
  readonly #log: Logger;
  readonly #decisions = new DecisionLog<DecisionPayload>();
  readonly #key: string;
  #running:
    | { readonly waypoint: Waypoint; readonly accessLog: AccessLog; readonly spiffeId: string }
    | undefined;
  /** In the last configuration; undefined: there was none. */
  #isKnown: boolean | undefined;

  constructor(options: WaypointProgramOptions, context: ProgramContext, state: ProxyState) {
    this.#options = options;
    this.#context = context;
    this.state = state;
    this.#key = `${options.namespace}/${options.name}`;
    this.#log = log(`waypoint ${this.#key}`);
    const { readiness } = context;
    readiness.require("configuration", "the control plane has not sent any yet");
    readiness.require("certificate", "none was obtained yet");
    state.subscribe((now) => this.#onSnapshot(now));
    if (state.current.revision > 0) this.#onSnapshot(state.current);
  }

  accept(socket: net.Socket): void {
    if (this.#running === undefined) {
      socket.destroy();
      return;
    }
    const { waypoint, spiffeId } = this.#running;
    const { certificates } = this.#context;
    const accept = () => waypoint.acceptTunnel(socket);
    whenCertified(certificates, spiffeId, socket, accept, this.#log);
  }

  get load(): WorkerLoad {
    return this.#running?.waypoint.load ?? { streams: 0, connections: 0 };
  }

  configDump(): unknown {
    return configDump(this.state.current);
  }

  decision(id: string): unknown {
    const found = this.#decisions.find(id);
    return found && decisionReport(found);
  }

  async close(): Promise<void> {
    await this.#running?.accessLog.flush();
    await this.#running?.accessLog.close();
  }

  destroy(): void {
    this.#running?.waypoint.destroy();
  }

  #onSnapshot(snapshot: Snapshot): void {
    const { readiness } = this.#context;
    readiness.meet("configuration");
    const isKnown = snapshot.waypoints.get(this.#key) !== undefined;
    if (isKnown) readiness.meet("gateway");
    else readiness.require("gateway", `the mesh has no waypoint ${this.#key}`);
    if (!isKnown && this.#isKnown !== false) {
      this.#log.warn({ waypoint: this.#key }, "the mesh has no such waypoint; waiting for it");
    }
    this.#isKnown = isKnown;
    this.#running ??= this.#start(snapshot);
  }

  #start(snapshot: Snapshot) {
    const { namespace, serviceAccount, instanceIp, drainGraceMs } = this.#options;
    const { certificates, registry, drain, readiness, lineSink } = this.#context;
    const { settings } = snapshot;
    const { trustDomain } = settings;
    const spiffeId = formatIdentity({ trustDomain, namespace, serviceAccount });
    const file = settings.accessLogFile;
    const accessLog = new AccessLog({
      file,
      encoding: settings.accessLogEncoding,
      format: settings.accessLogFormat,
      registry,
      ...(lineSink === undefined ? {} : { sink: lineSink(file) }),
    });
    const waypoint = new Waypoint({
      key: this.#key,
      spiffeId,
      snapshots: this.state,
      certificates,
      registry,
      accessLog,
      decisions: this.#decisions,
      drain,
      limits: { drainGraceMs },
      sourceAddress: ownAddress(instanceIp),
      tunnelAddress: (address) => ({ host: address, port: HBONE_PORT }),
    });
    certificates.subscribe((identity) => {
      if (identity.spiffeId === spiffeId) readiness.meet("certificate");
    });
    // A failure is told and retried there.
    certificates
      .get(spiffeId)
      .then(() => readiness.meet("certificate"))
      .catch(() => {});
    return { waypoint, accessLog, spiffeId };
  }
}
