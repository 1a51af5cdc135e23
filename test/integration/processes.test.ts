/**
 * The mesh as processes: a control plane, the ztunnels of two nodes, and two instances of a
 * waypoint, each started by the binary, with configuration and certificates over the wire.
 */
import { Resolver } from "node:dns/promises";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { connectSocks } from "../../src/cli/socks-connect.ts";
import { LocalTokens } from "../../src/control/serve/tokens.ts";
import { Child, until } from "../support/child-process.ts";
import { denyPath, manifests, meshAddresses, startEcho } from "../support/process-mesh.ts";

const HOUR_MS = 3_600_000;
const DNS_PORT = 15053;
/** Five processes that start at once, on a machine with other work. */
const START_TIMEOUT_MS = 60_000;
const PASSWORD = "open sesame";
const at = meshAddresses();
const children: Child[] = [];
/** Ports of this machine's 127.0.0.1: other tests may run beside this one. */
const base = 21_000 + Math.floor(Math.random() * 900) * 10;
const socks = { host: "127.0.0.1", port: base };

let directory: string;
let state: string;
let mesh: string;
let policy: string;
let echo: http.Server;
let controlPlane: Child;
let waypoints: Child[];

function start(args: readonly string[], environment?: Record<string, string>): Child {
  const child = new Child(args, environment);
  children.push(child);
  return child;
}

function startControlPlane(): Child {
  return start([
    ...["control-plane", "-f", mesh, "-f", policy, "--state", state],
    ...["--address", `${at.controlPlane}:15012`],
    ...["--admin-address", `127.0.0.1:${base + 1}`],
    ...["--metrics-address", `127.0.0.1:${base + 2}`],
    ...["--readiness-address", readinessAt(at.controlPlane)],
  ]);
}

function readinessAt(address: string): string {
  return `${address}:15021`;
}

/** By the environment, as Kubernetes starts a proxy. */
async function startProxy(
  command: readonly string[],
  account: string,
  address: string,
  node?: string,
): Promise<Child> {
  const [namespace = "", serviceAccount = ""] = account.split("/");
  const tokens = await LocalTokens.open(state);
  const token = join(directory, `${address}.token`);
  await writeFile(token, await tokens.issue({ namespace, serviceAccount, node }, HOUR_MS));
  return start(command, {
    XDS_ADDRESS: `https://${at.controlPlane}:15012`,
    CA_ROOT_CA: join(state, "root-cert.pem"),
    AUTH_TOKEN: token,
    INSTANCE_IP: address,
    ADMIN_ADDR: `${address}:15000`,
    STATS_ADDR: `${address}:15020`,
    READINESS_ADDR: readinessAt(address),
    TERMINATION_DRAIN_DURATION_SECONDS: "1",
    WAYSTONE_LAST_CONFIGURATION: join(directory, `${address}.configuration`),
    ...(node === undefined ? {} : { NODE_NAME: node }),
  });
}

const startWaypoint = (index: 0 | 1) =>
  startProxy(["waypoint", "shop/wp"], "shop/wp", at.waypoints[index]);

async function isReady(address: string): Promise<boolean> {
  try {
    return (await fetch(`http://${readinessAt(address)}/healthz/ready`)).ok;
  } catch {
    return false;
  }
}

async function everythingReady(): Promise<void> {
  for (const address of [at.controlPlane, at.client, at.echo, ...at.waypoints]) {
    await until(`${address} is ready\n${texts()}`, () => isReady(address), START_TIMEOUT_MS);
  }
}

const texts = () => children.map((child) => child.text).join("----\n");

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "processes-"));
  state = join(directory, "state");
  mesh = join(directory, "mesh.yaml");
  policy = join(directory, "policy.yaml");
  await writeFile(mesh, await manifests(at));
  await writeFile(policy, await denyPath("/secret"));
  const password = join(directory, "password");
  await writeFile(password, `${PASSWORD}\n`);
  echo = await startEcho(at);
  controlPlane = startControlPlane();
  await until("the control plane is ready", () => isReady(at.controlPlane), START_TIMEOUT_MS);
  const entry = ["--socks-address", `${socks.host}:${socks.port}`];
  const dns = ["--dns-address", `${at.client}:${DNS_PORT}`];
  const client = ["ztunnel", ...entry, "--socks-password-file", password, ...dns];
  const ztunnel = "istio-system/ztunnel";
  await startProxy(client, ztunnel, at.client, "node-1");
  await startProxy(["ztunnel"], ztunnel, at.echo, "node-2");
  waypoints = [await startWaypoint(0), await startWaypoint(1)];
  await everythingReady();
}, 2 * START_TIMEOUT_MS);

afterAll(async () => {
  await Promise.all(children.map((child) => child.kill()));
  echo?.close();
  await rm(directory, { recursive: true });
});

function connect(): Promise<net.Socket> {
  return connectSocks(socks, { user: "client", password: PASSWORD }, at.echoService, 80);
}

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly isLast: boolean;
}

/** One request over a connection to the service. */
function send(socket: net.Socket, path: string, isLast = true): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = { host: "echo", connection: isLast ? "close" : "keep-alive" };
    const request = http.request({ path, headers, createConnection: () => socket });
    // A connection through SOCKS5 comes paused.
    request.on("socket", () => socket.resume());
    request.on("error", reject);
    request.on("response", (response) => {
      let body = "";
      response.on("data", (more) => {
        body += more;
      });
      response.on("error", reject);
      response.on("end", () => {
        const { statusCode: status = 0, headers: received } = response;
        resolve({ status, body, isLast: received.connection === "close" });
      });
    });
    request.end();
  });
}

const get = async (path: string) => await send(await connect(), path);

/** The status that an edit brings about, and after how long. */
async function statusBecomes(status: number, path: string): Promise<number> {
  const startMs = performance.now();
  await until(`${path} is answered ${status}`, async () => (await get(path)).status === status);
  return performance.now() - startMs;
}

test("a request goes through both ztunnels and the waypoint", async () => {
  const { status, body } = await get("/hello");
  expect(status).toBe(200);
  const { path, remoteAddress } = JSON.parse(body);
  expect(path).toBe("/hello");
  expect(at.waypoints).toContain(remoteAddress);
  expect((await get("/secret")).status).toBe(403);
});

test("the client's ztunnel answers names of the mesh, as its workload means them", async () => {
  const resolver = new Resolver({ timeout: 2_000, tries: 2 });
  resolver.setServers([`${at.client}:${DNS_PORT}`]);
  resolver.setLocalAddress(at.client);
  expect(await resolver.resolve4("echo.shop.svc.cluster.local")).toEqual([at.echoService]);
  const dump = await (await fetch(`http://${at.client}:15000/config_dump`)).json();
  const names = (dump as { services: { hostname: string }[] }).services.map((s) => s.hostname);
  expect(names).toContain("echo.shop.svc.cluster.local");
});

test("so does a ztunnel whose traffic is in workers", async () => {
  const address = `${at.group}5`;
  const dns = ["--dns-address", `${address}:${DNS_PORT}`, "--workers", "1"];
  const ztunnel = await startProxy(["ztunnel", ...dns], "istio-system/ztunnel", address, "node-3");
  await until(`it is ready\n${ztunnel.text}`, () => isReady(address), START_TIMEOUT_MS);
  const resolver = new Resolver({ timeout: 2_000, tries: 2 });
  resolver.setServers([`${address}:${DNS_PORT}`]);
  resolver.setLocalAddress(at.client);
  const name = "echo.shop.svc.cluster.local";
  expect(await resolver.resolve4(name)).toEqual([at.echoService]);
  const scrape = async () => await (await fetch(`http://${address}:15020/metrics`)).text();
  expect(await scrape()).toMatch(
    /istio_dns_requests_total\{.*source_canonical_service="client".*\} 1/,
  );
  await ztunnel.kill();
});

/** A question for A records over TCP (RFC 1035 §4.2.2), and the answer without its length. */
function askOverTcp(name: string): Promise<Buffer> {
  const labels = name.split(".").map((label) => `${String.fromCharCode(label.length)}${label}`);
  const header = Buffer.from([0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  const question = Buffer.from(`${labels.join("")}\0\0\x01\0\x01`, "latin1");
  const length = Buffer.from([0, header.length + question.length]);
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: at.client, port: DNS_PORT, localAddress: at.client });
    let answer = Buffer.alloc(0);
    socket.on("error", reject);
    socket.on("data", (bytes) => {
      answer = Buffer.concat([answer, bytes]);
      if (answer.length < 2 || answer.length < 2 + answer.readUInt16BE()) return;
      socket.destroy();
      resolve(answer.subarray(2));
    });
    socket.write(Buffer.concat([length, header, question]));
  });
}

test("over TCP as well", async () => {
  const answer = await askOverTcp("echo.shop.svc.cluster.local");
  expect(answer.readUInt16BE(0)).toBe(0x1234);
  // No error, one answer, whose data comes last.
  expect(answer.readUInt16BE(2) & 0xf).toBe(0);
  expect(answer.readUInt16BE(6)).toBe(1);
  expect([...answer.subarray(-4)].join(".")).toBe(at.echoService);
});

test("a ztunnel's dump tells its certificates, as istioctl reads them", async () => {
  const dump = await (await fetch(`http://${at.client}:15000/config_dump`)).json();
  expect((dump as { certificates: unknown[] }).certificates).toMatchObject([
    { identity: "spiffe://cluster.local/ns/shop/sa/client", state: "Available" },
  ]);
});

test("an edit of a policy is in force within a second", async () => {
  await writeFile(policy, await denyPath("/other"));
  expect(await statusBecomes(200, "/secret")).toBeLessThan(1_000);
  expect((await get("/other")).status).toBe(403);
  await writeFile(policy, await denyPath("/secret"));
  expect(await statusBecomes(403, "/secret")).toBeLessThan(1_000);
});

test("without the control plane traffic goes on; when it is back, edits are seen again", async () => {
  await controlPlane.kill();
  await writeFile(policy, await denyPath("/third"));
  for (let i = 0; i < 20; i++) {
    expect((await get("/hello")).status).toBe(200);
    expect((await get("/secret")).status).toBe(403);
  }
  for (const address of [at.client, ...at.waypoints]) expect(await isReady(address)).toBe(true);
  controlPlane = startControlPlane();
  await statusBecomes(200, "/secret");
  await statusBecomes(403, "/third");
  await writeFile(policy, await denyPath("/fourth"));
  expect(await statusBecomes(200, "/third")).toBeLessThan(1_000);
});

/** Clients that send one request after the other, some over connections that they keep. */
class Load {
  readonly failures: string[] = [];
  requests = 0;
  #isOver = false;
  readonly #clients: Promise<void>[];

  constructor(kept: number, fresh: number) {
    this.#clients = [
      ...Array.from({ length: kept }, () => this.#run(true)),
      ...Array.from({ length: fresh }, () => this.#run(false)),
    ];
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#clients);
  }

  async #run(keeps: boolean): Promise<void> {
    let socket: net.Socket | undefined;
    while (!this.#isOver) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      try {
        socket ??= await connect();
        const answer = await send(socket, "/load", !keeps);
        this.requests++;
        if (answer.status !== 200) this.failures.push(`status ${answer.status}`);
        if (!keeps || answer.isLast) socket = undefined;
      } catch (caught) {
        this.failures.push(String(caught));
        socket = undefined;
      }
    }
    socket?.destroy();
  }
}

test("SIGTERM to one of two waypoints under load fails no request", async () => {
  const load = new Load(8, 4);
  await until("there is load", () => load.requests > 100);
  waypoints[1]!.signal("SIGTERM");
  // What Kubernetes does with a Pod that is told to end.
  await writeFile(mesh, await manifests(at, [true, false]));
  expect(await waypoints[1]!.ended).toBe(143);
  const before = load.requests;
  await until("the load goes on", () => load.requests > before + 100);
  await load.end();
  expect(load.failures).toEqual([]);
  await writeFile(mesh, await manifests(at));
  waypoints[1] = await startWaypoint(1);
  await until("the waypoint is back", () => isReady(at.waypoints[1]));
});

test("a proxy that starts while the control plane is away begins with what it had", async () => {
  controlPlane.signal("SIGTERM");
  waypoints[1]!.signal("SIGTERM");
  expect(await Promise.all([controlPlane.ended, waypoints[1]!.ended])).toEqual([143, 143]);
  waypoints[1] = await startWaypoint(1);
  const ask = async (port: number, path: string) => {
    const answer = await fetch(`http://${at.waypoints[1]}:${port}${path}`).catch(() => undefined);
    return (await answer?.text()) ?? "";
  };
  const readiness = () => ask(15021, "/healthz/ready");
  await until("it waits", async () => (await readiness()).includes("certificate:"));
  await until(
    "it has a configuration",
    async () => !(await readiness()).includes("configuration:"),
  );
  expect(await ask(15000, "/config_dump")).toContain("echo.shop.svc.cluster.local");
  controlPlane = startControlPlane();
  await until("it is ready", () => isReady(at.waypoints[1]));
  expect((await get("/hello")).status).toBe(200);
});

test("a second signal cuts what the first one waits for", async () => {
  const held = await connect();
  held.on("error", () => {});
  controlPlane.signal("SIGTERM");
  expect(await controlPlane.ended).toBe(143);
  const child = waypoints[0]!;
  child.signal("SIGTERM");
  await until("it says so", () => child.text.includes("again to cut it"));
  child.signal("SIGTERM");
  expect(await child.ended).toBe(143);
  held.destroy();
});
