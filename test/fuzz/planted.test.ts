/**
 * Does the fuzzer find bugs? Five that others have had are planted, one at a time, into a copy of
 * the sources; the fuzzer must find each within seconds, with a fixed seed, and nothing without.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readCorpus } from "./corpus.ts";
import { type FuzzResult, fuzz } from "./fuzzer.ts";
import type { Target } from "./target.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const SECONDS_MAX = 30;
const SECONDS_CLEAN = 1;

interface Plant {
  readonly bug: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** Module and name of the target. */
  readonly target: readonly [string, string];
}

const PLANTS: readonly Plant[] = [
  {
    bug: "a Content-Length with a plus sign is accepted",
    file: "src/net/http1/framing.ts",
    from: "if (digit < 0 || digit > 9) return",
    to: "if (digit === -5 && i === start) continue;\n    if (digit < 0 || digit > 9) return",
    target: ["http1-heads", "http1Request"],
  },
  {
    bug: "what stands behind a chunk is not looked at",
    file: "src/net/http1/body.ts",
    from: "if (byte === 0x0a) this.#startChunk();",
    to: "if (byte !== 0) this.#startChunk();",
    target: ["http1-body", "http1Body"],
  },
  {
    bug: "HPACK's dynamic table keeps one entry too many",
    file: "src/net/http2/hpack/decoder.ts",
    from: "while (this.#entries.length > 0 &&",
    to: "while (this.#entries.length > 1 &&",
    target: ["hpack", "hpack"],
  },
  {
    bug: "padding longer than its HEADERS frame is let through",
    file: "src/net/http2/header-blocks.ts",
    from: "if (from > to) return PADDED_TOO_FAR;",
    to: "if (from > to) to = from;",
    target: ["http2", "http2Server"],
  },
  {
    bug: "a header block may go on on another stream",
    file: "src/net/http2/receiver.ts",
    from: "|| id !== headers.blockStream)",
    to: "&& id !== headers.blockStream)",
    target: ["http2", "http2Client"],
  },
];

let copy = "";

beforeAll(() => {
  copy = mkdtempSync(join(tmpdir(), "planted-"));
  for (const folder of ["src/kit", "src/net", "test/support", "test/fuzz"]) {
    cpSync(join(ROOT, folder), join(copy, "clean", folder), { recursive: true });
  }
});

afterAll(() => rmSync(copy, { recursive: true, force: true }));

/** The target out of a copy of its own, so that nothing is shared with another run. */
async function fuzzIn(folder: string, plant: Plant, seconds: number): Promise<FuzzResult> {
  const [module, name] = plant.target;
  const loaded: Record<string, Target> = await import(
    /* @vite-ignore */ join(copy, folder, `test/fuzz/targets/${module}.ts`)
  );
  const target = loaded[name]!;
  return fuzz(target, { seed: 1, seconds, corpus: readCorpus(target) });
}

test.each(PLANTS)("the fuzzer finds that $bug", { timeout: 90_000 }, async (plant) => {
  const folder = `planted-${PLANTS.indexOf(plant)}`;
  cpSync(join(copy, "clean"), join(copy, folder), { recursive: true });
  const file = join(copy, folder, plant.file);
  const source = readFileSync(file, "utf8");
  expect(source.split(plant.from).length, "the place for the bug").toBe(2);
  writeFileSync(file, source.replace(plant.from, plant.to));

  const { finding } = await fuzzIn(folder, plant, SECONDS_MAX);
  expect(finding, "nothing was found").toBeDefined();
  expect(finding!.error.name).toBe("OracleError");

  const clean = await fuzzIn("clean", plant, SECONDS_CLEAN);
  expect(clean.finding?.error).toBeUndefined();
});
