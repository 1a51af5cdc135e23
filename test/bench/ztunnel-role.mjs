/**
 * ztunnel's role, ours beside the real one: tunnels in, plain connections to an application out.
 *
 *     WAYSTONE_ZTUNNEL=PATH node test/bench/ztunnel-role.mjs [rounds]
 *
 * Each runs in a network namespace of its own (both want port 15008 of every address), with the
 * same control plane, application and load, in turns. Needs root, iproute2 and a built `dist`.
 */
import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const REAL = process.env.WAYSTONE_ZTUNNEL;
const NODE = process.env.BENCH_NODE ?? process.execPath;
const HERE = fileURLToPath(new URL(".", import.meta.url));
const HBENCH = join(HERE, "hbench/target/release/hbench");
const CERTS = join(HERE, "certs");
const WAYSTONE = ["--max-semi-space-size=4", join(HERE, "../../dist/cli/main.js")];
const rounds = Number(process.argv[2] ?? 15);
const ROWS = {
  tcp: [
    "CPU per byte, ns",
    "cpu_ns_per_byte",
    2,
    "--mode tcp --conns 2 --streams 1 --authority 127.0.0.4:9000",
  ],
  short: [
    "CPU per new connection, us",
    "cpu_us_per_req",
    2,
    "--mode short --conns 4 --streams 16 --authority 127.0.0.4:8080",
  ],
};
const MANIFESTS = `
apiVersion: v1
kind: Namespace
metadata: { name: default, labels: { istio.io/dataplane-mode: ambient } }
---
apiVersion: v1
kind: Pod
metadata: { name: app, namespace: default, labels: { app: app } }
spec: { serviceAccountName: app, nodeName: node-1, containers: [{ name: app }] }
status: { phase: Running, podIP: 127.0.0.4, podIPs: [{ ip: 127.0.0.4 }], conditions: [{ type: Ready, status: "True" }] }
`;

const folder = mkdtempSync(join(tmpdir(), "waystone-ztunnel-role-"));
const state = join(folder, "state");
const children = [];
const namespaces = [];

function run(command, args) {
  return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

function start(namespace, core, command, args, env = {}) {
  const all = ["netns", "exec", namespace, "taskset", "-c", core, command, ...args];
  const child = spawn("ip", all, { cwd: folder, stdio: "ignore", env: { ...process.env, ...env } });
  children.push(child);
  return child;
}

async function until(what, isSo) {
  for (let i = 0; i < 150; i++) {
    if (isSo()) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`not in time: ${what}`);
}

function isReady(namespace) {
  try {
    const url = "http://127.0.0.1:15021/healthz/ready";
    const args = ["netns", "exec", namespace, "curl", "-sf", "-m", "2", url];
    run("ip", args);
    return true;
  } catch {
    return false;
  }
}

function makeNamespace(name) {
  run("ip", ["netns", "add", name]);
  namespaces.push(name);
  run("ip", ["-n", name, "link", "set", "lo", "up"]);
  start(name, "1", HBENCH, ["app", "--listen", "127.0.0.4:8080,127.0.0.4:9000"]);
  const at = ["--address", "127.0.0.1:15012", "--admin-address", "127.0.0.1:15100"];
  const ports = ["--metrics-address", "127.0.0.1:15101", "--readiness-address", "127.0.0.1:15102"];
  const files = ["-f", join(folder, "mesh.yaml"), "--state", state];
  start(name, "1", NODE, [...WAYSTONE, "control-plane", ...files, ...at, ...ports]);
}

const COMMON = {
  XDS_ADDRESS: "https://localhost:15012",
  CA_ADDRESS: "https://localhost:15012",
  XDS_ROOT_CA: join(state, "root-cert.pem"),
  CA_ROOT_CA: join(state, "root-cert.pem"),
  NODE_NAME: "node-1",
  POD_NAME: "app",
  POD_NAMESPACE: "default",
  INSTANCE_IP: "127.0.0.4",
};

function token(account) {
  const file = join(folder, account.replace("/", "-"));
  const args = ["token", account, "--node", "node-1", "--pod", "app", "--state", state];
  writeFileSync(file, run(NODE, [...WAYSTONE, ...args]).trim());
  return file;
}

async function startContestants() {
  mkdirSync(state, { mode: 0o700 });
  copyFileSync(join(CERTS, "ca.pem"), join(state, "root-cert.pem"));
  writeFileSync(
    join(state, "root-key.pem"),
    run("openssl", ["pkcs8", "-topk8", "-nocrypt", "-in", join(CERTS, "ca.key")]),
    { mode: 0o600 },
  );
  writeFileSync(join(folder, "mesh.yaml"), MANIFESTS);
  const suffix = process.pid.toString(36);
  const found = { real: { namespace: `wsr${suffix}` }, waystone: { namespace: `wso${suffix}` } };
  for (const { namespace } of Object.values(found)) makeNamespace(namespace);
  found.real.child = start(found.real.namespace, "0", REAL, ["proxy", "ztunnel"], {
    ...COMMON,
    AUTH_TOKEN: token("default/app"),
    PROXY_MODE: "dedicated",
    PROXY_WORKLOAD_INFO: "default/app/app",
    ENABLE_ORIG_SRC: "false",
    ZTUNNEL_WORKER_THREADS: "1",
    RUST_LOG: "warn",
  });
  const ours = {
    ...COMMON,
    ENABLE_ORIG_SRC: "false",
    AUTH_TOKEN: token("istio-system/ztunnel"),
    WAYSTONE_LOG_LEVEL: "warn",
  };
  const args = [...WAYSTONE, "ztunnel"];
  found.waystone.child = start(found.waystone.namespace, "0", NODE, args, ours);
  for (const [name, { namespace }] of Object.entries(found)) {
    await until(`${name} is ready`, () => isReady(namespace));
  }
  return found;
}

function load({ namespace, child }, options) {
  const args = `load --certs ${CERTS} --connect 127.0.0.4:15008 --pid ${child.pid} ${options}`;
  const all = ["netns", "exec", namespace, "taskset", "-c", "1", HBENCH, ...args.split(" ")];
  return JSON.parse(run("ip", all).trim().split("\n").at(-1));
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}

/** Upper end of the 95 % interval of the median ratio, as run.py has it. */
function upper(ratios) {
  const draws = Array.from({ length: 4000 }, () =>
    median(ratios.map(() => ratios[Math.floor(Math.random() * ratios.length)])),
  );
  return draws.sort((a, b) => a - b)[Math.floor(draws.length * 0.975)];
}

function report(row, runs) {
  const [what, key, budget] = ROWS[row];
  const of = (name, field) => runs.map((run) => run[name][field]);
  const ratios = runs.map((run) => run.waystone[key] / run.real[key]);
  const bound = upper(ratios);
  const errors = of("waystone", "errors").reduce((a, b) => a + b, 0);
  console.log(
    `${what.padEnd(28)} real ${median(of("real", key)).toFixed(2)}  waystone ` +
      `${median(of("waystone", key)).toFixed(2)}  ratio ${median(ratios).toFixed(2)} up to ` +
      `${bound.toFixed(2)} (at most ${budget}: ${bound <= budget ? "yes" : "NO"})  p99 us ` +
      `${Math.round(median(of("waystone", "p99_us")))} vs ${Math.round(median(of("real", "p99_us")))}` +
      `  RSS MiB ${Math.round(median(of("waystone", "rss_mib")))} vs ` +
      `${Math.round(median(of("real", "rss_mib")))}  errors ${errors}`,
  );
}

if (!REAL) {
  console.error("ztunnel-role: WAYSTONE_ZTUNNEL is not set; it names the real ztunnel's program.");
  process.exitCode = 1;
} else {
  try {
    const contestants = await startContestants();
    for (const one of Object.values(contestants)) {
      for (const [, , , options] of Object.values(ROWS))
        load(one, `--duration 2 --warmup 0 ${options}`);
    }
    for (const row of Object.keys(ROWS)) {
      const runs = [];
      for (let i = 0; i < rounds; i++) {
        const options = `--duration 2 --warmup 0.5 ${ROWS[row][3]}`;
        const entries = Object.entries(contestants).map(([name, one]) => [
          name,
          load(one, options),
        ]);
        runs.push(Object.fromEntries(entries));
      }
      report(row, runs);
    }
  } finally {
    for (const child of children) child.kill("SIGKILL");
    await new Promise((resolve) => setTimeout(resolve, 300));
    for (const name of namespaces) run("ip", ["netns", "del", name]);
    rmSync(folder, { recursive: true, force: true });
  }
}
