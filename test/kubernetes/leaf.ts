/**
 * A Pod's place in a network of its own, behind a pair of interfaces: where a real ztunnel runs for
 * it, in dedicated mode and with the Pod's token. Its SOCKS5 port stands for the capture of the
 * Pod's traffic.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { until } from "../support/child-process.ts";
import type { Pod } from "./kubelet.ts";
import type { MeshUnderTest } from "./mesh-under-test.ts";

const run = promisify(execFile);
const ip = (...args: readonly string[]) => execFileSync("ip", args, { stdio: "pipe" });

export class Leaf {
  readonly name: string;
  readonly #namespace: string;
  readonly #children: ChildProcess[] = [];
  /** What its programs have said. */
  text = "";

  /** `address` is the second of a /24 of its own. */
  constructor(name: string, address: string) {
    const prefix = `wsk${process.pid.toString(36)}`;
    this.name = name;
    this.#namespace = `${prefix}${name}`;
    const [here, there] = [`${prefix}${name[0]}h`, `${prefix}${name[0]}t`];
    const gateway = address.replace(/\d+$/, "1");
    ip("netns", "add", this.#namespace);
    ip("-n", this.#namespace, "link", "set", "lo", "up");
    ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", this.#namespace);
    ip("link", "set", here, "up");
    ip("addr", "add", `${gateway}/24`, "dev", here);
    ip("-n", this.#namespace, "addr", "add", `${address}/24`, "dev", there);
    ip("-n", this.#namespace, "link", "set", there, "up");
    ip("-n", this.#namespace, "route", "add", "default", "via", gateway);
  }

  start(command: string, args: readonly string[], env = {}, cwd?: string): void {
    const all = ["netns", "exec", this.#namespace, command, ...args];
    const child = spawn("ip", all, { env: { ...process.env, ...env }, cwd });
    this.#children.push(child);
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (chunk: Buffer) => {
        this.text += chunk.toString();
      });
    }
  }

  /** For the Pod, under the control plane at `host:port`. */
  async startZtunnel(
    program: string,
    mesh: MeshUnderTest,
    pod: Pod,
    controlPlane: string,
  ): Promise<void> {
    let folder: string | undefined;
    await until("the namespace has the roots", async () => {
      folder = await mesh.runtime.volumes(pod);
      return folder !== undefined;
    });
    const roots = join(folder!, "root-cert.pem");
    const { name, namespace = "" } = pod.metadata;
    const environment = {
      PROXY_MODE: "dedicated",
      PROXY_WORKLOAD_INFO: `${namespace}/${name}/${pod.spec.serviceAccountName}`,
      XDS_ADDRESS: `https://${controlPlane}`,
      CA_ADDRESS: `https://${controlPlane}`,
      XDS_ROOT_CA: roots,
      CA_ROOT_CA: roots,
      AUTH_TOKEN: join(folder!, "istio-token"),
      NODE_NAME: pod.spec.nodeName,
      POD_NAME: name,
      POD_NAMESPACE: namespace,
      INSTANCE_IP: pod.status?.podIP,
      CLUSTER_ID: "Kubernetes",
      UNSTABLE_ENABLE_SOCKS5: "true",
      ENABLE_ORIG_SRC: "false",
      TERMINATION_GRACE_PERIOD_SECONDS: "1",
    };
    this.start(program, ["proxy", "ztunnel"], environment, mesh.folder);
  }

  async isReady(): Promise<boolean> {
    const url = "http://127.0.0.1:15021/healthz/ready";
    return (await this.curl("-w", "%{http_code}", url)).endsWith("200");
  }

  /** What it gets as the Pod's application does: `<body> <status>`. */
  ask(url: string): Promise<string> {
    return this.curl("--socks5", "127.0.0.1:15080", "-w", " %{http_code}", url);
  }

  /** Does not hold up this process, which may be who has to answer. */
  async curl(...args: readonly string[]): Promise<string> {
    const all = ["netns", "exec", this.#namespace, "curl", "-sS", "-m", "5", ...args];
    try {
      return (await run("ip", all)).stdout;
    } catch (caught) {
      return `curl ${(caught as { code?: number }).code}`;
    }
  }

  stop(): void {
    for (const child of this.#children) child.kill("SIGKILL");
    try {
      ip("netns", "del", this.#namespace);
    } catch {
      // It was not made.
    }
  }
}
