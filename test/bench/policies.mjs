/**
 * `npm run bench:policies`: what it costs to have many, and to verify tokens. Waystone with one
 * policy on the service and with a thousand of ten rules, and with and without a
 * RequestAuthentication for the token that every request carries; interleaved as everywhere
 * (run.py). The load generator must have been built (`npm run bench` does it). Options are run.py's.
 */
import { spawnSync } from "node:child_process";
import { generateKeyPairSync, sign } from "node:crypto";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const NODE = process.env.BENCH_NODE ?? process.execPath;
const folder = mkdtempSync(join(tmpdir(), "waystone-bench-"));

const waypoint = `${NODE} --max-semi-space-size=4 ${join(HERE, "waypoint.mjs")} --port {port} --certs {certs} --hbone {hbone}`;
const { token, jwks } = issue();
const contestants = {
  one: `${waypoint} --policies 1`,
  "1000-policies": `${waypoint} --policies 1000`,
  tokens: `${waypoint} --policies 1 --jwks ${jwks}`,
};
const BOUNDS = { "1000-policies": 1.3, tokens: 1.1 };

function issue() {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const head = `${encode({ alg: "RS256", kid: "k" })}.${encode({ iss: "bench", sub: "load" })}`;
  const signature = sign("sha256", Buffer.from(head), privateKey).toString("base64url");
  const file = join(folder, "jwks.json");
  const key = { ...publicKey.export({ format: "jwk" }), kid: "k" };
  writeFileSync(file, JSON.stringify({ keys: [key] }));
  return { token: `${head}.${signature}`, jwks: file };
}

const output = join(folder, "out.json");
const options = process.argv.slice(2);
if (!options.includes("--rounds")) options.push("--rounds", "15");
const scenarios = ["get", "rate2k"].map((name) => `${name}:--header authorization:${token}`);
const run = spawnSync(
  "python3",
  [
    join(HERE, "run.py"),
    ...["--base", "one", "--no-check", "--json", output, "--scenario", scenarios.join(",")],
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
    for (const [name, bound] of Object.entries(BOUNDS)) {
      const { ratio_to_base: ratio, ratio_upper95: upper } = row[name];
      const holds = upper <= bound ? "yes" : "NO";
      const what = `${name} to one, ${scenario.split(":", 1)[0]}`;
      console.log(
        `${what}: ${ratio.toFixed(2)}, 95% up to ${upper.toFixed(2)} (at most ${bound}: ${holds})`,
      );
    }
  }
}
