/**
 * The control planes of a cluster, or those whose addresses are given, as commands ask them: the
 * pages of their monitoring ports. Replicas know different proxies, so all of them are asked.
 */
import http from "node:http";
import type { Duplex } from "node:stream";
import { ClusterAccess } from "../control/source/kubernetes/cluster-access.ts";
import { isRefusal, KubeClient } from "../control/source/kubernetes/kube-client.ts";
import { connectPod, type PodPort } from "../control/source/kubernetes/pod-connection.ts";
import { Failure } from "../kit/failure.ts";
import type { HostPort } from "../net/listeners.ts";
import { CommandError, EXIT_UNAVAILABLE } from "./command-error.ts";

export interface ControlPlanesOptions {
  readonly kubernetes?: boolean;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly monitoringAddress?: readonly HostPort[];
}

/** One of them, and how it is reached. */
interface Replica {
  readonly name: string;
  readonly connect: (() => Promise<Duplex>) | undefined;
  readonly at: HostPort;
}

interface PodList {
  readonly items: readonly {
    readonly metadata: { readonly name: string; readonly namespace: string };
    readonly status?: { readonly phase?: string };
  }[];
}

const ANSWER_TIMEOUT_MS = 10_000;
const SILENCE_MS = 10_000;
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
const MONITORING_PORT = 15014;
/** Of the Pods of an installation (`waystone install`, the chart); waypoints have other names. */
const SELECTOR = "app.kubernetes.io/name=waystone";

/** Whether the options say that a cluster is asked, and not the mesh of this machine. */
export function isClusterAsked(options: ControlPlanesOptions): boolean {
  const { kubernetes, kubeconfig, context, monitoringAddress } = options;
  return (
    kubernetes === true || [kubeconfig, context, monitoringAddress].some((o) => o !== undefined)
  );
}

export class ControlPlanes {
  readonly #options: ControlPlanesOptions;
  readonly #access: ClusterAccess;
  /** Undefined: no cluster is named. */
  readonly client: KubeClient | undefined;

  constructor(options: ControlPlanesOptions) {
    this.#options = options;
    this.#access = new ClusterAccess(options);
    const { kubernetes, kubeconfig, context } = options;
    const hasCluster = kubernetes === true || kubeconfig !== undefined || context !== undefined;
    this.client = hasCluster ? new KubeClient(this.#access, SILENCE_MS) : undefined;
  }

  /** What each of them answers at a path, by name. Throws when one cannot be asked. */
  async ask<T>(path: string): Promise<ReadonlyMap<string, T>> {
    const replicas = await this.#replicas();
    const answers = await Promise.all(
      replicas.map(async (one) => [one.name, (await get(one, path)) as T] as const),
    );
    return new Map(answers);
  }

  async #replicas(): Promise<readonly Replica[]> {
    const { monitoringAddress } = this.#options;
    if (monitoringAddress !== undefined) {
      return monitoringAddress.map((at) => {
        return { name: `${at.host}:${at.port}`, connect: undefined, at };
      });
    }
    const pods = await this.#pods();
    if (pods.length > 0) return pods.map((pod) => this.#podReplica(pod));
    throw new CommandError(
      EXIT_UNAVAILABLE,
      "no control plane of Waystone runs in the cluster",
      `Looked for Pods with ${SELECTOR}. Is it another cluster's context? 'waystone install' makes one.`,
    );
  }

  #podReplica(at: PodPort): Replica {
    return {
      name: `${at.namespace}/${at.pod}`,
      connect: () => connectPod(this.#access, at),
      at: { host: "localhost", port: at.port },
    };
  }

  async #pods(): Promise<readonly PodPort[]> {
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
    const found = await this.client?.get("/api/v1/pods", { labelSelector: SELECTOR }, signal);
    if (found === undefined) return [];
    if (isRefusal(found)) throw new Failure("KUBERNETES_UNAVAILABLE", found.message);
    return (found.body as PodList).items
      .filter(({ status }) => status?.phase === "Running")
      .map(({ metadata: { name, namespace } }) => {
        return { pod: name, namespace, port: MONITORING_PORT };
      });
  }
}

async function get({ name, connect, at }: Replica, path: string): Promise<unknown> {
  const connection = await connect?.();
  try {
    return JSON.parse(await textOf(at, path, connection));
  } catch (caught) {
    const { message } = caught as Error;
    throw new CommandError(
      EXIT_UNAVAILABLE,
      `the control plane ${name} did not answer: ${message}`,
      connect === undefined ? "Its monitoring port is --metrics-address, usually 15014." : "",
    );
  } finally {
    connection?.destroy();
  }
}

function textOf(
  { host, port }: HostPort,
  path: string,
  connection: Duplex | undefined,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
    const own = connection === undefined ? {} : { createConnection: () => connection };
    const headers = { connection: "close" };
    const request = http.get({ host, port, path, headers, signal, ...own }, (answer) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      answer.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        chunks.push(chunk);
        if (bytes > ANSWER_BYTES_MAX) request.destroy(new Error("the answer is too large"));
      });
      answer.on("error", reject);
      answer.on("end", () => {
        const text = Buffer.concat(chunks).toString();
        if (answer.statusCode === 200) resolve(text);
        else reject(new Error(`${answer.statusCode} ${text.slice(0, 200).trim()}`));
      });
    });
    request.on("error", reject);
  });
}
