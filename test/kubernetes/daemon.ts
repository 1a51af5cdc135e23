/**
 * A program of the cluster that runs until it is stopped, and can be started again as it was.
 *
 * What it prints goes to <name>.log and its process id to <name>.pid, both in the cluster's folder.
 * A `Guard` reads the latter, for the case that the process of the tests ends before its cleanups.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const LINES_TOLD = 15;

export class Daemon {
  readonly name: string;
  readonly #folder: string;
  readonly #command: string;
  readonly #args: readonly string[];
  #running: { readonly child: ChildProcess; readonly ended: Promise<void> } | undefined;

  constructor(folder: string, name: string, command: string, args: readonly string[]) {
    this.name = name;
    this.#folder = folder;
    this.#command = command;
    this.#args = args;
  }

  start(): void {
    if (this.#running) throw new Error(`${this.name} is running`);
    const log = openSync(this.#path("log"), "a");
    const child = spawn(this.#command, this.#args, { stdio: ["ignore", log, log] });
    closeSync(log);
    if (child.pid !== undefined) writeFileSync(this.#path("pid"), String(child.pid));
    const ended = new Promise<void>((resolve) => {
      const end = () => {
        rmSync(this.#path("pid"), { force: true });
        this.#running = undefined;
        resolve();
      };
      child.once("error", end).once("exit", end);
    });
    this.#running = { child, ended };
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** Without ceremony unless another signal is named: nobody reads the data afterwards. */
  async stop(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const running = this.#running;
    running?.child.kill(signal);
    await running?.ended;
  }

  /** The end of what it printed. */
  get log(): string {
    const lines = readFileSync(this.#path("log"), "utf8").trimEnd().split("\n");
    return lines.slice(-LINES_TOLD).join("\n");
  }

  #path(extension: string): string {
    return join(this.#folder, `${this.name}.${extension}`);
  }
}

/**
 * A shell that waits until the process of the tests is gone, then ends the daemons that are left
 * and removes the folder. It has a process group of its own: Ctrl-C does not reach it.
 */
export class Guard {
  readonly #shell: ChildProcess;

  constructor(folder: string) {
    const script = `cat >/dev/null; for f in "$0"/*.pid; do kill -9 "$(cat "$f")"; done; rm -rf "$0"`;
    this.#shell = spawn("sh", ["-c", script, folder], {
      stdio: ["pipe", "ignore", "ignore"],
      detached: true,
    });
    this.#shell.unref();
  }

  /** After the daemons have ended; what is left to do is the folder. */
  async release(): Promise<void> {
    const ended = new Promise((resolve) => this.#shell.once("exit", resolve));
    this.#shell.ref();
    this.#shell.stdin?.end();
    await ended;
  }
}
