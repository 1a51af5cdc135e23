/**
 * Waypoints leave, workers leave and certificates are renewed under load, through processes of the
 * binary: client, ztunnel, waypoint, ztunnel, application. No request may fail.
 *
 * With SOAK at 1,000 requests a second and for minutes; without, shorter and slower.
 */
import { readFile } from "node:fs/promises";
import { afterEach, expect, test } from "vitest";
import { until } from "../support/child-process.ts";
import { PacedLoad } from "../support/paced-load.ts";
import { RunningMesh, type RunningMeshOptions } from "../support/running-mesh.ts";
import { isAlive, sleep } from "../support/worker-mesh.ts";

const isLong = process.env.SOAK !== undefined;
const PER_SECOND = isLong ? 1_000 : 250;
const TIMEOUT_MS = isLong ? 600_000 : 90_000;
const CERTIFICATE_TTL_S = isLong ? 20 : 6;
const ROTATION_MS = isLong ? 180_000 : 10_000;
const ROUNDS = isLong ? 4 : 1;

let mesh: RunningMesh | undefined;
let load: PacedLoad | undefined;
afterEach(async () => {
  await load?.end();
  await mesh?.end();
  load = undefined;
  mesh = undefined;
});

async function start(options: RunningMeshOptions): Promise<[RunningMesh, PacedLoad]> {
  const running = await RunningMesh.start(options);
  mesh = running;
  load = new PacedLoad({
    connect: () => running.connect(),
    perSecond: PER_SECOND,
    kept: 60,
    freshEvery: 10,
  });
  return [running, load];
}

/** After the load: how it went, for the reader, and that it went well. */
async function judge(what: string, running: RunningMesh, paced: PacedLoad): Promise<void> {
  await paced.end();
  console.info(`${what}: ${paced.text}`);
  expect(paced.failures, running.text).toEqual([]);
  expect(paced.perSecond).toBeGreaterThan(PER_SECOND * 0.8);
}

test("SIGTERM to one of two waypoints", { timeout: TIMEOUT_MS }, async () => {
  const environment = { TERMINATION_DRAIN_DURATION_SECONDS: "2" };
  const [running, paced] = await start({ environment });
  const waypoints = running.children.slice(-2);
  for (let round = 0; round < ROUNDS; round++) {
    const leaving = (round % 2) as 0 | 1;
    await sleep(2_000);
    waypoints[leaving]!.signal("SIGTERM");
    // What Kubernetes does with a Pod that is told to end.
    await running.setReady([leaving !== 0, leaving !== 1]);
    expect(await waypoints[leaving]!.ended).toBe(143);
    const startMs = performance.now();
    await sleep(1_000);
    waypoints[leaving] = await running.startWaypoint(leaving);
    await running.whenReady(running.at.waypoints[leaving]);
    await running.setReady([true, true]);
    console.info(`back after ${Math.round(performance.now() - startMs)} ms`);
  }
  await judge(`${ROUNDS} waypoints ended`, running, paced);
});

/** The processes that a process has forked. */
async function workersOf(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
  return text.trim().split(" ").map(Number);
}

const hasProc = process.platform === "linux";

test.skipIf(!hasProc)("SIGTERM to a worker of four", { timeout: TIMEOUT_MS }, async () => {
  const [running, paced] = await start({
    instances: [false, true],
    waypointArgs: ["--workers", "4"],
  });
  const [waypoint, at] = [running.children.at(-1)!, running.at.waypoints[1]];
  for (let round = 0; round < ROUNDS; round++) {
    await sleep(2_000);
    const workers = await workersOf(waypoint.process.pid!);
    expect(workers.length).toBe(4);
    process.kill(workers[round]!, "SIGTERM");
    await until("the worker has ended", () => !isAlive(workers[round]!), 60_000);
    const ready = () => running.metric(at, "waystone_workers_ready");
    await until("another is in its place", async () => (await ready()) === 4, 60_000);
  }
  await sleep(1_000);
  await judge(`${ROUNDS} workers of four ended`, running, paced);
  const exits = (reason: string) => running.metric(at, "waystone_worker_exits_total", reason);
  expect(await exits("drained")).toBe(ROUNDS);
  expect(await exits("died")).toBe(0);
});

const REQUESTS = "waystone_certificate_requests_total";
/** As the pool has it. */
const STREAMS_PER_TUNNEL = 100;
/** Of the client's; with as many at once a wave would be too much for the test's own sockets. */
const TUNNELS_MAX = 5;

test("certificates are renewed over and over", { timeout: TIMEOUT_MS }, async () => {
  const environment = { SECRET_TTL: `${CERTIFICATE_TTL_S}s` };
  // Tunnels without streams end soon, so that there are handshakes all the time.
  const [running, paced] = await start({ environment, meshConfig: ["hboneIdleTimeout: 1s"] });
  const { at } = running;
  const proxies = [at.client, at.echo, ...at.waypoints];
  const endMs = performance.now() + ROTATION_MS;
  const tunnels = () => running.metric(at.client, "waystone_ztunnel_pool", '"ready"');
  let made = 0;
  while (performance.now() < endMs) {
    // More streams than fit: another tunnel, with the certificates of now.
    await sleep(2_000);
    const before = await tunnels();
    if (before > TUNNELS_MAX) continue;
    const streams = before * STREAMS_PER_TUNNEL + 50;
    const sockets = Array.from({ length: streams }, () => running.connect());
    for (const socket of sockets) socket.on("error", () => paced.failures.push("wave"));
    await until("there is another tunnel", async () => (await tunnels()) > before, 30_000);
    made++;
    for (const socket of sockets) socket.destroy();
  }
  const counts = (result: string) =>
    Promise.all(proxies.map((address) => running.metric(address, REQUESTS, result)));
  const issued = await counts("obtained");
  await judge(`certificates of each proxy ${issued}, ${made} tunnels`, running, paced);
  expect(await counts("failed")).toEqual([0, 0, 0, 0]);
  expect(made).toBeGreaterThan(0);
  const atLeast = Math.floor(ROTATION_MS / (CERTIFICATE_TTL_S * 1_000));
  for (const count of issued) expect(count).toBeGreaterThan(atLeast);
});
