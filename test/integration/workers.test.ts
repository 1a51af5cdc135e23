/**
 * Workers as processes: the pool in this process, real children (test/support/worker-program.mjs,
 * the product as built), clients with real tunnels over loopback.
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeAll, expect, test } from "vitest";
import { Certificates } from "../../src/agent/certificates.ts";
import { Readiness } from "../../src/agent/readiness.ts";
import { log, setLogLevel } from "../../src/kit/log.ts";
import { TunnelPool } from "../../src/net/hbone/tunnel-pool.ts";
import { TUNNEL_LIMITS } from "../../src/net/http2/limits.ts";
import type { Http2Stream } from "../../src/net/http2/stream.ts";
import type { TlsIdentity } from "../../src/net/tls.ts";
import { ResourceRelay } from "../../src/process/workers/resource-relay.ts";
import { WorkerPool } from "../../src/process/workers/worker-pool.ts";
import { MetricRegistry } from "../../src/telemetry/metrics.ts";
import { RESOURCE_TYPES } from "../../src/wire/resource.ts";
import { HOUR_MS, idOf, TestMesh } from "../support/identities.ts";

setLogLevel("silent");

const SERVER = idOf("waypoint");
const ADDRESS = RESOURCE_TYPES.address;

let mesh: TestMesh;
let client: TlsIdentity;
beforeAll(async () => {
  mesh = await TestMesh.make();
  client = await mesh.identity("client");
});

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

interface SetUp {
  readonly count: number;
  readonly program?: string;
  readonly options?: object;
  readonly ttlMs?: number;
}

/** A pool with its port, ready. */
async function startPool({ count, program = "tunnel", options = {}, ttlMs = HOUR_MS }: SetUp) {
  const logger = log("test");
  logger.level = "silent";
  const authority = {
    sign: (request: Parameters<typeof mesh.authority.sign>[0]) => mesh.signAt(Date.now(), request),
  };
  const certificates = new Certificates(authority, { ttlMs, log: logger });
  const registry = new MetricRegistry();
  const readiness = new Readiness();
  const relay = new ResourceRelay([ADDRESS]);
  const pool = new WorkerPool({
    count,
    program,
    programOptions: { spiffeId: SERVER, ...options },
    command: {
      modulePath: fileURLToPath(new URL("../support/worker-program.mjs", import.meta.url)),
      args: [],
    },
    relay,
    certificates,
    registry,
    readiness,
    drainTimeoutMs: 10_000,
  });
  ends.push(() => {
    pool.destroy();
    certificates.close();
  });
  pool.start();
  const { port } = await pool.listen("127.0.0.1", 0, { kind: "tunnel" });
  await expect.poll(() => readiness.isReady, { timeout: 20_000 }).toBe(true);
  return { pool, port, relay, readiness, registry, certificates };
}

function clientPool(): TunnelPool {
  const made = new TunnelPool({
    connectTimeoutMs: 5_000,
    maxStreamsPerConnection: 100,
    idleTimeoutMs: 60_000,
    limits: TUNNEL_LIMITS,
  });
  ends.push(() => made.destroy());
  return made;
}

/** One tunnel; `key`s that differ never share a connection. */
function connect(tunnels: TunnelPool, port: number, key: string, authority = "x:1") {
  const target = {
    host: "127.0.0.1",
    port,
    expected: [SERVER],
    identity: () => client,
    sourceAddress: undefined,
    poolKey: key,
  };
  return new Promise<Held>((resolve, reject) => {
    // At once: the first bytes may have come with the answer.
    const onOpen = (stream: Http2Stream) => resolve(new Held(stream));
    tunnels.open(target, { authority, headers: [] }, { onOpen, onRefused: reject });
  });
}

/** A tunnel to the `tunnel` program: which process has it, and whether it still stands. */
class Held {
  readonly stream: Http2Stream;
  readonly pid: Promise<number>;
  isClosed = false;
  #text = "";

  constructor(stream: Http2Stream) {
    this.stream = stream;
    this.pid = new Promise((resolve) => {
      stream.consumer = {
        onData: (bytes, start, end) => {
          stream.credit(end - start);
          this.#text += bytes.toString("latin1", start, end);
          const line = this.#text.indexOf("\n");
          if (line >= 0) resolve(Number(this.#text.slice(0, line)));
        },
        onEnd: () => {},
        onClosed: () => {
          this.isClosed = true;
          resolve(-1);
        },
      };
    });
  }
}

function countBy(values: readonly number[]): number[] {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts.values()].sort((a, b) => a - b);
}

/** The value of a series in an exposition. */
function sample(text: string, series: string): number {
  const line = text.split("\n").find((candidate) => candidate.startsWith(`${series} `));
  return Number(line?.slice(series.length + 1));
}

async function scrape(pool: WorkerPool): Promise<string> {
  return [...(await pool.exposition())].join("");
}

test("few long tunnels are spread over the workers, by streams", async () => {
  const { pool, port } = await startPool({ count: 4 });
  const tunnels = clientPool();
  // All at once: nobody has reported anything yet.
  const first = await Promise.all(
    Array.from({ length: 8 }, (_, i) => connect(tunnels, port, `a${i}`)),
  );
  const pids = await Promise.all(first.map(({ pid }) => pid));
  expect(countBy(pids)).toEqual([2, 2, 2, 2]);
  expect(new Set(pids)).toEqual(new Set(pool.pids));
  // One connection gets many streams: the next connections go to the others.
  const busy = pids[0]!;
  for (let i = 0; i < 30; i++) await connect(tunnels, port, "a0");
  await sleep(200);
  const later = await Promise.all(
    Array.from({ length: 9 }, (_, i) => connect(tunnels, port, `b${i}`)),
  );
  const laterPids = await Promise.all(later.map(({ pid }) => pid));
  expect(laterPids).not.toContain(busy);
  expect(countBy(laterPids)).toEqual([3, 3, 3]);
});

test("a worker that is killed is replaced, and only its connections are lost", async () => {
  const { pool, port, readiness } = await startPool({ count: 2 });
  const tunnels = clientPool();
  const held = await Promise.all(
    Array.from({ length: 6 }, (_, i) => connect(tunnels, port, `k${i}`)),
  );
  const pids = await Promise.all(held.map(({ pid }) => pid));
  const [victim, survivor] = pool.pids as [number, number];
  process.kill(victim, "SIGKILL");
  await expect.poll(() => held.filter(({ isClosed }) => isClosed).length).toBe(3);
  expect(held.map(({ isClosed }) => isClosed)).toEqual(pids.map((pid) => pid === victim));
  // The other serves meanwhile, and the new one soon.
  expect(readiness.isReady).toBe(true);
  expect(await (await connect(tunnels, port, "meanwhile")).pid).toBe(survivor);
  await expect.poll(() => pool.pids[0], { timeout: 10_000 }).not.toBe(victim);
  const replacement = pool.pids[0]!;
  await expect
    .poll(
      async () => {
        const one = await connect(tunnels, port, `n${Math.random()}`);
        return await one.pid;
      },
      { timeout: 10_000 },
    )
    .toBe(replacement);
});

test("connections on their way to a worker that dies go to another", async () => {
  const { pool, port } = await startPool({ count: 2 });
  const tunnels = clientPool();
  const [stopped, other] = pool.pids as [number, number];
  // Stopped, it takes nothing; the parent does not know.
  process.kill(stopped, "SIGSTOP");
  const opening = Array.from({ length: 10 }, async (_, i) => {
    return await (await connect(tunnels, port, `k${i}`)).pid;
  });
  await sleep(300);
  process.kill(stopped, "SIGKILL");
  const pids = await Promise.all(opening);
  const replacement = pool.pids[0];
  expect(pids).not.toContain(stopped);
  for (const pid of pids) expect([other, replacement]).toContain(pid);
});

test("without a worker, connections wait for the next one", async () => {
  const { pool, port } = await startPool({ count: 1 });
  const tunnels = clientPool();
  process.kill(pool.pids[0]!, "SIGKILL");
  const pids = await Promise.all(
    Array.from({ length: 5 }, async (_, i) => (await connect(tunnels, port, `k${i}`)).pid),
  );
  expect(new Set(pids)).toEqual(new Set(pool.pids));
});

test("a worker that is asked to end lets its streams finish", async () => {
  const { pool, port } = await startPool({ count: 2 });
  const tunnels = clientPool();
  const held = await Promise.all(
    Array.from({ length: 4 }, (_, i) => connect(tunnels, port, `k${i}`)),
  );
  const pids = await Promise.all(held.map(({ pid }) => pid));
  const leaving = pool.pids[1]!;
  process.kill(leaving, "SIGTERM");
  await expect.poll(() => pool.pids[1], { timeout: 10_000 }).not.toBe(leaving);
  // Nothing new for it, and nothing lost: neither the connections' old streams …
  const later = await Promise.all(
    Array.from({ length: 8 }, async (_, i) => (await connect(tunnels, port, `l${i}`)).pid),
  );
  expect(later).not.toContain(leaving);
  expect(held.map(({ isClosed }) => isClosed)).toEqual([false, false, false, false]);
  // … nor new ones on their keys, which find another connection.
  expect(await (await connect(tunnels, port, "k0")).pid).not.toBe(leaving);
  for (const [i, { stream }] of held.entries()) if (pids[i] === leaving) stream.end();
  await expect.poll(() => isAlive(leaving), { timeout: 5_000 }).toBe(false);
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test("drain() ends when all workers have finished; destroy() does not wait", async () => {
  const { pool, port } = await startPool({ count: 2 });
  const tunnels = clientPool();
  const held = await connect(tunnels, port, "k");
  await held.pid;
  const pids = pool.pids as number[];
  let isDrained = false;
  const drained = pool.drain().then(() => {
    isDrained = true;
  });
  await sleep(500);
  expect(isDrained).toBe(false);
  expect(held.isClosed).toBe(false);
  await expect(connect(tunnels, port, "late")).rejects.toThrow();
  held.stream.end();
  await drained;
  expect(pids.map(isAlive)).toEqual([false, false]);

  const other = await startPool({ count: 2 });
  const cut = await connect(tunnels, other.port, "k");
  await cut.pid;
  other.pool.destroy();
  await expect.poll(() => cut.isClosed).toBe(true);
});

test("a new certificate reaches all workers, and old connections live on", async () => {
  const { pool, port, certificates } = await startPool({ count: 3, ttlMs: 8_000 });
  const tunnels = clientPool();
  const serials = new Set<string>();
  certificates.subscribe((identity) => serials.add(identity.certificatePem));
  const old = await Promise.all(
    Array.from({ length: 3 }, (_, i) => connect(tunnels, port, `o${i}`)),
  );
  // Longer than any of the first certificates is valid.
  await sleep(9_000);
  expect(serials.size).toBeGreaterThan(1);
  const pids = await Promise.all(
    Array.from({ length: 6 }, async (_, i) => (await connect(tunnels, port, `n${i}`)).pid),
  );
  expect(new Set(pids)).toEqual(new Set(pool.pids));
  expect(old.map(({ isClosed }) => isClosed)).toEqual([false, false, false]);
});

test("metrics are the sum, and what a worker has counted stays when it is gone", async () => {
  const { pool, port } = await startPool({ count: 2 });
  const tunnels = clientPool();
  const held = await Promise.all(
    Array.from({ length: 6 }, (_, i) => connect(tunnels, port, `k${i}`)),
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
  // One that drains leaves everything, also what nobody has scraped.
  await connect(tunnels, port, "more");
  const leaving = pool.pids[1]!;
  process.kill(leaving, "SIGTERM");
  await sleep(500);
  for (const { stream } of held) stream.end();
  tunnels.destroy();
  await expect.poll(() => isAlive(leaving), { timeout: 5_000 }).toBe(false);
  const last = await scrape(pool);
  expect(sample(last, "test_opened_total")).toBe(7);
  // The state of those that are gone is nobody's.
  expect(last).not.toMatch(/^test_open /m);
  expect(sample(last, 'waystone_worker_exits_total{reason="drained"}')).toBe(1);
});

test("lines of several workers arrive whole, in one file", async () => {
  const folder = await mkdtemp(join(tmpdir(), "workers-log-"));
  ends.push(() => rm(folder, { recursive: true }));
  const file = join(folder, "access.log");
  const { pool, port } = await startPool({ count: 3, options: { file } });
  const tunnels = clientPool();
  const opening: Promise<Held>[] = [];
  for (let i = 0; i < 300; i++) {
    opening.push(connect(tunnels, port, `k${i % 9}`, `log:${i + 1}`));
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
  const { pool, relay } = await startPool({ count: 2 });
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
  await relay.stage(ADDRESS, [resource("stop", "here")], ["bad-b"]);
  expect(await relay.commit({ id: 2, digest: "2" })).toBe("stopped");
  expect(relay.revision?.id).toBe(1);
  const killed = pool.pids[0]!;
  process.kill(killed, "SIGKILL");
  await expect.poll(() => pool.pids[0], { timeout: 10_000 }).not.toBe(killed);
  await relay.stage(ADDRESS, [resource("c")], ["stop"]);
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
  const { pool } = await startPool({ count: 3 });
  for (const [index, pid] of pool.pids.entries()) {
    expect(await pool.decision(String(pid))).toEqual({ id: String(pid), index });
  }
  expect(await pool.decision("nobody's")).toBe(undefined);
});
