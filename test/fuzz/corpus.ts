/** The committed inputs of a target: one file each in `corpus/<target>/`. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Target } from "./target.ts";

const FOLDER = fileURLToPath(new URL("./corpus", import.meta.url));

/** In the order of their names, so that a seed means the same everywhere. */
export function readCorpus(target: Target, folder = FOLDER): Buffer[] {
  const own = join(folder, target.name);
  return readdirSync(own)
    .sort()
    .map((name) => readFileSync(join(own, name)));
}

export function writeCorpus(target: Target): void {
  const own = join(FOLDER, target.name);
  mkdirSync(own, { recursive: true });
  for (const [i, seed] of target.seeds().entries()) {
    const name = `seed-${String(i).padStart(2, "0")}.bin`;
    writeFileSync(join(own, name), Buffer.from(seed as string, "latin1"));
  }
}
