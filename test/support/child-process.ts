/** The binary as child processes, whose ends a test can await and whose output it can read. */
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const BINARY = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

export class Child {
  readonly process: ChildProcess;
  /** Exit code, or the signal that ended it. */
  readonly ended: Promise<number | string>;
  #text = "";

  constructor(args: readonly string[], environment: Readonly<Record<string, string>> = {}) {
    const env = {
      ...process.env,
      WAYSTONE_LOG_LEVEL: process.env.CHILD_LOG ?? "warn",
      ...environment,
    };
    this.process = spawn(process.execPath, [BINARY, ...args], { env });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream?.on("data", (bytes: Buffer) => {
        this.#text += bytes.toString();
      });
    }
    this.ended = new Promise((resolve) => {
      this.process.on("close", (code, signal) => resolve(code ?? signal ?? 0));
    });
  }

  /** Both streams, as they came. */
  get text(): string {
    return this.#text;
  }

  signal(name: NodeJS.Signals): void {
    this.process.kill(name);
  }

  /** At the end of a test: without ceremony. */
  async kill(): Promise<void> {
    this.process.kill("SIGKILL");
    await this.ended;
  }
}

/** Waits until it holds. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  timeoutMs = 15_000,
): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (performance.now() < endMs) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`after ${timeoutMs} ms: ${what}`);
}
