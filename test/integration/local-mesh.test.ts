/**
 * The embedded mesh, whole: files in, real connections through ztunnels and waypoints, decisions
 * out. Each test has a state directory of its own, so its addresses are its own, too.
 */
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { loadRequests, runDemo } from "../../src/cli/demo.ts";
import { run } from "../../src/cli/program.ts";
import { RunningMesh, workloadNamed } from "../../src/cli/running-mesh.ts";
import { type RequestResult, sendRequest } from "../../src/cli/send-request.ts";
import { connectSocks } from "../../src/cli/socks-connect.ts";
import { setLogLevel } from "../../src/kit/log.ts";
import type { EchoAnswer } from "../../src/local/echo-answer.ts";
import type { WorkloadOverride } from "../../src/local/echoes.ts";
import { LocalMesh, type MeshEvent } from "../../src/local/local-mesh.ts";

setLogLevel("error");

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Started {
  readonly mesh: LocalMesh;
  readonly running: RunningMesh;
  readonly events: MeshEvent[];
  readonly folder: string;
}

/** A mesh over a copy of an example, which the test may edit. */
async function start(
  example: string,
  overrides: readonly WorkloadOverride[] = [],
): Promise<Started> {
  const state = await mkdtemp(join(tmpdir(), "waystone-mesh-"));
  cleanups.push(() => rm(state, { recursive: true }));
  const folder = join(state, "manifests");
  await cp(`examples/${example}`, folder, { recursive: true });
  const events: MeshEvent[] = [];
  const mesh = await LocalMesh.start({
    paths: [folder],
    overrides,
    stateDirectory: state,
    addressSeed: state,
    version: "0.0.0",
    adminPort: 0,
    metricsPort: 0,
    readinessPort: 0,
    socksPort: 0,
    drainTimeoutMs: 2_000,
    onEvent: (event) => events.push(event),
    onQuit: () => {},
  });
  cleanups.push(() => mesh.stop(500));
  return { mesh, running: new RunningMesh(mesh.run), events, folder };
}

async function ask(
  { running }: Started,
  from: string,
  method: string,
  url: string,
): Promise<RequestResult> {
  const report = await running.report();
  const workload = workloadNamed(from, report.workloads);
  return await sendRequest(running, report, {
    workload,
    method,
    url,
    headers: [],
    body: undefined,
  });
}

/** Waits until it holds, or fails. */
async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + 5_000;
  while (!(await holds())) {
    if (performance.now() > deadlineMs) throw new Error(`not within 5 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function edit(started: Started, file: string, from: string, to: string): Promise<void> {
  const path = join(started.folder, file);
  const text = await readFile(path, "utf8");
  expect(text).toContain(from);
  await writeFile(path, text.replace(from, to));
}

for (const example of ["mlflow", "bookinfo"]) {
  test(`the requests of examples/${example} go as they say`, async () => {
    const started = await start(example);
    expect(started.events).toEqual([]);
    const lines: string[] = [];
    const output = { print: (text: string) => void lines.push(text), say() {} };
    const requests = await loadRequests([started.folder]);
    const isAsExpected = await runDemo(started.running, requests, output);
    expect(isAsExpected, lines.join("\n")).toBe(true);
  });
}

test("a denial names the policy that did not match, with its place", async () => {
  const started = await start("mlflow");
  const denied = await ask(started, "otel-collector", "GET", "http://mlflow:5000/");
  expect(denied.status).toBe(403);
  expect(denied.decision).toMatchObject({ proxy: "waypoint", isAllowed: false });
  expect(denied.decision?.text).toContain("mlflow-api-access");
  expect(denied.decision?.text).toMatch(/policy\.yaml:\d+/);
  const allowed = await ask(started, "kagenti-ui", "GET", "http://mlflow:5000/");
  expect(allowed.status).toBe(200);
  expect(allowed.servedBy).toMatch(/^mlflow-/);
  expect(allowed.decision).toMatchObject({
    isAllowed: true,
    policy: "kagenti-system/mlflow-api-access",
    rule: 1,
  });
});

test("with decisionHeader an answer says its id, which explain knows", async () => {
  const started = await start("mlflow");
  await writeFile(
    join(started.folder, "waystone.json"),
    JSON.stringify({
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "waystone", namespace: "istio-system" },
      data: { config: "decisionHeader: true" },
    }),
  );
  const told = async () => {
    const answer = await ask(started, "otel-collector", "GET", "http://mlflow:5000/");
    const id = answer.headers["x-waystone-decision"];
    return id === undefined ? undefined : { ...answer, id: String(id) };
  };
  await until("the setting is in force", async () => (await told()) !== undefined);
  const denied = await told();
  expect(denied).toMatchObject({ status: 403, decision: { id: denied!.id } });
  const printed: string[] = [];
  const output = { print: (text: string) => void printed.push(text), say() {} };
  const state = dirname(started.folder);
  expect(await run(["explain", denied!.id, "--state", state], output)).toBe(1);
  expect(printed.join("\n")).toContain("DENIED 403 by default");
});

test("a client outside the mesh does not get past the waypoint", async () => {
  const started = await start("mlflow");
  const { services } = started.mesh.report();
  const address = services.find((s) => s.name === "mlflow")!.address;
  const outcome = await new Promise<string>((resolve) => {
    const request = http.get({ host: address, port: 5000, path: "/", agent: false });
    request.once("response", (response) => resolve(`status ${response.statusCode}`));
    request.once("error", () => resolve("cut"));
  });
  expect(outcome).toBe("cut");
});

test("SOCKS5 clients are the workload they log in as, by name and token", async () => {
  const started = await start("mlflow");
  const { socks, token } = started.mesh.run;
  const { services } = started.mesh.report();
  const { address } = services.find((s) => s.name === "mlflow")!;
  const get = async (user: string, password: string): Promise<string> => {
    const socket = await connectSocks(socks, { user, password }, address, 5000);
    return await new Promise<string>((resolve, reject) => {
      let text = "";
      socket.on("data", (bytes) => {
        text += bytes.toString();
      });
      socket.once("end", () => resolve(text));
      socket.once("error", reject);
      socket.write("GET / HTTP/1.1\r\nhost: mlflow:5000\r\nconnection: close\r\n\r\n");
      socket.resume();
    });
  };
  expect(await get("kagenti-ui", token)).toMatch(/^HTTP\/1\.1 200 /);
  expect(await get("kagenti-system/batch-job", token)).toMatch(/^HTTP\/1\.1 403 /);
  await expect(get("kagenti-ui", "wrong")).rejects.toThrow();
  await expect(get("nobody", token)).rejects.toThrow();
});

test("an edit takes effect; one that does not parse changes nothing and names its place", async () => {
  const started = await start("bookinfo");
  const url = "http://reviews:9080/";
  const servedBy = async () => (await ask(started, "productpage-v1", "GET", url)).servedBy;
  await edit(started, "reviews-route.yaml", "weight: 90", "weight: 0");
  await until("only v2 answers", async () => {
    for (let i = 0; i < 5; i++) if (!/^reviews-v2-/.test(await servedBy())) return false;
    return true;
  });
  await edit(started, "reviews-route.yaml", "weight: 10", "weight: [");
  await until("the edit is refused", () =>
    started.events.some(
      (event) =>
        event.kind === "diagnostics" &&
        event.diagnostics.some((d) => d.file?.endsWith("reviews-route.yaml") && d.line),
    ),
  );
  expect(await servedBy()).toMatch(/^reviews-v2-/);
});

/** As a program of the workload would: kept connections from its address. Counts who answered. */
async function load(
  { mesh }: Started,
  from: string,
  service: string,
  count: number,
): Promise<Map<string, number>> {
  const { services, workloads } = mesh.report();
  const { address: host, ports } = services.find((s) => s.name === service)!;
  const { address: localAddress } = workloads.find((w) => w.workloadName === from)!;
  const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
  const servers = new Map<string, number>();
  const get = () =>
    new Promise<string>((resolve) => {
      const options = { host, port: ports[0]!.port, path: "/", localAddress, agent };
      const request = http.get(options, (response) => {
        response.resume();
        const served = String(response.headers["x-served-by"] ?? response.statusCode);
        response.once("end", () => resolve(served));
      });
      request.once("error", (error) => resolve(error.message));
    });
  let left = count;
  const client = async () => {
    while (left-- > 0) {
      const served = await get();
      const name = served.replace(/-[a-z0-9]{10}-[a-z0-9]{5}$/, "");
      servers.set(name, (servers.get(name) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: 16 }, client));
  agent.destroy();
  return servers;
}

test("a route splits by weight, and new weights under load fail no request", async () => {
  const started = await start("bookinfo");
  const before = await load(started, "productpage-v1", "reviews", 2_000);
  expect([...before.keys()].sort()).toEqual(["reviews-v1", "reviews-v2"]);
  // Four and a half standard deviations.
  expect(Math.abs(before.get("reviews-v2")! / 2_000 - 0.1)).toBeLessThan(0.03);
  const during = load(started, "productpage-v1", "reviews", 1_500);
  await edit(started, "reviews-route.yaml", "weight: 90", "weight: 0");
  expect([...(await during).keys()].sort()).toEqual(["reviews-v1", "reviews-v2"]);
  expect(await load(started, "productpage-v1", "reviews", 100)).toEqual(
    new Map([["reviews-v2", 100]]),
  );
});

test("a real process plays the workload that --workload names, and sees who calls", async () => {
  const server = http.createServer((request, response) => {
    response.end(`real ${request.method} ${request.url} ${request.headers["x-waystone-decision"]}`);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanups.push(async () => server.close());
  const { port } = server.address() as net.AddressInfo;
  const started = await start("mlflow", [{ workload: "mlflow", host: "127.0.0.1", port }]);
  const result = await ask(started, "kagenti-ui", "GET", "http://mlflow:5000/a?b=c");
  expect(result).toMatchObject({ status: 200, body: "real GET /a?b=c undefined" });
  expect(started.mesh.report().workloads.find((w) => w.workloadName === "mlflow")?.playedBy).toBe(
    `127.0.0.1:${port}`,
  );
});

test("without a waypoint the application sees its client's own address", async () => {
  const started = await start("bookinfo");
  await edit(started, "namespace.yaml", "    istio.io/use-waypoint: bookinfo-waypoint\n", "");
  await until("no waypoint", () => started.mesh.report().services.every((s) => s.waypoint === ""));
  const result = await ask(started, "productpage-v1", "POST", "http://details:9080/");
  expect(result).toMatchObject({ status: 200, decision: undefined });
  const { address } = started.mesh
    .report()
    .workloads.find((w) => w.workloadName === "productpage-v1")!;
  expect((JSON.parse(result.body) as EchoAnswer).peer.split(":")[0]).toBe(address);
});

test("a backend that does not exist gives 500 for its share, a diagnostic and a condition", async () => {
  const started = await start("bookinfo");
  await edit(started, "reviews-route.yaml", "name: reviews-v2", "name: reviews-v9");
  await until("the diagnostic", () =>
    started.events.some(
      (event) => event.kind === "diagnostics" && event.diagnostics.some((d) => d.code === "WS0101"),
    ),
  );
  const statuses = new Map<number, number>();
  for (let i = 0; i < 200; i++) {
    const { status } = await ask(started, "productpage-v1", "GET", "http://reviews:9080/");
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  }
  expect([...statuses.keys()].sort()).toEqual([200, 500]);
  expect(statuses.get(500)).toBeGreaterThan(4);
  expect(statuses.get(500)).toBeLessThan(45);
  const { conditions } = started.mesh.report();
  const resolved = conditions.find(
    (c) => c.type === "ResolvedRefs" && c.object.startsWith("HTTPRoute bookinfo/reviews"),
  );
  expect(resolved).toMatchObject({ status: "False", reason: "BackendNotFound" });
});

test("stop() closes every port and removes the run file", async () => {
  const { mesh, running } = await start("mlflow");
  const { services } = mesh.report();
  const { address } = services.find((s) => s.name === "mlflow")!;
  await running.report();
  await mesh.stop();
  await expect(running.report()).rejects.toThrow();
  const refused = await new Promise<string>((resolve) => {
    const socket = net.connect(5000, address);
    socket.once("connect", () => resolve("connected"));
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? ""));
  });
  expect(refused).toBe("ECONNREFUSED");
});
