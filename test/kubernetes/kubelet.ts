/**
 * What a scheduler and kubelets would say of Pods that nothing runs:
 *
 *     Pod without Node ── bind ──> on a Node ── address, Running, Ready ──> until it is deleted
 *
 * Every step follows from the object alone, so a step may come twice, and one that is lost comes
 * again with the next list. EndpointSlices are made of this by the controller manager.
 */
import { setTimeout as pause } from "node:timers/promises";
import { type ApiClient, ApiRefusal, type KubernetesObject } from "./api-client.ts";

const RELIST_DELAY_MS = 200;

/**
 * Files of tests run beside one another in one network, each with Pods of its own: the first three
 * quarters of 10.244.0.0/16 are theirs. The last one is for addresses that a test names.
 */
const QUARTER = Number(process.env.VITEST_POOL_ID ?? 0) % 3;

export interface Pod extends KubernetesObject {
  readonly spec: {
    readonly nodeName?: string;
    readonly hostNetwork?: boolean;
    readonly serviceAccountName?: string;
    readonly containers: readonly Container[];
    readonly initContainers?: readonly Container[];
  };
  readonly status?: {
    readonly phase?: string;
    readonly podIP?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

interface Container {
  readonly name: string;
  readonly image: string;
  readonly args?: readonly string[];
  readonly env?: readonly {
    readonly name: string;
    readonly value?: string;
    readonly valueFrom?: { readonly fieldRef?: { readonly fieldPath: string } };
  }[];
  readonly ports?: readonly { readonly containerPort: number }[];
}

export interface KubeletOptions {
  readonly nodes?: readonly string[];
  /**
   * The address of a Pod that shall not get the next one: of 10.244.192.0/18. It may not be a
   * loopback address: the API server refuses EndpointSlices with such.
   */
  readonly addressOf?: (pod: Pod) => string | undefined;
  /** A Pod is about to have it. */
  readonly onAddress?: (address: string) => void;
  /** Pods that are not ready until `setReady` says so. */
  readonly startsUnready?: (pod: Pod) => boolean;
}

export class Kubelet {
  readonly #api: ApiClient;
  readonly #nodes: readonly string[];
  readonly #addressOf: (pod: Pod) => string | undefined;
  readonly #startsUnready: (pod: Pod) => boolean;
  readonly #onAddress: (address: string) => void;
  readonly #addresses = new Map<string, string>();
  readonly #unready = new Set<string>();
  /** The newest of each Pod by uid, while a step of an older one is under way. */
  readonly #waiting = new Map<string, Pod>();
  readonly #busy = new Map<string, Promise<void>>();
  readonly #stop = new AbortController();
  #turn = 0;
  #addressed = 0;
  #following: Promise<void> = Promise.resolve();

  private constructor(api: ApiClient, options: KubeletOptions) {
    this.#api = api;
    this.#nodes = options.nodes ?? ["node-1", "node-2"];
    this.#addressOf = options.addressOf ?? (() => undefined);
    this.#onAddress = options.onAddress ?? (() => {});
    this.#startsUnready = options.startsUnready ?? (() => false);
  }

  /** Makes the Nodes, then looks after every Pod until it is stopped. */
  static async start(api: ApiClient, options: KubeletOptions = {}): Promise<Kubelet> {
    const kubelet = new Kubelet(api, options);
    await Promise.all(kubelet.#nodes.map((_, index) => kubelet.#register(index)));
    kubelet.#following = kubelet.#follow();
    return kubelet;
  }

  /** As when its readiness probe fails, or passes again. */
  async setReady(namespace: string, name: string, isReady: boolean): Promise<void> {
    if (isReady) this.#unready.delete(`${namespace}/${name}`);
    else this.#unready.add(`${namespace}/${name}`);
    await this.#run(await this.#api.send<Pod>("GET", podPath(namespace, name)));
  }

  /** What a kubelet puts into a Pod's volume: a token that says which Pod it is of. */
  async token(namespace: string, name: string, audience: string): Promise<string> {
    const { metadata, spec } = await this.#api.send<Pod>("GET", podPath(namespace, name));
    const accounts = `/api/v1/namespaces/${namespace}/serviceaccounts`;
    const request = {
      apiVersion: "authentication.k8s.io/v1",
      kind: "TokenRequest",
      spec: {
        audiences: [audience],
        boundObjectRef: { apiVersion: "v1", kind: "Pod", name, uid: metadata.uid },
      },
    };
    const { status } = await this.#api.send<{ status: { token: string } }>(
      "POST",
      `${accounts}/${spec.serviceAccountName ?? "default"}/token`,
      request,
    );
    return status.token;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#following;
    await Promise.all(this.#busy.values());
  }

  async #register(index: number): Promise<void> {
    const metadata = { name: this.#nodes[index]! };
    const addresses = [{ type: "InternalIP", address: hostAddress(index) }];
    const status = { addresses, conditions: [{ type: "Ready", status: "True" }] };
    const node = { apiVersion: "v1", kind: "Node", metadata, status };
    await this.#api.send("POST", "/api/v1/nodes", node);
  }

  /** Lists again whenever the watch ends, as with a restart of the API server. */
  async #follow(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        for await (const { type, object } of this.#api.watch<Pod>("/api/v1/pods", signal)) {
          if (type === "ADDED" || type === "MODIFIED") this.#take(object);
          if (type === "DELETED") this.#addresses.delete(object.metadata.uid);
        }
      } catch (caught) {
        // That it cannot be reached is part of some tests; that it refuses is of none.
        if (caught instanceof ApiRefusal) warn(caught);
      }
      await pause(RELIST_DELAY_MS);
    }
  }

  /** One step of a Pod at a time. */
  #take(pod: Pod): void {
    const { uid } = pod.metadata;
    this.#waiting.set(uid, pod);
    if (this.#busy.has(uid)) return;
    const work = async () => {
      for (let next = pod as Pod | undefined; next; next = this.#waiting.get(uid)) {
        this.#waiting.delete(uid);
        await this.#run(next);
      }
      this.#busy.delete(uid);
    };
    this.#busy.set(uid, work());
  }

  async #run(pod: Pod): Promise<void> {
    try {
      await this.#step(pod);
    } catch (caught) {
      // Gone or changed meanwhile: an event tells of that too.
      if (caught instanceof ApiRefusal && (caught.status === 404 || caught.status === 409)) return;
      if (this.#stop.signal.aborted) return;
      warn(caught);
    }
  }

  async #step(pod: Pod): Promise<void> {
    const { name, namespace = "", uid, deletionTimestamp } = pod.metadata;
    const path = podPath(namespace, name);
    const { nodeName } = pod.spec;
    if (nodeName === undefined) {
      if (deletionTimestamp === undefined) await this.#bind(path, name);
      return;
    }
    const node = this.#nodes.indexOf(nodeName);
    if (node < 0) return;
    if (deletionTimestamp !== undefined) {
      await this.#api.send("DELETE", path, { gracePeriodSeconds: 0, preconditions: { uid } });
      return;
    }
    const isNew = pod.status?.podIP === undefined && !this.#addresses.has(uid);
    if (isNew && this.#startsUnready(pod)) this.#unready.add(`${namespace}/${name}`);
    const isReady = !this.#unready.has(`${namespace}/${name}`);
    if (/Succeeded|Failed/.test(pod.status?.phase ?? "") || isSaid(pod, isReady)) return;
    const status = statusOf(pod, isReady, this.#address(pod, node), hostAddress(node));
    const patch = "application/strategic-merge-patch+json";
    await this.#api.send("PATCH", `${path}/status`, { status }, patch);
  }

  async #bind(path: string, name: string): Promise<void> {
    const node = this.#nodes[this.#turn++ % this.#nodes.length];
    await this.#api.send("POST", `${path}/binding`, {
      apiVersion: "v1",
      kind: "Binding",
      metadata: { name },
      target: { apiVersion: "v1", kind: "Node", name: node },
    });
  }

  /** As long as the Pod lives, the same; no other Pod gets it again unless a test says so. */
  #address(pod: Pod, node: number): string {
    const { uid } = pod.metadata;
    const known = pod.status?.podIP ?? this.#addresses.get(uid);
    if (known) return known;
    const chosen = pod.spec.hostNetwork ? hostAddress(node) : this.#addressOf(pod);
    const address = chosen ?? this.#nextAddress();
    this.#addresses.set(uid, address);
    this.#onAddress(address);
    return address;
  }

  #nextAddress(): string {
    this.#addressed++;
    if (this.#addressed > 0x3fff) throw new Error("16,383 Pods, and no address for another");
    const high = QUARTER * 64 + (this.#addressed >> 8);
    return `10.244.${high}.${this.#addressed & 0xff}`;
  }
}

function warn(caught: unknown): void {
  process.stderr.write(`kubelet stand-in: ${String(caught)}\n`);
}

function podPath(namespace: string, name: string): string {
  return `/api/v1/namespaces/${namespace}/pods/${name}`;
}

function hostAddress(node: number): string {
  return `172.18.0.${node + 2}`;
}

function isSaid({ status }: Pod, isReady: boolean): boolean {
  const ready = status?.conditions?.find(({ type }) => type === "Ready");
  return !!status?.podIP && status.phase === "Running" && ready?.status === word(isReady);
}

function word(holds: boolean): "True" | "False" {
  return holds ? "True" : "False";
}

function statusOf(pod: Pod, isReady: boolean, podIP: string, hostIP: string): object {
  const now = new Date().toISOString().replace(/\.\d+/, "");
  const containers = (all: readonly Container[] = [], state: object, ready: boolean) =>
    all.map(({ name, image }) => ({
      name,
      image,
      imageID: image,
      containerID: `none://${pod.metadata.uid}/${name}`,
      ready,
      started: "running" in state,
      restartCount: 0,
      state,
    }));
  const { containers: main, initContainers } = pod.spec;
  const done = {
    terminated: { exitCode: 0, reason: "Completed", startedAt: now, finishedAt: now },
  };
  const conditions = {
    PodReadyToStartContainers: true,
    Initialized: true,
    ContainersReady: isReady,
    Ready: isReady,
    PodScheduled: true,
  };
  return {
    phase: "Running",
    startTime: now,
    podIP,
    podIPs: [{ ip: podIP }],
    hostIP,
    hostIPs: [{ ip: hostIP }],
    conditions: Object.entries(conditions).map(([type, holds]) => {
      return { type, status: word(holds), lastTransitionTime: now };
    }),
    containerStatuses: containers(main, { running: { startedAt: now } }, isReady),
    initContainerStatuses: containers(initContainers, done, true),
  };
}
