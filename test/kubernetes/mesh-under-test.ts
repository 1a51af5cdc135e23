/**
 * A whole mesh on a test's cluster, every part of it the program that users run: control planes
 * behind one address, a ztunnel on each node, waypoints as their Gateways have them.
 */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectSocks } from "../../src/cli/socks-connect.ts";
import { Child, until } from "../support/child-process.ts";
import { freePorts } from "../support/free-ports.ts";
import { Cluster } from "./cluster.ts";
import { Kubelet, type Pod } from "./kubelet.ts";
import {
  addPodAddress,
  isProxy,
  PodRuntime,
  SOCKS_PASSWORD,
  WAYSTONE_IMAGE,
  ZTUNNEL_IMAGE,
} from "./pod-runtime.ts";
import { ServiceProxy } from "./service-proxy.ts";

const NODES = ["node-1", "node-2"];

/** An address of the tests' network that is no loopback's. */
export const OUTSIDE = "10.244.255.254";

const INSTALLED = `
apiVersion: v1
kind: Namespace
metadata: { name: istio-system }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: ztunnel, namespace: istio-system }
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: istio-waypoint }
spec: { controllerName: istio.io/mesh-controller }
`;

const ztunnelPod = (node: string) => `
apiVersion: v1
kind: Pod
metadata: { name: ztunnel-${node}, namespace: istio-system, labels: { app: ztunnel } }
spec:
  nodeName: ${node}
  serviceAccountName: ztunnel
  containers: [{ name: istio-proxy, image: "${ZTUNNEL_IMAGE}" }]
`;

export interface Asked {
  /** Begins the name of the Pod that asks. */
  readonly from: string;
  readonly namespace: string;
  readonly method: string;
  readonly service: string;
  readonly port: number;
  readonly path: string;
}

export interface MeshOptions {
  /** Pods that run somewhere else, by somebody else. */
  readonly addressOf?: (pod: Pod) => string | undefined;
  /** Starts an istiod, and tells where it is: then the mesh is beside it. */
  readonly istiod?: (cluster: Cluster, folder: string) => Promise<string>;
}

const BESIDE = `
apiVersion: v1
kind: Namespace
metadata: { name: istio-system }
---
apiVersion: v1
kind: Namespace
metadata: { name: waystone-system }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: waystone, namespace: waystone-system }
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: waystone-waypoint }
spec: { controllerName: waystone.io/mesh-controller }
`;

const CONTROL_PLANE_IDENTITY = "spiffe://cluster.local/ns/waystone-system/sa/waystone";

interface ControlPlane {
  readonly child: Child;
  readonly port: number;
  readonly admin: number;
  readonly metrics: number;
}

export class MeshUnderTest {
  readonly cluster: Cluster;
  readonly kubelet: Kubelet;
  readonly runtime: PodRuntime;
  readonly folder: string;
  /** Where the control planes are for those in another network. */
  readonly outside: string;
  readonly #service: ServiceProxy;
  readonly #controlPlanes = new Map<string, ControlPlane>();
  #istiod: string | undefined;
  /** Those that proxies are led to. */
  readonly #serving = new Set<string>();
  readonly #virtualIps = new Map<string, string>();

  private constructor(cluster: Cluster, kubelet: Kubelet, folder: string, service: ServiceProxy) {
    this.cluster = cluster;
    this.kubelet = kubelet;
    this.folder = folder;
    this.#service = service;
    const controlPlane = () => service.address;
    this.runtime = new PodRuntime(cluster, kubelet, { controlPlane, folder });
    this.outside = `${OUTSIDE}:${service.port}`;
  }

  /** With a control plane called `first`. */
  static async start(options: MeshOptions = {}): Promise<MeshUnderTest> {
    const { addressOf = () => undefined } = options;
    const elsewhere = new Set<string>();
    const cluster = await Cluster.start();
    const kubelet = await Kubelet.start(cluster.api, {
      nodes: NODES,
      startsUnready: isProxy,
      addressOf: (pod) => {
        const address = addressOf(pod);
        if (address !== undefined) elsewhere.add(address);
        return address;
      },
      onAddress: (address) => {
        if (!elsewhere.has(address)) addPodAddress(address);
      },
    });
    const folder = await mkdtemp(join(tmpdir(), "mesh-under-test-"));
    const mesh = new MeshUnderTest(cluster, kubelet, folder, await ServiceProxy.start());
    const { istiod } = options;
    await cluster.apply(istiod === undefined ? INSTALLED : BESIDE);
    mesh.#istiod = await istiod?.(cluster, folder);
    await mesh.startControlPlane("first");
    for (const node of istiod === undefined ? NODES : []) await cluster.apply(ztunnelPod(node));
    mesh.runtime.start();
    return mesh;
  }

  async stop(): Promise<void> {
    await this.runtime.stop();
    for (const { child } of this.#controlPlanes.values()) await child.kill();
    await this.#service.stop();
    await this.kubelet.stop();
    await this.cluster.stop();
    await rm(this.folder, { recursive: true, force: true });
  }

  /**
   * Ready when it resolves. Without `isServing` no proxy is led to it; `server`: the API server is
   * reached there.
   */
  async startControlPlane(
    name: string,
    options: { readonly isServing?: boolean; readonly server?: string } = {},
  ): Promise<void> {
    // Of its own: another one may just be reading its.
    const settings = join(this.folder, `waypoints-of-${name}.yaml`);
    await writeFile(settings, this.#waypointSettings());
    const [port, admin, metrics, readiness] = (await freePorts(4)) as [
      number,
      number,
      number,
      number,
    ];
    const child = new Child([
      ...["control-plane", "--kubeconfig", await this.#kubeconfig(options.server)],
      ...["--pod-name", name, "--waypoint-settings", settings, ...(await this.#modeArgs())],
      ...[
        "--server-name",
        OUTSIDE,
        "--state",
        join(this.folder, name),
        "--address",
        `127.0.0.1:${port}`,
      ],
      ...["--admin-address", `127.0.0.1:${admin}`, "--metrics-address", `127.0.0.1:${metrics}`],
      ...["--readiness-address", `127.0.0.1:${readiness}`],
    ]);
    this.#controlPlanes.set(name, { child, port, admin, metrics });
    if (options.isServing !== false) {
      this.#serving.add(name);
      this.#retarget();
    }
    const ready = () =>
      fetch(`http://127.0.0.1:${readiness}/healthz/ready`).then(
        ({ ok }) => ok,
        () => false,
      );
    await until(`the control plane ${name} is ready`, ready, 60_000);
  }

  #waypointSettings(): string {
    const common = { image: WAYSTONE_IMAGE, xdsAddress: "control-plane.test:15012" };
    const istiod = this.#istiod;
    if (istiod === undefined) return JSON.stringify(common);
    const controlPlaneIdentity = CONTROL_PLANE_IDENTITY;
    const beside = { caAddress: istiod, istiodAddress: istiod, controlPlaneIdentity };
    return JSON.stringify({ ...common, ...beside });
  }

  async #modeArgs(): Promise<readonly string[]> {
    if (this.#istiod === undefined) return ["--mode", "under", "--namespace", "istio-system"];
    const { cluster } = this;
    const [token, roots] = [join(this.folder, "own-token"), join(this.folder, "own-roots.pem")];
    const account = ["waystone", "-n", "waystone-system"];
    const text = await cluster.kubectl(["create", "token", ...account, "--audience", "istio-ca"]);
    await writeFile(token, text);
    let pem: string | undefined;
    await until(
      "istiod tells its roots",
      async () => {
        const map = ["configmap", "istio-ca-root-cert", "-n", "waystone-system"];
        const found = await cluster.get<{ data: Record<string, string> }>(...map).catch(() => {});
        pem = found?.data["root-cert.pem"];
        return pem !== undefined;
      },
      60_000,
    );
    await writeFile(roots, pem ?? "");
    return [
      ...["--mode", "beside", "--namespace", "waystone-system", "--ca-address", this.#istiod],
      ...["--token", token, "--roots", roots],
    ];
  }

  /** By which the command line asks the control planes. */
  get monitoring(): readonly string[] {
    return [...this.#controlPlanes.values()].flatMap(({ metrics }) => {
      return ["--monitoring-address", `127.0.0.1:${metrics}`];
    });
  }

  /** What it holds, without the number of its revision, which is its own. */
  async dumpOf(name: string): Promise<object> {
    const { admin } = this.#controlPlanes.get(name)!;
    const response = await fetch(`http://127.0.0.1:${admin}/config_dump`);
    const {
      revision: _,
      proxies: __,
      ...dump
    } = (await response.json()) as Record<string, unknown>;
    return dump;
  }

  async #kubeconfig(server: string | undefined): Promise<string> {
    const { kubeconfig } = this.cluster;
    if (server === undefined) return kubeconfig;
    const path = join(this.folder, "kubeconfig");
    const text = await readFile(kubeconfig, "utf8");
    await writeFile(path, text.replace(/server: .*/, `server: ${server}`));
    return path;
  }

  async killControlPlane(name: string): Promise<void> {
    const running = this.#controlPlanes.get(name);
    this.#controlPlanes.delete(name);
    this.#serving.delete(name);
    this.#retarget();
    await running?.child.kill();
  }

  #retarget(): void {
    this.#service.targets = [...this.#controlPlanes]
      .filter(([name]) => this.#serving.has(name))
      .map(([, { port }]) => port);
  }

  /** What everybody has said: for a failure. */
  get text(): string {
    const control = [...this.#controlPlanes].map(
      ([name, { child }]) => `--- ${name}\n${child.text}`,
    );
    return [...control, this.runtime.text].join("\n");
  }

  async isProgrammed(namespace: string, gateway: string): Promise<boolean> {
    const { status } = await this.cluster.get<{
      status?: { conditions?: readonly { type: string; status: string }[] };
    }>("gateway", gateway, "-n", namespace);
    return !!status?.conditions?.some((one) => one.type === "Programmed" && one.status === "True");
  }

  /** The status of the answer; a text: why there is none. */
  async ask(asked: Asked): Promise<number | string> {
    const { from, namespace, method, service, port, path } = asked;
    const pod = this.runtime.pods(from).find(({ metadata }) => metadata.namespace === namespace);
    if (pod === undefined) return `no Pod ${from}`;
    try {
      const at = this.runtime.socksOf(pod.spec.nodeName ?? "");
      const login = { user: `${namespace}/${pod.metadata.name}`, password: SOCKS_PASSWORD };
      const address = await this.#virtualIp(namespace, service);
      const socket = await connectSocks(at, login, address, port);
      return await new Promise((resolve) => {
        const headers = { host: service, connection: "close" };
        const options = { method, path, headers, createConnection: () => socket, timeout: 5000 };
        const request = http.request(options, (response) => {
          response.resume();
          response.on("error", () => {});
          resolve(response.statusCode ?? 0);
        });
        request.on("socket", () => socket.resume());
        request.on("timeout", () => request.destroy(new Error("no answer")));
        request.on("error", ({ message }) => resolve(message));
        request.end();
      });
    } catch (caught) {
      return (caught as Error).message;
    }
  }

  async #virtualIp(namespace: string, service: string): Promise<string> {
    const key = `${namespace}/${service}`;
    let address = this.#virtualIps.get(key);
    if (address === undefined) {
      const { spec } = await this.cluster.get<{ spec: { clusterIP: string } }>(
        ...(["service", service, "-n", namespace] as const),
      );
      address = spec.clusterIP;
      this.#virtualIps.set(key, address);
    }
    return address;
  }
}
