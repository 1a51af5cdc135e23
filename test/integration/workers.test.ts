/**
 * Workers as processes: the pool in this process, real children (test/support/worker-program.mjs,
 * the product as built), clients with real tunnels over loopback.
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, expect, test } from "vitest";
import { setLogLevel } from "../../src/kit/log.ts";
import { RESOURCE_TYPES } from "../../src/wire/resource.ts";
import { type Held, isAlive, sample, scrape, sleep, WorkerMesh } from "../support/worker-mesh.ts";

setLogLevel("silent");

const ADDRESS = RESOURCE_TYPES.address;

let mesh: WorkerMesh;
beforeAll(async () => {
  mesh = await WorkerMesh.make();
});
afterEach(() => mesh.end());

function countBy(values: readonly number[]): number[] {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts.values()].sort((a, b) => a - b);
}

test("few long tunnels are spread over the workers, by streams", async () => {
  const { pool, port } = await mesh.start({ count: 4 });
  const tunnels = mesh.tunnels();
  // All at once: nobody has reported anything yet.
  const first = await Promise.all(
    Array.from({ length: 8 }, (_, i) => mesh.hold(tunnels, port, `a${i}`)),
  );
  const pids = await Promise.all(first.map(({ pid }) => pid));
  expect(countBy(pids)).toEqual([2, 2, 2, 2]);
  expect(new Set(pids)).toEqual(new Set(pool.pids));
  // One connection gets many streams: the next connections go to the others.
  const busy = pids[0]!;
  for (let i = 0; i < 30; i++) await mesh.hold(tunnels, port, "a0");
  await sleep(200);
  const later = await Promise.all(
    Array.from({ length: 9 }, (_, i) => mesh.hold(tunnels, port, `b${i}`)),
  );
  const laterPids = await Promise.all(later.map(({ pid }) => pid));
  expect(laterPids).not.toContain(busy);
  expect(countBy(laterPids)).toEqual([3, 3, 3]);
});

test("a worker that is killed is replaced, and only its connections are lost", async () => {
  const { pool, port, readiness } = await mesh.start({ count: 2 });
  const tunnels = mesh.tunnels();
  const held = await Promise.all(
    Array.from({ length: 6 }, (_, i) => mesh.hold(tunnels, port, `k${i}`)),
  );
  const pids = await Promise.all(held.map(({ pid }) => pid));
  const [victim, survivor] = pool.pids as [number, number];
  process.kill(victim, "SIGKILL");
  await expect.poll(() => held.filter(({ isClosed }) => isClosed).length).toBe(3);
  expect(held.map(({ isClosed }) => isClosed)).toEqual(pids.map((pid) => pid === victim));
  // The other serves meanwhile, and the new one soon.
  expect(readiness.isReady).toBe(true);
  expect(await (await mesh.hold(tunnels, port, "meanwhile")).pid).toBe(survivor);
  await expect.poll(() => pool.pids[0], { timeout: 10_000 }).not.toBe(victim);
  const replacement = pool.pids[0]!;
  await expect
    .poll(
      async () => {
        const one = await mesh.hold(tunnels, port, `n${Math.random()}`);
        return await one.pid;
      },
      { timeout: 10_000 },
    )
    .toBe(replacement);
});

test("connections on their way to a worker that dies go to another", async () => {
  const { pool, port } = await mesh.start({ count: 2 });
  const tunnels = mesh.tunnels();
  const [stopped, other] = pool.pids as [number, number];
  // Stopped, it takes nothing; the parent does not know.
  process.kill(stopped, "SIGSTOP");
  const opening = Array.from({ length: 10 }, async (_, i) => {
    return await (await mesh.hold(tunnels, port, `k${i}`)).pid;
  });
  await sleep(300);
  process.kill(stopped, "SIGKILL");
  const pids = await Promise.all(opening);
  const replacement = pool.pids[0];
  expect(pids).not.toContain(stopped);
  for (const pid of pids) expect([other, replacement]).toContain(pid);
});

test("without a worker, connections wait for the next one", async () => {
  const { pool, port } = await mesh.start({ count: 1 });
  const tunnels = mesh.tunnels();
  process.kill(pool.pids[0]!, "SIGKILL");
  const pids = await Promise.all(
    Array.from({ length: 5 }, async (_, i) => (await mesh.hold(tunnels, port, `k${i}`)).pid),
  );
  expect(new Set(pids)).toEqual(new Set(pool.pids));
});

test("a worker that is asked to end lets its streams finish", async () => {
  const { pool, port } = await mesh.start({ count: 2 });
  const tunnels = mesh.tunnels();
  const held = await Promise.all(
    Array.from({ length: 4 }, (_, i) => mesh.hold(tunnels, port, `k${i}`)),
  );
  const pids = await Promise.all(held.map(({ pid }) => pid));
  const leaving = pool.pids[1]!;
  process.kill(leaving, "SIGTERM");
  await expect.poll(() => pool.pids[1], { timeout: 10_000 }).not.toBe(leaving);
  // Nothing new for it, and nothing lost: neither the connections' old streams …
  const later = await Promise.all(
    Array.from({ length: 8 }, async (_, i) => (await mesh.hold(tunnels, port, `l${i}`)).pid),
  );
  expect(later).not.toContain(leaving);
  expect(held.map(({ isClosed }) => isClosed)).toEqual([false, false, false, false]);
  // … nor new ones on their keys, which find another connection.
  expect(await (await mesh.hold(tunnels, port, "k0")).pid).not.toBe(leaving);
  for (const [i, { stream }] of held.entries()) if (pids[i] === leaving) stream.end();
  await expect.poll(() => isAlive(leaving), { timeout: 5_000 }).toBe(false);
});

test("drain() ends when all workers have finished; destroy() does not wait", async () => {
  const { pool, port } = await mesh.start({ count: 2 });
  const tunnels = mesh.tunnels();
  const held = await mesh.hold(tunnels, port, "k");
  await held.pid;
  const pids = pool.pids as number[];
  let isDrained = false;
  const drained = pool.drain().then(() => {
    isDrained = true;
  });
  await sleep(500);
  expect(isDrained).toBe(false);
  expect(held.isClosed).toBe(false);
  await expect(mesh.hold(tunnels, port, "late")).rejects.toThrow();
  held.stream.end();
  await drained;
  expect(pids.map(isAlive)).toEqual([false, false]);

  const other = await mesh.start({ count: 2 });
  const cut = await mesh.hold(tunnels, other.port, "k");
  await cut.pid;
  other.pool.destroy();
  await expect.poll(() => cut.isClosed).toBe(true);
});

test("a new certificate reaches all workers, and old connections live on", async () => {
  const { pool, port, certificates } = await mesh.start({ count: 3, ttlMs: 8_000 });
  const tunnels = mesh.tunnels();
  const serials = new Set<string>();
  certificates.subscribe((identity) => serials.add(identity.certificatePem));
  const old = await Promise.all(
    Array.from({ length: 3 }, (_, i) => mesh.hold(tunnels, port, `o${i}`)),
  );
  // Longer than any of the first certificates is valid.
  await sleep(9_000);
  expect(serials.size).toBeGreaterThan(1);
  const pids = await Promise.all(
    Array.from({ length: 6 }, async (_, i) => (await mesh.hold(tunnels, port, `n${i}`)).pid),
  );
  expect(new Set(pids)).toEqual(new Set(pool.pids));
  expect(old.map(({ isClosed }) => isClosed)).toEqual([false, false, false]);
});

test("metrics are the sum, and what a worker has counted stays when it is gone", async () => {
  const { pool, port } = await mesh.start({ count: 2 });
  const tunnels = mesh.tunnels();
  const held = await Promise.all(
    Array.from({ length: 6 }, (_, i) => mesh.hold(tunnels, port, `k${i}`)),
  );
  await sleep(200);
  const before = await scrape(pool);
  expect(sample(before, "test_opened_total")).toBe(6);
  expect(sample(before, "test_open")).toBe(6);
  expect(sample(before, "waystone_workers_ready")).toBe(2);
  expect(sample(before, 'waystone_worker_streams{worker="0"}')).toBe(3);
  expect(sample(before, 'waystone_worker_connections{worker="1"}')).toBe(3);
  // It dies with what the last scrape has seen.
  process.kill(pool.pids[0]!, "SIGKILL");
  await expect.poll(() => held.filter(({ isClosed }) => isClosed).length).toBe(3);
  const after = await scrape(pool);
  expect(sample(after, "test_opened_total")).toBe(6);
  expect(sample(after, "test_open")).toBe(3);
  expect(sample(after, 'waystone_worker_exits_total{reason="died"}')).toBe(1);
  // One that drains leaves everything, also what nobody has scraped: a stream more for it.
  const key = held.findIndex(({ isClosed }) => !isClosed);
  expect(await (await mesh.hold(tunnels, port, `k${key}`)).pid).toBe(pool.pids[1]);
  const leaving = pool.pids[1]!;
  process.kill(leaving, "SIGTERM");
  await sleep(500);
  for (const { stream } of held) stream.end();
  tunnels.destroy();
  await expect.poll(() => isAlive(leaving), { timeout: 5_000 }).toBe(false);
  const last = await scrape(pool);
  expect(sample(last, "test_opened_total")).toBe(7);
  // The state of those that are gone is nobody's: no worker that is left had any.
  expect(last).not.toMatch(/^test_open /m);
  expect(sample(last, 'waystone_worker_exits_total{reason="drained"}')).toBe(1);
});

test("lines of several workers arrive whole, in one file", async () => {
  const folder = await mkdtemp(join(tmpdir(), "workers-log-"));
  mesh.atEnd(() => rm(folder, { recursive: true }));
  const file = join(folder, "access.log");
  const { pool, port } = await mesh.start({ count: 3, options: { file } });
  const tunnels = mesh.tunnels();
  const opening: Promise<Held>[] = [];
  for (let i = 0; i < 300; i++) {
    opening.push(mesh.hold(tunnels, port, `k${i % 9}`, `log:${i + 1}`));
    if (i % 50 === 49) await Promise.all(opening);
  }
  for (const { stream } of await Promise.all(opening)) stream.reset("cancel");
  await pool.drain();
  const lines = (await readFile(file, "utf8")).split("\n");
  expect(lines.pop()).toBe("");
  expect(lines).toHaveLength(300);
  for (const line of lines) expect(line).toMatch(/^\d+ log:\d+$/);
  expect(new Set(lines.map((line) => line.split(" ")[0])).size).toBe(3);
});

test("resources reach all workers and their replacements; a refusal changes nothing", async () => {
  const { pool, relay } = await mesh.start({ count: 2 });
  const resource = (name: string, text = name) => ({
    type: ADDRESS,
    name,
    version: text,
    bytes: Buffer.from(text),
  });
  expect(await relay.stage(ADDRESS, [resource("a"), resource("bad-b")], [])).toEqual([
    "bad-b: bad",
  ]);
  expect(await relay.commit({ id: 1, digest: "1" })).toBe(undefined);
  await relay.stage(ADDRESS, [resource("stop", "here")], []);
  expect(await relay.commit({ id: 2, digest: "2" })).toBe("stopped");
  expect(relay.revision?.id).toBe(1);
  const killed = pool.pids[0]!;
  process.kill(killed, "SIGKILL");
  await expect.poll(() => pool.pids[0], { timeout: 10_000 }).not.toBe(killed);
  await relay.stage(ADDRESS, [resource("c")], []);
  expect(await relay.commit({ id: 3, digest: "3" })).toBe(undefined);
  const held = [
    ["a", "a"],
    ["c", "c"],
  ];
  // Whichever is asked: kill the survivor, and the answer comes from the replacement.
  expect(await pool.configDump()).toEqual({ revision: 3, held });
  process.kill(pool.pids[1]!, "SIGKILL");
  await expect.poll(() => pool.configDump(), { timeout: 10_000 }).toEqual({ revision: 3, held });
});

test("a decision is found in whichever worker made it", async () => {
  const { pool } = await mesh.start({ count: 3 });
  for (const [index, pid] of pool.pids.entries()) {
    expect(await pool.decision(String(pid))).toEqual({ id: String(pid), index });
  }
  expect(await pool.decision("nobody's")).toBe(undefined);
});
