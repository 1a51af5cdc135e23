/**
 * `waystone control-plane`: serves manifests, or a cluster's objects, to proxies that are processes
 * of their own, until it is told to end. What it has to say of the configuration goes to stderr.
 */

import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { parse } from "yaml";
import { BESIDE_ISTIOD, UNDER_WAYSTONE } from "../../control/cluster/cluster-mode.ts";
import type { ConfigurationEvent } from "../../control/configuration.ts";
import { KubernetesSource } from "../../control/source/kubernetes/kubernetes-source.ts";
import type { ObjectSource } from "../../control/source/object-source.ts";
import { Failure } from "../../kit/failure.ts";
import { stateDirectory } from "../../local/run-file.ts";
import type { HostPort } from "../../net/listeners.ts";
import type { ClusterWorkOptions } from "../../process/cluster-work.ts";
import { ControlPlaneProcess } from "../../process/control-plane-process.ts";
import type { IstiodCa } from "../../process/identity-source.ts";
import {
  readWaypointSettings,
  type WaypointSettings,
} from "../../translate/provision/waypoint-settings.ts";
import { usageError } from "../command-error.ts";
import { problemsSayer, sayConfiguration } from "../configuration-events.ts";
import type { ClusterOptions } from "../control-plane-options.ts";
import { json, type Output } from "../output.ts";
import { readSecret } from "../proxy-link.ts";
import { StopSignal } from "../stop-signal.ts";
import { version } from "../version.ts";

export interface ControlPlaneOptions extends ClusterOptions {
  readonly file?: readonly string[];
  readonly kubernetes?: boolean;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly state?: string;
  readonly address: HostPort;
  readonly serverName?: readonly string[];
  readonly trustedNodeAccounts: readonly string[];
  readonly adminAddress: HostPort;
  readonly metricsAddress: HostPort;
  readonly readinessAddress: HostPort;
  readonly drainTimeout: number;
  readonly output: "text" | "json";
}

export async function controlPlane(options: ControlPlaneOptions, output: Output): Promise<number> {
  const objects = objectsOf(options);
  const cluster = await clusterOf(options, objects);
  const stop = new StopSignal();
  const directory = stateDirectory(options.state);
  // A start may wait for an API server for long.
  const giveUp = new AbortController();
  const stopped = stop.first.then((why) => {
    giveUp.abort();
    return why;
  });
  const isFiles = "length" in objects;
  const say = isFiles
    ? (event: ConfigurationEvent) => sayConfiguration(event, output)
    : problemsSayer(output);
  let running: ControlPlaneProcess;
  try {
    running = await ControlPlaneProcess.start({
      version: version(),
      objects,
      cluster,
      podName: options.podName,
      stateDirectory: directory,
      at: options.address,
      serverNames: options.serverName ?? [],
      trustedNodeAccounts: options.trustedNodeAccounts,
      webhook: options.webhookAddress,
      admin: options.adminAddress,
      metrics: options.metricsAddress,
      readiness: options.readinessAddress,
      drainDelayMs: 0,
      drainTimeoutMs: options.drainTimeout,
      onEvent: say,
      onQuit: () => stop.trigger("quit"),
      signal: giveUp.signal,
    });
  } catch (caught) {
    if (!giveUp.signal.aborted) throw caught;
    stop.close();
    return stop.exitCodeOf(await stopped);
  }
  const { host, port } = running.at;
  const address = `${host}:${port}`;
  // In a cluster every namespace has them, in the ConfigMap istio-ca-root-cert.
  const roots = cluster === undefined ? `${directory}/root-cert.pem` : undefined;
  if (options.output === "json") output.print(json({ address, ...(roots && { roots }) }));
  else {
    const where = roots === undefined ? "" : `; roots: ${roots}`;
    output.print(`Serving configuration and certificates at ${address}${where}`);
  }
  return await stop.untilStopped(running, output);
}

async function clusterOf(
  options: ControlPlaneOptions,
  source: readonly string[] | ObjectSource,
): Promise<ClusterWorkOptions | undefined> {
  const { mode, namespace, podName, waypointSettings: path } = options;
  const istiod = istiodOf(options);
  if (istiod !== undefined && mode !== "beside") {
    throw usageError("--ca-address is for --mode beside", "Elsewhere the CA is our own.");
  }
  if (mode === undefined) return undefined;
  if (!(source instanceof KubernetesSource)) {
    throw usageError("--mode is for a cluster, not for files", "Name it with --kubernetes.");
  }
  if (mode === "beside" && istiod === undefined) {
    throw usageError("beside istiod, where is its CA?", "Name it with --ca-address.");
  }
  return {
    source,
    istiod,
    mode: mode === "under" ? UNDER_WAYSTONE : BESIDE_ISTIOD,
    namespace,
    // A Pod's name comes back when its container is started again.
    identity: `${podName}_${randomUUID()}`,
    waypoints: path === undefined ? undefined : await waypointSettings(path),
  };
}

function istiodOf(options: ControlPlaneOptions): IstiodCa | undefined {
  const { caAddress: at, roots, token, clusterId, namespace } = options;
  if (at === undefined) return undefined;
  return {
    at,
    roots: () => readSecret(roots),
    token: () => readSecret(token),
    clusterId,
    namespace,
    serviceAccount: options.serviceAccount ?? "waystone",
  };
}

async function waypointSettings(path: string): Promise<WaypointSettings> {
  const unusable = (why: string) => new Failure("CONFIGURATION_INVALID", `${path}: ${why}`);
  let value: unknown;
  try {
    value = parse(await readFile(path, "utf8"));
  } catch (caught) {
    throw unusable(`cannot be read: ${(caught as Error).message}`);
  }
  const read = readWaypointSettings(value);
  if ("problem" in read) throw unusable(read.problem);
  return read.settings;
}

function objectsOf(options: ControlPlaneOptions): readonly string[] | ObjectSource {
  const { file, kubernetes, kubeconfig, context } = options;
  const isCluster = kubernetes === true || kubeconfig !== undefined || context !== undefined;
  if (isCluster === (file !== undefined)) {
    throw usageError(
      isCluster
        ? "objects come from files or from a cluster, not from both"
        : "where do the objects come from?",
      "Name manifests with --file, or a cluster with --kubernetes.",
    );
  }
  return file ?? new KubernetesSource({ kubeconfig, context });
}
