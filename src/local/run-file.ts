/**
 * How other commands find the running mesh: a file in the state directory, readable by its owner
 * only (it holds the password of the SOCKS5 port), there while the mesh runs.
 *
 * The state directory is `--state`, `$WAYSTONE_STATE`, or `waystone` in `$XDG_STATE_HOME`
 * (`~/.local/state`).
 */
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import type { HostPort } from "../net/listeners.ts";
import type { AddressMode } from "./addresses.ts";

export interface RunFile {
  readonly pid: number;
  readonly version: string;
  /** `http://127.0.0.1:15000`. */
  readonly adminUrl: string;
  readonly metricsUrl: string;
  readonly readinessUrl: string;
  readonly socks: HostPort;
  /** The password of the SOCKS5 port; another one in each run. */
  readonly token: string;
  readonly addressMode: AddressMode;
  /** With it another process computes the same addresses. */
  readonly addressSeed: string;
  /** Absolute paths of what is served. */
  readonly files: readonly string[];
}

export function stateDirectory(
  chosen: string | undefined,
  environment: NodeJS.ProcessEnv = process.env,
): string {
  if (chosen) return chosen;
  const base = environment.XDG_STATE_HOME || join(homedir(), ".local", "state");
  return environment.WAYSTONE_STATE || join(base, "waystone");
}

export async function writeRunFile(directory: string, run: RunFile): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  // A file that is there keeps its mode: away with it first.
  await removeRunFile(directory);
  const text = `${JSON.stringify(run, undefined, 2)}\n`;
  await writeFile(runFilePath(directory), text, { mode: 0o600, flag: "wx" });
}

/** The mesh that runs with this state directory; undefined when its process is gone. */
export async function readRunFile(directory: string): Promise<RunFile | undefined> {
  let text: string;
  try {
    text = await readFile(runFilePath(directory), "utf8");
  } catch (caught) {
    if ((caught as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw caught;
  }
  const run = JSON.parse(text) as RunFile;
  return isAlive(run.pid) ? run : undefined;
}

export async function removeRunFile(directory: string): Promise<void> {
  await rm(runFilePath(directory), { force: true });
}

function runFilePath(directory: string): string {
  return join(directory, "run.json");
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (caught) {
    return (caught as NodeJS.ErrnoException).code === "EPERM";
  }
}
