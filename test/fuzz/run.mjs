/**
 * `npm run fuzz -- [--target NAME] [--seconds N] [--seed N] [--input FILE] [--write-corpora]`: the
 * targets run inside of vitest, which reads TypeScript on every Node we support.
 */
import { spawn } from "node:child_process";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    target: { type: "string", default: process.env.FUZZ_TARGET ?? "" },
    seconds: { type: "string", default: process.env.FUZZ_SECONDS ?? "60" },
    seed: { type: "string", default: process.env.FUZZ_SEED ?? String(Date.now() % 1_000_000) },
    input: { type: "string", default: "" },
    "write-corpora": { type: "boolean", default: false },
  },
});

console.log(`seed ${values.seed}, ${values.seconds} s for each target`);
// One target alone: without the planted bugs.
const tests = values.target === "" ? "test/fuzz" : "test/fuzz/fuzz.test.ts";
const child = spawn("npx", ["vitest", "run", tests, "--disable-console-intercept"], {
  stdio: "inherit",
  env: {
    ...process.env,
    FUZZ_TARGET: values.target,
    FUZZ_SECONDS: values.seconds,
    FUZZ_SEED: values.seed,
    FUZZ_INPUT: values.input,
    FUZZ_WRITE_CORPORA: values["write-corpora"] ? "1" : "",
  },
});
child.on("exit", (code) => {
  process.exitCode = code ?? 1;
});
