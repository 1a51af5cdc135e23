/** Starts host.mjs, the process under attack, and asks it for its figures. */
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const HOST = fileURLToPath(new URL("host.mjs", import.meta.url));
const OUTPUT_BYTES_MAX = 2_000_000;

export interface Figures {
  /** Heap and what hangs on it, after a collection. */
  readonly heldBytes: number;
  readonly rss: number;
  readonly cpuMs: number;
  readonly metrics: string;
}

/** Its ports: of the waypoint, of the ztunnel, and of clients to captured addresses. */
export interface Listening {
  readonly waypoint: number;
  readonly inbound: number;
  /** To the service without a waypoint. */
  readonly outbound: number;
  /** To the calm service, by its waypoint. */
  readonly http1: number;
  readonly http2: number;
  readonly tcp: number;
}

export class Host {
  readonly listening: Listening;
  /** What the process has logged, both logs. */
  output = "";
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, listening: Listening) {
    this.#child = child;
    this.listening = listening;
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.on("data", (bytes: Buffer) => {
        this.output = (this.output + bytes.toString("latin1")).slice(-OUTPUT_BYTES_MAX);
      });
    }
  }

  /** `tunnelPorts`: where on loopback the tunnel port of an address is. */
  static async start(
    directory: string,
    tunnelPorts: Record<string, number>,
    appPort: string,
  ): Promise<Host> {
    const args = ["--expose-gc", HOST, directory, JSON.stringify(tunnelPorts), appPort];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe", "ipc"] });
    const listening = await new Promise<Listening>((resolve, reject) => {
      child.once("message", (message: { listening: Listening }) => resolve(message.listening));
      child.once("exit", (code) => reject(new Error(`the host ended with ${code}`)));
    });
    return new Host(child, listening);
  }

  get isAlive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  figures(): Promise<Figures> {
    return new Promise((resolve, reject) => {
      this.#child.once("message", resolve);
      this.#child.send("figures", (error) => error && reject(error));
    });
  }

  async stop(): Promise<void> {
    if (!this.isAlive) return;
    const isOver = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill();
    await isOver;
  }
}
