/**
 * What a ztunnel counts beside its connections: open sockets, who was turned away, how full it is.
 *
 * Labels come from fixed tables (failure codes, statuses), never from a peer.
 */
import type net from "node:net";
import type { TunnelPoolStats } from "../net/hbone/tunnel-pool.ts";
import type {
  Counter,
  CounterFamily,
  Gauge,
  GaugeFamily,
  MetricRegistry,
} from "../telemetry/metrics.ts";

/** Why open connections are cut. */
export type CutReason = "policy" | "workload_gone" | "shutdown";

/** Whose side of the connection a socket is on. */
export type Reporter = "source" | "destination";

export class ZtunnelMetrics {
  readonly dialsMoved: Counter;
  readonly #connectsRefused: CounterFamily;
  readonly #connectionsCut: CounterFamily;
  readonly #carried: GaugeFamily;
  readonly #pool: GaugeFamily;

  readonly #sockets: Readonly<Record<Reporter, Gauge>>;
  /** One for all sockets: no closure for each. */
  readonly #onSocketClosed: Readonly<Record<Reporter, () => void>>;

  constructor(registry: MetricRegistry) {
    const sockets = registry.gauge(
      "istio_tcp_sockets_open",
      "Sockets of clients that are open: workloads' own (source), or those that call them.",
      ["reporter"],
    );
    const source = sockets.child(["source"]);
    const destination = sockets.child(["destination"]);
    this.#sockets = { source, destination };
    this.#onSocketClosed = {
      source: () => source.add(-1),
      destination: () => destination.add(-1),
    };
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

  /** From now until it closes; one that has closed is none. */
  socketOpened(socket: net.Socket, reporter: Reporter): void {
    if (socket.destroyed) return;
    this.#sockets[reporter].add(1);
    socket.once("close", this.#onSocketClosed[reporter]);
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
