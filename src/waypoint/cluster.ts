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
import { nearest, placeIn, prefersPlaces } from "../policy/pick-endpoint.ts";
import { type DestinationLabels, destinationLabels } from "../telemetry/istio-metrics.ts";
import { EndpointSet } from "./endpoint-set.ts";
import type { Http1Upstream } from "./http1-upstream.ts";
import { Http2Pool } from "./http2-upstream.ts";
import { endpointTag } from "./session-token.ts";

/** Numbers endpoints so that caches can use them as keys. */
let nextEndpointId = 1;

/** Places whose endpoints are remembered; there may be as many as nodes. */
const PLACES_MAX = 1024;

export class UpstreamEndpoint {
  readonly id = nextEndpointId++;
  readonly cluster: Cluster;
  readonly workload: Workload;
  readonly address: string;
  readonly targetPort: number;
  /** Its share of the requests, to the others'. */
  readonly capacity: number;
  /** What it was made from, and where it stands in its cluster's list. */
  from: Endpoint | undefined;
  index = -1;
  /** Requests and connections in flight: what least-request compares. */
  active = 0;
  /** Idle HTTP/1.1 connections, last used last. */
  readonly idle: Http1Upstream[] = [];
  /** HTTP/2 connections; made when first asked for. */
  http2: Http2Pool | undefined;
  isGone = false;
  #tag: string | undefined;
  #labels: DestinationLabels | undefined;
  #labelsOf: Service | undefined;

  constructor(cluster: Cluster, workload: Workload, address: string, targetPort: number) {
    this.cluster = cluster;
    this.workload = workload;
    this.address = address;
    this.targetPort = targetPort;
    this.capacity = workload.capacity ?? 1;
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

  /**
   * Stands for it in session tokens: the same in every waypoint, and no address can be read from
   * it. Another pod at the same address is another endpoint.
   */
  get tag(): string {
    const { of } = this.cluster;
    const owner = "service" in of ? of.service : of.workload;
    this.#tag ??= endpointTag(owner, of.port, this.workload.uid, this.targetPort);
    return this.#tag;
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
  readonly #byKey = new Map<string, UpstreamEndpoint>();
  #all = new EndpointSet([]);
  /** Of them, what clients at a place are to use; found when it is first asked for. */
  readonly #byPlace = new Map<string, EndpointSet>();
  #bySource = new WeakMap<Workload, EndpointSet>();
  #unplaced: EndpointSet | undefined;
  /** Made when a session is asked for. */
  #byTag: Map<string, UpstreamEndpoint> | undefined;
  /** Not its number: a control plane that was started anew counts anew. */
  #snapshot: Snapshot | undefined;
  #source: readonly Endpoint[] | undefined;
  #serviceSource: Service | undefined;
  #workloads: Snapshot["workloads"] | undefined;

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

  /** The endpoint that a session token stands for, if it may still be chosen. */
  byTag(tag: string): UpstreamEndpoint | undefined {
    if (this.#byTag === undefined) {
      this.#byTag = new Map();
      for (const endpoint of this.endpoints) this.#byTag.set(endpoint.tag, endpoint);
    }
    return this.#byTag.get(tag);
  }

  /** Takes over what the snapshot says; costs a comparison when it is the one seen last. */
  refresh(snapshot: Snapshot): void {
    if (snapshot === this.#snapshot) return;
    this.#snapshot = snapshot;
    const source = this.#endpointsIn(snapshot);
    this.service = "service" in this.of ? snapshot.services.get(this.of.service) : undefined;
    const isSame = source === this.#source && this.service === this.#serviceSource;
    const areWorkloadsSame = snapshot.workloads === this.#workloads;
    this.#workloads = snapshot.workloads;
    if (isSame && (areWorkloadsSame || this.#isCurrent(snapshot))) return;
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

  /**
   * One change among thousands is the usual case, and both lists have the same order: what stands
   * where it is expected costs a comparison, only the rest is looked up by name.
   */
  #rebuild(snapshot: Snapshot, source: readonly Endpoint[]): void {
    const old = this.endpoints;
    const endpoints: UpstreamEndpoint[] = [];
    const isOpenToAll = this.service?.loadBalancing.healthPolicy === "ALLOW_ALL";
    let expected = 0;
    for (const from of source) {
      const targetPort = from.ports.get(this.of.port);
      const workload = snapshot.workloads.get(from.workloadUid);
      if (targetPort === undefined || workload === undefined) continue;
      if (!from.isHealthy && !isOpenToAll) continue;
      let known = old[expected];
      if (known?.from !== from) known = this.#byKey.get(keyOf(from.workloadUid, targetPort));
      if (known !== undefined) expected = known.index + 1;
      const isSame = known?.workload === workload && known.address === from.address;
      const endpoint = isSame ? known! : this.#add(workload, from.address, targetPort);
      endpoint.from = from;
      endpoint.index = endpoints.length;
      endpoints.push(endpoint);
    }
    this.#rebuilt(endpoints);
    for (const endpoint of old) if (endpoints[endpoint.index] !== endpoint) this.#drop(endpoint);
  }

  #add(workload: Workload, address: string, targetPort: number): UpstreamEndpoint {
    const endpoint = new UpstreamEndpoint(this, workload, address, targetPort);
    this.#byKey.set(keyOf(workload.uid, targetPort), endpoint);
    return endpoint;
  }

  #drop(endpoint: UpstreamEndpoint): void {
    endpoint.retire();
    const key = keyOf(endpoint.workload.uid, endpoint.targetPort);
    if (this.#byKey.get(key) === endpoint) this.#byKey.delete(key);
  }

  #rebuilt(endpoints: readonly UpstreamEndpoint[]): void {
    this.endpoints = endpoints;
    this.#all = new EndpointSet(endpoints);
    this.#byPlace.clear();
    this.#bySource = new WeakMap();
    this.#unplaced = undefined;
    this.#byTag = undefined;
  }

  /**
   * For a client there: who it is decides where `trafficDistribution` and `internalTrafficPolicy`
   * speak of places. `tried` are endpoints that failed this request before; they are avoided as
   * long as there are others, farther ones too.
   */
  pick(
    tried: readonly UpstreamEndpoint[],
    source: Workload | undefined,
  ): UpstreamEndpoint | undefined {
    const { service } = this;
    if (service === undefined || !prefersPlaces(service.loadBalancing))
      return this.#all.pick(tried);
    const picked = this.#near(service, source).pick(tried);
    if (picked === undefined || !tried.includes(picked)) return picked;
    const others = this.endpoints.filter((endpoint) => !tried.includes(endpoint));
    return new EndpointSet(nearest(service.loadBalancing, source, others)).pick(tried) ?? picked;
  }

  #near({ loadBalancing }: Service, source: Workload | undefined): EndpointSet {
    const known = source === undefined ? this.#unplaced : this.#bySource.get(source);
    if (known !== undefined) return known;
    const place = placeIn(loadBalancing, source);
    let near = this.#byPlace.get(place);
    if (near === undefined) {
      if (this.#byPlace.size >= PLACES_MAX) this.#byPlace.clear();
      near = new EndpointSet(nearest(loadBalancing, source, this.endpoints));
      this.#byPlace.set(place, near);
    }
    if (source === undefined) this.#unplaced = near;
    else this.#bySource.set(source, near);
    return near;
  }

  retire(): void {
    for (const endpoint of this.endpoints) this.#drop(endpoint);
    this.#rebuilt([]);
  }
}

function keyOf(workloadUid: string, targetPort: number): string {
  return `${workloadUid} ${targetPort}`;
}

/** All clusters of a waypoint, made on first use. */
export class Clusters {
  /** By service, then by port: looked up for each request, so no key is made of the two. */
  readonly #ofServices = new Map<string, Map<number, Cluster>>();
  readonly #ofWorkloads = new Map<string, Cluster>();

  ofService(service: string, port: number, snapshot: Snapshot): Cluster {
    let byPort = this.#ofServices.get(service);
    if (byPort === undefined) {
      byPort = new Map();
      this.#ofServices.set(service, byPort);
    }
    let cluster = byPort.get(port);
    if (cluster === undefined) {
      cluster = new Cluster({ service, port });
      byPort.set(port, cluster);
    }
    cluster.refresh(snapshot);
    return cluster;
  }

  ofWorkload(workload: string, address: string, port: number, snapshot: Snapshot): Cluster {
    const key = `${workload}|${address}|${port}`;
    let cluster = this.#ofWorkloads.get(key);
    if (cluster === undefined) {
      cluster = new Cluster({ workload, address, port });
      this.#ofWorkloads.set(key, cluster);
    }
    cluster.refresh(snapshot);
    return cluster;
  }

  *#all(): Iterable<Cluster> {
    for (const byPort of this.#ofServices.values()) yield* byPort.values();
    yield* this.#ofWorkloads.values();
  }

  /** Closes what rests between requests; busy connections end with theirs. */
  closeIdle(): void {
    for (const cluster of this.#all()) {
      for (const endpoint of cluster.endpoints) endpoint.retire();
    }
  }

  /** Lets go of what is no longer in the mesh. Called after each snapshot. */
  sweep(snapshot: Snapshot): void {
    for (const [service, byPort] of this.#ofServices) {
      if (snapshot.services.get(service) !== undefined) continue;
      for (const cluster of byPort.values()) cluster.retire();
      this.#ofServices.delete(service);
    }
    for (const [key, cluster] of this.#ofWorkloads) {
      const { of } = cluster;
      if (!("workload" in of) || snapshot.workloads.get(of.workload) !== undefined) continue;
      cluster.retire();
      this.#ofWorkloads.delete(key);
    }
    for (const cluster of this.#all()) cluster.refresh(snapshot);
  }
}
