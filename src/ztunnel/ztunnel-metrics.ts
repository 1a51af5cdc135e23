/**
 * What a ztunnel counts beside Istio's metrics: who was turned away, and how full it is.
 *
 * Labels come from fixed tables (failure codes, statuses), never from a peer.
 */
import type { TunnelPoolStats } from "../net/hbone/tunnel-pool.ts";
import type { Counter, CounterFamily, GaugeFamily, MetricRegistry } from "../telemetry/metrics.ts";

/** Why open connections are cut. */
export type CutReason = "policy" | "workload_gone" | "shutdown";

export class ZtunnelMetrics {
  readonly dialsMoved: Counter;
  readonly #connectsRefused: CounterFamily;
  readonly #connectionsCut: CounterFamily;
  readonly #carried: GaugeFamily;
  readonly #pool: GaugeFamily;

  constructor(registry: MetricRegistry) {
    this.dialsMoved = registry
      .counter(
        "waystone_ztunnel_dials_moved_total",
        "Connections taken to another instance because the first could not be reached.",
      )
      .child([]);
    this.#connectsRefused = registry.counter(
      "waystone_ztunnel_connects_refused_total",
      "CONNECT requests that were refused, by status.",
      ["status"],
    );
    this.#connectionsCut = registry.counter(
      "waystone_ztunnel_connections_cut_total",
      "Open connections that were ended by the mesh: policy, workload_gone or shutdown.",
      ["cause"],
    );
    this.#carried = registry.gauge(
      "waystone_ztunnel_connections",
      "Connections being opened and open, and how many there may be.",
      ["state"],
    );
    this.#pool = registry.gauge(
      "waystone_ztunnel_pool",
      "Tunnel connections to others (ready, connecting), streams on them, and tunnels that wait.",
      ["state"],
    );
  }

  connectRefused(status: number): void {
    this.#connectsRefused.child([String(status)]).add(1);
  }

  connectionCut(cause: CutReason): void {
    this.#connectionsCut.child([cause]).add(1);
  }

  /** Called before each exposition. */
  show(carried: { size: number; max: number }, pool: TunnelPoolStats): void {
    this.#carried.child(["open"]).set(carried.size);
    this.#carried.child(["max"]).set(carried.max);
    this.#pool.child(["ready"]).set(pool.connections);
    this.#pool.child(["connecting"]).set(pool.connecting);
    this.#pool.child(["streams"]).set(pool.streams);
    this.#pool.child(["waiting"]).set(pool.waiting);
  }
}
