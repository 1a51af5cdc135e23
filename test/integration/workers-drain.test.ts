/** One worker of four is asked to end under load, and nobody notices (DESIGN D10, D13). */
import { fileURLToPath } from "node:url";
import { afterEach, beforeAll, expect, test } from "vitest";
import { setLogLevel } from "../../src/kit/log.ts";
import type { Http2Stream } from "../../src/net/http2/stream.ts";
import { KeptClient } from "../support/kept-client.ts";
import { isAlive, sample, scrape, sleep, WorkerMesh } from "../support/worker-mesh.ts";

setLogLevel("silent");

const ANSWER = Buffer.from("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
const AUTHORITY = "reviews.default.svc.cluster.local:80";
const LOAD_MS = 8_000;

let mesh: WorkerMesh;
beforeAll(async () => {
  mesh = await WorkerMesh.make();
});
afterEach(() => mesh.end());

/** An application that answers each request after a moment. */
function answer(stream: Http2Stream): void {
  stream.consumer = {
    onData(_bytes, start, end) {
      stream.credit(end - start);
      setTimeout(() => stream.write(ANSWER, 0, ANSWER.length, null), Math.random() * 4);
    },
    onEnd: () => stream.end(),
    onClosed() {},
  };
}

test("one worker of four ends under 1,000 requests a second: no request fails", async () => {
  const backendPort = await mesh.backend("backend", answer);
  const manifests = fileURLToPath(new URL("../fixtures/workers/mesh.yaml", import.meta.url));
  const options = { manifests, backendPort };
  const { pool, port } = await mesh.start({ count: 4, program: "waypoint", options });
  const tunnels = mesh.tunnels();
  // Eight nodes; on each, applications that keep connections and ones that make many.
  const clients = Array.from({ length: 64 }, (_, i) => {
    const key = `node-${i % 8}`;
    return new KeptClient({
      connect: (listener) => mesh.open(tunnels, port, key, AUTHORITY, listener),
      pauseMs: 45,
      requestsMax: [Number.POSITIVE_INFINITY, 20, 1][i % 3]!,
    });
  });
  const answered = () => clients.reduce((sum, client) => sum + client.answered, 0);
  const running = clients.map((client) => client.run());
  await sleep(1_000);
  const startMs = performance.now();
  const atStart = answered();
  const leaving = pool.pids[2]!;
  process.kill(leaving, "SIGTERM");
  await sleep(LOAD_MS);
  const rate = ((answered() - atStart) * 1000) / (performance.now() - startMs);
  for (const client of clients) client.isStopped = true;
  await Promise.all(running);
  expect(clients.flatMap((client) => client.failures)).toEqual([]);
  expect(isAlive(leaving)).toBe(false);
  expect(pool.pids[2]).not.toBe(leaving);
  expect(rate).toBeGreaterThan(500);
  const metrics = await scrape(pool);
  expect(sample(metrics, 'waystone_worker_exits_total{reason="drained"}')).toBe(1);
  expect(sample(metrics, 'waystone_worker_exits_total{reason="died"}')).not.toBeGreaterThan(0);
  console.info(`${Math.round(rate)} requests a second`);
});
