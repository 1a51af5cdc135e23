/**
 * `waystone exec`: a command whose traffic enters the running mesh as a workload's, for programs
 * that honour proxy settings. Host names are resolved by the mesh (`socks5h`).
 */
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { findMeant, shortName } from "../../model/workload-names.ts";
import { CommandError, EXIT_FAILED } from "../command-error.ts";
import type { Output } from "../output.ts";
import { RunningMesh, workloadNamed } from "../running-mesh.ts";

export interface ExecOptions {
  readonly command: readonly string[];
  readonly as: string;
  readonly state?: string;
}

const FORWARDED: readonly NodeJS.Signals[] = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"];
const NOT_FOUND = 127;
const NOT_EXECUTABLE = 126;

export async function exec(options: ExecOptions, _output: Output): Promise<number> {
  const mesh = await RunningMesh.find(options.state);
  const { workloads } = await mesh.report();
  const workload = workloadNamed(options.as, workloads);
  const isPod = findMeant(options.as, [workload])[0]?.name === options.as.split("/").at(-1);
  const user = isPod ? `${workload.namespace}/${workload.name}` : shortName(workload, workloads);
  const { socks, token } = mesh.run;
  const login = `${encodeURIComponent(user)}:${encodeURIComponent(token)}`;
  const environment = proxyEnvironment(`socks5h://${login}@${socks.host}:${socks.port}`);
  return await runChild(options.command, { ...process.env, ...environment });
}

/** In both cases, for programs differ; nothing is exempt. */
export function proxyEnvironment(proxy: string): Record<string, string> {
  const names = ["all_proxy", "http_proxy", "https_proxy"];
  const entries = names.flatMap((name) => [
    [name, proxy],
    [name.toUpperCase(), proxy],
  ]);
  return { ...Object.fromEntries(entries), no_proxy: "", NO_PROXY: "" };
}

function runChild(command: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const [program = "", ...args] = command;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: "inherit", env });
    const forward = (signal: NodeJS.Signals) => child.kill(signal);
    for (const signal of FORWARDED) process.on(signal, forward);
    const settle = () => {
      for (const signal of FORWARDED) process.off(signal, forward);
    };
    child.once("error", (error: NodeJS.ErrnoException) => {
      settle();
      const code = error.code === "ENOENT" ? NOT_FOUND : NOT_EXECUTABLE;
      const known = error.code === "ENOENT" || error.code === "EACCES";
      const what = error.code === "ENOENT" ? "is not a command here" : error.message;
      reject(new CommandError(known ? code : EXIT_FAILED, `${program}: ${what}`));
    });
    child.once("exit", (code, signal) => {
      settle();
      resolve(code ?? 128 + (signal ? constants.signals[signal] : 0));
    });
  });
}
