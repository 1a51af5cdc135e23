/**
 * `npm run bench:routes`: what it costs to have many. Waystone with one route on the service and
 * with a thousand, and with two endpoints and with 5,000, interleaved as everywhere (run.py). The
 * load generator must have been built (`npm run bench` does it). Options are run.py's.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const NODE = process.env.BENCH_NODE ?? process.execPath;
const RATIO_MAX = 1.15;

const waypoint = `${NODE} --max-semi-space-size=4 ${join(HERE, "waypoint.mjs")} --port {port} --certs {certs} --hbone {hbone}`;
const output = join(mkdtempSync(join(tmpdir(), "waystone-bench-")), "out.json");
const options = process.argv.slice(2);
if (!options.includes("--rounds")) options.push("--rounds", "15");
if (!options.includes("--scenario")) options.push("--scenario", "get,rate2k");
const contestants = {
  one: waypoint,
  "1000-routes": `${waypoint} --routes 1000`,
  "5000-endpoints": `${waypoint} --endpoints 5000`,
};
const run = spawnSync(
  "python3",
  [
    join(HERE, "run.py"),
    ...["--base", "one", "--no-check", "--json", output],
    ...Object.entries(contestants).flatMap(([name, command]) => [
      "--contestant",
      `${name}=${command}`,
    ]),
    ...options,
  ],
  { stdio: "inherit" },
);
process.exitCode = run.status ?? 1;
if (run.status === 0) {
  const { summary } = JSON.parse(readFileSync(output, "utf8"));
  for (const [scenario, row] of Object.entries(summary)) {
    const { ratio_to_base: ratio, ratio_upper95: upper } = row["1000-routes"];
    const holds = upper <= RATIO_MAX ? "yes" : "NO";
    console.log(
      `1,000 routes to 1, ${scenario}: ${ratio.toFixed(2)}, 95% up to ${upper.toFixed(2)} (at most ${RATIO_MAX}: ${holds})`,
    );
  }
}
