import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { LocalTokens } from "../control/serve/tokens.ts";
import { run } from "./program.ts";
import { version } from "./version.ts";

let state = "";
beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), "waystone-cli-"));
});
afterAll(() => rm(state, { recursive: true }));

async function call(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const out: string[] = [];
  const err: string[] = [];
  const output = {
    print: (text: string) => void out.push(text),
    say: (text: string) => void err.push(text),
  };
  const code = await run(args, output);
  return { code, out: out.join("\n"), err: err.join("\n") };
}

test("--help lists every command and ends well", async () => {
  const { code, out, err } = await call("--help");
  expect(code).toBe(0);
  expect(err).toBe("");
  for (const name of [
    "up",
    "request",
    "decisions",
    "what-if",
    "exec",
    "validate",
    "status",
    "token",
    "control-plane",
    "ztunnel",
    "waypoint",
    "install",
    "uninstall",
    "version",
  ]) {
    expect(out).toMatch(new RegExp(`^  ${name}\\b`, "m"));
  }
  expect(out).not.toMatch(/^ {2}worker\b/m);
});

test("a worker is not started by hand, and not by the thousand", async () => {
  expect((await call("worker")).err).toContain("by --workers");
  const { code, err } = await call("waypoint", "shop/wp", "--workers", "1000");
  expect(code).toBe(64);
  expect(err).toContain("from 0 to 256");
});

test("what is for a mesh beside istiod is refused elsewhere, and says what goes with it", async () => {
  const usage = async (...args: string[]) => {
    const { code, err } = await call(...args);
    expect(code).toBe(64);
    return err;
  };
  const ca = ["--ca-address", "istiod:15012"];
  const files = await usage("control-plane", "--file", "x.yaml", ...ca);
  expect(files).toContain("--ca-address is for --mode beside");
  const under = await usage("control-plane", "--kubernetes", "--mode", "under", ...ca);
  expect(under).toContain("--ca-address is for --mode beside");
  const beside = await usage("control-plane", "--kubernetes", "--mode", "beside");
  expect(beside).toContain("--ca-address");
  const noCluster = await usage("control-plane", "--file", "x.yaml", "--mode", "under");
  expect(noCluster).toContain("--mode is for a cluster");
});

test("every command has its own --help", async () => {
  for (const name of [
    "up",
    "request",
    "decisions",
    "what-if",
    "exec",
    "validate",
    "status",
    "token",
    "control-plane",
    "ztunnel",
    "waypoint",
    "install",
    "uninstall",
    "version",
  ]) {
    const { code, out } = await call(name, "--help");
    expect(code).toBe(0);
    expect(out).toContain(`Usage: waystone ${name}`);
  }
});

test("version prints the package's, as text and as JSON", async () => {
  expect(await call("version")).toEqual({ code: 0, out: version(), err: "" });
  expect(await call("--version")).toEqual({ code: 0, out: version(), err: "" });
  expect((await call("version", "-o", "json")).out).toBe(`{"version":"${version()}"}`);
});

test("wrong usage is 64, one Error line, and a guess", async () => {
  const command = await call("requst");
  expect(command.code).toBe(64);
  expect(command.err).toMatch(/^Error: unknown command 'requst'\n\(Did you mean request\?\)/);
  const option = await call("status", "--sate", "x");
  expect(option.code).toBe(64);
  expect(option.err).toMatch(/^Error: unknown option '--sate'\n\(Did you mean --state\?\)/);
  expect(option.err).toContain("See 'waystone status --help'.");
  expect((await call("up")).err).toContain("required option '-f, --file <path...>' not specified");
  expect((await call("up")).code).toBe(64);
  expect((await call("request", "--from", "a")).code).toBe(64);
  expect((await call("request", "--from", "a", "POST")).code).toBe(64);
  expect((await call("up", "-f", "x", "--admin-port", "http")).code).toBe(64);
  expect((await call("status", "-o", "xml")).code).toBe(64);
});

test("without a running mesh, request, exec and status say so and how to start one", async () => {
  for (const args of [
    ["status"],
    ["request", "--from", "a", "http://b/"],
    ["exec", "--as", "a", "true"],
  ]) {
    const [name, ...rest] = args;
    const { code, out, err } = await call(name!, "--state", state, ...rest);
    expect(code).toBe(1);
    expect(out).toBe("");
    expect(err.split("\n")[0]).toMatch(/^Error: no mesh is running/);
    expect(err).toContain("waystone up -f PATH");
    expect(err).not.toContain("    at ");
  }
});

test("-v adds the stack", async () => {
  const { err } = await call("status", "--state", state, "-v");
  expect(err).toContain("    at ");
});

test("token prints a token that the state directory's control plane takes", async () => {
  const args = ["istio-system/ztunnel", "--node", "n1", "--pod", "zt", "--ttl", "1h"];
  const { code, out } = await call("token", ...args, "--state", state);
  expect(code).toBe(0);
  const tokens = await LocalTokens.open(state);
  expect(await tokens.authenticate(out)).toEqual({
    namespace: "istio-system",
    serviceAccount: "ztunnel",
    podName: "zt",
    node: "n1",
  });
});

test("token refuses what is no service account", async () => {
  for (const account of ["ztunnel", "a/b/c", "/b", "a/"]) {
    const { code, err } = await call("token", account, "--state", state);
    expect(code).toBe(64);
    expect(err).toContain("is not NAMESPACE/SERVICEACCOUNT");
  }
});

test("proxies say what they need", async () => {
  const ztunnel = await call("ztunnel");
  expect(ztunnel).toMatchObject({
    code: 64,
    err: expect.stringContaining("--node (or NODE_NAME)"),
  });
  const half = await call("ztunnel", "--node", "n", "--socks-address", "127.0.0.1:0");
  expect(half).toMatchObject({ code: 64, err: expect.stringContaining("--socks-password-file") });
  const waypoint = await call("waypoint", "wp");
  expect(waypoint).toMatchObject({ code: 64, err: expect.stringContaining("NAMESPACE/NAME") });
  const ports = ["address", "admin-address", "metrics-address", "readiness-address"];
  const free = ports.flatMap((name) => [`--${name}`, "127.0.0.1:0"]);
  const nowhere = join(state, "nowhere");
  const missing = await call("control-plane", "-f", nowhere, "--state", state, ...free);
  expect(missing.code).not.toBe(0);
  expect(missing.err).toContain("nowhere");
});
