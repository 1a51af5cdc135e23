/** Control planes of a test's cluster, in this process. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BESIDE_ISTIOD, UNDER_WAYSTONE } from "../../src/control/cluster/cluster-mode.ts";
import { KubernetesSource } from "../../src/control/source/kubernetes/kubernetes-source.ts";
import type { HostPort } from "../../src/net/listeners.ts";
import { ControlPlaneProcess } from "../../src/process/control-plane-process.ts";
import type { Cluster } from "./cluster.ts";

const ANY_PORT = { host: "127.0.0.1", port: 0 };

const IMAGE = "example.org/waystone:test";

/** Ends with what it was started for. */
export interface RunningControlPlane {
  readonly process: ControlPlaneProcess;
  stop(): Promise<void>;
}

export async function startControlPlane(
  cluster: Cluster,
  identity: string,
  mode: "under" | "beside" = "under",
  webhook?: HostPort,
): Promise<RunningControlPlane> {
  const state = await mkdtemp(join(tmpdir(), "waystone-state-"));
  const source = new KubernetesSource({ kubeconfig: cluster.kubeconfig });
  const process = await ControlPlaneProcess.start({
    version: "test",
    objects: source,
    cluster: {
      source,
      mode: mode === "under" ? UNDER_WAYSTONE : BESIDE_ISTIOD,
      namespace: "istio-system",
      identity,
      waypoints: { image: IMAGE, xdsAddress: "istiod.istio-system.svc:15012" },
    },
    stateDirectory: state,
    at: ANY_PORT,
    serverNames: [],
    trustedNodeAccounts: ["istio-system/ztunnel"],
    webhook,
    admin: ANY_PORT,
    metrics: ANY_PORT,
    readiness: ANY_PORT,
    drainDelayMs: 0,
    drainTimeoutMs: 1000,
    onEvent: () => {},
    onQuit: () => {},
  });
  return {
    process,
    stop: async () => {
      await process.stop();
      await rm(state, { recursive: true, force: true });
    },
  };
}
