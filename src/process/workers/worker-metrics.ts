/**
 * The metrics of a process and its workers as one: counters and histograms summed, gauges summed
 * over those that live, what all have alike shown once.
 *
 * What a worker has counted stays counted when it is gone: exactly when it has drained (its last
 * word is its counts), otherwise as of the last scrape that it answered. So no series ever goes
 * back behind what was exposed, and a crash loses the counts since the last scrape.
 */
import { MetricRegistry, type MetricsSnapshot } from "../../telemetry/metrics.ts";
import type { RefusalReason } from "./dispatcher.ts";
import type { WorkerProcess } from "./worker-process.ts";

/** A scrape does not wait longer for a worker; its counts of the last one stand in. */
const ANSWER_TIMEOUT_MS = 2_000;

export type ExitReason = "drained" | "died";

export class WorkerMetrics {
  readonly #own: MetricRegistry;
  readonly #workers: () => Iterable<WorkerProcess>;
  readonly #retired = new MetricRegistry();
  readonly #passed;
  readonly #refused;
  readonly #exits;

  constructor(own: MetricRegistry, workers: () => Iterable<WorkerProcess>) {
    this.#own = own;
    this.#workers = workers;
    const ready = own.gauge("waystone_workers_ready", "Workers that take connections.");
    const streams = own.gauge("waystone_worker_streams", "Open streams of a worker.", ["worker"]);
    const connections = own.gauge(
      "waystone_worker_connections",
      "Open client connections of a worker.",
      ["worker"],
    );
    this.#passed = own.counter(
      "waystone_worker_connections_passed_total",
      "Connections that the parent gave to a worker.",
      ["worker"],
    );
    this.#refused = own.counter(
      "waystone_worker_connections_refused_total",
      "Connections closed because no worker took them in time (no_worker), or too many waited.",
      ["reason"],
    );
    this.#exits = own.counter(
      "waystone_worker_exits_total",
      "Workers that ended: asked to, with their work done (drained), or not (died).",
      ["reason"],
    );
    own.beforeExpose(() => {
      let count = 0;
      for (const worker of workers()) {
        const label = String(worker.index);
        streams.child([label]).set(worker.streams);
        connections.child([label]).set(worker.connections);
        if (worker.isOpen) count++;
      }
      ready.child([]).set(count);
    });
  }

  countPassed(index: number): void {
    this.#passed.child([String(index)]).add(1);
  }

  countRefused(reason: RefusalReason): void {
    this.#refused.child([reason]).add(1);
  }

  /** The worker is gone. */
  retire(worker: WorkerProcess, reason: ExitReason): void {
    this.#exits.child([reason]).add(1);
    if (worker.metrics !== undefined) this.#retired.absorb(worker.metrics, { gauges: false });
  }

  /** The sum, in the text format. */
  async exposition(): Promise<Iterable<string>> {
    await Promise.all(
      [...this.#workers()].map(async (worker) => {
        const answer = await worker.ask({ about: "metrics" }, ANSWER_TIMEOUT_MS);
        if (answer !== undefined) worker.metrics = answer as MetricsSnapshot;
      }),
    );
    const sum = new MetricRegistry();
    sum.absorb(this.#own.snapshot());
    sum.absorb(this.#retired.snapshot());
    // As they are now: one that has ended meanwhile is among the retired.
    for (const { metrics } of this.#workers()) if (metrics !== undefined) sum.absorb(metrics);
    return sum.exposition();
  }
}
