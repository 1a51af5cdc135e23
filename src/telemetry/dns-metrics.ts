/** Istio's metrics of the DNS proxy, with its names. */
import type { Workload } from "../model/workload.ts";
import { peerLabels } from "./istio-metrics.ts";
import type { CounterFamily, HistogramFamily, MetricRegistry } from "./metrics.ts";

/** What was asked for; all else is `other`, or a client could make series at will. */
export type DnsQueryType = "A" | "AAAA" | "other";

const LABELS = [
  "request_query_type",
  "request_protocol",
  "source_canonical_service",
  "source_canonical_revision",
  "source_workload_namespace",
  "source_principal",
  "source_app",
  "source_version",
  "source_cluster",
] as const;

const BOUNDS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export class DnsMetrics {
  readonly #requests: CounterFamily;
  readonly #upstreamRequests: CounterFamily;
  readonly #upstreamFailures: CounterFamily;
  readonly #upstreamSeconds: HistogramFamily;
  readonly #malformed: CounterFamily;

  constructor(registry: MetricRegistry) {
    const counter = (name: string, help: string) => registry.counter(name, help, LABELS);
    this.#requests = counter("istio_dns_requests_total", "DNS requests of workloads.");
    this.#upstreamRequests = counter(
      "istio_dns_upstream_requests_total",
      "DNS requests that were passed on to the resolvers behind the proxy.",
    );
    this.#upstreamFailures = counter(
      "istio_dns_upstream_failures_total",
      "DNS requests that no resolver behind the proxy answered.",
    );
    this.#upstreamSeconds = registry.histogram(
      "istio_dns_upstream_request_duration_seconds",
      "Time that the resolvers behind the proxy took to answer.",
      LABELS,
      BOUNDS_SECONDS,
    );
    this.#malformed = registry.counter(
      "waystone_dns_malformed_requests_total",
      "What came to the DNS proxy and is not a query.",
      ["request_protocol"],
    );
  }

  series(
    source: Workload | undefined,
    principal: string | undefined,
    protocol: "udp" | "tcp",
    type: DnsQueryType,
  ): DnsSeries {
    const peer = peerLabels(source, principal);
    const values = [
      type,
      protocol,
      peer.canonicalService,
      peer.canonicalRevision,
      peer.namespace,
      peer.principal,
      peer.canonicalService,
      peer.canonicalRevision,
      peer.cluster,
    ];
    return {
      requested: () => this.#requests.child(values).add(1),
      passedOn: () => this.#upstreamRequests.child(values).add(1),
      failed: () => this.#upstreamFailures.child(values).add(1),
      answeredIn: (seconds) => this.#upstreamSeconds.child(values).observe(seconds),
    };
  }

  malformed(protocol: "udp" | "tcp"): void {
    this.#malformed.child([protocol]).add(1);
  }
}

export interface DnsSeries {
  requested(): void;
  passedOn(): void;
  failed(): void;
  answeredIn(seconds: number): void;
}
