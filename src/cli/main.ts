#!/usr/bin/env -S node --max-semi-space-size=4
/**
 * The binary. Does only what has to be done before the rest loads, so that `--help` is quick:
 * each command's code is imported when the command runs.
 *
 * The young generation is held small: under load a proxy then takes 165 MiB instead of 270, at the
 * same CPU per request (measured, Node 24; Envoy: 114).
 */
import module from "node:module";

// Node ≥ 22.1: compiled code is kept between runs.
module.enableCompileCache?.();
const { run } = await import("./program.ts");
process.exitCode = await run(process.argv.slice(2));
