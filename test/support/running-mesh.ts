/**
 * The mesh of examples/processes as processes of the binary: a control plane, the ztunnels of two
 * nodes, and the two instances of a waypoint. Connections to `entry` are the client's to the service.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import type { Server } from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LocalTokens } from "../../src/control/serve/tokens.ts";
import { Child, until } from "./child-process.ts";
import {
  denyPath,
  type MeshAddresses,
  manifests,
  meshAddresses,
  startEcho,
} from "./process-mesh.ts";

const HOUR_MS = 3_600_000;
const ENTRY_PORT = 8081;
const READY_TIMEOUT_MS = 60_000;

export interface RunningMeshOptions {
  /** For the proxies, on top of what names the control plane. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Instances of the waypoint; both by default. */
  readonly instances?: readonly [boolean, boolean];
  /** For the waypoints' command lines. */
  readonly waypointArgs?: readonly string[];
  /** In MeshConfig, one a line. */
  readonly meshConfig?: readonly string[];
}

export class RunningMesh {
  readonly at: MeshAddresses = meshAddresses();
  readonly children: Child[] = [];
  readonly #options: RunningMeshOptions;
  #directory = "";
  #echo: Server | undefined;

  /** Resolves when every process is ready. */
  static async start(options: RunningMeshOptions = {}): Promise<RunningMesh> {
    const mesh = new RunningMesh(options);
    try {
      await mesh.#start();
    } catch (caught) {
      await mesh.end();
      throw caught;
    }
    return mesh;
  }

  private constructor(options: RunningMeshOptions) {
    this.#options = options;
  }

  async #start(): Promise<void> {
    const { at } = this;
    this.#directory = await mkdtemp(join(tmpdir(), "mesh-"));
    const instances = this.#options.instances ?? [true, true];
    await this.setReady(instances);
    await writeFile(this.#path("policy.yaml"), await denyPath("/secret"));
    await writeFile(this.#path("settings.yaml"), settings(this.#options.meshConfig ?? []));
    this.#echo = await startEcho(at);
    const files = ["mesh.yaml", "policy.yaml", "settings.yaml"];
    this.#startChild(
      ["control-plane", ...files.flatMap((file) => ["-f", this.#path(file)])],
      at.controlPlane,
      { WAYSTONE_STATE: this.#path("state") },
      ["--address", `${at.controlPlane}:15012`],
    );
    await this.whenReady(at.controlPlane);
    const capture = `${at.client}:${ENTRY_PORT}=${at.echoService}:80`;
    const ztunnel = "istio-system/ztunnel";
    await this.#startProxy(["ztunnel", "--capture", capture], ztunnel, at.client, "node-1");
    await this.#startProxy(["ztunnel"], ztunnel, at.echo, "node-2");
    if (instances[0]) await this.startWaypoint(0);
    if (instances[1]) await this.startWaypoint(1);
    const proxies = [at.client, at.echo, ...at.waypoints.filter((_, i) => instances[i])];
    await Promise.all(proxies.map((address) => this.whenReady(address)));
  }

  #path(file: string): string {
    return join(this.#directory, file);
  }

  #startChild(
    command: readonly string[],
    address: string,
    environment: Readonly<Record<string, string>>,
    args: readonly string[] = [],
  ): Child {
    const child = new Child([...command, ...args], {
      ADMIN_ADDR: `${address}:15000`,
      STATS_ADDR: `${address}:15020`,
      READINESS_ADDR: `${address}:15021`,
      ...environment,
    });
    this.children.push(child);
    return child;
  }

  async #startProxy(
    command: readonly string[],
    account: string,
    address: string,
    node?: string,
  ): Promise<Child> {
    const [namespace = "", serviceAccount = ""] = account.split("/");
    const tokens = await LocalTokens.open(this.#path("state"));
    const token = this.#path(`${address}.token`);
    await writeFile(token, await tokens.issue({ namespace, serviceAccount, node }, HOUR_MS));
    return this.#startChild(command, address, {
      XDS_ADDRESS: `${this.at.controlPlane}:15012`,
      CA_ROOT_CA: join(this.#path("state"), "root-cert.pem"),
      AUTH_TOKEN: token,
      INSTANCE_IP: address,
      ...(node === undefined ? {} : { NODE_NAME: node }),
      ...this.#options.environment,
    });
  }

  startWaypoint(index: 0 | 1): Promise<Child> {
    const args = this.#options.waypointArgs ?? [];
    return this.#startProxy(["waypoint", "shop/wp", ...args], "shop/wp", this.at.waypoints[index]);
  }

  /** What Kubernetes says of the waypoint's Pods. */
  async setReady(areReady: readonly [boolean, boolean]): Promise<void> {
    await writeFile(this.#path("mesh.yaml"), await manifests(this.at, areReady));
  }

  async whenReady(address: string): Promise<void> {
    await until(
      `${address} is ready\n${this.text}`,
      async () =>
        (await fetch(`http://${address}:15021/healthz/ready`).catch(() => undefined))?.ok === true,
      READY_TIMEOUT_MS,
    );
  }

  /** The sum of a metric's series whose labels hold `labels`, at a process. */
  async metric(address: string, name: string, labels = ""): Promise<number> {
    const text = await (await fetch(`http://${address}:15020/stats/prometheus`)).text();
    const lines = text.split("\n").filter((line) => /^[^{ ]*/.exec(line)?.[0] === name);
    const values = lines.filter((line) => line.includes(labels)).map((line) => line.split(" ")[1]);
    return values.reduce((sum, value) => sum + Number(value), 0);
  }

  connect(): net.Socket {
    const { client } = this.at;
    const at = { host: client, localAddress: client, port: ENTRY_PORT };
    return net.connect({ ...at, noDelay: true, allowHalfOpen: true });
  }

  /** What the processes said. */
  get text(): string {
    return this.children.map((child) => child.text).join("----\n");
  }

  async end(): Promise<void> {
    await Promise.all(this.children.map((child) => child.kill()));
    this.#echo?.close();
    await rm(this.#directory, { recursive: true, force: true });
  }
}

function settings(meshConfig: readonly string[]): string {
  return [
    "apiVersion: v1",
    "kind: ConfigMap",
    "metadata: { name: istio, namespace: istio-system }",
    "data:",
    "  mesh: |",
    ...[`rootNamespace: istio-system`, ...meshConfig].map((line) => `    ${line}`),
    "",
  ].join("\n");
}
