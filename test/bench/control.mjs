/**
 * `npm run bench:control`: what the control plane costs. The product's own, built, in a process of
 * its own, its clients in another: meshes of 1,000 services with 1, 50 and 500 clients and of 10,000
 * with 1 and 50, five Pods each. Ends by itself, within ten minutes.
 *
 *     --quick   1,000 services, 1 and 50 clients     --json FILE   the figures
 *     --full    10,000 services with 500, too: within half an hour
 *     --services N --clients N,N                     --changes N   of each kind
 */
import { writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { CalledProcess } from "../support/process-calls.mjs";
import { machineNoise } from "./control/noise.mjs";
import { budgetRows, meshTable } from "./control/report.mjs";

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    full: { type: "boolean", default: false },
    json: { type: "string" },
    services: { type: "string" },
    clients: { type: "string" },
    changes: { type: "string", default: "20" },
  },
});

const PODS_PER_SERVICE = 5;
const TIME_MAX_MS = values.full || values.services !== undefined ? 1_800_000 : 590_000;
const KINDS = ["readiness", "pod", "route", "policy", "service"];
const SILENT_CHANGES = 200;
const WAYPOINTS = 50;

const numbers = (text) => text.split(",").map(Number);
const { quick: isQuick } = values;
const changes = Number(values.changes);
const paced = { perSecond: 50, count: isQuick ? 200 : 1000, kinds: ["readiness", "policy"] };

/** Meshes, and how many clients each has in turn. */
function plan() {
  if (values.services !== undefined) {
    return numbers(values.services).map((services) => ({
      services,
      clients: numbers(values.clients ?? "1,50"),
    }));
  }
  if (isQuick) return [{ services: 1000, clients: [1, 50] }];
  return [
    { services: 1000, clients: [1, 50, 500] },
    { services: 10_000, clients: values.full ? [1, 50, 500] : [1, 50] },
  ];
}

const program = (name) => fileURLToPath(new URL(`../support/${name}.mjs`, import.meta.url));
const running = new Set();

function start(name) {
  const started = new CalledProcess(program(name), ["--expose-gc"]);
  running.add(started);
  return started;
}

async function end(process) {
  running.delete(process);
  await process.end();
}

const mean = (all) => all.reduce((sum, one) => sum + one, 0) / Math.max(all.length, 1);

function quantile(all, share) {
  const sorted = all.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

/** What happens between a call and the answer to it: time, CPU of the server, bytes per client. */
async function measured(server, clients, wanted, act) {
  const before = await server.call("cpu");
  const startMs = performance.now();
  await act();
  const after = await server.call("inSync", wanted);
  const tookMs = performance.now() - startMs;
  return { tookMs, cpuMs: after - before, bytesPerClient: mean(await clients.call("bytes")) };
}

async function singleChanges(server, clients) {
  const rows = {};
  for (const kind of KINDS) {
    const seen = [];
    for (let i = 0; i < changes; i++) {
      seen.push(await server.call("change", { kind, number: i * 7 }));
    }
    const ackMs = seen.flatMap((one) => one.ackMs);
    rows[kind] = {
      ackMedianMs: quantile(ackMs, 0.5),
      ackP99Ms: quantile(ackMs, 0.99),
      cpuMs: quantile(
        seen.map(({ cpuMs }) => cpuMs),
        0.5,
      ),
      applyMs: quantile(
        seen.map(({ applyMs }) => applyMs),
        0.5,
      ),
      recomputedMax: Math.max(...seen.map(({ recomputed }) => recomputed)),
      bytesPerClient: mean(await clients.call("bytes")) / changes,
    };
  }
  return rows;
}

async function pacedChanges(server) {
  const { ackMs, tookMs, cpuMs } = await server.call("paced", paced);
  return {
    ackMedianMs: quantile(ackMs, 0.5),
    ackP99Ms: quantile(ackMs, 0.99),
    perSecond: (paced.count * 1000) / tookMs,
    cpuMs: cpuMs / paced.count,
  };
}

/** A client that never reads, while the mesh changes: what it makes the server hold. */
async function silentClient(server, clients) {
  const before = await server.call("memory");
  await clients.call("connect", { count: 1, kind: "silent", answers: "silent" });
  await server.call("paced", { perSecond: 200, count: SILENT_CHANGES, kinds: KINDS.slice(0, 4) });
  const after = await server.call("memory");
  const heldMb = after.heapMb + after.externalMb - before.heapMb - before.externalMb;
  return { changes: SILENT_CHANGES, heldMb };
}

/** Gateways of a generated mesh, which has one for each hundred services; of two replicas each. */
function gateways(services) {
  const count = Math.min(services / 100, WAYPOINTS / 2);
  return Array.from({ length: count }, (_, i) => `ns-${i}/waypoint`);
}

/** One number of clients of a kind, from the first connection to the last. */
async function withClients(server, at, { count, isFirst = false, ...kind }) {
  const clients = start("ads-clients");

  await clients.call("at", at);
  const real = count === 1 ? 0 : 2;
  const connect = (isReconnect) =>
    clients.call("connect", {
      ...{ ...kind, count, real: isReconnect ? 0 : real, answers: "ack", isReconnect },
    });
  const joined = await measured(server, clients, count, () => connect(false));
  const result = { kind: kind.kind, count, joined, changes: await singleChanges(server, clients) };
  if (isFirst) result.paced = await pacedChanges(server);
  await clients.call("leave");
  await server.call("left");
  result.rejoined = await measured(server, clients, count, () => connect(true));
  if (isFirst) result.silent = await silentClient(server, clients);
  result.memory = await server.call("memory");
  await end(clients);
  await server.call("left");
  return result;
}

async function measureMesh({ services, clients }) {
  const server = start("control-host");
  const build = await server.call("build", { services, podsPerService: PODS_PER_SERVICE });
  const at = await server.call("listen");
  const mesh = { services, build, clients: [] };
  for (const [i, count] of clients.entries()) {
    const ztunnels = { kind: "ztunnel", count, isFirst: i === 0 };
    mesh.clients.push(await withClients(server, at, ztunnels));
  }
  const waypoints = { kind: "waypoint", count: WAYPOINTS, gateways: gateways(services) };
  mesh.clients.push(await withClients(server, at, waypoints));
  await end(server);
  console.log(meshTable(mesh));
  return mesh;
}

const late = setTimeout(() => {
  console.error(`not done after ${TIME_MAX_MS / 1000} s`);
  process.exitCode = 1;
  for (const process of running) void process.end();
}, TIME_MAX_MS);

const noise = machineNoise();
console.log(
  `Node ${process.version}, load ${loadavg()[0].toFixed(1)}; the same work took ` +
    `${noise.medianMs.toFixed(1)} ms (median), at worst ${noise.worstMs.toFixed(1)} ms`,
);
const meshes = [];
try {
  for (const mesh of plan()) meshes.push(await measureMesh(mesh));
  const budgets = budgetRows(meshes);
  for (const { what, is, target, holds } of budgets) {
    console.log(`${holds ? "ok  " : "OVER"} ${what}: ${is} (at most ${target})`);
  }
  const figures = { node: process.version, noise, meshes, budgets };
  if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(figures, undefined, 2));
  if (budgets.some(({ holds }) => !holds)) process.exitCode = 1;
} finally {
  clearTimeout(late);
  for (const process of running) await process.end();
}
