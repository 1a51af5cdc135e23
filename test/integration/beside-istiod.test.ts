/**
 * A waypoint beside istiod: certificates and workloads from a scripted istiod, services, policies
 * and routes from our control plane, whose certificate is istiod's too.
 */
import { spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Configuration } from "../../src/control/configuration.ts";
import { AdsServer } from "../../src/control/serve/ads-server.ts";
import { GrpcServer } from "../../src/control/serve/grpc-server.ts";
import { MeshResources } from "../../src/control/serve/mesh-resources.ts";
import { setLogLevel } from "../../src/kit/log.ts";
import type { TlsIdentity } from "../../src/net/tls.ts";
import { connectControlPlane } from "../../src/process/control-plane-link.ts";
import { WaypointProcess } from "../../src/process/waypoint-process.ts";
import { MetricRegistry } from "../../src/telemetry/metrics.ts";
import { TunnelProtocol, WorkloadStatus } from "../../src/wire/gen/istio/workload_pb.ts";
import { goodTokens } from "../support/ads.ts";
import { until } from "../support/child-process.ts";
import { askThrough, HboneClient } from "../support/hbone-client.ts";
import { APPLICATION_PORT, HbonePod } from "../support/hbone-pod.ts";
import { denyPath, type MeshAddresses, manifests, meshAddresses } from "../support/process-mesh.ts";
import { ScriptedIstiod, type WorkloadFields } from "../support/scripted-istiod.ts";

setLogLevel(process.env.WAYSTONE_LOG_LEVEL ?? "silent");

const HOUR_MS = 3_600_000;
const BINARY = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
/** In the process itself, and in workers; those need `npm run build`. */
const WORKERS = [0, 2];
const spiffe = (account: string, namespace = "shop") =>
  `spiffe://cluster.local/ns/${namespace}/sa/${account}`;
const CONTROL_PLANE = spiffe("waystone", "istio-system");
const ECHO = "Kubernetes//Pod/shop/echo";
const ECHO_SERVICE = "shop/echo.shop.svc.cluster.local";
const TOKEN = "good-token";

let at: MeshAddresses;
let istiod: ScriptedIstiod;
let client: TlsIdentity;
let directory: string;
let token = TOKEN;
const cleanups: (() => unknown)[] = [];

beforeEach(async () => {
  at = meshAddresses();
  token = TOKEN;
  directory = await mkdtemp(join(tmpdir(), "beside-istiod-"));
  istiod = await ScriptedIstiod.start();
  istiod.tokens.set(TOKEN, spiffe("wp"));
  client = await istiod.identity(spiffe("client"));
  cleanups.push(
    () => rm(directory, { recursive: true }),
    () => istiod.cut(),
  );
  istiod.set("Kubernetes//Pod/shop/client", { ...podFields("client"), addresses: [bytes("1")] });
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const bytes = (last: string) => Uint8Array.from(`${at.group}${last}`.split("."), Number);

function podFields(account: string): WorkloadFields {
  return {
    ...{ name: account, namespace: "shop", serviceAccount: account, node: "node-2" },
    ...{ canonicalName: account, canonicalRevision: "latest", workloadName: account },
    tunnelProtocol: TunnelProtocol.HBONE,
  };
}

/** The Pod of our manifests as istiod has it: in the mesh, and at an address of its own. */
function setEcho(last: string, fields: WorkloadFields = {}, uid = ECHO): void {
  istiod.set(uid, {
    ...podFields("echo"),
    addresses: [bytes(last)],
    services: { [ECHO_SERVICE]: { ports: [{ servicePort: 80, targetPort: APPLICATION_PORT }] } },
    ...fields,
  });
}

async function startPod(last: string, account = "echo"): Promise<HbonePod> {
  const identity = await istiod.identity(spiffe(account));
  const pod = await HbonePod.start(`pod-${last}`, `${at.group}${last}`, identity);
  cleanups.push(() => pod.stop());
  return pod;
}

type Open = (port: number) => Promise<readonly [GrpcServer, AdsServer]>;

/** Ours, with a certificate of istiod's CA. */
class ControlPlane {
  readonly #configuration: Configuration;
  #server: GrpcServer;
  #ads: AdsServer;
  readonly #open: Open;

  private constructor(
    configuration: Configuration,
    [server, ads]: readonly [GrpcServer, AdsServer],
    open: Open,
  ) {
    this.#configuration = configuration;
    this.#server = server;
    this.#ads = ads;
    this.#open = open;
  }

  static async start(spiffeId = CONTROL_PLANE): Promise<ControlPlane> {
    const mesh = join(directory, "mesh.yaml");
    await writeFile(mesh, await manifests(at));
    const policy = join(directory, "policy.yaml");
    await writeFile(policy, await denyPath("/secret"));
    const configuration = new Configuration([mesh, policy]);
    await configuration.load();
    const { certificatePem: certPem, keyPem } = await istiod.identity(spiffeId);
    const identity = { certPem, keyPem };
    const open = async (port: number) => {
      const source = new MeshResources(configuration.control);
      const registry = new MetricRegistry();
      const ads = new AdsServer({ source, authenticator: goodTokens, registry });
      const routes: ConstructorParameters<typeof GrpcServer>[0]["routes"] = (to) => ads.routes(to);
      const server = new GrpcServer({ host: "127.0.0.1", port, tls: () => identity, routes });
      await server.listen();
      return [server, ads] as const;
    };
    const control = new ControlPlane(configuration, await open(0), open);
    cleanups.push(() => {
      configuration.close();
      control.cut();
    });
    return control;
  }

  get port(): number {
    return this.#server.port;
  }

  /** As a process that is killed; it comes back on the same port. */
  cut(): () => Promise<void> {
    const { port } = this;
    this.#ads.destroy();
    this.#server.destroy();
    return async () => {
      [this.#server, this.#ads] = await this.#open(port);
    };
  }

  get hasEnforced(): boolean {
    return this.#configuration.control.current.revision > 0 && this.#ads.clients.length > 0;
  }
}

async function startWaypoint(control: ControlPlane, workers = 0): Promise<WaypointProcess> {
  const link = connectControlPlane({
    xds: { host: "127.0.0.1", port: control.port },
    controlPlaneIdentity: CONTROL_PLANE,
    ca: istiod.at,
    istiod: istiod.at,
    roots: async () => istiod.rootsPem,
    token: async () => token,
    lastConfiguration: undefined,
    node: {
      kind: "waypoint",
      instanceIp: at.waypoints[0],
      podName: "wp-0",
      namespace: "shop",
      nodeName: "",
      clusterId: "Kubernetes",
      version: "test",
    },
  });
  const free = { host: "127.0.0.1", port: 0 };
  const waypoint = await WaypointProcess.start({
    version: "0",
    drainTimeoutMs: 1_000,
    onQuit: () => {},
    ...{ admin: free, metrics: free, readiness: free },
    certificateTtlMs: HOUR_MS,
    workers,
    workerCommand: { modulePath: BINARY, args: ["worker"] },
    at: { host: at.waypoints[0], port: 15008 },
    waypoint: {
      ...{ namespace: "shop", name: "wp", serviceAccount: "wp" },
      instanceIp: at.waypoints[0],
      drainGraceMs: 0,
    },
    link,
  });
  cleanups.push(() => waypoint.stop());
  return waypoint;
}

/** Names of the Pods that it has, in all workers alike. */
async function seen(waypoint: WaypointProcess): Promise<readonly string[]> {
  const response = await fetch(`http://127.0.0.1:${waypoint.ports.admin.port}/config_dump`);
  const { workloads } = (await response.json()) as { workloads: object };
  return Object.keys(workloads)
    .map((uid) => uid.replace(/.*\//, ""))
    .sort();
}

async function readiness(waypoint: WaypointProcess): Promise<string> {
  return await (
    await fetch(`http://127.0.0.1:${waypoint.ports.readiness.port}/healthz/ready`)
  ).text();
}

const whenReady = (waypoint: WaypointProcess) =>
  until("the waypoint is ready", async () => (await readiness(waypoint)) === "ready\n");

const target = () => ({ host: at.waypoints[0], expected: spiffe("wp") });

/** The status, and which Pod has answered. */
async function ask(path = "/"): Promise<string> {
  const text = await askThrough(client, target(), `${at.echoService}:80`, path);
  const status = /^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? text;
  return `${status} ${/"pod":"([^"]+)"/.exec(text)?.[1] ?? "-"}`;
}

const untilAsked = (expected: string, path = "/") =>
  until(`a request gets ${expected}`, async () => (await ask(path)) === expected);

const lastStream = () => istiod.history.at(-1)!;

test("it has istiod's certificate, reads its WDS, takes what a ztunnel sends, and answers", async () => {
  const pod = await startPod("5");
  setEcho("5");
  istiod.setService(ECHO_SERVICE, { name: "echo", namespace: "shop", hostname: "other" });
  const waypoint = await startWaypoint(await ControlPlane.start());
  await whenReady(waypoint);
  await untilAsked("200 pod-5");
  expect(await ask("/secret")).toBe("403 -");
  // In the tunnel it is the waypoint that comes, and it asks for the Pod itself.
  const [caller] = pod.callers;
  expect(caller).toBe(`URI:${spiffe("wp")} ${at.group}5:${APPLICATION_PORT}`);
  expect(istiod.calls).toEqual([{ spiffeId: spiffe("wp"), clusterId: "Kubernetes" }]);
  const [first] = lastStream().requests;
  expect(first?.node?.id).toBe(`waypoint~${at.waypoints[0]}~wp-0.shop~shop.svc.cluster.local`);
  expect(first?.resourceNamesSubscribe).toEqual([]);
  // The service calls itself otherwise; what is good was taken.
  await until("it is answered", () => lastStream().answers.length === 1);
  expect(lastStream().answers[0]).toContain(`${ECHO_SERVICE}: `);
  expect(lastStream().answers[0]).not.toContain(ECHO.concat(": "));
});

test.each(WORKERS)(
  "until istiod has come our own workloads are in force, from then on only its (%i workers)",
  async (workers) => {
    await startPod("2");
    await startPod("5");
    setEcho("5");
    istiod.isAdsRefused = true;
    const waypoint = await startWaypoint(await ControlPlane.start(), workers);
    await whenReady(waypoint);
    await untilAsked("200 pod-2");
    expect(await seen(waypoint)).toContain("wp-1");
    istiod.isAdsRefused = false;
    await untilAsked("200 pod-5");
    expect(await seen(waypoint)).toEqual(["client", "echo"]);
  },
);

test.each([true, false])(
  "Pods come, fall ill, and go as istiod says (versions: %s)",
  async (has) => {
    istiod.hasVersions = has;
    await startPod("5");
    await startPod("6");
    setEcho("5");
    const waypoint = await startWaypoint(await ControlPlane.start());
    await whenReady(waypoint);
    await untilAsked("200 pod-5");
    setEcho("6", {}, "Kubernetes//Pod/shop/echo-2");
    setEcho("5", { status: WorkloadStatus.UNHEALTHY });
    await untilAsked("200 pod-6");
    istiod.remove("Kubernetes//Pod/shop/echo-2");
    setEcho("5", { status: WorkloadStatus.UNHEALTHY, node: "node-3" });
    await untilAsked("503 -");
    setEcho("5");
    await untilAsked("200 pod-5");
  },
);

test("a Pod that has another identity than istiod says is not spoken to", async () => {
  const pod = await startPod("5", "somebody");
  setEcho("5");
  const waypoint = await startWaypoint(await ControlPlane.start());
  await whenReady(waypoint);
  await untilAsked("503 -");
  expect(pod.callers).toEqual([]);
  setEcho("5", { serviceAccount: "somebody" });
  await untilAsked("200 pod-5");
});

test("a resource that is unusable is refused by name; the others and those after it are taken", async () => {
  await startPod("5");
  await startPod("6");
  setEcho("5");
  istiod.set("Kubernetes//Pod/shop/broken", { name: "broken", addresses: [Uint8Array.of(1, 2)] });
  istiod.setBytes("Kubernetes//Pod/shop/garbage", Uint8Array.of(0xff, 0xff, 0xff));
  istiod.set("Kubernetes//Pod/shop/legacy", {
    name: "legacy",
    tunnelProtocol: 2 as TunnelProtocol,
  });
  const waypoint = await startWaypoint(await ControlPlane.start());
  await whenReady(waypoint);
  await untilAsked("200 pod-5");
  await until("it is answered", () => lastStream().answers.length === 1);
  const [problem = ""] = lastStream().answers;
  for (const name of ["broken", "garbage", "legacy"]) {
    expect(problem).toContain(`Kubernetes//Pod/shop/${name}: `);
  }
  expect(problem).not.toContain(`${ECHO}: `);
  // An update that is unusable leaves what was there.
  setEcho("5", { addresses: [Uint8Array.of(7)] });
  await until("it is answered", () => lastStream().answers.length === 2);
  expect(lastStream().answers[1]).toContain(`${ECHO}: `);
  expect(await ask()).toBe("200 pod-5");
  setEcho("6");
  await untilAsked("200 pod-6");
  expect(istiod.history.length).toBe(1);
});

test.each(WORKERS)(
  "istiod restarts: the last workloads serve, and it is told what is held (%i workers)",
  async (workers) => {
    await startPod("5");
    await startPod("6");
    setEcho("5");
    istiod.set("Kubernetes//Pod/shop/gone", podFields("gone"));
    const waypoint = await startWaypoint(await ControlPlane.start(), workers);
    await whenReady(waypoint);
    await untilAsked("200 pod-5");
    istiod.cut();
    expect(await ask()).toBe("200 pod-5");
    expect(await readiness(waypoint)).toBe("ready\n");
    // What happens meanwhile is learnt afterwards.
    istiod.remove("Kubernetes//Pod/shop/gone");
    const held = istiod.versionOf("Kubernetes//Pod/shop/client");
    setEcho("6");
    await istiod.open();
    await untilAsked("200 pod-6");
    const [first] = lastStream().requests;
    expect(Object.keys(first?.initialResourceVersions ?? {}).sort()).toEqual(
      ["client", "echo", "gone"].map((name) => `Kubernetes//Pod/shop/${name}`),
    );
    expect(first?.initialResourceVersions["Kubernetes//Pod/shop/client"]).toBe(held);
    expect(await seen(waypoint)).toEqual(["client", "echo"]);
  },
);

test.each(WORKERS)(
  "our control plane is away: what istiod says takes effect all the same (%i workers)",
  async (workers) => {
    await startPod("5");
    await startPod("6");
    setEcho("5");
    const control = await ControlPlane.start();
    const waypoint = await startWaypoint(control, workers);
    await whenReady(waypoint);
    await untilAsked("200 pod-5");
    const comeBack = control.cut();
    setEcho("6");
    await untilAsked("200 pod-6");
    expect(await ask("/secret")).toBe("403 -");
    await writeFile(join(directory, "policy.yaml"), await denyPath("/other"));
    await comeBack();
    await untilAsked("200 pod-6", "/secret");
    expect(await ask("/other")).toBe("403 -");
  },
);

test("istiod refuses the token for a while: not ready, then ready; later nothing is lost", async () => {
  await startPod("5");
  await startPod("6");
  setEcho("5");
  token = "good-but-not-here";
  const waypoint = await startWaypoint(await ControlPlane.start());
  // Our control plane takes it: tokens are for each to judge.
  await until("the CA was asked", () => istiod.calls.length > 0);
  expect(await readiness(waypoint)).toContain("certificate:");
  expect(istiod.calls[0]).toEqual({ spiffeId: undefined, clusterId: "Kubernetes" });
  expect(istiod.history).toEqual([]);
  // The token is read anew each time.
  token = TOKEN;
  await whenReady(waypoint);
  await untilAsked("200 pod-5");
  istiod.tokens.clear();
  istiod.cut();
  await istiod.open();
  setEcho("6");
  expect(await ask()).toBe("200 pod-5");
  istiod.tokens.set(TOKEN, spiffe("wp"));
  await untilAsked("200 pod-6");
});

test("a CA that gives another's certificate is not believed", async () => {
  istiod.tokens.set(TOKEN, spiffe("somebody"));
  const waypoint = await startWaypoint(await ControlPlane.start());
  await until("the CA was asked", () => istiod.calls.length > 1);
  expect(await readiness(waypoint)).toContain("certificate:");
});

test("certificates rotate: new handshakes have the new one, open tunnels go on", async () => {
  await startPod("5");
  setEcho("5");
  istiod.ttlMsMax = 4_000;
  const waypoint = await startWaypoint(await ControlPlane.start());
  await whenReady(waypoint);
  await untilAsked("200 pod-5");
  const first = await HboneClient.connect(client, target());
  cleanups.push(() => first.close());
  expect(await first.ask(`${at.echoService}:80`, "/")).toContain("pod-5");
  let second: HboneClient | undefined;
  await until("there is a new certificate", async () => {
    second?.close();
    second = await HboneClient.connect(client, target());
    return second.certificate.serialNumber !== first.certificate.serialNumber;
  });
  cleanups.push(() => second?.close());
  expect(await second!.ask(`${at.echoService}:80`, "/")).toContain("pod-5");
  expect(first.isOpen).toBe(true);
  expect(await first.ask(`${at.echoService}:80`, "/")).toContain("pod-5");
  expect(istiod.calls.length).toBeGreaterThan(1);
});

test("a control plane of another identity is not listened to, whatever CA it has", async () => {
  setEcho("5");
  const control = await ControlPlane.start(spiffe("client"));
  const waypoint = await startWaypoint(control);
  await until("istiod's WDS is read", () => istiod.history.length > 0);
  expect(control.hasEnforced).toBe(false);
  expect(await readiness(waypoint)).toContain("configuration:");
});

test("a worker that takes the place of another has istiod's word, too", async () => {
  await startPod("2");
  await startPod("5");
  const control = await ControlPlane.start();
  const waypoint = await startWaypoint(control, 1);
  await whenReady(waypoint);
  setEcho("5");
  await untilAsked("200 pod-5");
  // Neither control plane has to be there for that.
  control.cut();
  istiod.cut();
  const [pid] = workerIds();
  // 0 would be this process's whole group.
  if (pid === undefined) throw new Error("there is no worker");
  process.kill(pid, "SIGKILL");
  await until("another one is there", () => workerIds().some((other) => other !== pid));
  await whenReady(waypoint);
  expect(await ask()).toBe("200 pod-5");
  expect(await seen(waypoint)).toEqual(["client", "echo"]);
});

/** Of this test: children of this process. */
function workerIds(): readonly number[] {
  const { stdout } = spawnSync("ps", ["-o", "pid=,args=", "--ppid", String(process.pid)]);
  const lines = String(stdout ?? "").split("\n");
  const own = lines.filter((line) => line.includes("main.js worker"));
  return own.map((line) => Number.parseInt(line, 10)).filter((pid) => pid > 0);
}
