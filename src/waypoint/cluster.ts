/**
 * The endpoints behind one port of a service, as this waypoint balances over them.
 *
 * A cluster outlives snapshots: it looks at the new snapshot when it is next used, keeps the
 * endpoints that are still there (with their idle connections and counts) and lets go of the rest.
 * Invariants:
 * - `endpoints` holds only endpoints that may be chosen: healthy, or all of them when the service
 *   publishes unready addresses (`healthPolicy: ALLOW_ALL`);
 * - an endpoint is identified by workload and target port; a new address makes a new endpoint;
 * - an endpoint that left keeps serving the requests it has, and its idle connections are closed.
 */
import type { AppProtocol, Endpoint, Service } from "../model/service.ts";
import type { Snapshot } from "../model/snapshot.ts";
import { type Workload, workloadIdentity } from "../model/workload.ts";
import { type DestinationLabels, destinationLabels } from "../telemetry/istio-metrics.ts";
import type { Http1Upstream } from "./http1-upstream.ts";
import { Http2Pool } from "./http2-upstream.ts";

/** How many hosts are drawn, at most, to find one that was not tried before (Envoy's 5). */
const HOST_SELECTION_ATTEMPTS_MAX = 5;

/** Numbers endpoints so that caches can use them as keys. */
let nextEndpointId = 1;

export class UpstreamEndpoint {
  readonly id = nextEndpointId++;
  readonly cluster: Cluster;
  readonly workload: Workload;
  readonly address: string;
  readonly targetPort: number;
  /** Requests and connections in flight: what least-request compares. */
  active = 0;
  /** Idle HTTP/1.1 connections, last used last. */
  readonly idle: Http1Upstream[] = [];
  /** HTTP/2 connections; made when first asked for. */
  http2: Http2Pool | undefined;
  isGone = false;
  #labels: DestinationLabels | undefined;
  #labelsOf: Service | undefined;

  constructor(cluster: Cluster, workload: Workload, address: string, targetPort: number) {
    this.cluster = cluster;
    this.workload = workload;
    this.address = address;
    this.targetPort = targetPort;
  }

  /** Who it is in metrics. */
  get labels(): DestinationLabels {
    const { service } = this.cluster;
    if (this.#labels === undefined || this.#labelsOf !== service) {
      const isInMesh = this.workload.tunnelProtocol === "HBONE";
      const principal = isInMesh ? workloadIdentity(this.workload) : undefined;
      this.#labels = destinationLabels(this.workload, service, principal);
      this.#labelsOf = service;
    }
    return this.#labels;
  }

  /** An idle connection that is still good. */
  takeIdle(): Http1Upstream | undefined {
    for (;;) {
      const connection = this.idle.pop();
      if (connection === undefined || !connection.isClosed) return connection;
    }
  }

  get http2Pool(): Http2Pool {
    this.http2 ??= new Http2Pool();
    return this.http2;
  }

  /** It is no longer part of the cluster: nothing new goes there. */
  retire(): void {
    this.isGone = true;
    for (const connection of this.idle.splice(0)) connection.close();
    this.http2?.drain();
  }
}

/** What a cluster stands for: a port of a service, or a port of one workload (pod-IP traffic). */
export type ClusterOf =
  | { readonly service: string; readonly port: number }
  | { readonly workload: string; readonly address: string; readonly port: number };

export class Cluster {
  readonly of: ClusterOf;
  service: Service | undefined;
  endpoints: readonly UpstreamEndpoint[] = [];
  #revision = -1;
  #source: readonly Endpoint[] | undefined;
  #serviceSource: Service | undefined;

  constructor(of: ClusterOf) {
    this.of = of;
  }

  /** The name in access logs, as istiod names a waypoint's clusters. */
  get name(): string {
    if (this.service === undefined) return "encap";
    return `inbound-vip|${this.of.port}|http|${this.service.hostname}`;
  }

  /** The same for connections that are no HTTP. */
  get tcpName(): string {
    return this.name.replace("|http|", "|tcp|");
  }

  /** What the port speaks, as its service declares it. */
  get protocol(): AppProtocol {
    if (this.service === undefined) return "UNKNOWN";
    return this.service.ports.find((p) => p.port === this.of.port)?.protocol ?? "UNKNOWN";
  }

  /** Takes over what the snapshot says; costs a comparison when it is the one seen last. */
  refresh(snapshot: Snapshot): void {
    if (snapshot.revision === this.#revision) return;
    this.#revision = snapshot.revision;
    const source = this.#endpointsIn(snapshot);
    this.service = "service" in this.of ? snapshot.services.get(this.of.service) : undefined;
    const isSame = source === this.#source && this.service === this.#serviceSource;
    if (isSame && this.#isCurrent(snapshot)) return;
    this.#source = source;
    this.#serviceSource = this.service;
    this.#rebuild(snapshot, source ?? []);
  }

  #endpointsIn(snapshot: Snapshot): readonly Endpoint[] | undefined {
    const { of } = this;
    if ("service" in of) return snapshot.endpoints.get(of.service);
    if (snapshot.workloads.get(of.workload) === undefined) return undefined;
    const ports = new Map([[of.port, of.port]]);
    return (this.#source ?? [
      { workloadUid: of.workload, address: of.address, ports, isHealthy: true },
    ]) as readonly Endpoint[];
  }

  /** Workloads may change (labels, tunnel) without their endpoint changing. */
  #isCurrent(snapshot: Snapshot): boolean {
    return this.endpoints.every((e) => snapshot.workloads.get(e.workload.uid) === e.workload);
  }

  #rebuild(snapshot: Snapshot, source: readonly Endpoint[]): void {
    const old = new Map(this.endpoints.map((e) => [`${e.workload.uid} ${e.targetPort}`, e]));
    const endpoints: UpstreamEndpoint[] = [];
    const isOpenToAll = this.service?.loadBalancing.healthPolicy === "ALLOW_ALL";
    for (const { workloadUid, address, ports, isHealthy } of source) {
      const targetPort = ports.get(this.of.port);
      const workload = snapshot.workloads.get(workloadUid);
      if (targetPort === undefined || workload === undefined) continue;
      if (!isHealthy && !isOpenToAll) continue;
      const key = `${workloadUid} ${targetPort}`;
      const kept = old.get(key);
      if (kept && kept.workload === workload && kept.address === address) {
        old.delete(key);
        endpoints.push(kept);
      } else {
        endpoints.push(new UpstreamEndpoint(this, workload, address, targetPort));
      }
    }
    this.endpoints = endpoints;
    for (const endpoint of old.values()) endpoint.retire();
  }

  /**
   * Least request of two random choices, as Envoy's default. `tried` are endpoints that failed
   * this request before; they are avoided as long as there are others.
   */
  pick(tried: readonly UpstreamEndpoint[]): UpstreamEndpoint | undefined {
    const { endpoints } = this;
    if (endpoints.length <= 1) return endpoints[0];
    let choice: UpstreamEndpoint | undefined;
    for (let i = 0; i < HOST_SELECTION_ATTEMPTS_MAX; i++) {
      const one = endpoints[(Math.random() * endpoints.length) | 0]!;
      const other = endpoints[(Math.random() * endpoints.length) | 0]!;
      choice = other.active < one.active ? other : one;
      if (!tried.includes(choice)) return choice;
    }
    return endpoints.find((endpoint) => !tried.includes(endpoint)) ?? choice;
  }

  retire(): void {
    for (const endpoint of this.endpoints) endpoint.retire();
    this.endpoints = [];
  }
}

/** All clusters of a waypoint, made on first use. */
export class Clusters {
  readonly #byKey = new Map<string, Cluster>();

  ofService(service: string, port: number, snapshot: Snapshot): Cluster {
    return this.#get(`${service}|${port}`, { service, port }, snapshot);
  }

  ofWorkload(workload: string, address: string, port: number, snapshot: Snapshot): Cluster {
    return this.#get(`${workload}|${address}|${port}`, { workload, address, port }, snapshot);
  }

  #get(key: string, of: ClusterOf, snapshot: Snapshot): Cluster {
    let cluster = this.#byKey.get(key);
    if (cluster === undefined) {
      cluster = new Cluster(of);
      this.#byKey.set(key, cluster);
    }
    cluster.refresh(snapshot);
    return cluster;
  }

  /** Closes what rests between requests; busy connections end with theirs. */
  closeIdle(): void {
    for (const cluster of this.#byKey.values()) {
      for (const endpoint of cluster.endpoints) endpoint.retire();
    }
  }

  /** Lets go of what is no longer in the mesh. Called after each snapshot. */
  sweep(snapshot: Snapshot): void {
    for (const [key, cluster] of this.#byKey) {
      const { of } = cluster;
      const owner =
        "service" in of ? snapshot.services.get(of.service) : snapshot.workloads.get(of.workload);
      if (owner !== undefined) {
        cluster.refresh(snapshot);
        continue;
      }
      cluster.retire();
      this.#byKey.delete(key);
    }
  }
}
