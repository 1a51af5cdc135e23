import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  type RunFile,
  readRunFile,
  removeRunFile,
  stateDirectory,
  writeRunFile,
} from "./run-file.ts";

const RUN: RunFile = {
  pid: process.pid,
  version: "0.0.0",
  adminUrl: "http://127.0.0.1:15000",
  metricsUrl: "http://127.0.0.1:15020",
  readinessUrl: "http://127.0.0.1:15021",
  socks: { host: "127.0.0.1", port: 1080 },
  token: "secret",
  addressMode: "addresses",
  addressSeed: "",
  files: [],
};

let directory = "";
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "waystone-run-"));
});
afterEach(() => rm(directory, { recursive: true }));

test("writeRunFile() is readable by its owner only, whatever was there before", async () => {
  const path = join(directory, "run.json");
  await writeFile(path, "{}", { mode: 0o644 });
  await writeRunFile(directory, RUN);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(await readRunFile(directory)).toEqual(RUN);
});

test("readRunFile() finds nothing when the process is gone, or the file", async () => {
  expect(await readRunFile(directory)).toBeUndefined();
  // Larger than any process id of Linux (2^22).
  await writeRunFile(directory, { ...RUN, pid: 2 ** 30 });
  expect(await readRunFile(directory)).toBeUndefined();
  await removeRunFile(directory);
  await removeRunFile(directory);
});

test("stateDirectory() is --state, then WAYSTONE_STATE, then XDG_STATE_HOME", () => {
  const environment = { WAYSTONE_STATE: "/a", XDG_STATE_HOME: "/b" };
  expect(stateDirectory("/c", environment)).toBe("/c");
  expect(stateDirectory(undefined, environment)).toBe("/a");
  expect(stateDirectory(undefined, { XDG_STATE_HOME: "/b" })).toBe("/b/waystone");
  expect(stateDirectory(undefined, {})).toMatch(/\.local\/state\/waystone$/);
});
