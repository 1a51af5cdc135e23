#!/usr/bin/env node
/**
 * The binary. Does only what has to be done before the rest loads, so that `--help` is quick:
 * each command's code is imported when the command runs.
 */
import module from "node:module";

// Node ≥ 22.1: compiled code is kept between runs.
module.enableCompileCache?.();
const { run } = await import("./program.ts");
process.exitCode = await run(process.argv.slice(2));
