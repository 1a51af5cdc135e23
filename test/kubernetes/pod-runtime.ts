/**
 * What runs in the Pods of a test's cluster: waypoints as their Deployment has them, ztunnels, and
 * an HTTP server for every other container. And what a CNI says of Pods: that they are captured.
 *
 * Every Pod has its address on this machine (`hasPodAddresses`). A Pod's volumes are a folder of
 * its own; arguments and variables that name a place in them are changed accordingly.
 */
import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { Child } from "../support/child-process.ts";
import type { Cluster } from "./cluster.ts";
import type { Kubelet, Pod } from "./kubelet.ts";

export const WAYSTONE_IMAGE = "example.org/waystone:test";
export const ZTUNNEL_IMAGE = "example.org/ztunnel:test";
/** It runs somewhere else. */
export const OUTSIDE_IMAGE = "example.org/outside:test";
export const SOCKS_PASSWORD = "open sesame";

const LOOK_MS = 150;
const REDIRECTION = "ambient.istio.io/redirection";

/** Set by run.mjs in a network namespace that is the tests' own. */
export const hasPodAddresses = process.env.WAYSTONE_POD_ADDRESSES === "1";

/** From now on it is this machine's; also when an earlier Pod had it. */
export function addPodAddress(address: string): void {
  execFileSync("ip", ["addr", "replace", `${address}/32`, "dev", "lo"], { stdio: "pipe" });
}

interface Running {
  readonly pod: Pod;
  readonly child?: Child;
  stop(): Promise<void>;
}

type LabelledPod = Pod & {
  readonly metadata: {
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
};

export class PodRuntime {
  readonly #cluster: Cluster;
  readonly #kubelet: Kubelet;
  /** `host:port` of the control plane; there may be several. */
  readonly #controlPlane: () => string;
  readonly #folder: string;
  /** By the Pod's uid. */
  readonly #running = new Map<string, Running>();
  readonly #stop = new AbortController();
  #following: Promise<void> = Promise.resolve();
  #isLost = false;

  constructor(
    cluster: Cluster,
    kubelet: Kubelet,
    options: { readonly controlPlane: () => string; readonly folder: string },
  ) {
    this.#cluster = cluster;
    this.#kubelet = kubelet;
    this.#controlPlane = options.controlPlane;
    this.#folder = options.folder;
  }

  start(): void {
    this.#following = this.#follow();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#following;
    await Promise.all([...this.#running.values()].map((one) => one.stop()));
  }

  /** Of those whose name begins so. */
  pods(prefix: string): readonly Pod[] {
    const all = [...this.#running.values()].map(({ pod }) => pod);
    return all.filter(({ metadata }) => metadata.name.startsWith(prefix));
  }

  /** What the Pods' programs have said. */
  get text(): string {
    const texts = [...this.#running.values()].map(
      ({ pod, child }) => `--- ${pod.metadata.name}\n${child?.text ?? ""}`,
    );
    return texts.join("\n");
  }

  /** Where clients of a node enter: its ztunnel's SOCKS5 port. */
  socksOf(node: string): { readonly host: string; readonly port: number } {
    const found = [...this.#running.values()].find(
      ({ pod, child }) => pod.spec.nodeName === node && child && isZtunnel(pod),
    );
    if (found === undefined) throw new Error(`no ztunnel on ${node}`);
    return { host: found.pod.status!.podIP!, port: 1080 };
  }

  async #follow(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      try {
        await this.#look();
        this.#isLost = false;
      } catch (caught) {
        // That the API server is away is part of some tests.
        if (!this.#isLost) process.stderr.write(`pod runtime: ${String(caught)}\n`);
        this.#isLost = true;
      }
      await pause(LOOK_MS);
    }
  }

  async #look(): Promise<void> {
    const { api } = this.#cluster;
    const { items } = await api.send<{ items: readonly LabelledPod[] }>("GET", "/api/v1/pods");
    const captured = await this.#ambientNamespaces();
    const present = new Set(items.map(({ metadata }) => metadata.uid));
    for (const [uid, running] of this.#running) {
      if (present.has(uid)) continue;
      this.#running.delete(uid);
      await running.stop();
    }
    for (const pod of items) {
      if (pod.status?.podIP === undefined || pod.metadata.deletionTimestamp !== undefined) continue;
      const { labels, annotations, namespace = "" } = pod.metadata;
      const isIn = captured.has(namespace) && labels?.["istio.io/dataplane-mode"] !== "none";
      if (isIn && annotations?.[REDIRECTION] === undefined) await this.#capture(pod);
      await this.#run(pod);
    }
  }

  async #ambientNamespaces(): Promise<ReadonlySet<string>> {
    const selector = "labelSelector=istio.io%2Fdataplane-mode%3Dambient";
    const { items } = await this.#cluster.api.send<{
      items: readonly { readonly metadata: { readonly name: string } }[];
    }>("GET", `/api/v1/namespaces?${selector}`);
    return new Set(items.map(({ metadata }) => metadata.name));
  }

  async #capture({ metadata: { namespace, name } }: Pod): Promise<void> {
    const path = `/api/v1/namespaces/${namespace}/pods/${name}`;
    const body = { metadata: { annotations: { [REDIRECTION]: "enabled" } } };
    await this.#cluster.api.send("PATCH", path, body, "application/merge-patch+json");
  }

  async #run(pod: Pod): Promise<void> {
    const { uid } = pod.metadata;
    const known = this.#running.get(uid);
    if (known?.child !== undefined) await this.#tellReadiness(pod, known.child);
    if (known !== undefined) return;
    if (isProxy(pod)) {
      const volumes = await this.volumes(pod);
      // Its volume cannot be mounted yet: a kubelet waits, too.
      if (volumes === undefined) return;
      const child = isZtunnel(pod) ? this.#ztunnel(pod, volumes) : this.#waypoint(pod, volumes);
      const stop = async () => {
        child.signal("SIGTERM");
        await child.ended;
      };
      this.#running.set(uid, { pod, child, stop });
      return;
    }
    const servers = imageOf(pod) === OUTSIDE_IMAGE ? [] : await this.#application(pod);
    const stop = async () => {
      for (const server of servers) server.close().closeAllConnections();
    };
    this.#running.set(uid, { pod, stop });
  }

  async #tellReadiness(pod: Pod, child: Child): Promise<void> {
    const { namespace = "", name } = pod.metadata;
    const url = `http://${pod.status!.podIP}:15021/healthz/ready`;
    const isReady =
      child.process.exitCode === null &&
      (await fetch(url, { signal: AbortSignal.timeout(1000) }).then(
        ({ ok }) => ok,
        () => false,
      ));
    const now = (pod.status as PodStatus).conditions?.find(({ type }) => type === "Ready");
    if (String(isReady) !== now?.status.toLowerCase()) {
      await this.#kubelet.setReady(namespace, name, isReady);
    }
  }

  /** A folder with its token and the mesh's roots; undefined while there are none. */
  async volumes({ metadata: { namespace = "", name, uid } }: Pod): Promise<string | undefined> {
    const { api } = this.#cluster;
    const path = `/api/v1/namespaces/${namespace}/configmaps/istio-ca-root-cert`;
    const roots = await api.send<{ data: Record<string, string> }>("GET", path).catch(() => {});
    if (roots === undefined) return undefined;
    const folder = join(this.#folder, uid);
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, "root-cert.pem"), roots.data["root-cert.pem"] ?? "");
    await writeFile(join(folder, "password"), SOCKS_PASSWORD);
    await writeFile(
      join(folder, "istio-token"),
      await this.#kubelet.token(namespace, name, "istio-ca"),
    );
    return folder;
  }

  #waypoint(pod: Pod, folder: string): Child {
    const { args = [], env = [] } = pod.spec.containers[0]!;
    const variables = Object.fromEntries(
      env.map(({ name, value, valueFrom }) => [
        name,
        value ?? fieldOf(pod, valueFrom?.fieldRef?.fieldPath ?? ""),
      ]),
    );
    const placed = args.map((arg) =>
      arg
        .replace(/\$\((\w+)\)/g, (_whole, name: string) => variables[name] ?? "")
        .replace(/^\/var\/(run\/secrets\/\w+|lib\/waystone)\//, `${folder}/`)
        .replace("control-plane.test:15012", this.#controlPlane()),
    );
    // Each Pod has a loopback of its own; here they share one.
    const admin = ["--admin-address", `${pod.status!.podIP}:15000`, "--drain-delay", "1s"];
    return new Child([...placed, ...admin], { ...variables, NODE_OPTIONS: "" });
  }

  #ztunnel(pod: Pod, folder: string): Child {
    const { name, namespace = "" } = pod.metadata;
    const address = pod.status!.podIP!;
    const socks = ["--socks-address", `${address}:1080`];
    const password = ["--socks-password-file", join(folder, "password")];
    return new Child(["ztunnel", ...socks, ...password], {
      XDS_ADDRESS: `https://${this.#controlPlane()}`,
      CA_ROOT_CA: join(folder, "root-cert.pem"),
      AUTH_TOKEN: join(folder, "istio-token"),
      INSTANCE_IP: address,
      POD_NAME: name,
      POD_NAMESPACE: namespace,
      NODE_NAME: pod.spec.nodeName ?? "",
      ADMIN_ADDR: `${address}:15000`,
      STATS_ADDR: `${address}:15020`,
      READINESS_ADDR: `${address}:15021`,
      TERMINATION_DRAIN_DURATION_SECONDS: "1",
    });
  }

  /** Tells who answered. */
  async #application(pod: Pod): Promise<readonly Server[]> {
    const ports = pod.spec.containers.flatMap((container) => container.ports ?? []);
    const servers = ports.map(async ({ containerPort }) => {
      const server = createServer((request, response) => {
        response.setHeader("content-type", "application/json");
        response.end(JSON.stringify({ pod: pod.metadata.name, path: request.url }));
      });
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(containerPort, pod.status!.podIP, resolve);
      });
      return server;
    });
    return await Promise.all(servers);
  }
}

interface PodStatus {
  readonly conditions?: readonly { readonly type: string; readonly status: string }[];
}

const imageOf = (pod: Pod) => pod.spec.containers[0]?.image;

const isWaypoint = (pod: Pod) => imageOf(pod) === WAYSTONE_IMAGE;
const isZtunnel = (pod: Pod) => imageOf(pod) === ZTUNNEL_IMAGE;

/** It is ready when it says so. */
export const isProxy = (pod: Pod) => isWaypoint(pod) || isZtunnel(pod);

/** Of those that the downward API has and we use. */
function fieldOf({ metadata, spec, status }: Pod, path: string): string {
  switch (path) {
    case "metadata.name":
      return metadata.name;
    case "metadata.namespace":
      return metadata.namespace ?? "";
    case "status.podIP":
      return status?.podIP ?? "";
    case "spec.nodeName":
      return spec.nodeName ?? "";
    default:
      throw new Error(`the downward API has no ${path} here`);
  }
}
