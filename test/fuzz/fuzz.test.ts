/**
 * Every target for a while: a second in `npm test`, a minute in `npm run fuzz` (run.mjs says so by
 * the variables below).
 */
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readCorpus, writeCorpus } from "./corpus.ts";
import { fuzz, replay } from "./fuzzer.ts";
import { TARGETS } from "./targets.ts";
import { HangWatch } from "./watch.ts";

const {
  FUZZ_SECONDS = "1",
  FUZZ_SEED = "1",
  FUZZ_TARGET = "",
  FUZZ_INPUT = "",
  FUZZ_WRITE_CORPORA = "",
} = process.env;
const SECONDS = Number(FUZZ_SECONDS);

const chosen = TARGETS.filter(({ name }) => FUZZ_TARGET === "" || name === FUZZ_TARGET);

test("there is such a target", () => {
  const names = TARGETS.map(({ name }) => name).join(", ");
  expect(chosen.length, `no target ${FUZZ_TARGET}; there are ${names}`).toBeGreaterThan(0);
});

test.runIf(FUZZ_WRITE_CORPORA !== "")("corpora are written", () => {
  for (const target of chosen) writeCorpus(target);
});

test.each(chosen)(
  "$name is as its oracle says",
  { timeout: SECONDS * 1000 + 60_000 },
  async (target) => {
    if (FUZZ_INPUT !== "") {
      console.info(`${target.name}: ${await replay(target, readFileSync(FUZZ_INPUT))}`);
      return;
    }
    const file = join(mkdtempSync(join(tmpdir(), "fuzz-")), `${target.name}.bin`);
    const watch = new HangWatch(file);
    const corpus = readCorpus(target);
    const options = { seed: Number(FUZZ_SEED), seconds: SECONDS, corpus, onInput: watch.see };
    const { inputs, signatures, finding } = await fuzz(target, options);
    await watch.stop();
    if (SECONDS > 1) {
      console.info(`${target.name}: ${inputs} inputs, ${signatures} kinds of outcome`);
    }
    if (finding === undefined) return;
    writeFileSync(file, finding.input);
    const command = `npm run fuzz -- --target ${target.name} --input ${file}`;
    throw new Error(`${finding.error.message}\n  again: ${command}`, { cause: finding.error });
  },
);
