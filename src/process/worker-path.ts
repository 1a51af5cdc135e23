/** The data path of a process in N workers, with what feeds it. */
import type { CertificateSource } from "../agent/certificates.ts";
import type { ControlPlaneLink } from "./control-plane-link.ts";
import type { ProcessHost } from "./process-host.ts";
import type { WantedPort } from "./workers/messages.ts";
import { ResourceRelay } from "./workers/resource-relay.ts";
import { WorkerPool } from "./workers/worker-pool.ts";

export interface WorkerPathOptions {
  readonly count: number;
  readonly program: "waypoint" | "ztunnel";
  readonly programOptions: unknown;
  readonly link: ControlPlaneLink;
  readonly host: ProcessHost;
  readonly certificates: CertificateSource;
  readonly drainTimeoutMs: number;
  readonly onPorts?: (ports: readonly WantedPort[]) => void;
  /** What is forked; this binary's hidden command by default. */
  readonly command?: { readonly modulePath: string; readonly args: readonly string[] };
}

export interface WorkerPath {
  readonly pool: WorkerPool;
  /** Where the control plane's resources go. */
  readonly relay: ResourceRelay;
}

/** Forks nothing yet. The workers drain with the host. */
export function workerPath(options: WorkerPathOptions): WorkerPath {
  const { link, host, count, program, programOptions, certificates, drainTimeoutMs } = options;
  const { onPorts, command } = options;
  const relay = new ResourceRelay(link.state.types);
  const { registry, readiness, drain } = host;
  const pool = new WorkerPool({
    count,
    program,
    programOptions,
    relay,
    certificates,
    registry,
    readiness,
    drainTimeoutMs,
    ...(onPorts === undefined ? {} : { onPorts }),
    ...(command === undefined ? {} : { command }),
  });
  drain.add(pool);
  return { pool, relay };
}
