/** A Kubernetes source against the scripted API server, in a hurry, with its log kept. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import {
  KubernetesSource,
  type KubernetesSourceOptions,
  type KubernetesTimings,
} from "../../src/control/source/kubernetes/kubernetes-source.ts";
import { KubeApi, type KubeApiOptions } from "./kube-api.ts";
import { WatchedSource } from "./watched-source.ts";

export const HASTE: Partial<KubernetesTimings> = {
  retryFirstMs: 5,
  retryMaxMs: 40,
  probeMs: 30,
  goneAfterMs: 200,
  lastedMs: 30,
  batchMs: 2,
  silenceMs: 2_000,
  discoveryMs: 10,
};

export interface LogLine {
  readonly level: number;
  readonly msg: string;
  readonly kind?: string;
  readonly kinds?: readonly string[];
  readonly grant?: string;
  readonly reason?: string;
}

export interface ClusterRig {
  readonly api: KubeApi;
  readonly folder: string;
  readonly log: LogLine[];
  readonly kubeconfig: string;
  /** Not started. */
  source(options?: KubernetesSourceOptions): KubernetesSource;
  started(options?: KubernetesSourceOptions): Promise<WatchedSource<KubernetesSource>>;
}

/** `onEnd` takes what is to be done in the end, last first. */
export async function clusterRig(
  onEnd: (end: () => unknown) => void,
  options: KubeApiOptions = {},
): Promise<ClusterRig> {
  const api = await KubeApi.start(options);
  onEnd(() => api.stop());
  const folder = mkdtempSync(join(tmpdir(), "waystone-cluster-"));
  onEnd(() => rmSync(folder, { recursive: true, force: true }));
  const kubeconfig = api.kubeconfig(folder);
  const log: LogLine[] = [];
  const logger = pino(
    { base: null, timestamp: false },
    { write: (text: string) => void log.push(JSON.parse(text) as LogLine) },
  );
  const source = (others: KubernetesSourceOptions = {}) => {
    const made = new KubernetesSource({ kubeconfig, timings: HASTE, logger, ...others });
    onEnd(() => made.close());
    return made;
  };
  const started = (others?: KubernetesSourceOptions) => WatchedSource.start(source(others));
  return { api, folder, log, kubeconfig, source, started };
}
