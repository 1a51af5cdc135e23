/**
 * A real Kubernetes API for a test: etcd, kube-apiserver with RBAC and kube-controller-manager on
 * loopback, in a temporary folder, each with a free port or a socket, gone when the test is over.
 *
 *     kubectl, tests, Kubelet ──TLS── kube-apiserver ──socket── etcd
 *                                        └──TLS── kube-controller-manager
 *
 * Nothing runs Pods: `Kubelet` says of them what a scheduler and kubelets would.
 */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { until } from "../support/child-process.ts";
import type { Access } from "./access.ts";
import { ApiClient, type Credentials } from "./api-client.ts";
import { type ClusterParts, prepare } from "./cluster-parts.ts";
import { type Daemon, Guard } from "./daemon.ts";
import { type CrdSet, findToolchain, type Toolchain } from "./toolchain.ts";

const STARTS_MAX = 3;
const READY_TIMEOUT_MS = 40_000;
const OUTPUT_BYTES_MAX = 64 << 20;

export interface ClusterOptions {
  /** Which CRDs are there from the start: those of Istio and Gateway API's standard channel. */
  readonly crds?: readonly CrdSet[];
  /** Where the addresses of Services come from. */
  readonly serviceCidr?: string;
}

export class Cluster {
  readonly folder: string;
  readonly access: Access;
  readonly etcd: Daemon;
  readonly apiServer: Daemon;
  readonly controllerManager: Daemon;
  /** Of a user who may do everything, as the next. */
  readonly kubeconfig: string;
  readonly api: ApiClient;
  readonly #toolchain: Toolchain;
  readonly #guard: Guard;

  private constructor(
    toolchain: Toolchain,
    parts: ClusterParts,
    admin: { readonly kubeconfig: string; readonly credentials: Credentials },
  ) {
    this.folder = parts.folder;
    this.access = parts.access;
    this.etcd = parts.etcd;
    this.apiServer = parts.apiServer;
    this.controllerManager = parts.controllerManager;
    this.kubeconfig = admin.kubeconfig;
    this.api = new ApiClient(parts.access.server, admin.credentials);
    this.#toolchain = toolchain;
    this.#guard = new Guard(parts.folder);
  }

  /** Ready when this returns: the CRDs are established, and tokens can be had. */
  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    const { crds = ["gateway-api-standard", "istio"], serviceCidr = "10.96.0.0/16" } = options;
    const toolchain = findToolchain();
    if ("missing" in toolchain) throw new Error(toolchain.missing);
    for (let starts = 1; ; starts++) {
      const parts = await prepare(toolchain, serviceCidr);
      const admin = await parts.access.ofUser({ name: "admin", groups: ["system:masters"] });
      const cluster = new Cluster(toolchain, parts, admin);
      try {
        for (const daemon of cluster.#daemons) daemon.start();
        await cluster.ready();
        await Promise.all(crds.map((set) => cluster.installCrds(set)));
        return cluster;
      } catch (caught) {
        // Between choosing a port and listening on it, somebody else can have taken it.
        const isTaken = cluster.apiServer.log.includes("address already in use");
        await cluster.stop();
        if (!isTaken || starts === STARTS_MAX) throw caught;
      }
    }
  }

  /** Waits until the API server answers and the controllers work. */
  async ready(): Promise<void> {
    const account = "/api/v1/namespaces/default/serviceaccounts/default";
    const isReady = async () => {
      const ended = this.#daemons.find((daemon) => !daemon.isRunning);
      if (ended) throw new Error(`${ended.name} has ended:\n${ended.log}`);
      return (await this.#answers("/readyz")) && (await this.#answers(account));
    };
    await until("the API server is ready", isReady, READY_TIMEOUT_MS);
  }

  /** Runs kubectl as admin, or with another kubeconfig; fails with what it says. */
  kubectl(args: readonly string[], stdin = "", kubeconfig = this.kubeconfig): Promise<string> {
    return new Promise((resolve, reject) => {
      // Its cache of what the API server offers goes to the home folder.
      const env = { PATH: process.env.PATH, HOME: this.folder, KUBECONFIG: kubeconfig };
      const options = { env, maxBuffer: OUTPUT_BYTES_MAX };
      const child = execFile(this.#toolchain.kubectl, args, options, (error, stdout, stderr) => {
        if (error) reject(new Error(`kubectl ${args.join(" ")}: ${stderr || error.message}`));
        else resolve(stdout);
      });
      child.stdin?.on("error", () => {}); // It need not read what it is given.
      child.stdin?.end(stdin);
    });
  }

  /** `kubectl apply` of manifests as text. */
  apply(manifests: string): Promise<string> {
    return this.kubectl(["apply", "-f", "-"], manifests);
  }

  /** What `kubectl get … -o json` prints, read. */
  async get<T>(...args: readonly string[]): Promise<T> {
    return JSON.parse(await this.kubectl(["get", ...args, "-o", "json"])) as T;
  }

  /** Creates what is in a set, and waits until objects of each kind can be written. */
  async installCrds(set: CrdSet): Promise<void> {
    const text = await readFile(this.#toolchain.crds[set], "utf8");
    const objects = (JSON.parse(text) as { items: readonly Manifest[] }).items;
    await Promise.all(objects.map((object) => this.api.send("POST", collectionOf(object), object)));
    const crds = objects.filter(({ kind }) => kind === "CustomResourceDefinition");
    await until(`${set} is established`, async () => {
      const all = crds.map((crd) => `${collectionOf(crd)}/${crd.metadata.name}`);
      const now = await Promise.all(all.map((path) => this.api.send<Manifest>("GET", path)));
      return now.every(isEstablished);
    });
  }

  async stop(): Promise<void> {
    await this.api.close();
    await Promise.all(this.#daemons.map((daemon) => daemon.stop()));
    await this.#guard.release();
  }

  get #daemons(): readonly [Daemon, Daemon, Daemon] {
    return [this.etcd, this.apiServer, this.controllerManager];
  }

  async #answers(path: string): Promise<boolean> {
    return this.api.send("GET", path).then(
      () => true,
      () => false,
    );
  }
}

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly status?: { readonly conditions?: readonly { type: string; status: string }[] };
}

/** Of the kinds that come with CRDs: none is in a namespace, and each plural is regular but one. */
function collectionOf({ apiVersion, kind }: Manifest): string {
  const lower = kind.toLowerCase();
  return `/apis/${apiVersion}/${lower.endsWith("y") ? `${lower.slice(0, -1)}ies` : `${lower}s`}`;
}

function isEstablished({ status }: Manifest): boolean {
  return !!status?.conditions?.some((one) => one.type === "Established" && one.status === "True");
}
