/**
 * What a waypoint counts beside Istio's metrics. Labels are its own words, and the waypoint's name.
 */
import type { Counter, CounterFamily, Gauge, MetricRegistry } from "../telemetry/metrics.ts";

export class WaypointMetrics {
  readonly activeRequests: Gauge;
  readonly #waypoint: string;
  readonly #tunnelsRefused: CounterFamily;
  readonly #malformed: CounterFamily;
  readonly #idleClosed: CounterFamily;
  readonly #notKept: CounterFamily;
  readonly #retries: CounterFamily;
  readonly #mirrored: CounterFamily;

  constructor(registry: MetricRegistry, waypoint: string) {
    this.#waypoint = waypoint;
    this.activeRequests = registry
      .gauge("waystone_waypoint_active_requests", "Requests in progress.", ["waypoint"])
      .child([waypoint]);
    this.#tunnelsRefused = registry.counter(
      "waystone_waypoint_tunnels_refused_total",
      "CONNECT requests that were refused, by status.",
      ["waypoint", "status"],
    );
    this.#malformed = registry.counter(
      "waystone_waypoint_malformed_requests_total",
      "Requests refused before they were one, by status.",
      ["waypoint", "status"],
    );
    this.#idleClosed = registry.counter(
      "waystone_waypoint_idle_closed_total",
      "Connections closed after hboneIdleTimeout without a byte, by what they were.",
      ["waypoint", "protocol"],
    );
    this.#notKept = registry.counter(
      "waystone_waypoint_bodies_not_kept_total",
      "Requests that a rule would have retried, but whose body was too large to keep, by limit.",
      ["waypoint", "limit"],
    );
    this.#retries = registry.counter(
      "waystone_waypoint_retries_total",
      "Requests sent to a backend once more: no connection (connect), one gone stale (stale), " +
        "broken (reset), refused unread (refused), too slow (timeout), or answered so (answer).",
      ["waypoint", "reason"],
    );
    this.#mirrored = registry.counter(
      "waystone_waypoint_mirrored_total",
      "Mirrored requests, by result: answered, or why they were given up.",
      ["waypoint", "result"],
    );
  }

  /** `status`: the answer's, or `tls` when there was no tunnel to ask in. */
  tunnelRefused(status: number | "tls"): void {
    this.#of(this.#tunnelsRefused, String(status)).add(1);
  }

  malformed(status: number): void {
    this.#of(this.#malformed, String(status)).add(1);
  }

  idleClosed(protocol: string): void {
    this.#of(this.#idleClosed, protocol).add(1);
  }

  notKept(limit: string): void {
    this.#of(this.#notKept, limit).add(1);
  }

  retried(reason: string): void {
    this.#of(this.#retries, reason).add(1);
  }

  mirrored(result: string): void {
    this.#of(this.#mirrored, result).add(1);
  }

  #of(family: CounterFamily, label: string): Counter {
    return family.child([this.#waypoint, label]);
  }
}
