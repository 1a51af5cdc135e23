/**
 * A waypoint: the L7 half of the mesh for the services (or workloads) bound to one Gateway.
 *
 * Clients' ztunnels open tunnels to it and CONNECT to a service's address; the waypoint terminates
 * them, runs each request through the stages of pipeline.ts, and goes on to the endpoint through
 * its ztunnel. It answers only for authorities that are bound to it.
 */
import type net from "node:net";
import type { CertificateSource } from "../agent/certificates.ts";
import type { DecisionPayload } from "../agent/decision-record.ts";
import { deadlinesOf } from "../kit/deadlines.ts";
import type { Drain } from "../kit/drain.ts";
import type { Failure } from "../kit/failure.ts";
import { log } from "../kit/log.ts";
import { LogLimit } from "../kit/log-limit.ts";
import type { SnapshotSource } from "../model/snapshot.ts";
import { type ClientHello, ClientHelloReader } from "../net/client-hello.ts";
import { parseAuthority } from "../net/hbone/authority.ts";
import { TunnelPool } from "../net/hbone/tunnel-pool.ts";
import {
  type TunnelConnection,
  type TunnelHandler,
  TunnelServer,
} from "../net/hbone/tunnel-server.ts";
import type { PeerError } from "../net/http2/errors.ts";
import { encodeStatelessBlock } from "../net/http2/headers.ts";
import { TUNNEL_LIMITS } from "../net/http2/limits.ts";
import type { Http2Stream } from "../net/http2/stream.ts";
import type { AccessLog } from "../telemetry/access-log.ts";
import type { DecisionLog } from "../telemetry/decision-log.ts";
import { RequestMetrics, TcpMetrics } from "../telemetry/istio-metrics.ts";
import { LimitsReached } from "../telemetry/limits-reached.ts";
import type { MetricRegistry } from "../telemetry/metrics.ts";
import { PeerErrors } from "../telemetry/peer-errors.ts";
import { ShadowMetrics } from "../telemetry/shadow-metrics.ts";
import { Clusters } from "./cluster.ts";
import type { WaypointContext } from "./context.ts";
import { Dialer } from "./dial.ts";
import { FirstBytes } from "./first-bytes.ts";
import { Http1Session } from "./http1-session.ts";
import { KeptBytes } from "./kept-body.ts";
import { DEFAULT_LIMITS, type WaypointLimits } from "./limits.ts";
import { sniff } from "./sniffer.ts";
import { forward } from "./stages/forward.ts";
import { type Target, Targets } from "./target.ts";
import { TcpSession, type TunnelAnswer } from "./tcp-session.ts";
import { WaypointMetrics } from "./waypoint-metrics.ts";

export interface WaypointOptions {
  /** `<namespace>/<name>` of the Gateway. */
  readonly key: string;
  readonly spiffeId: string;
  readonly snapshots: SnapshotSource;
  readonly certificates: Pick<CertificateSource, "current">;
  readonly registry: MetricRegistry;
  readonly accessLog: AccessLog;
  readonly decisions: DecisionLog<DecisionPayload>;
  readonly drain: Drain;
  /** Other limits than the usual. */
  readonly limits?: Partial<WaypointLimits>;
  /** False: its port is closed as soon as it drains. */
  readonly acceptsWhileDraining?: boolean;
  /** The address to dial from; undefined leaves it to the system. */
  readonly sourceAddress: string | undefined;
  /** Where the ztunnel of an address accepts tunnels. */
  readonly tunnelAddress: (address: string) => { host: string; port: number };
}

const OK = encodeStatelessBlock([":status", "200"]);
const HANDSHAKE_TIMEOUT_MS = 10_000;

export class Waypoint implements TunnelHandler {
  readonly #options: WaypointOptions;
  readonly #server: TunnelServer;
  readonly #pool: TunnelPool;
  readonly #context: WaypointContext;
  readonly #targets: Targets;
  readonly #log;
  readonly #logLimit;
  readonly #peerErrors: PeerErrors;
  readonly #metrics: WaypointMetrics;
  readonly #limitsReached: LimitsReached;
  readonly #unsubscribe: () => void;

  constructor(options: WaypointOptions) {
    this.#options = options;
    this.#log = log(`waypoint ${options.key}`);
    this.#logLimit = new LogLimit({
      onLeftOut: (kind, count) => this.#log.warn({ count }, `${kind}: lines left out`),
    });
    const { snapshots, registry } = options;
    const { hboneIdleTimeoutMs: idleTimeoutMs } = snapshots.current.settings;
    const connectTimeoutMs = () => snapshots.current.settings.connectTimeoutMs;
    this.#metrics = new WaypointMetrics(registry, options.key);
    this.#limitsReached = new LimitsReached(registry, this.#log);
    this.#peerErrors = new PeerErrors(registry, this.#log);
    this.#pool = new TunnelPool({
      connectTimeoutMs: connectTimeoutMs(),
      maxStreamsPerConnection: 100,
      idleTimeoutMs,
      limits: TUNNEL_LIMITS,
      maxWaiting: { ...DEFAULT_LIMITS, ...options.limits }.waitingTunnelsMax,
      onLimit: (limit) => this.#limitsReached.reached(limit),
      onPeerError: (error, target) =>
        this.#peerErrors.http2("tunnel_upstream", error, `${target.host}:${target.port}`),
    });
    this.#context = this.#makeContext(connectTimeoutMs);
    this.#targets = new Targets(options.key, this.#context.clusters);
    this.#server = new TunnelServer(
      {
        identity: this.#identity,
        trustDomains: () => {
          const { trustDomain, trustDomainAliases } = snapshots.current.settings;
          return [trustDomain, ...trustDomainAliases];
        },
        limits: TUNNEL_LIMITS,
        handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS,
        idleTimeoutMs,
      },
      this,
    );
    this.#unsubscribe = snapshots.subscribe((now) => this.#context.clusters.sweep(now));
    options.drain.add(this);
  }

  readonly #identity = () => this.#options.certificates.current(this.#options.spiffeId);

  #makeContext(connectTimeoutMs: () => number): WaypointContext {
    const { key, spiffeId, snapshots, registry, accessLog, decisions } = this.#options;
    const { sourceAddress, tunnelAddress, drain } = this.#options;
    const identity = this.#identity;
    const metrics = this.#metrics;
    const limits = { ...DEFAULT_LIMITS, ...this.#options.limits };
    const { hboneIdleTimeoutMs } = snapshots.current.settings;
    return {
      waypoint: key,
      snapshots,
      limits,
      stalls: deadlinesOf(Math.min(limits.requestBodyIdleTimeoutMs, hboneIdleTimeoutMs)),
      limitsReached: this.#limitsReached,
      countRetry: (reason) => metrics.retried(reason),
      countTimeout: (what) => metrics.idleClosed(what),
      clusters: new Clusters(),
      keptBytes: new KeptBytes(limits.keptBodiesBytesMax, (limit) => metrics.notKept(limit)),
      dialer: new Dialer({
        pool: this.#pool,
        identity,
        spiffeId,
        sourceAddress,
        tunnelAddress,
        connectTimeoutMs,
      }),
      accessLog,
      decisions,
      requests: new RequestMetrics(registry, "waypoint"),
      tcp: new TcpMetrics(registry),
      shadows: new ShadowMetrics(registry, "waypoint"),
      activeRequests: metrics.activeRequests,
      countRefused: (reply) => metrics.malformed(reply.status),
      countMirrored: (result) => metrics.mirrored(result),
      sessions: new Set(),
      get isDraining() {
        return drain.isDraining;
      },
      peerErrors: this.#peerErrors,
      forward: (exchange) => forward(exchange),
    };
  }

  /** Open streams of its clients, and their connections. */
  get load(): { readonly streams: number; readonly connections: number } {
    const { streamCount: streams, connectionCount: connections } = this.#server;
    return { streams, connections };
  }

  /** A socket from any listener. */
  acceptTunnel(socket: net.Socket): void {
    this.#server.accept(socket);
  }

  onMalformedConnect(connection: TunnelConnection): void {
    this.#peerErrors.malformedConnect(connection.peer);
    this.#metrics.tunnelRefused(400);
  }

  onPeerError(error: PeerError, connection: TunnelConnection): void {
    this.#peerErrors.http2("tunnel_listener", error, connection.peer);
  }

  onTlsFailure(failure: Failure, remoteAddress: string): void {
    this.#peerErrors.tls(failure, remoteAddress);
    this.#metrics.tunnelRefused("tls");
  }

  onIdle(): void {
    this.#metrics.idleClosed("tunnel");
  }

  onConnect(
    stream: Http2Stream,
    request: { authority: string },
    connection: TunnelConnection,
  ): void {
    const authority = parseAuthority(request.authority);
    const { snapshots } = this.#options;
    const target =
      authority && this.#targets.find(snapshots.current, authority.host, authority.port);
    if (target === undefined) {
      this.#refuse(stream, authority ? 404 : 400, request.authority, connection);
      return;
    }
    switch (target.protocol) {
      case "HTTP11":
      case "HTTP2":
      case "GRPC":
        // Whichever the port declares, a client may speak either: it shows with its first bytes.
        stream.respond(OK, false);
        new Http1Session(stream, connection, this.#context, target);
        return;
      case "TCP":
      case "TLS":
        this.#startTcp(stream, connection, target);
        return;
      default:
        stream.respond(OK, false);
        this.#sniff(stream, connection, target);
    }
  }

  #startTcp(stream: Http2Stream, connection: TunnelConnection, target: Target): void {
    if (target.decider.needsServerName) {
      stream.respond(OK, false);
      this.#readServerName(stream, connection, target);
      return;
    }
    const answer: TunnelAnswer = {
      accept: () => stream.respond(OK, false),
      refuse: (status) => this.#refuse(stream, status, `port ${target.port}`, connection),
    };
    new TcpSession(stream, connection, this.#context, target, answer).start();
  }

  #sniff(stream: Http2Stream, connection: TunnelConnection, target: Target): void {
    const { settings } = this.#options.snapshots.current;
    const timeouts = {
      detectionMs: settings.protocolDetectionTimeoutMs,
      idleMs: settings.hboneIdleTimeoutMs,
    };
    const onCut = () => this.#context.countTimeout("unknown");
    sniff(stream, this.#context.sessions, { ...timeouts, onCut }, (protocol, bytes, isEnded) => {
      if (protocol === "http1") {
        const session = new Http1Session(stream, connection, this.#context, target);
        session.onData(bytes, 0, bytes.length);
        return;
      }
      if (target.decider.needsServerName) {
        this.#readServerName(stream, connection, target);
        stream.consumer.onData(bytes, 0, bytes.length);
      } else this.#startAccepted(stream, connection, target, bytes, undefined);
      if (isEnded) stream.consumer.onEnd();
    });
  }

  /** A client says its server name once its tunnel is accepted. */
  #readServerName(stream: Http2Stream, connection: TunnelConnection, target: Target): void {
    const reader = new ClientHelloReader();
    new FirstBytes<ClientHello>(stream, this.#context.sessions, {
      look: (bytes) => reader.read(bytes),
      otherwise: { kind: "malformed" },
      timeoutMs: this.#context.limits.clientHelloTimeoutMs,
      found: (hello, bytes, isEnded) => {
        const serverName = hello.kind === "hello" ? hello.serverName : undefined;
        this.#startAccepted(stream, connection, target, bytes, serverName);
        if (isEnded) stream.consumer.onEnd();
      },
    });
  }

  #startAccepted(
    stream: Http2Stream,
    connection: TunnelConnection,
    target: Target,
    bytes: Buffer,
    serverName: string | undefined,
  ): void {
    const answer: TunnelAnswer = { accept() {}, refuse: () => stream.reset("connect") };
    const session = new TcpSession(stream, connection, this.#context, target, answer);
    session.start(bytes, serverName);
  }

  #refuse(
    stream: Http2Stream,
    status: number,
    authority: string,
    connection: TunnelConnection,
  ): void {
    const { peer, remoteAddress } = connection;
    if (this.#logLimit.allows("CONNECT refused")) {
      this.#log.warn({ authority, status, peer, remoteAddress }, "CONNECT refused");
    }
    this.#metrics.tunnelRefused(status);
    stream.respond([":status", String(status)], true);
    stream.reset("cancel");
  }

  /**
   * D10, from the outside in: GOAWAY to tunnels and to HTTP/2 inside them, `connection: close` in
   * the next answer of each HTTP/1.1 connection; behind the grace what is idle still, and what has
   * come since. Then the ways upstream, which nobody needs any more.
   */
  async drain(deadlineMs: number): Promise<void> {
    const { sessions, limits, clusters } = this.#context;
    const graceMs = Math.min(limits.drainGraceMs, deadlineMs / 3);
    const acceptMs = this.#options.acceptsWhileDraining === false ? 0 : graceMs;
    for (const session of sessions) session.drain(graceMs);
    const timer = setTimeout(() => {
      for (const session of sessions) session.drain(0);
    }, graceMs);
    await this.#server.drain(this.#server.connectionCount > 0 ? acceptMs : 0);
    clearTimeout(timer);
    clusters.closeIdle();
    await this.#pool.drain();
  }

  destroy(): void {
    this.#unsubscribe();
    this.#logLimit.flush();
    this.#server.destroy();
    this.#pool.destroy();
  }
}
