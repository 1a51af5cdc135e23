/**
 * A watch over endless loops: a thread that sees the input under way, and ends the process when it
 * is still the same one much later, with the input in a file. Nothing in the looping thread could.
 */
import { Worker } from "node:worker_threads";
import { INPUT_BYTES_MAX } from "./mutator.ts";

const HANG_MS = 20_000;

const THREAD = `
const { workerData } = require("node:worker_threads");
const { writeFileSync } = require("node:fs");
const { shared, file, hangMs } = workerData;
const numbers = new Int32Array(shared, 0, 2);
let seen = -1;
setInterval(() => {
  if (numbers[0] === seen) {
    writeFileSync(file, new Uint8Array(shared, 8, numbers[1]));
    process.stderr.write("fuzz: one input runs without end, it is in " + file + "\\n");
    process.kill(process.pid, "SIGKILL");
  }
  seen = numbers[0];
}, hangMs);
`;

export class HangWatch {
  readonly #shared = new SharedArrayBuffer(8 + INPUT_BYTES_MAX);
  readonly #numbers = new Int32Array(this.#shared, 0, 2);
  readonly #bytes = new Uint8Array(this.#shared, 8);
  readonly #worker: Worker;

  constructor(file: string) {
    const workerData = { shared: this.#shared, file, hangMs: HANG_MS };
    this.#worker = new Worker(THREAD, { eval: true, workerData });
    this.#worker.unref();
  }

  readonly see = (input: Buffer): void => {
    const length = Math.min(input.length, INPUT_BYTES_MAX);
    this.#bytes.set(input.subarray(0, length));
    this.#numbers[1] = length;
    Atomics.add(this.#numbers, 0, 1);
  };

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }
}
