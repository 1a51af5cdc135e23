/**
 * Istio's standard metrics, with its names, labels and buckets, so that its dashboards work here.
 *
 * Label values come from the mesh's own objects and from proven identities, never from what a
 * client wrote, so that nobody can make series at will. What is not known reads `unknown`.
 * Series are cached by the identity of their inputs: a look-up in the data path allocates nothing.
 */
import type { Service } from "../model/service.ts";
import type { Workload } from "../model/workload.ts";
import type { Counter, CounterFamily, Histogram, MetricRegistry } from "./metrics.ts";

export type Reporter = "source" | "destination" | "waypoint";
export type SecurityPolicy = "mutual_tls" | "unknown";

const UNKNOWN = "unknown";

/** A server may send anything as its status; only what could be one becomes a label. */
const GRPC_STATUS = /^(?:[0-9]|1[0-6])?$/;

/** Upper bounds of Envoy's histograms, which Istio keeps for times and sizes alike. */
export const ISTIO_BUCKET_BOUNDS: readonly number[] = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000,
  1_800_000, 3_600_000,
];

const PEER_AND_SERVICE_LABELS = [
  "reporter",
  "source_workload",
  "source_canonical_service",
  "source_canonical_revision",
  "source_workload_namespace",
  "source_principal",
  "source_app",
  "source_version",
  "source_cluster",
  "destination_workload",
  "destination_workload_namespace",
  "destination_principal",
  "destination_app",
  "destination_version",
  "destination_service",
  "destination_canonical_service",
  "destination_canonical_revision",
  "destination_service_name",
  "destination_service_namespace",
  "destination_cluster",
  "request_protocol",
] as const;

export const HTTP_LABELS: readonly string[] = [
  ...PEER_AND_SERVICE_LABELS,
  "response_code",
  "grpc_response_status",
  "response_flags",
  "connection_security_policy",
];

export const TCP_LABELS: readonly string[] = [
  ...PEER_AND_SERVICE_LABELS,
  "response_flags",
  "connection_security_policy",
];

/** Who speaks. Get it from `peerLabels`: the caches go by its identity. */
export interface PeerLabels {
  readonly workload: string;
  readonly canonicalService: string;
  readonly canonicalRevision: string;
  readonly namespace: string;
  /** The SPIFFE URI, as Istio writes it. */
  readonly principal: string;
  readonly cluster: string;
}

/** Who is spoken to. Get it from `destinationLabels`. */
export interface DestinationLabels {
  readonly peer: PeerLabels;
  readonly service: string;
  readonly serviceName: string;
  readonly serviceNamespace: string;
}

interface Cache<K, V> {
  get(key: K): V | undefined;
  set(key: K, value: V): unknown;
}

function getOrCreate<K, V>(cache: Cache<K, V>, key: K, create: () => V): V {
  let value = cache.get(key);
  if (value === undefined) {
    value = create();
    cache.set(key, value);
  }
  return value;
}

const newMap = <K, V>() => new Map<K, V>();
const newWeakMap = <K extends object, V>() => new WeakMap<K, V>();
const newList = <V>(): V[] => [];

/** Stands in for an absent object, so that absence can be a WeakMap key. */
const NOBODY = {};
const peers = new WeakMap<object, Map<string, PeerLabels>>();
const destinations = new WeakMap<PeerLabels, WeakMap<object, DestinationLabels>>();
/** Principals remembered per workload; a workload has one, a node's gateway may forward a few. */
const PRINCIPALS_MAX = 1024;

export function peerLabels(
  workload: Workload | undefined,
  principal: string | undefined,
): PeerLabels {
  const byPrincipal = getOrCreate(peers, workload ?? NOBODY, newMap<string, PeerLabels>);
  const key = principal ?? "";
  const known = byPrincipal.get(key);
  if (known !== undefined) return known;
  if (byPrincipal.size >= PRINCIPALS_MAX) byPrincipal.clear();
  const labels: PeerLabels = {
    workload: workload?.workloadName || UNKNOWN,
    canonicalService: workload?.canonicalName || UNKNOWN,
    canonicalRevision: workload?.canonicalRevision || UNKNOWN,
    namespace: workload?.namespace || UNKNOWN,
    principal: key || UNKNOWN,
    cluster: workload?.clusterId || UNKNOWN,
  };
  byPrincipal.set(key, labels);
  return labels;
}

export function destinationLabels(
  workload: Workload | undefined,
  service: Service | undefined,
  principal: string | undefined,
): DestinationLabels {
  const peer = peerLabels(workload, principal);
  const byService = getOrCreate(destinations, peer, newWeakMap<object, DestinationLabels>);
  const known = byService.get(service ?? NOBODY);
  if (known !== undefined) return known;
  const labels: DestinationLabels = {
    peer,
    service: service?.hostname || UNKNOWN,
    serviceName: service?.name || UNKNOWN,
    serviceNamespace: service?.namespace || UNKNOWN,
  };
  byService.set(service ?? NOBODY, labels);
  return labels;
}

/** Values of PEER_AND_SERVICE_LABELS. In ambient, app and version are canonical name, revision. */
function commonValues(
  reporter: Reporter,
  source: PeerLabels,
  destination: DestinationLabels,
  protocol: string,
): string[] {
  const to = destination.peer;
  return [
    reporter,
    source.workload,
    source.canonicalService,
    source.canonicalRevision,
    source.namespace,
    source.principal,
    source.canonicalService,
    source.canonicalRevision,
    source.cluster,
    to.workload,
    to.namespace,
    to.principal,
    to.canonicalService,
    to.canonicalRevision,
    destination.service,
    to.canonicalService,
    to.canonicalRevision,
    destination.serviceName,
    destination.serviceNamespace,
    to.cluster,
    protocol,
  ];
}

/** Two levels of WeakMap: entries go when the workloads they speak of go. */
class PairCache<V> {
  readonly #bySource = new WeakMap<PeerLabels, WeakMap<DestinationLabels, V>>();
  readonly #create: () => V;

  constructor(create: () => V) {
    this.#create = create;
  }

  get(source: PeerLabels, destination: DestinationLabels): V {
    const byDestination = getOrCreate(this.#bySource, source, newWeakMap<DestinationLabels, V>);
    return getOrCreate(byDestination, destination, this.#create);
  }
}

/** All requests of one pair with one outcome. */
export class RequestSeries {
  readonly protocol: string;
  readonly flags: string;
  readonly security: string;
  readonly grpcStatus: string;
  readonly #requests: Counter;
  readonly #durations: Histogram;
  readonly #requestBytes: Histogram;
  readonly #responseBytes: Histogram;

  constructor(
    outcome: { protocol: string; flags: string; security: string; grpcStatus: string },
    children: { requests: Counter; durations: Histogram; received: Histogram; sent: Histogram },
  ) {
    this.protocol = outcome.protocol;
    this.flags = outcome.flags;
    this.security = outcome.security;
    this.grpcStatus = outcome.grpcStatus;
    this.#requests = children.requests;
    this.#durations = children.durations;
    this.#requestBytes = children.received;
    this.#responseBytes = children.sent;
  }

  record(durationMs: number, requestBytes: number, responseBytes: number): void {
    this.#requests.add(1);
    this.#durations.observe(durationMs);
    this.#requestBytes.observe(requestBytes);
    this.#responseBytes.observe(responseBytes);
  }
}

export class RequestMetrics {
  readonly #reporter: Reporter;
  readonly #families;
  readonly #cache = new PairCache(newMap<number, RequestSeries[]>);

  constructor(registry: MetricRegistry, reporter: Reporter) {
    this.#reporter = reporter;
    const histogram = (name: string, help: string) =>
      registry.histogram(name, help, HTTP_LABELS, ISTIO_BUCKET_BOUNDS);
    this.#families = {
      requests: registry.counter("istio_requests_total", "Requests that ended.", HTTP_LABELS),
      durations: histogram(
        "istio_request_duration_milliseconds",
        "Time from a request's first byte to its response's last.",
      ),
      received: histogram("istio_request_bytes", "Size of a request, head and body."),
      sent: histogram("istio_response_bytes", "Size of a response, head and body."),
    };
  }

  /** The series of an outcome. `flags` may be empty. `grpcStatus` is the number as text, or empty. */
  series(
    source: PeerLabels,
    destination: DestinationLabels,
    protocol: "http" | "grpc",
    code: number,
    flags: string,
    security: SecurityPolicy,
    grpcStatus = "",
  ): RequestSeries {
    const status = GRPC_STATUS.test(grpcStatus) ? grpcStatus : UNKNOWN;
    const byCode = this.#cache.get(source, destination);
    const list = getOrCreate(byCode, code, newList<RequestSeries>);
    for (const known of list) {
      const isSame =
        known.flags === flags &&
        known.protocol === protocol &&
        known.security === security &&
        known.grpcStatus === status;
      if (isSame) return known;
    }
    const values = commonValues(this.#reporter, source, destination, protocol);
    values.push(String(code), status, flags || "-", security);
    const { requests, durations, received, sent } = this.#families;
    const series = new RequestSeries(
      { protocol, flags, security, grpcStatus: status },
      {
        requests: requests.child(values),
        durations: durations.child(values),
        received: received.child(values),
        sent: sent.child(values),
      },
    );
    list.push(series);
    return series;
  }
}

type TcpChildren = Readonly<Record<"opened" | "closed" | "failed" | "sent" | "received", Counter>>;

/** All connections of one pair with one outcome. */
export class TcpSeries {
  readonly reporter: string;
  readonly flags: string;
  readonly security: string;
  readonly #children: TcpChildren;

  constructor(
    outcome: { reporter: string; flags: string; security: string },
    children: TcpChildren,
  ) {
    this.reporter = outcome.reporter;
    this.flags = outcome.flags;
    this.security = outcome.security;
    this.#children = children;
  }

  opened(): void {
    this.#children.opened.add(1);
  }

  closed(): void {
    this.#children.closed.add(1);
  }

  /** It was refused or could not be opened; why stands in the flags. */
  failed(): void {
    this.#children.failed.add(1);
  }

  /** Bytes towards the client. */
  sent(bytes: number): void {
    this.#children.sent.add(bytes);
  }

  /** Bytes from the client. */
  received(bytes: number): void {
    this.#children.received.add(bytes);
  }
}

export class TcpMetrics {
  readonly #families: Readonly<Record<keyof TcpChildren, CounterFamily>>;
  readonly #cache = new PairCache(newList<TcpSeries>);

  constructor(registry: MetricRegistry) {
    const counter = (name: string, help: string) =>
      registry.counter(`istio_tcp_${name}_total`, help, TCP_LABELS);
    this.#families = {
      opened: counter("connections_opened", "TCP connections that were opened."),
      closed: counter("connections_closed", "TCP connections that were closed."),
      failed: counter("connections_failed", "TCP connections that were refused or failed to open."),
      sent: counter("sent_bytes", "Bytes sent to the client over TCP connections."),
      received: counter("received_bytes", "Bytes received from the client over TCP connections."),
    };
  }

  /** The series of an outcome. While a connection is open its `flags` are empty. */
  series(
    reporter: Reporter,
    source: PeerLabels,
    destination: DestinationLabels,
    flags: string,
    security: SecurityPolicy,
  ): TcpSeries {
    const list = this.#cache.get(source, destination);
    for (const known of list) {
      const isSame =
        known.reporter === reporter && known.flags === flags && known.security === security;
      if (isSame) return known;
    }
    const values = commonValues(reporter, source, destination, "tcp");
    values.push(flags || "-", security);
    const series = new TcpSeries({ reporter, flags, security }, this.#children(values));
    list.push(series);
    return series;
  }

  #children(values: readonly string[]): TcpChildren {
    const { opened, closed, failed, sent, received } = this.#families;
    return {
      opened: opened.child(values),
      closed: closed.child(values),
      failed: failed.child(values),
      sent: sent.child(values),
      received: received.child(values),
    };
  }
}

/** `istio_build`: which component of which version this process is. */
export function recordBuild(registry: MetricRegistry, component: string, version: string): void {
  const help = "The component and version of this process; always 1.";
  const family = registry.gauge("istio_build", help, ["component", "tag"], "max");
  family.child([component, version]).set(1);
}
