/**
 * Who plays the workloads: the built-in echo, or the real process that `--workload` names. Keeps an
 * echo server for each port of each workload of the snapshot, and knows where the application
 * behind a workload's port listens.
 */
import type { Drainable } from "../kit/drain.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { Workload } from "../model/workload.ts";
import { isMeant } from "../model/workload-names.ts";
import type { HostPort } from "../net/listeners.ts";
import type { AppAddress } from "../ztunnel/context.ts";
import { type AddressPlan, isLoopback4 } from "./addresses.ts";
import { EchoServer } from "./echo.ts";
import type { EchoObserver } from "./echo-http.ts";

export interface WorkloadOverride extends HostPort {
  /** `name` or `namespace/name`, of a workload or of what owns it. */
  readonly workload: string;
  /** Of the workload's ports, the only one that is meant; undefined: all. */
  readonly workloadPort?: number | undefined;
}

interface Echo {
  readonly server: EchoServer;
  /** On 127.0.0.1; 0 until it listens. */
  port: number;
}

/** Nobody listens there, so a connection is refused, as it would be on the workload's own port. */
const NOBODY: AppAddress = { host: "127.0.0.1", port: 1, localAddress: undefined };

export class Echoes implements Drainable {
  readonly #overrides: readonly WorkloadOverride[];
  readonly #addresses: AddressPlan;
  readonly #observer: EchoObserver | undefined;
  /** By `<uid> <port>`. */
  readonly #echoes = new Map<string, Echo>();

  constructor(
    addresses: AddressPlan,
    overrides: readonly WorkloadOverride[],
    observer?: EchoObserver | undefined,
  ) {
    this.#addresses = addresses;
    this.#overrides = overrides;
    this.#observer = observer;
  }

  /** Starts and ends echo servers as the snapshot asks. */
  async sync(snapshot: Snapshot): Promise<void> {
    const wanted = new Set<string>();
    const starting: Promise<void>[] = [];
    for (const workload of snapshot.workloads.values()) {
      if (!this.#isEcho(workload)) continue;
      for (const [port, isPlainTcp] of portsOf(snapshot, workload)) {
        const key = `${workload.uid} ${port}`;
        wanted.add(key);
        if (!this.#echoes.has(key)) starting.push(this.#start(key, workload, port, isPlainTcp));
      }
    }
    for (const [key, { server }] of this.#echoes) {
      if (wanted.has(key)) continue;
      this.#echoes.delete(key);
      void server.drain();
    }
    await Promise.all(starting);
  }

  /** Where the application behind a workload's port listens. */
  appAddress(workload: Workload, port: number, sourceAddress: string): AppAddress {
    const override = this.#overrideOf(workload, port);
    if (override !== undefined) {
      return {
        ...this.#from(override.host, sourceAddress),
        host: override.host,
        port: override.port,
      };
    }
    if (!isPlayedHere(workload)) {
      return { host: workload.addresses[0] ?? "", port, localAddress: undefined };
    }
    const echo = this.#echoes.get(`${workload.uid} ${port}`);
    if (echo === undefined || echo.port === 0) return NOBODY;
    const host = "127.0.0.1";
    return { ...this.#from(host, sourceAddress), host, port: echo.port };
  }

  /** `echo`, `waypoint`, `host:port`; empty for a workload that is somewhere else. */
  playedBy(workload: Workload): string {
    if (workload.waypointInstanceOf !== undefined) return "waypoint";
    const override = this.#overrideOf(workload);
    if (override !== undefined) return `${override.host}:${override.port}`;
    return isPlayedHere(workload) ? "echo" : "";
  }

  /** Overrides that mean no workload: a typing mistake, most likely. */
  unusedOverrides(snapshot: Snapshot): readonly WorkloadOverride[] {
    const workloads = [...snapshot.workloads.values()];
    return this.#overrides.filter((o) => !workloads.some((w) => isMeant(o.workload, w)));
  }

  async drain(): Promise<void> {
    await Promise.all([...this.#echoes.values()].map(({ server }) => server.drain()));
  }

  destroy(): void {
    for (const { server } of this.#echoes.values()) server.destroy();
    this.#echoes.clear();
  }

  /** From the client's own address where both ends are loopback: so the application sees it. */
  #from(host: string, sourceAddress: string): Pick<AppAddress, "localAddress"> {
    const canKeep = isLoopback4(host) && isLoopback4(sourceAddress);
    return { localAddress: canKeep ? this.#addresses.sourceAddress(sourceAddress) : undefined };
  }

  #isEcho(workload: Workload): boolean {
    return this.playedBy(workload) === "echo";
  }

  /** Without a port: the override of the whole workload. */
  #overrideOf(workload: Workload, port?: number): WorkloadOverride | undefined {
    if (workload.waypointInstanceOf !== undefined) return undefined;
    const meant = this.#overrides.filter((override) => isMeant(override.workload, workload));
    return (
      meant.find((override) => override.workloadPort === port) ??
      meant.find((override) => override.workloadPort === undefined)
    );
  }

  async #start(key: string, workload: Workload, port: number, isPlainTcp: boolean): Promise<void> {
    const { name, namespace, canonicalRevision } = workload;
    const version = canonicalRevision === "latest" ? "" : canonicalRevision;
    const server = new EchoServer(
      { workload: name, namespace, version },
      port,
      isPlainTcp,
      this.#observer,
    );
    const echo = { server, port: 0 };
    this.#echoes.set(key, echo);
    echo.port = await server.listen();
  }
}

/** True for workloads that have an address of this mesh; others are real, and elsewhere. */
function isPlayedHere(workload: Workload): boolean {
  return workload.addresses.some(isLoopback4);
}

/** The workload's ports that some service leads to; true for those known to be plain TCP. */
export function portsOf(snapshot: Snapshot, workload: Workload): Map<number, boolean> {
  const ports = new Map<number, boolean>();
  for (const [key, mapping] of workload.services) {
    const service = snapshot.services.get(key);
    for (const [servicePort, targetPort] of mapping) {
      const protocol = service?.ports.find((p) => p.port === servicePort)?.protocol;
      const isPlainTcp = protocol === "TCP" || protocol === "TLS";
      ports.set(targetPort, isPlainTcp && (ports.get(targetPort) ?? true));
    }
  }
  return ports;
}
