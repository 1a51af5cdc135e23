/**
 * Calls between a test or benchmark and the processes it measures, over their IPC channel. A process
 * that loses its parent ends; a parent that calls one that has ended is told so.
 */
import { fork } from "node:child_process";

/** In the child: answers each call with what the operation of its name returns. */
export function answerCalls(operations) {
  process.on("message", async ({ id, operation, argument }) => {
    try {
      process.send({ id, result: await operations[operation](argument) });
    } catch (caught) {
      process.send({ id, error: String(caught?.stack ?? caught) });
    }
  });
  process.on("disconnect", () => process.exit());
}

/** In the parent. */
export class CalledProcess {
  #child;
  #calls = new Map();
  #nextId = 1;

  constructor(path, execArgv = []) {
    this.#child = fork(path, [], { execArgv });
    this.#child.on("message", ({ id, result, error }) => {
      const call = this.#calls.get(id);
      this.#calls.delete(id);
      if (error === undefined) call?.resolve(result);
      else call?.reject(new Error(error));
    });
    this.ended = new Promise((resolve) => {
      this.#child.on("exit", (code, signal) => {
        const ended = new Error(`${path} has ended (${code ?? signal})`);
        for (const { reject } of this.#calls.values()) reject(ended);
        this.#calls.clear();
        resolve();
      });
    });
  }

  get pid() {
    return this.#child.pid;
  }

  call(operation, argument, timeoutMs = 300_000) {
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      const late = () => reject(new Error(`${operation}: nothing after ${timeoutMs} ms`));
      const timer = setTimeout(late, timeoutMs);
      const settle = (then) => (value) => {
        clearTimeout(timer);
        then(value);
      };
      this.#calls.set(id, { resolve: settle(resolve), reject: settle(reject) });
      this.#child.send({ id, operation, argument }, (error) => {
        if (error !== null) this.#calls.get(id)?.reject(error);
      });
    });
  }

  async end() {
    this.#child.kill("SIGKILL");
    await this.ended;
  }
}
