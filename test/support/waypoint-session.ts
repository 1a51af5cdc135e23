/** A waypoint's sessions without sockets: a client and backends at the ends of memory streams. */

import { pino } from "pino";
import { Deadlines } from "../../src/kit/deadlines.ts";
import { Failure } from "../../src/kit/failure.ts";
import type { AttachedRoute, HttpRouteRule } from "../../src/model/route.ts";
import type { AuthorizationPolicy } from "../../src/model/rule.ts";
import type { Endpoint } from "../../src/model/service.ts";
import type { Snapshot } from "../../src/model/snapshot.ts";
import { AccessLog } from "../../src/telemetry/access-log.ts";
import { DecisionLog } from "../../src/telemetry/decision-log.ts";
import { RequestMetrics, TcpMetrics } from "../../src/telemetry/istio-metrics.ts";
import { LimitsReached } from "../../src/telemetry/limits-reached.ts";
import { MetricRegistry } from "../../src/telemetry/metrics.ts";
import { PeerErrors } from "../../src/telemetry/peer-errors.ts";
import { ShadowMetrics } from "../../src/telemetry/shadow-metrics.ts";
import { Clusters, type UpstreamEndpoint } from "../../src/waypoint/cluster.ts";
import type { WaypointContext } from "../../src/waypoint/context.ts";
import type { DialListener } from "../../src/waypoint/dial.ts";
import { Http1Session } from "../../src/waypoint/http1-session.ts";
import { KeptBytes } from "../../src/waypoint/kept-body.ts";
import { DEFAULT_LIMITS, type WaypointLimits } from "../../src/waypoint/limits.ts";
import type { LocalReply } from "../../src/waypoint/local-replies.ts";
import { forward } from "../../src/waypoint/stages/forward.ts";
import { type Target, Targets } from "../../src/waypoint/target.ts";
import { WaypointMetrics } from "../../src/waypoint/waypoint-metrics.ts";
import { type MemoryPairOptions, MemoryPeer, MemoryStream } from "./memory-stream.ts";
import { indexOf, makeWorkload, smallMesh } from "./small-mesh.ts";

export const REVIEWS_HOST = "reviews.default.svc.cluster.local";
export const REVIEWS = `default/${REVIEWS_HOST}`;

const POSITION = undefined;

/** The small mesh with `count` pods behind reviews. */
export function meshWith(count: number, base = smallMesh()): Snapshot {
  const ports = new Map([
    [80, 8080],
    [9000, 9000],
  ]);
  const pods = Array.from({ length: count }, (_, i) =>
    makeWorkload(`reviews-${i}`, `127.70.1.${i + 1}`, { services: new Map([[REVIEWS, ports]]) }),
  );
  const endpoints = pods.map(
    (pod): Endpoint => ({
      workloadUid: pod.uid,
      address: pod.addresses[0]!,
      ports,
      isHealthy: true,
    }),
  );
  return {
    ...base,
    workloads: indexOf(Object.fromEntries(pods.map((pod) => [pod.uid, pod]))),
    endpoints: indexOf({ [REVIEWS]: endpoints }),
  };
}

/** The same mesh, and the backends speak HTTP/2. */
export function withHttp2Backends(base: Snapshot = meshWith(1)): Snapshot {
  const service = base.services.get(REVIEWS)!;
  const ports = service.ports.map((port) => ({ ...port, protocol: "HTTP2" as const }));
  return { ...base, services: indexOf({ [REVIEWS]: { ...service, ports } }) };
}

/** The same mesh, and nobody may do anything. */
export function denyingAll(base: Snapshot): Snapshot {
  const policy: AuthorizationPolicy = {
    key: "default/nobody",
    action: "ALLOW",
    provider: undefined,
    rules: [],
    isDryRun: false,
    source: { kind: "AuthorizationPolicy", namespace: "default", name: "nobody" },
    position: POSITION,
  };
  return { ...base, policies: indexOf({ [`Service/${REVIEWS}`]: [policy] }) };
}

/** The same mesh, and requests time out. */
export function withRequestTimeout(base: Snapshot, requestTimeoutMs: number): Snapshot {
  return withRule(base, { requestTimeoutMs });
}

/** The same mesh, and all requests follow one rule. */
export function withRule(base: Snapshot, parts: Partial<HttpRouteRule>): Snapshot {
  const rule: HttpRouteRule = {
    name: "0",
    index: 0,
    matches: [],
    filters: [],
    backends: [
      {
        weight: 1,
        service: REVIEWS,
        port: 80,
        problem: undefined,
        position: POSITION,
        filters: [],
      },
    ],
    problem: undefined,
    requestTimeoutMs: 0,
    backendRequestTimeoutMs: 0,
    retry: undefined,
    sessionPersistence: undefined,
    position: POSITION,
    ...parts,
  };
  const attached: AttachedRoute = {
    route: {
      kind: "HTTPRoute",
      key: "default/route",
      source: { kind: "HTTPRoute", namespace: "default", name: "route" },
      createdMs: 0,
      rules: [rule],
      hostnames: [],
      position: POSITION,
    },
    ports: [],
  };
  return { ...base, routes: indexOf({ [`Service/${REVIEWS}`]: [attached] }) };
}

const silent = pino({ level: "silent" });

export type DialOutcome = "accept" | "fail" | "hang" | "overflow";

/** Stands for the dialer: every dial makes a backend's connection, or does not. */
export class FakeBackends {
  readonly connections: MemoryPeer[] = [];
  readonly dialed: UpstreamEndpoint[] = [];
  aborted = 0;
  outcome: (dial: number, endpoint: UpstreamEndpoint) => DialOutcome = () => "accept";
  pair: MemoryPairOptions = {};
  onConnection: (peer: MemoryPeer) => void = () => {};

  dial(endpoint: UpstreamEndpoint, _headers: readonly string[], listener: DialListener) {
    this.dialed.push(endpoint);
    const outcome = this.outcome(this.dialed.length, endpoint);
    let isOpen = true;
    setImmediate(() => {
      if (!isOpen || outcome === "hang") return;
      isOpen = false;
      if (outcome === "fail") listener.onDialFailed(new Failure("UPSTREAM_CONNECT_FAILED"));
      else if (outcome === "overflow") listener.onDialFailed(new Failure("UPSTREAM_OVERFLOW"));
      else listener.onDialed(this.#connect());
    });
    return {
      abort: () => {
        if (isOpen) this.aborted++;
        isOpen = false;
      },
    };
  }

  #connect(): MemoryStream {
    const [own, remote] = MemoryStream.pair(this.pair);
    const peer = new MemoryPeer(remote);
    this.connections.push(peer);
    this.streams.push(own);
    this.onConnection(peer);
    return own;
  }

  /** The waypoint's ends of the connections. */
  readonly streams: MemoryStream[] = [];

  get last(): MemoryPeer {
    return this.connections.at(-1)!;
  }
}

const ACCESS_FORMAT =
  "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% " +
  "%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% %BYTES_RECEIVED% %BYTES_SENT% " +
  "%UPSTREAM_CLUSTER_RAW%\n";

export class FakeWaypoint {
  readonly backends = new FakeBackends();
  readonly registry = new MetricRegistry();
  readonly limits: WaypointLimits;
  readonly refused: LocalReply[] = [];
  readonly mirrored: string[] = [];
  readonly timeouts: string[] = [];
  readonly notKept: string[] = [];
  readonly retries: string[] = [];
  accessText = "";
  readonly connection = {
    peer: "spiffe://cluster.local/ns/default/sa/client",
    remoteAddress: "127.70.0.2",
    remotePort: 40_000,
    localAddress: "127.70.0.3",
    localPort: 15_008,
    data: undefined,
  };
  readonly context: WaypointContext;
  readonly #targets: Targets;
  snapshot: Snapshot;

  constructor(snapshot: Snapshot = meshWith(1), limits: Partial<WaypointLimits> = {}) {
    this.snapshot = snapshot;
    this.limits = { ...DEFAULT_LIMITS, ...limits };
    const metrics = new WaypointMetrics(this.registry, "default/wp");
    const self = this;
    this.context = {
      waypoint: "default/wp",
      snapshots: {
        get current() {
          return self.snapshot;
        },
        subscribe: () => () => {},
      },
      limits: this.limits,
      stalls: new Deadlines(this.limits.requestBodyIdleTimeoutMs),
      limitsReached: new LimitsReached(this.registry, silent),
      countRetry: (reason) => this.retries.push(reason),
      countTimeout: (what) => this.timeouts.push(what),
      clusters: new Clusters(),
      keptBytes: new KeptBytes(this.limits.keptBodiesBytesMax, (limit) => {
        this.notKept.push(limit);
        metrics.notKept(limit);
      }),
      dialer: this.backends,
      accessLog: new AccessLog({
        file: "memory",
        encoding: "TEXT",
        format: ACCESS_FORMAT,
        sink: {
          write: (bytes, done) => {
            this.accessText += bytes.toString("latin1");
            setImmediate(done);
          },
          reopen: () => {},
          close: async () => {},
        },
      }),
      decisions: new DecisionLog(),
      requests: new RequestMetrics(this.registry, "waypoint"),
      tcp: new TcpMetrics(this.registry),
      shadows: new ShadowMetrics(this.registry, "waypoint"),
      activeRequests: metrics.activeRequests,
      countRefused: (reply) => {
        this.refused.push(reply);
        metrics.malformed(reply.status);
      },
      countMirrored: (result) => this.mirrored.push(result),
      sessions: new Set(),
      isDraining: false,
      peerErrors: new PeerErrors(this.registry, silent),
      forward: (exchange) => forward(exchange),
    };
    this.#targets = new Targets("default/wp", this.context.clusters);
  }

  target(port = 80): Target {
    return this.#targets.find(this.snapshot, REVIEWS_HOST, port)!;
  }

  /** A client with an HTTP/1.1 connection through the waypoint. */
  open(options: MemoryPairOptions = {}): {
    client: MemoryPeer;
    stream: MemoryStream;
    session: Http1Session;
  } {
    const [stream, remote] = MemoryStream.pair(options);
    const session = new Http1Session(stream, this.connection, this.context, this.target());
    return { client: new MemoryPeer(remote), stream, session };
  }

  /** Requests and connections that the balancer thinks are in flight. */
  get active(): number {
    return this.target().cluster.endpoints.reduce((sum, endpoint) => sum + endpoint.active, 0);
  }

  /** Of the access log: the fields of ACCESS_FORMAT. */
  async accessLines(): Promise<string[]> {
    await this.context.accessLog.flush();
    return this.accessText.split("\n").slice(0, -1);
  }

  metrics(): string {
    return this.registry.expose();
  }
}
