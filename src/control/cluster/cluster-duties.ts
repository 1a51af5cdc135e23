/**
 * What one of the control planes of a cluster does for all: as long as it holds the Lease, and no
 * longer.
 */
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import type { KubeClient } from "../source/kubernetes/kube-client.ts";
import { LeaderLease, type LeaseTimings } from "./leader-lease.ts";

export interface Duty {
  /** Returns at once; what it began ends when the signal aborts. */
  lead(signal: AbortSignal): void;
}

export interface ClusterDutiesOptions {
  readonly client: Pick<KubeClient, "get" | "write">;
  /** Of the Lease. */
  readonly namespace: string;
  /** Of this process: no other may have it. */
  readonly identity: string;
  readonly duties: readonly Duty[];
  readonly metrics: Pick<ClusterMetrics, "leading">;
  readonly timings?: LeaseTimings;
}

const LEASE_NAME = "waystone-leader";

export type ClusterMetrics = ReturnType<typeof clusterMetrics>;

/** The metrics of a control plane that writes to its cluster. */
export function clusterMetrics(registry: MetricRegistry) {
  const leader = "1 while this control plane writes to the cluster.";
  const written = "Statuses of objects written to the cluster.";
  return {
    leading: registry.gauge("waystone_leader", leader, []).child([]),
    statusesWritten: registry.counter("waystone_statuses_written_total", written, []).child([]),
  };
}

export class ClusterDuties {
  readonly #lease: LeaderLease;

  constructor({ duties, metrics, timings, ...lease }: ClusterDutiesOptions) {
    const { leading } = metrics;
    leading.set(0);
    this.#lease = new LeaderLease({
      ...lease,
      name: LEASE_NAME,
      ...(timings === undefined ? {} : { timings }),
      lead: (signal) => {
        leading.set(1);
        signal.addEventListener("abort", () => leading.set(0));
        for (const duty of duties) duty.lead(signal);
      },
    });
  }

  get isLeader(): boolean {
    return this.#lease.isLeader;
  }

  start(): void {
    this.#lease.start();
  }

  /** Another may lead then. */
  close(): Promise<void> {
    return this.#lease.close();
  }
}
