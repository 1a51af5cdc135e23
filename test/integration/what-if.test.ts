/**
 * `waystone what-if` beside a mesh that runs: real requests, and what other manifests would make of
 * them.
 */
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Change } from "../../src/agent/replay/what-if.ts";
import { run } from "../../src/cli/program.ts";
import { RunningMesh, workloadNamed } from "../../src/cli/running-mesh.ts";
import { sendRequest } from "../../src/cli/send-request.ts";
import { setLogLevel } from "../../src/kit/log.ts";
import { LocalMesh } from "../../src/local/local-mesh.ts";

setLogLevel("error");

let state = "";
let elsewhere = "";
let manifests = "";
let mesh: LocalMesh;

beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), "waystone-what-if-"));
  elsewhere = await mkdtemp(join(tmpdir(), "waystone-what-if-"));
  manifests = join(state, "manifests");
  await cp("examples/bookinfo", manifests, { recursive: true });
  const ports = { adminPort: 0, metricsPort: 0, readinessPort: 0, socksPort: 0 };
  mesh = await LocalMesh.start({
    paths: [manifests],
    overrides: [],
    stateDirectory: state,
    addressSeed: state,
    version: "0.0.0",
    ...ports,
    drainTimeoutMs: 2_000,
    onEvent: () => {},
    onQuit: () => {},
  });
  for (const [method, url] of REQUESTS) await send(method, url);
});

afterAll(async () => {
  await mesh.stop(500);
  for (const folder of [state, elsewhere]) await rm(folder, { recursive: true });
});

const REQUESTS = [
  ["GET", "http://details:9080/details/1"],
  ["GET", "http://details:9080/details/2?token=s3cret"],
  ["POST", "http://details:9080/details/1"],
  ["GET", "http://reviews:9080/reviews/1"],
  ["GET", "http://reviews:9080/reviews/1"],
  ["GET", "http://reviews:9080/reviews/2"],
] as const;

async function send(method: string, url: string): Promise<void> {
  const running = new RunningMesh(mesh.run);
  const report = await running.report();
  const workload = workloadNamed("productpage-v1", report.workloads);
  await sendRequest(running, report, { workload, method, url, headers: [], body: undefined });
}

async function waystone(...args: string[]) {
  const printed: string[] = [];
  const said: string[] = [];
  const output = {
    print: (text: string) => void printed.push(text),
    say: (text: string) => void said.push(text),
  };
  const code = await run(args, output);
  return { code, text: printed.join("\n"), said: said.join("\n") };
}

const whatIf = (...args: string[]) => waystone("what-if", "--state", state, ...args);

/** One object of the example, changed. */
async function changed(file: string, from: string | RegExp, to: string): Promise<string> {
  const text = await readFile(join(manifests, file), "utf8");
  expect(text).toMatch(from);
  const path = join(elsewhere, file);
  await writeFile(path, text.replace(from, to));
  return path;
}

const requestsOf = (text: string): readonly string[] =>
  (JSON.parse(text).changes as readonly Change[])
    .map(({ request: { facts } }) => `${facts.method} ${facts.path}`)
    .sort();

test("decisions lists what was asked, without secrets", async () => {
  const { code, text } = await waystone("decisions", "--state", state);
  expect(code).toBe(0);
  expect(text).toMatch(/^TIME +REQUEST +FROM +TO +ID +DECISION$/m);
  expect(text).toMatch(
    /POST \/details\/1 +bookinfo\/bookinfo-productpage +details\.bookinfo:9080 +\S+ +403: no ALLOW/,
  );
  expect(text).toContain("GET /details/2?token=[redacted]");
  expect(text).not.toContain("s3cret");
});

test("the same manifests change nothing", async () => {
  const { code, text } = await whatIf("-f", manifests);
  expect(text).toMatch(/^None of \d+ recorded requests would change\.$/);
  expect(code).toBe(0);
});

test("a change of a policy turns some requests round", async () => {
  const file = await changed("view-only.yaml", '"GET"', '"POST"');
  const { code, text } = await whatIf("-f", file, "-o", "json");
  expect(code).toBe(1);
  expect(requestsOf(text)).toEqual([
    "GET /details/1",
    "GET /details/2",
    "GET /reviews/1",
    "GET /reviews/1",
    "GET /reviews/2",
    "POST /details/1",
  ]);
  const people = (await whatIf("-f", file)).text;
  expect(people).toContain("WAS       403: no ALLOW policy matches\nWOULD BE  allowed by bookinfo");
  expect(people).toContain(`view-only rule 0 (${file}:14:7)`);
  expect(people).toMatch(/^ {2}2 +GET \/reviews\/1 +bookinfo\/bookinfo-productpage/m);
  expect(people).toMatch(/^6 of \d+ recorded requests would change\.$/m);
});

test("a change of a route sends others elsewhere", async () => {
  const file = await changed("reviews-route.yaml", /reviews-v[12]/g, "details");
  const { code, text } = await whatIf("-f", file, "-o", "json");
  expect(code).toBe(1);
  expect(requestsOf(text)).toEqual(["GET /reviews/1", "GET /reviews/1", "GET /reviews/2"]);
  const [first] = JSON.parse(text).changes as readonly Change[];
  expect(first?.wouldBe.routeAt).toBe(`${file}:15:7`);
  const people = (await whatIf("-f", file)).text;
  expect(people).toMatch(/^WOULD BE {2}to details\.bookinfo:9080.* by route bookinfo\/reviews/m);
});

test("a file of recorded requests does without a mesh", async () => {
  const log = join(elsewhere, "requests.json");
  const { text } = await waystone("decisions", "--state", state, "-o", "json");
  await writeFile(log, text);
  const alone = (...args: string[]) =>
    waystone("what-if", "--state", elsewhere, "--requests", log, ...args);
  const same = await alone("-f", manifests);
  expect(same.text).toMatch(/^None of /);
  expect(same.code).toBe(0);
  const whole = await mkdtemp(join(elsewhere, "whole-"));
  await cp(manifests, whole, { recursive: true });
  await rm(join(whole, "view-only.yaml"));
  const { code, text: found } = await alone("-f", whole, "-o", "json");
  expect(code).toBe(1);
  expect(requestsOf(found)).toEqual(["POST /details/1"]);
});

test("manifests with errors are not asked about", async () => {
  const file = await changed("reviews-route.yaml", "name: reviews-v1", "name: reviews-v9");
  const { code, said } = await whatIf("-f", file);
  expect(code).toBe(65);
  expect(said).toContain("Error [WS0101]");
  expect(said).toContain(`${file}:16`);
  expect(said).toContain("the new configuration has an error");
  await writeFile(file, "kind: [");
  expect((await whatIf("-f", file)).code).toBe(65);
});
