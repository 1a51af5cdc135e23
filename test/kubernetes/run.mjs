/**
 * `npm run test:kubernetes`: the tests in a network namespace of their own, in which Pods can have
 * addresses; where none can be made, without those that need it. What they run is built before,
 * since a namespace of one's own has no way to a registry.
 */
import { spawnSync } from "node:child_process";

const CONFIG = ["--config", "test/kubernetes/vitest.config.ts"];
const FIRST = "test/kubernetes/cluster.test.ts";

function run(command, args, environment = {}) {
  const env = { ...process.env, ...environment };
  return spawnSync(command, args, { stdio: "inherit", env }).status ?? 1;
}

const wanted = process.argv.slice(2);
// It also builds what is missing.
const first = run("npx", [
  "vitest",
  "run",
  ...CONFIG,
  ...(wanted.length > 0 ? ["-t", "^$", "--passWithNoTests"] : []),
  FIRST,
]);
if (first !== 0) process.exit(first);

const vitest = ["npx", "vitest", "run", ...CONFIG];
const rest = wanted.length > 0 ? wanted : ["--exclude", FIRST];
const isRoot = process.getuid?.() === 0;
const own = isRoot ? ["--net"] : ["--user", "--map-root-user", "--net"];
const network = "ip link set lo up && ip addr add 10.244.255.254/32 dev lo";
const canUnshare = spawnSync("unshare", [...own, "sh", "-c", network]).status === 0;
const [command, ...args] = canUnshare
  ? ["unshare", ...own, "sh", "-c", `${network} && exec "$@"`, "sh", ...vitest, ...rest]
  : [...vitest, ...rest];
process.exit(run(command, args, canUnshare ? { WAYSTONE_POD_ADDRESSES: "1" } : {}));
