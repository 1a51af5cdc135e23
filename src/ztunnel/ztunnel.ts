/**
 * ztunnel: the L4 half of the mesh for the workloads of one node.
 *
 * Takes what its workloads send (captured connections, or SOCKS5) to where the mesh says it goes,
 * in tunnels with the workload's own identity; and takes tunnels for its workloads, judges them by
 * L4 policy and joins them to the application. Who captures, and how sockets get here, is the
 * caller's: `acceptCaptured`, `acceptTunnel` and `acceptSocks` take sockets from any listener.
 */
import type net from "node:net";
import type { CertificateSource } from "../agent/certificates.ts";
import type { DecisionPayload } from "../agent/decision-record.ts";
import type { Drain } from "../kit/drain.ts";
import { log } from "../kit/log.ts";
import { LogLimit } from "../kit/log-limit.ts";
import type { Snapshot, SnapshotSource } from "../model/snapshot.ts";
import { type Workload, workloadIdentity } from "../model/workload.ts";
import { TunnelPool } from "../net/hbone/tunnel-pool.ts";
import { TunnelServer } from "../net/hbone/tunnel-server.ts";
import { TUNNEL_LIMITS } from "../net/http2/limits.ts";
import { TcpStream } from "../net/tcp-stream.ts";
import type { DecisionLog } from "../telemetry/decision-log.ts";
import { EventLog } from "../telemetry/event-log.ts";
import { TcpMetrics } from "../telemetry/istio-metrics.ts";
import { LimitsReached } from "../telemetry/limits-reached.ts";
import type { MetricRegistry } from "../telemetry/metrics.ts";
import { PeerErrors } from "../telemetry/peer-errors.ts";
import { ShadowMetrics } from "../telemetry/shadow-metrics.ts";
import { CarriedConnections } from "./carried-connections.ts";
import type { ZtunnelContext } from "./context.ts";
import { acceptTunnelled } from "./inbound.ts";
import { OpenConnections } from "./open-connections.ts";
import { Outbound } from "./outbound.ts";
import { CapturedClient } from "./outbound-client.ts";
import { acceptSocksClient } from "./socks-client.ts";
import { ZtunnelMetrics } from "./ztunnel-metrics.ts";

export interface ZtunnelOptions {
  readonly snapshots: SnapshotSource;
  readonly certificates: CertificateSource;
  readonly registry: MetricRegistry;
  readonly decisions: DecisionLog<DecisionPayload>;
  readonly drain: Drain;
  readonly tunnelAddress: ZtunnelContext["tunnelAddress"];
  readonly dialFrom: ZtunnelContext["dialFrom"];
  readonly appAddress: ZtunnelContext["appAddress"];
  /** Connections that it carries at a time; default 20,000. */
  readonly maxConnections?: number;
  /** Whether each has its line in the log; default: yes. */
  readonly logsConnections?: boolean;
}

const HANDSHAKE_TIMEOUT_MS = 10_000;
/** ztunnel's; a shorter `hboneIdleTimeout` of the mesh goes before. */
const POOL_IDLE_TIMEOUT_MAX_MS = 300_000;

export class Ztunnel {
  readonly #context: ZtunnelContext;
  readonly #peerErrors: PeerErrors;
  readonly #servers = new Map<string, TunnelServer>();
  /** Those of workloads that are gone, until their last stream is. */
  readonly #leaving = new Set<TunnelServer>();
  readonly #unsubscribe: () => void;
  readonly #hide: () => void;

  constructor(options: ZtunnelOptions) {
    const { snapshots, certificates, registry, decisions, drain } = options;
    const { settings } = snapshots.current;
    const logger = log("ztunnel");
    const limitsReached = new LimitsReached(registry, logger);
    this.#peerErrors = new PeerErrors(registry, logger);
    this.#context = {
      snapshots,
      certificates,
      decisions,
      pool: new TunnelPool({
        connectTimeoutMs: settings.connectTimeoutMs,
        maxStreamsPerConnection: 100,
        idleTimeoutMs: Math.min(settings.hboneIdleTimeoutMs, POOL_IDLE_TIMEOUT_MAX_MS),
        limits: TUNNEL_LIMITS,
        onLimit: (limit) => limitsReached.reached(limit),
        onPeerError: (error, target) =>
          this.#peerErrors.http2("tunnel_upstream", error, `${target.host}:${target.port}`),
      }),
      tcp: new TcpMetrics(registry),
      shadows: new ShadowMetrics(registry, "destination"),
      connections: new OpenConnections(),
      carried: new CarriedConnections(options.maxConnections),
      limitsReached,
      metrics: new ZtunnelMetrics(registry),
      log: logger,
      logLimit: new LogLimit({
        onLeftOut: (kind, count) => logger.warn({ kind, count }, "more lines like this one"),
      }),
      accessLog: new EventLog({
        scope: "access",
        encoding: () => snapshots.current.settings.accessLogEncoding,
        ...(options.logsConnections === false ? { isLogged: () => false } : {}),
      }),
      tunnelAddress: options.tunnelAddress,
      dialFrom: options.dialFrom,
      appAddress: options.appAddress,
    };
    this.#unsubscribe = snapshots.subscribe((now) => this.#onSnapshot(now));
    const { carried, metrics, pool } = this.#context;
    this.#hide = registry.beforeExpose(() => metrics.show(carried, pool.stats));
    drain.add(this);
  }

  #onSnapshot(snapshot: Snapshot): void {
    this.#context.connections.judgeAgain(snapshot);
    for (const [uid, server] of this.#servers) {
      if (snapshot.workloads.get(uid) !== undefined) continue;
      this.#servers.delete(uid);
      this.#leaving.add(server);
      server
        .drain()
        .catch((caught: unknown) => this.#context.log.error({ caught }, "drain"))
        .finally(() => this.#leaving.delete(server));
    }
  }

  /**
   * A connection that was made to `original` (a service's or a workload's address). The client is
   * the workload at the socket's source address; any other source is outside the mesh.
   */
  acceptCaptured(socket: net.Socket, original: { address: string; port: number }): void {
    const address = socket.remoteAddress;
    if (address === undefined) {
      socket.destroy();
      return;
    }
    const source = this.#workloadAt(address);
    const remote = { address, port: socket.remotePort ?? 0 };
    const client = new CapturedClient(new TcpStream(socket));
    const isOurListener =
      socket.localAddress === original.address && socket.localPort === original.port;
    const request = { client, source, remote, ...original, isOurListener };
    const outbound = new Outbound(this.#context, request);
    const reporter = outbound.isForInbound ? "destination" : "source";
    this.#context.metrics.socketOpened(socket, reporter);
    outbound.start();
  }

  /** A connection to a workload's tunnel port. */
  acceptTunnel(socket: net.Socket, uid: string): void {
    this.#context.metrics.socketOpened(socket, "destination");
    this.#serverOf(uid).accept(socket);
  }

  /** A SOCKS5 client; `authenticate` tells which workload its user name and password stand for. */
  acceptSocks(
    socket: net.Socket,
    authenticate: (user: string, password: string) => Workload | undefined,
  ): void {
    this.#context.metrics.socketOpened(socket, "source");
    acceptSocksClient(this.#context, socket, authenticate);
  }

  #workloadAt(address: string): Workload | undefined {
    const { current } = this.#context.snapshots;
    const uid = current.addresses.get(address)?.workloads[0];
    return uid === undefined ? undefined : current.workloads.get(uid);
  }

  #serverOf(uid: string): TunnelServer {
    let server = this.#servers.get(uid);
    if (server === undefined) {
      const { certificates, snapshots } = this.#context;
      const errors = this.#peerErrors;
      server = new TunnelServer(
        {
          identity: () => {
            const workload = snapshots.current.workloads.get(uid);
            return workload && certificates.current(workloadIdentity(workload));
          },
          trustDomains: () => [snapshots.current.settings.trustDomain],
          limits: TUNNEL_LIMITS,
          handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS,
          idleTimeoutMs: snapshots.current.settings.hboneIdleTimeoutMs,
        },
        {
          onConnect: (stream, request, connection) =>
            acceptTunnelled(this.#context, uid, stream, request, connection),
          onTlsFailure: (failure, remoteAddress) => errors.tls(failure, remoteAddress),
          onMalformedConnect: (connection) => errors.malformedConnect(connection.peer),
          onPeerError: (error, connection) =>
            errors.http2("tunnel_listener", error, connection.peer),
        },
      );
      this.#servers.set(uid, server);
    }
    return server;
  }

  /** Open streams of both directions, and the tunnels that come in. */
  get load(): { readonly streams: number; readonly connections: number } {
    let streams = this.connectionCount;
    let connections = 0;
    for (const server of this.#servers.values()) {
      // A stream that is open may not be joined to its application yet, and counts twice then.
      streams += server.streamCount;
      connections += server.connectionCount;
    }
    return { streams, connections };
  }

  /** Connections that it carries, one that passes it twice counted twice. */
  get connectionCount(): number {
    return this.#context.carried.size;
  }

  /** Plain connections are nobody else's: neither a server nor the pool waits for them. */
  async drain(): Promise<void> {
    const servers = [...this.#servers.values(), ...this.#leaving];
    const draining = servers.map((server) => server.drain());
    await Promise.all([...draining, this.#context.carried.whenEmpty()]);
    await this.#context.pool.drain();
  }

  destroy(): void {
    this.#unsubscribe();
    this.#hide();
    this.#context.logLimit.flush();
    this.#context.carried.cutAll("shutting down");
    for (const server of [...this.#servers.values(), ...this.#leaving]) server.destroy();
    this.#context.pool.destroy();
  }
}
