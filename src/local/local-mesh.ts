/**
 * The embedded mesh (D8): a real mesh on one machine, without root and without containers.
 *
 *     Configuration ─ Snapshot ─┬─ ztunnel, waypoints
 *                               ├─ listeners on the mesh's addresses
 *                               └─ echo servers, admin port
 *
 * One ztunnel serves all workloads. Clients enter by connecting to a service's address from a
 * workload's address, or through the SOCKS5 port. Certificates are obtained when the first
 * connection needs them, and ahead of it for the first ones.
 */
import { randomBytes, timingSafeEqual } from "node:crypto";
import type net from "node:net";
import { resolve } from "node:path";
import {
  ADMIN_PORT,
  createMetricsServer,
  createReadinessServer,
  METRICS_PORT,
  READINESS_PORT,
} from "../agent/admin-routes.ts";
import type { AdminServer } from "../agent/admin-server.ts";
import { Certificates } from "../agent/certificates.ts";
import type { DecisionPayload } from "../agent/decision-record.ts";
import { listenAdmin, listenLoopback6, SocksPort } from "../agent/proxy-ports.ts";
import { Readiness } from "../agent/readiness.ts";
import { whenCertified } from "../agent/when-certified.ts";
import { MeshCertificateAuthority } from "../control/certificate-authority.ts";
import type { Configuration, ConfigurationEvent, Reload } from "../control/configuration.ts";
import { registerControlMetrics } from "../control/control-metrics.ts";
import type { ControlPlane } from "../control/control-plane.ts";
import { JwksFetcher } from "../control/jwks/jwks-fetcher.ts";
import { Drain } from "../kit/drain.ts";
import { Failure } from "../kit/failure.ts";
import { log } from "../kit/log.ts";
import type { Snapshot } from "../model/snapshot.ts";
import { type Workload, workloadIdentity } from "../model/workload.ts";
import { findMeant } from "../model/workload-names.ts";
import { Listeners, type WantedListener } from "../net/listeners.ts";
import { HBONE_PORT } from "../policy/next-hop.ts";
import { AccessLog } from "../telemetry/access-log.ts";
import { DecisionLog } from "../telemetry/decision-log.ts";
import { MetricRegistry } from "../telemetry/metrics.ts";
import { Ztunnel } from "../ztunnel/ztunnel.ts";
import { AddressPlan, detectAddressMode, isLoopback4 } from "./addresses.ts";
import { localConfiguration } from "./cluster.ts";
import type { EchoObserver } from "./echo-http.ts";
import { Echoes, type WorkloadOverride } from "./echoes.ts";
import { createMeshAdmin } from "./mesh-admin.ts";
import { type MeshReport, meshReport } from "./mesh-report.ts";
import { type RunFile, readRunFile, removeRunFile, writeRunFile } from "./run-file.ts";
import { type Entry, wantedPorts } from "./wanted-ports.ts";
import { WaypointSet } from "./waypoint-set.ts";

export interface LocalMeshOptions {
  /** Files and folders of manifests. */
  readonly paths: readonly string[];
  readonly overrides: readonly WorkloadOverride[];
  readonly stateDirectory: string;
  /** Meshes with different seeds have different addresses, and can run beside one another. */
  readonly addressSeed: string;
  readonly version: string;
  /** 0: a free one; undefined: the usual one, or a free one. */
  readonly adminPort?: number | undefined;
  readonly metricsPort?: number | undefined;
  readonly readinessPort?: number | undefined;
  readonly socksPort?: number | undefined;
  readonly drainTimeoutMs: number;
  /** Whether each connection has a line in the log; default: yes. */
  readonly logsConnections?: boolean;
  readonly onEvent: (event: MeshEvent) => void;
  /** Told of every request that a built-in workload answers. */
  readonly onEcho?: EchoObserver | undefined;
  /** POST /quitquitquit. */
  readonly onQuit: () => void;
}

export type MeshEvent = ConfigurationEvent | { readonly kind: "problem"; readonly message: string };

const CERTIFICATE_TTL_MS = 24 * 3_600_000;
const SOCKS_PORT = 1080;
/** Certificates that are obtained before anybody asks. */
const CERTIFICATES_AHEAD = 32;
const TOKEN_BYTES = 18;
/** A few KiB each. */
const DECISIONS_KEPT = 4096;

export class LocalMesh {
  readonly #options: LocalMeshOptions;
  readonly #log = log("mesh");
  readonly #drain = new Drain();
  readonly #readiness = new Readiness();
  readonly #registry = new MetricRegistry();
  /** Of everything: what is asked here is asked by people, and `what-if` asks about all of it. */
  readonly #decisions = new DecisionLog<DecisionPayload>({
    capacity: DECISIONS_KEPT,
    recordsAll: true,
  });
  readonly #token = randomBytes(TOKEN_BYTES).toString("base64url");
  readonly #addresses: AddressPlan;
  readonly #configuration: Configuration;
  readonly #control: ControlPlane;
  readonly #jwks: JwksFetcher;
  readonly #certificates: Certificates;
  readonly #accessLog: AccessLog;
  readonly #ztunnel: Ztunnel;
  readonly #waypoints: WaypointSet;
  readonly #echoes: Echoes;
  readonly #listeners: Listeners;
  #run: RunFile | undefined;
  #diagnosticsTold = "";

  /** Resolves when the mesh serves; rejects with CONFIGURATION_INVALID if files do not parse. */
  static async start(options: LocalMeshOptions): Promise<LocalMesh> {
    const other = await readRunFile(options.stateDirectory);
    if (other !== undefined && other.pid !== process.pid) {
      const detail =
        `a mesh runs already with ${options.stateDirectory} (pid ${other.pid}); ` +
        "name another folder with --state to run one beside it";
      throw new Failure("PORT_IN_USE", detail);
    }
    const addresses = new AddressPlan(await detectAddressMode(), options.addressSeed);
    const configuration = localConfiguration(options.paths, addresses);
    await configuration.loadOrRefuse((diagnostics) =>
      options.onEvent({ kind: "diagnostics", diagnostics }),
    );
    const { trustDomain } = configuration.control.current.settings;
    const directory = options.stateDirectory;
    const authority = await MeshCertificateAuthority.open({ directory, trustDomain });
    const mesh = new LocalMesh(options, addresses, configuration, authority);
    try {
      await mesh.#start();
    } catch (caught) {
      await mesh.stop(0);
      throw caught;
    }
    return mesh;
  }

  private constructor(
    options: LocalMeshOptions,
    addresses: AddressPlan,
    configuration: Configuration,
    authority: MeshCertificateAuthority,
  ) {
    this.#options = options;
    this.#addresses = addresses;
    this.#configuration = configuration;
    const { control } = configuration;
    this.#control = control;
    this.#certificates = new Certificates(authority, {
      ttlMs: CERTIFICATE_TTL_MS,
      log: log("certificates"),
      registry: this.#registry,
    });
    registerControlMetrics(this.#registry, control);
    this.#jwks = new JwksFetcher({
      control,
      registry: this.#registry,
      dialAddress: (address, port) => addresses.dialAddress(address, port),
    });
    const { settings } = control.current;
    this.#accessLog = new AccessLog({
      file: settings.accessLogFile,
      encoding: settings.accessLogEncoding,
      format: settings.accessLogFormat,
      registry: this.#registry,
    });
    this.#echoes = new Echoes(addresses, options.overrides, options.onEcho);
    this.#listeners = new Listeners(addresses, ({ message }) =>
      options.onEvent({ kind: "problem", message }),
    );
    const shared = {
      snapshots: control,
      certificates: this.#certificates,
      registry: this.#registry,
      decisions: this.#decisions,
    };
    this.#ztunnel = new Ztunnel({
      ...shared,
      drain: this.#drain,
      logsConnections: options.logsConnections ?? true,
      tunnelAddress: (address, port) => addresses.dialAddress(address, port),
      dialFrom: (address) => addresses.sourceAddress(address),
      appAddress: (workload, port, source) => this.#echoes.appAddress(workload, port, source),
    });
    this.#waypoints = new WaypointSet({
      ...shared,
      addresses,
      accessLog: this.#accessLog,
      drainTimeoutMs: options.drainTimeoutMs,
      tunnelAddress: (address) => addresses.dialAddress(address, HBONE_PORT),
    });
    for (const member of [this.#readiness, this.#listeners, this.#waypoints, this.#echoes]) {
      this.#drain.add(member);
    }
  }

  /** How others reach it. */
  get run(): RunFile {
    if (this.#run === undefined) throw new Failure("CONFIGURATION_INVALID", "not started");
    return this.#run;
  }

  report(): MeshReport {
    return meshReport({
      snapshot: this.#control.current,
      addressMode: this.#addresses.mode,
      where: (address, port) => this.#listeners.where(address, port),
      playedBy: (workload) => this.#echoes.playedBy(workload),
      statuses: this.#control.conditions.values(),
      diagnostics: this.#configuration.diagnostics,
    });
  }

  /** D10: takes nothing new, finishes what it holds, cuts what is left at the deadline. */
  async stop(deadlineMs = this.#options.drainTimeoutMs): Promise<void> {
    this.#configuration.close();
    this.#jwks.close();
    if (this.#run !== undefined) await removeRunFile(this.#options.stateDirectory);
    await this.#drain.start(deadlineMs);
    await this.#accessLog.flush();
    await this.#accessLog.close();
    this.#certificates.close();
  }

  /** Cuts every connection; a `stop` that waits for them then resolves. */
  cut(): void {
    for (const member of [this.#ztunnel, this.#waypoints, this.#echoes]) member.destroy();
  }

  async #start(): Promise<void> {
    this.#readiness.require("listeners", "the mesh's ports are not open yet");
    this.#control.subscribe((now, before) => this.#onSnapshot(now, before));
    await this.#sync(this.#control.current);
    if (this.#listeners.size === 0 && this.#listeners.problems.length > 0) {
      throw new Failure("PORT_IN_USE", this.#listeners.problems[0]!.message);
    }
    for (const { workload } of this.#echoes.unusedOverrides(this.#control.current)) {
      const message = `--workload ${workload}: no workload of the manifests is called that`;
      this.#options.onEvent({ kind: "problem", message });
    }
    this.#run = await this.#openPorts();
    await writeRunFile(this.#options.stateDirectory, this.#run);
    this.#diagnosticsTold = JSON.stringify(this.#configuration.diagnostics);
    this.#configuration.onReload((reload) => this.#onReload(reload));
    this.#readiness.meet("listeners");
  }

  async #openPorts(): Promise<RunFile> {
    const { adminPort, metricsPort, readinessPort, socksPort } = this.#options;
    const [admin, admin6] = [this.#makeAdmin(), this.#makeAdmin()];
    const metrics = createMetricsServer(this.#registry);
    const readiness = createReadinessServer(this.#readiness);
    const socks = new SocksPort((socket) =>
      this.#ztunnel.acceptSocks(socket, (user, password) => this.#authenticate(user, password)),
    );
    for (const member of [admin, admin6, metrics, readiness, socks]) this.#drain.add(member);
    const adminAddress = await listenAdmin(admin, ADMIN_PORT, adminPort);
    await listenLoopback6(admin6, adminAddress.port);
    const url = ({ host, port }: { host: string; port: number }) => `http://${host}:${port}`;
    return {
      pid: process.pid,
      version: this.#options.version,
      adminUrl: url(adminAddress),
      metricsUrl: url(await listenAdmin(metrics, METRICS_PORT, metricsPort)),
      readinessUrl: url(await listenAdmin(readiness, READINESS_PORT, readinessPort)),
      socks: await socks.listen(SOCKS_PORT, socksPort),
      token: this.#token,
      addressMode: this.#addresses.mode,
      addressSeed: this.#options.addressSeed,
      files: this.#options.paths.map((path) => resolve(path)),
    };
  }

  #makeAdmin(): AdminServer {
    return createMeshAdmin({
      snapshot: () => this.#control.current,
      report: () => this.report(),
      decisions: this.#decisions,
      readiness: this.#readiness,
      quit: this.#options.onQuit,
    });
  }

  #onReload(reload: Reload): void {
    const { onEvent } = this.#options;
    onEvent({ kind: "reloaded", ...reload });
    const { diagnostics } = this.#configuration;
    const text = JSON.stringify(diagnostics);
    if (text === this.#diagnosticsTold) return;
    this.#diagnosticsTold = text;
    onEvent({ kind: "diagnostics", diagnostics });
  }

  #onSnapshot(now: Snapshot, before: Snapshot): void {
    const isSame =
      now.services === before.services &&
      now.workloads === before.workloads &&
      now.waypoints === before.waypoints;
    if (isSame) return;
    this.#sync(now).catch((caught: unknown) => this.#log.error({ caught }, "ports"));
  }

  /** Makes waypoints, echo servers, ports and certificates what the snapshot asks for. */
  async #sync(snapshot: Snapshot): Promise<void> {
    this.#waypoints.sync(snapshot);
    await this.#echoes.sync(snapshot);
    const wanted = wantedPorts(snapshot).map(
      ({ address, port, purpose, entry }): WantedListener => ({
        address,
        port,
        purpose,
        accept: (socket) => this.#accept(socket, { address, port }, entry),
      }),
    );
    this.#obtainAhead(snapshot);
    await this.#listeners.sync(wanted);
  }

  #accept(
    socket: net.Socket,
    original: { readonly address: string; readonly port: number },
    entry: Entry,
  ): void {
    switch (entry.kind) {
      case "captured":
        this.#ztunnel.acceptCaptured(socket, original);
        return;
      case "tunnel": {
        const workload = this.#control.current.workloads.get(entry.workload);
        const id = workload && workloadIdentity(workload);
        this.#withCertificate(id, socket, () => this.#ztunnel.acceptTunnel(socket, entry.workload));
        return;
      }
      case "waypoint": {
        const id = this.#waypoints.identityOf(entry.waypoint);
        this.#withCertificate(id, socket, () =>
          this.#waypoints.acceptTunnel(entry.waypoint, socket),
        );
      }
    }
  }

  #withCertificate(spiffeId: string | undefined, socket: net.Socket, accept: () => void): void {
    whenCertified(this.#certificates, spiffeId, socket, accept, this.#log);
  }

  #obtainAhead(snapshot: Snapshot): void {
    const wanted = new Set<string>();
    for (const workload of snapshot.workloads.values()) {
      if (wanted.size >= CERTIFICATES_AHEAD) break;
      const isHere = workload.addresses.some(isLoopback4);
      const isServer = workload.tunnelProtocol === "HBONE" || workload.waypointInstanceOf;
      if (isHere && isServer) wanted.add(workloadIdentity(workload));
    }
    for (const spiffeId of wanted) {
      this.#certificates.get(spiffeId).catch((caught: unknown) => {
        this.#log.error({ spiffeId, reason: String(caught) }, "no certificate");
      });
    }
  }

  #authenticate(user: string, password: string): Workload | undefined {
    const given = Buffer.from(password);
    const expected = Buffer.from(this.#token);
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
    const meant = findMeant(user, this.#control.current.workloads.values());
    const isClear = new Set(meant.map((workload) => workload.namespace)).size === 1;
    return isClear ? meant[0] : undefined;
  }
}
