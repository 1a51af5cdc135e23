import { mkdtemp, readFile, rm } from "node:fs/promises";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writeRunFile } from "../../local/run-file.ts";
import { run } from "../program.ts";
import { proxyEnvironment } from "./exec.ts";

const WORKLOADS = [
  { namespace: "default", name: "client-abc-de", workloadName: "client" },
  { namespace: "other", name: "server-abc-de", workloadName: "server" },
];

let state = "";
const admin = http.createServer((_, response) => {
  response.end(JSON.stringify({ workloads: WORKLOADS }));
});

beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), "waystone-exec-"));
  await new Promise<void>((resolve) => admin.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(admin.address() as AddressInfo).port}`;
  await writeRunFile(state, {
    pid: process.pid,
    version: "0.0.0",
    adminUrl: url,
    metricsUrl: url,
    readinessUrl: url,
    socks: { host: "127.0.0.1", port: 1080 },
    token: "secret",
    addressMode: "addresses",
    addressSeed: "",
    files: [],
  });
});
afterAll(async () => {
  admin.close();
  admin.closeAllConnections();
  await rm(state, { recursive: true });
});

async function exec(as: string, ...command: string[]): Promise<{ code: number; err: string }> {
  const err: string[] = [];
  const output = { print() {}, say: (text: string) => void err.push(text) };
  const code = await run(["exec", "--state", state, "--as", as, "--", ...command], output);
  return { code, err: err.join("\n") };
}

test("proxyEnvironment() sets every name in both cases and exempts nothing", () => {
  const environment = proxyEnvironment("socks5h://a:b@127.0.0.1:1080");
  for (const name of ["all_proxy", "http_proxy", "https_proxy"]) {
    expect(environment[name]).toBe("socks5h://a:b@127.0.0.1:1080");
    expect(environment[name.toUpperCase()]).toBe("socks5h://a:b@127.0.0.1:1080");
  }
  expect(environment).toMatchObject({ no_proxy: "", NO_PROXY: "" });
});

test("exec gives the command a proxy that speaks as the workload, and its options alone", async () => {
  const file = join(state, "seen");
  const script = `fs.writeFileSync(${JSON.stringify(file)}, process.env.ALL_PROXY + process.argv[1])`;
  expect((await exec("client", process.execPath, "-e", script, "--", "-v")).code).toBe(0);
  expect(await readFile(file, "utf8")).toBe("socks5h://client:secret@127.0.0.1:1080-v");
  await exec("other/server-abc-de", process.execPath, "-e", script, "x");
  expect(await readFile(file, "utf8")).toBe(
    "socks5h://other%2Fserver-abc-de:secret@127.0.0.1:1080x",
  );
});

test("exec ends as the command ends", async () => {
  expect((await exec("client", process.execPath, "-e", "process.exit(7)")).code).toBe(7);
  const killed = "process.kill(process.pid, 'SIGKILL')";
  expect((await exec("client", process.execPath, "-e", killed)).code).toBe(137);
});

test("exec says what it cannot run, and whom it does not know", async () => {
  const missing = await exec("client", "no-such-command-here");
  expect(missing).toEqual({ code: 127, err: "Error: no-such-command-here: is not a command here" });
  const unknown = await exec("clent", "true");
  expect(unknown).toEqual({
    code: 64,
    err: "Error: no workload is called clent\nDid you mean client?",
  });
});
