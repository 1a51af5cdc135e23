/**
 * The `helm` command: the user's own, or one that is built from its Go module into the cache folder
 * beside Kubernetes' programs.
 */
import { execFile, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { goInstall, hasGo } from "./go.ts";
import { cacheFolder } from "./toolchain.ts";
import { VERSIONS } from "./versions.ts";

const run = promisify(execFile);

const ON_PATH = "helm";
const OUTPUT_BYTES_MAX = 16 << 20;

function path(): string {
  if (spawnSync(ON_PATH, ["version"]).status === 0) return ON_PATH;
  return join(cacheFolder(), `helm-${VERSIONS.helm}`, "helm");
}

/** Or why there is none. */
export function findHelm(): string | { readonly missing: string } {
  const helm = path();
  if (helm === ON_PATH || existsSync(helm)) return helm;
  return { missing: hasGo() ? "npm run test:kubernetes has to build it" : "Go is not here" };
}

export async function makeHelm(): Promise<void> {
  const helm = path();
  if (helm === ON_PATH || existsSync(helm)) return;
  process.stderr.write("kubernetes: building helm, once; it takes minutes\n");
  const partial = join(cacheFolder(), `helm-${VERSIONS.helm}.${process.pid}`);
  await mkdir(partial, { recursive: true });
  await goInstall(`helm.sh/helm/v3/cmd/helm@v${VERSIONS.helm}`, partial);
  await rename(partial, join(helm, ".."));
}

/** What helm prints; fails with what it says. */
export async function helm(args: readonly string[], environment = {}): Promise<string> {
  const found = findHelm();
  if (typeof found !== "string") throw new Error(found.missing);
  const { stdout } = await run(found, [...args], {
    maxBuffer: OUTPUT_BYTES_MAX,
    env: { ...process.env, ...environment },
  });
  return stdout;
}
