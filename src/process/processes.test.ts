/**
 * The processes' parts on real ports, in one Node process: the control plane's certificates over
 * the wire, its snapshots handed over directly.
 */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  denyPath,
  type MeshAddresses,
  manifests,
  meshAddresses,
  startEcho,
} from "../../test/support/process-mesh.ts";
import { makeRequest } from "../agent/certificates.ts";
import { connectSocks } from "../cli/socks-connect.ts";
import { Configuration } from "../control/configuration.ts";
import { LocalTokens } from "../control/serve/tokens.ts";
import { setLogLevel } from "../kit/log.ts";
import type { SnapshotSource } from "../model/snapshot.ts";
import { type ControlPlaneLink, connectControlPlane } from "./control-plane-link.ts";
import { ControlPlaneProcess } from "./control-plane-process.ts";
import type { ProxyState } from "./program.ts";
import { WaypointProcess } from "./waypoint-process.ts";
import { ZtunnelProcess } from "./ztunnel-process.ts";

setLogLevel(process.env.WAYSTONE_LOG_LEVEL ?? "silent");

const HOUR_MS = 3_600_000;
const FREE = (host: string) => ({ host, port: 0 });

let directory: string;
let at: MeshAddresses;
let mesh: string;
const cleanups: (() => Promise<unknown>)[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "processes-"));
  at = meshAddresses();
  mesh = join(directory, "mesh.yaml");
  await writeFile(mesh, await manifests(at));
  cleanups.push(() => rm(directory, { recursive: true }));
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const host = {
  version: "0",
  drainDelayMs: 0,
  drainTimeoutMs: 2_000,
  onQuit: () => {},
  admin: FREE("127.0.0.1"),
  metrics: FREE("127.0.0.1"),
  readiness: FREE("127.0.0.1"),
};

async function startControlPlane(port = 0): Promise<ControlPlaneProcess> {
  const running = await ControlPlaneProcess.start({
    ...host,
    objects: [mesh],
    stateDirectory: join(directory, "state"),
    at: { host: at.controlPlane, port },
    serverNames: [],
    trustedNodeAccounts: ["istio-system/ztunnel"],
    onEvent: () => {},
  });
  cleanups.push(() => running.stop());
  return running;
}

test("the control plane serves certificates on its port, and ends when it is told to", async () => {
  const control = await startControlPlane();
  expect(control.at.host).toBe(at.controlPlane);
  const link = await linkOf(control, { namespace: "shop", serviceAccount: "wp" });
  const spiffeId = "spiffe://cluster.local/ns/shop/sa/wp";
  const { csrPem } = await makeRequest(spiffeId);
  const signed = await link.authority.sign({ csrPem, spiffeId, ttlMs: HOUR_MS });
  expect(signed.rootsPem).toBe(await readFile(join(directory, "state", "root-cert.pem"), "utf8"));
  await control.stop();
  await expect(link.authority.sign({ csrPem, spiffeId, ttlMs: HOUR_MS })).rejects.toMatchObject({
    code: "CERTIFICATE_UNAVAILABLE",
  });
});

test("a control plane that comes back with another root is known by it", async () => {
  const control = await startControlPlane();
  const { port } = control.at;
  const link = await linkOf(control, { namespace: "shop", serviceAccount: "wp" });
  const spiffeId = "spiffe://cluster.local/ns/shop/sa/wp";
  const { csrPem } = await makeRequest(spiffeId);
  const sign = () => link.authority.sign({ csrPem, spiffeId, ttlMs: HOUR_MS });
  const before = await sign();
  await control.stop();
  await expect(sign()).rejects.toThrow();
  const state = join(directory, "state");
  await rm(join(state, "root-cert.pem"));
  await rm(join(state, "root-key.pem"));
  await startControlPlane(port);
  const after = await sign();
  expect(after.rootsPem).not.toBe(before.rootsPem);
});

async function linkOf(
  control: ControlPlaneProcess,
  subject: { namespace: string; serviceAccount: string; node?: string },
): Promise<ControlPlaneLink> {
  const state = join(directory, "state");
  const tokens = await LocalTokens.open(state);
  const token = await tokens.issue(subject, HOUR_MS);
  return connectControlPlane({
    xds: control.at,
    ca: control.at,
    roots: () => readFile(join(state, "root-cert.pem"), "utf8"),
    token: async () => token,
    lastConfiguration: undefined,
    node: {
      kind: subject.node === undefined ? "waypoint" : "ztunnel",
      instanceIp: "127.0.0.1",
      podName: "x",
      namespace: subject.namespace,
      nodeName: subject.node ?? "",
      clusterId: "Kubernetes",
      version: "0.0.0",
    },
  });
}

/** In the place of the wire: the files' snapshots themselves. */
async function stateOfFiles(): Promise<ProxyState> {
  const configuration = new Configuration([mesh, join(directory, "policy.yaml")]);
  await configuration.load();
  cleanups.push(async () => configuration.close());
  const source: SnapshotSource = configuration.control;
  return {
    get current() {
      return source.current;
    },
    subscribe: (listener) => {
      const unsubscribe = source.subscribe(listener);
      listener(source.current, source.current);
      return unsubscribe;
    },
    types: [],
    versions: () => new Map(),
    stage: () => [],
    commit: () => undefined,
  };
}

function withState(link: ControlPlaneLink, state: ProxyState): ControlPlaneLink {
  const { authority } = link;
  return { authority, state, start: async () => {}, close: () => link.close() };
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

async function get(socks: number, path: string): Promise<Answer> {
  const proxy = { host: "127.0.0.1", port: socks };
  const login = { user: "client", password: "secret" };
  const socket = await connectSocks(proxy, login, at.echoService, 80);
  return await new Promise((resolve, reject) => {
    const request = http.request({ path, createConnection: () => socket });
    // A connection through SOCKS5 comes paused.
    request.on("socket", () => socket.resume());
    request.on("error", reject);
    request.on("response", (response) => {
      let body = "";
      response.on("data", (more) => {
        body += more;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    });
    request.end();
  });
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 200; i++) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error("it never came to hold");
}

async function readiness(port: number): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${port}/healthz/ready`);
  return await answer.text();
}

/** What is forked for workers: the programs as built, on the same files. */
const workerCommand = () => ({
  modulePath: fileURLToPath(new URL("../../test/support/process-worker.mjs", import.meta.url)),
  args: [mesh, join(directory, "policy.yaml")],
});

test.each([0, 2])(
  "ztunnels and a waypoint carry a request; policy is theirs; a waypoint drains (%i workers)",
  async (workers) => {
    await writeFile(join(directory, "policy.yaml"), await denyPath("/secret"));
    const echo = await startEcho(at);
    cleanups.push(async () => echo.close());
    const control = await startControlPlane();
    const common = {
      ...host,
      certificateTtlMs: HOUR_MS,
      workers,
      workerCommand: workerCommand(),
    };
    const state = await stateOfFiles();
    const ztunnels: ZtunnelProcess[] = [];
    for (const node of ["node-1", "node-2"]) {
      const proxy = { namespace: "istio-system", serviceAccount: "ztunnel", node };
      const link = withState(await linkOf(control, proxy), state);
      const socks = { at: FREE("127.0.0.1"), password: "secret" };
      const ztunnel = await ZtunnelProcess.start({
        ...common,
        node,
        link,
        socks,
        keepsSource: true,
        captures: [],
      });
      cleanups.push(() => ztunnel.stop());
      ztunnels.push(ztunnel);
    }
    const waypoint = await WaypointProcess.start({
      ...common,
      at: { host: at.waypoints[0], port: 15008 },
      waypoint: {
        namespace: "shop",
        name: "wp",
        serviceAccount: "wp",
        instanceIp: at.waypoints[0],
        drainGraceMs: 100,
      },
      link: withState(await linkOf(control, { namespace: "shop", serviceAccount: "wp" }), state),
    });
    cleanups.push(() => waypoint.stop());
    const ready = waypoint.ports.readiness.port;
    await until(async () => (await readiness(ready)) === "ready\n");
    await until(async () => (await readiness(ztunnels[1]!.ports.readiness.port)) === "ready\n");
    // The other Pod of the waypoint has no process: it is taken out of the mesh.
    await writeFile(mesh, await manifests(at, [true, false]));
    await until(() => {
      const front = state.current.endpoints.get("shop/wp.shop.svc.cluster.local") ?? [];
      return front.some((endpoint) => !endpoint.isHealthy);
    });

    const socks = ztunnels[0]!.ports.socks!.port;
    const allowed = await get(socks, "/hello");
    expect(allowed.status).toBe(200);
    expect(JSON.parse(allowed.body)).toEqual({ path: "/hello", remoteAddress: at.waypoints[0] });
    const denials = await Promise.all([1, 2, 3, 4].map(() => get(socks, "/secret")));
    expect(denials.map(({ status }) => status)).toEqual([403, 403, 403, 403]);
    await writeFile(join(directory, "policy.yaml"), await denyPath("/other"));
    await until(async () => (await get(socks, "/secret")).status === 200);
    const metrics = `http://127.0.0.1:${waypoint.ports.metrics.port}/stats/prometheus`;
    const lines = (await (await fetch(metrics)).text()).split("\n");
    const count = (code: number) =>
      lines
        .filter((line) => line.startsWith("istio_requests_total{"))
        .filter((line) => line.includes(`response_code="${code}"`))
        .reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
    expect(count(403)).toBeGreaterThanOrEqual(4);
    expect(count(200)).toBe(2);

    const stopping = waypoint.stop();
    expect(await readiness(ready)).toContain("draining");
    await stopping;
    await expect(readiness(ready)).rejects.toThrow();
  },
);

test("a waypoint without configuration says what it waits for, and is not ready", async () => {
  const control = await startControlPlane();
  const waypoint = await WaypointProcess.start({
    ...host,
    certificateTtlMs: HOUR_MS,
    at: { host: at.waypoints[0], port: 15008 },
    waypoint: {
      namespace: "shop",
      name: "wp",
      serviceAccount: "wp",
      instanceIp: undefined,
      drainGraceMs: 0,
    },
    link: await linkOf(control, { namespace: "shop", serviceAccount: "wp" }),
  });
  cleanups.push(() => waypoint.stop());
  const text = await readiness(waypoint.ports.readiness.port);
  expect(text).toContain("configuration: the control plane has not sent any yet");
  expect(text).toContain("certificate:");
});

test("a waypoint without configuration says what it waits for, and is not ready", async () => {
  const control = await startControlPlane();
  const waypoint = await WaypointProcess.start({
    ...host,
    certificateTtlMs: HOUR_MS,
    at: { host: at.waypoints[0], port: 15008 },
    waypoint: {
      namespace: "shop",
      name: "wp",
      serviceAccount: "wp",
      instanceIp: undefined,
      drainGraceMs: 0,
    },
    link: await linkOf(control, { namespace: "shop", serviceAccount: "wp" }),
  });
  cleanups.push(() => waypoint.stop());
  const text = await readiness(waypoint.ports.readiness.port);
  expect(text).toContain("configuration: the control plane has not sent any yet");
  expect(text).toContain("certificate:");
});

test("a port that is taken ends the start, and names its owner", async () => {
  const control = await startControlPlane();
  const start = () =>
    ControlPlaneProcess.start({
      ...host,
      objects: [mesh],
      stateDirectory: join(directory, "state"),
      at: control.at,
      serverNames: [],
      trustedNodeAccounts: [],
      onEvent: () => {},
    });
  await expect(start()).rejects.toMatchObject({ code: "PORT_IN_USE" });
});
