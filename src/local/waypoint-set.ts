/**
 * The waypoints of the snapshot, running: one `Waypoint` for each, made when it appears and drained
 * when it goes.
 */
import type net from "node:net";
import { Drain, type Drainable } from "../kit/drain.ts";
import { log } from "../kit/log.ts";
import type { Snapshot } from "../model/snapshot.ts";
import { type Workload, workloadIdentity } from "../model/workload.ts";
import { Waypoint, type WaypointOptions } from "../waypoint/waypoint.ts";
import type { AddressPlan } from "./addresses.ts";

/** Ctrl-C is not to take long when a browser holds connections that it does not use. */
const DRAIN_GRACE_MS = 1_000;

export interface WaypointSetOptions
  extends Pick<
    WaypointOptions,
    "snapshots" | "certificates" | "registry" | "accessLog" | "decisions" | "tunnelAddress"
  > {
  readonly addresses: AddressPlan;
  readonly drainTimeoutMs: number;
}

interface Running {
  readonly waypoint: Waypoint;
  readonly drain: Drain;
  readonly spiffeId: string;
}

export class WaypointSet implements Drainable {
  readonly #options: WaypointSetOptions;
  readonly #running = new Map<string, Running>();

  constructor(options: WaypointSetOptions) {
    this.#options = options;
  }

  sync(snapshot: Snapshot): void {
    const instances = new Map<string, Workload>();
    for (const workload of snapshot.workloads.values()) {
      if (workload.waypointInstanceOf === undefined) continue;
      instances.set(workload.waypointInstanceOf, workload);
    }
    for (const [key, running] of this.#running) {
      const instance = instances.get(key);
      if (instance && workloadIdentity(instance) === running.spiffeId) continue;
      this.#running.delete(key);
      this.#end(key, running);
    }
    for (const [key, instance] of instances) {
      if (!this.#running.has(key)) this.#running.set(key, this.#start(key, instance));
    }
  }

  /** The SPIFFE id of a waypoint that runs. */
  identityOf(key: string): string | undefined {
    return this.#running.get(key)?.spiffeId;
  }

  acceptTunnel(key: string, socket: net.Socket): void {
    const running = this.#running.get(key);
    if (running === undefined) socket.destroy();
    else running.waypoint.acceptTunnel(socket);
  }

  async drain(): Promise<void> {
    const { drainTimeoutMs } = this.#options;
    await Promise.all([...this.#running.values()].map(({ drain }) => drain.start(drainTimeoutMs)));
  }

  destroy(): void {
    for (const { waypoint } of this.#running.values()) waypoint.destroy();
  }

  #start(key: string, instance: Workload): Running {
    const { addresses, drainTimeoutMs: _, ...shared } = this.#options;
    const spiffeId = workloadIdentity(instance);
    const drain = new Drain();
    const sourceAddress = addresses.sourceAddress(instance.addresses[0]);
    const waypoint = new Waypoint({
      ...shared,
      ...{ key, spiffeId, drain, sourceAddress, acceptsWhileDraining: false },
      limits: { drainGraceMs: DRAIN_GRACE_MS },
    });
    return { waypoint, drain, spiffeId };
  }

  #end(key: string, { drain }: Running): void {
    drain.start(this.#options.drainTimeoutMs).catch((caught: unknown) => {
      log("mesh").error({ waypoint: key, caught }, "waypoint did not drain");
    });
  }
}
