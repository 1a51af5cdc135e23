/**
 * Retries, time-outs, sessions and places from the YAML on: a whole mesh, and a server behind it
 * that is busy, slow or gone as its path says.
 */
import { mkdtemp, rm } from "node:fs/promises";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { RunningMesh, workloadNamed } from "../../src/cli/running-mesh.ts";
import { type RequestResult, sendRequest } from "../../src/cli/send-request.ts";
import { setLogLevel } from "../../src/kit/log.ts";
import { LocalMesh } from "../../src/local/local-mesh.ts";

setLogLevel("error");

let seen = 0;
let mesh: LocalMesh;
let state = "";

/** Requests since the test began: the first two go wrong, or all. */
const server = http.createServer((request, response) => {
  let bytes = 0;
  request.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
  });
  request.on("end", () => {
    seen++;
    const [, what = "", always] = (request.url ?? "").split("/");
    const isWell = always === undefined && seen > 2;
    if (what === "slow" && !isWell) return;
    if (what === "gone" && !isWell) {
      response.destroy();
      return;
    }
    response.statusCode = what === "busy" && !isWell ? 503 : 200;
    response.end(`${seen} ${bytes}`);
  });
});

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  state = await mkdtemp(join(tmpdir(), "waystone-attempts-"));
  mesh = await LocalMesh.start({
    paths: ["test/fixtures/attempts"],
    overrides: [{ workload: "web", host: "127.0.0.1", port }],
    stateDirectory: state,
    addressSeed: state,
    version: "0.0.0",
    adminPort: 0,
    metricsPort: 0,
    readinessPort: 0,
    socksPort: 0,
    drainTimeoutMs: 2_000,
    onEvent: () => {},
    onQuit: () => {},
  });
}, 20_000);

afterAll(async () => {
  await mesh?.stop(500);
  server.closeAllConnections();
  server.close();
  await rm(state, { recursive: true });
});

async function ask(
  method: string,
  url: string,
  body?: string,
  headers: readonly (readonly [string, string])[] = [],
): Promise<RequestResult> {
  seen = 0;
  const running = new RunningMesh(mesh.run);
  const report = await running.report();
  const workload = workloadNamed("client", report.workloads);
  return await sendRequest(running, report, { workload, method, url, headers, body });
}

test.each([
  ["GET", "/busy", 200, 3],
  ["POST", "/busy", 200, 3],
  ["GET", "/busy/always", 503, 3],
  ["GET", "/gone", 200, 3],
  ["POST", "/gone", 503, 1],
  ["GET", "/slow", 200, 3],
  ["GET", "/slow/always", 504, 3],
  ["POST", "/slow", 504, 1],
])("%s %s: %i after %i attempts", async (method, path, status, attempts) => {
  const body = method === "POST" ? "b".repeat(300_000) : undefined;
  const answer = await ask(method, `http://web${path}`, body);
  expect(answer.status).toBe(status);
  expect(seen).toBe(attempts);
  if (status === 200) expect(answer.body).toBe(`3 ${body?.length ?? 0}`);
});

test("internalTrafficPolicy Local: the pod on the client's node", async () => {
  for (let i = 0; i < 8; i++) {
    expect((await ask("GET", "http://near/")).servedBy).toBe("near-1");
  }
});

test("a session stays with its pod", async () => {
  const first = await ask("GET", "http://basket/cart");
  const [cookie = ""] = [first.headers["set-cookie"] ?? []].flat();
  expect(cookie).toMatch(/^sid=[\w-]{22}; Path=\/cart; HttpOnly; SameSite=Strict$/);
  for (let i = 0; i < 12; i++) {
    const again = await ask("GET", "http://basket/cart", undefined, [
      ["cookie", cookie.split(";")[0]!],
    ]);
    expect(again.servedBy).toBe(first.servedBy);
    expect(again.headers["set-cookie"]).toBeUndefined();
  }
});
