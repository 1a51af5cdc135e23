/**
 * `--workers N` of the binary: a parent and its workers, without a control plane to configure them.
 * (What workers do when they have one: workers.test.ts, and processes.test.ts without workers.)
 */
import { spawnSync } from "node:child_process";
import { afterEach, expect, test } from "vitest";
import { Child, until } from "../support/child-process.ts";
import { isAlive } from "../support/worker-mesh.ts";

const base = 22_000 + Math.floor(Math.random() * 900) * 10;
const ADMIN = `127.0.0.1:${base}`;
const METRICS = `127.0.0.1:${base + 1}`;
const READINESS = `127.0.0.1:${base + 2}`;

const children: Child[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) await child.kill();
});

async function get(url: string, method = "GET"): Promise<string> {
  const answer = await fetch(`http://${url}`, { method }).catch(() => undefined);
  return (await answer?.text()) ?? "";
}

function startProxy(args: readonly string[]): Child {
  const child = new Child([
    ...args,
    ...["--workers", "2", "--drain-delay", "0s", "--drain-timeout", "5s"],
    // Nobody listens there.
    ...["--xds-address", "127.0.0.1:1", "--roots", "/dev/null", "--token", "/dev/null"],
    ...["--admin-address", ADMIN, "--metrics-address", METRICS, "--readiness-address", READINESS],
  ]);
  children.push(child);
  return child;
}

function workersOf(child: Child): number[] {
  // Its exit code says that there are none.
  const { stdout } = spawnSync("ps", ["-o", "pid=", "--ppid", String(child.process.pid)]);
  return (stdout.toString().match(/\d+/g) ?? []).map(Number);
}

test.each([
  ["waypoint", ["waypoint", "shop/wp", "--address", `127.0.0.1:${base + 3}`]],
  ["ztunnel", ["ztunnel", "--node", "one", "--capture", `127.0.0.1:${base + 4}=127.0.0.1:9`]],
])("%s with workers says what they wait for, and takes them with it", async (_, args) => {
  const child = startProxy(args);
  const waiting = "worker 0: configuration: the control plane has not sent any yet";
  await until("it says what it waits for", async () => {
    return (await get(`${READINESS}/healthz/ready`)).includes(waiting);
  });
  const workers = workersOf(child);
  expect(workers).toHaveLength(2);
  const metrics = await get(`${METRICS}/stats/prometheus`);
  expect(metrics).toContain("\nwaystone_workers_ready 0\n");
  // Of three processes, once.
  expect(metrics.match(/^istio_build.* 1$/gm)).toHaveLength(1);
  expect(await get(`${ADMIN}/config_dump`)).toContain("{");
  expect(await get(`${ADMIN}/logging?level=debug`, "POST")).toContain("debug");
  // One that dies comes back.
  process.kill(workers[0]!, "SIGKILL");
  await until("it is replaced", () => workersOf(child).some((pid) => !workers.includes(pid)));
  const all = workersOf(child);
  child.signal("SIGTERM");
  expect(await child.ended).toBe(143);
  await until("no worker is left", () => !all.some(isAlive));
});

test("workers end when their parent is gone", async () => {
  const child = startProxy(["waypoint", "shop/wp", "--address", `127.0.0.1:${base + 3}`]);
  await until("there are two", () => workersOf(child).length === 2);
  const workers = workersOf(child);
  await child.kill();
  await until("no worker is left", () => !workers.some(isAlive));
});
