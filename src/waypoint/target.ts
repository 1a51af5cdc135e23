/**
 * What a CONNECT asks this waypoint for: a port of a service bound to it, or of a workload.
 *
 * Anything else is refused. A waypoint that forwarded foreign authorities would be an open proxy
 * that lends its identity to whoever asks (protocols.md §8).
 */

import type { AppProtocol, Service } from "../model/service.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { Workload } from "../model/workload.ts";
import { type Hop, type HttpDecider, httpDecider } from "../policy/decider.ts";
import type { Cluster, Clusters } from "./cluster.ts";

export class Target {
  readonly waypoint: string;
  readonly service: string | undefined;
  readonly workload: string | undefined;
  /** The address the client meant: a VIP, or the workload's own. */
  readonly address: string;
  readonly port: number;
  readonly hop: Hop;
  readonly #clusters: Clusters;
  /** Not its number: a control plane that was started anew counts anew. */
  #snapshot: Snapshot | undefined;
  #decider: HttpDecider | undefined;
  #cluster: Cluster | undefined;
  #protocol: AppProtocol = "UNKNOWN";
  #isServed = false;

  constructor(
    waypoint: string,
    of: { service: string } | { workload: string },
    address: string,
    port: number,
    clusters: Clusters,
  ) {
    this.waypoint = waypoint;
    this.service = "service" in of ? of.service : undefined;
    this.workload = "workload" in of ? of.workload : undefined;
    this.address = address;
    this.port = port;
    this.hop = { proxy: "waypoint", waypoint, ...of, port };
    this.#clusters = clusters;
  }

  /** Brings everything below to the snapshot; one comparison when it is the one seen last. */
  refresh(snapshot: Snapshot): void {
    if (snapshot === this.#snapshot) return;
    this.#snapshot = snapshot;
    if (this.service !== undefined) {
      const service = snapshot.services.get(this.service);
      this.#isServed = service !== undefined && servesService(this.waypoint, service, this.port);
      this.#protocol = service ? protocolOf(service, this.port) : "UNKNOWN";
      this.#decider = httpDecider(snapshot, this.waypoint, { service: this.service }, this.port);
      this.#cluster = this.#clusters.ofService(this.service, this.port, snapshot);
      return;
    }
    const uid = this.workload!;
    const workload = snapshot.workloads.get(uid);
    this.#isServed = workload !== undefined && servesWorkload(this.waypoint, workload);
    this.#protocol = workload ? workloadProtocol(snapshot, workload, this.port) : "UNKNOWN";
    this.#decider = httpDecider(snapshot, this.waypoint, { workload: uid }, this.port);
    this.#cluster = this.#clusters.ofWorkload(uid, this.address, this.port, snapshot);
  }

  /** False once the service or workload is gone or bound elsewhere. */
  get isServed(): boolean {
    return this.#isServed;
  }

  get decider(): HttpDecider {
    return this.#decider!;
  }

  /** Where requests go when no route says otherwise. */
  get cluster(): Cluster {
    return this.#cluster!;
  }

  get protocol(): AppProtocol {
    return this.#protocol;
  }
}

/** Targets by authority, made on first use and kept while they are served. */
export class Targets {
  readonly #waypoint: string;
  readonly #clusters: Clusters;
  readonly #byAuthority = new Map<string, Target>();

  constructor(waypoint: string, clusters: Clusters) {
    this.#waypoint = waypoint;
    this.#clusters = clusters;
  }

  /** The target of an authority, or `undefined` when this waypoint does not serve it. */
  find(snapshot: Snapshot, host: string, port: number): Target | undefined {
    const key = `${host}|${port}`;
    const known = this.#byAuthority.get(key);
    if (known !== undefined) {
      known.refresh(snapshot);
      if (known.isServed) return known;
      this.#byAuthority.delete(key);
    }
    const of = this.#resolve(snapshot, host, port);
    if (of === undefined) return undefined;
    const target = new Target(this.#waypoint, of, host, port, this.#clusters);
    target.refresh(snapshot);
    this.#byAuthority.set(key, target);
    return target;
  }

  #resolve(
    snapshot: Snapshot,
    host: string,
    port: number,
  ): { service: string } | { workload: string } | undefined {
    const owners = snapshot.addresses.get(host);
    for (const key of owners?.services ?? [hostnameKey(host)]) {
      const service = snapshot.services.get(key);
      if (service && servesService(this.#waypoint, service, port)) return { service: key };
    }
    for (const uid of owners?.workloads ?? []) {
      const workload = snapshot.workloads.get(uid);
      if (workload && servesWorkload(this.#waypoint, workload)) return { workload: uid };
    }
    return undefined;
  }
}

/** `reviews.default.svc.cluster.local` → `default/reviews.default.svc.cluster.local`. */
function hostnameKey(host: string): string {
  return `${host.split(".")[1] ?? ""}/${host}`;
}

function servesService(waypoint: string, service: Service, port: number): boolean {
  const { waypoint: binding } = service;
  if (binding?.state !== "bound" || binding.waypoint !== waypoint) return false;
  return service.ports.some((p) => p.port === port);
}

function servesWorkload(waypoint: string, workload: Workload): boolean {
  const { waypoint: binding } = workload;
  return binding?.state === "bound" && binding.waypoint === waypoint;
}

function protocolOf(service: Service, port: number): AppProtocol {
  return service.ports.find((p) => p.port === port)?.protocol ?? "UNKNOWN";
}

/** The protocol that a service in front of the workload declares for its target port. */
function workloadProtocol(snapshot: Snapshot, workload: Workload, port: number): AppProtocol {
  for (const [key, ports] of workload.services) {
    for (const [servicePort, targetPort] of ports) {
      const service = targetPort === port ? snapshot.services.get(key) : undefined;
      if (service) return protocolOf(service, servicePort);
    }
  }
  return "UNKNOWN";
}
