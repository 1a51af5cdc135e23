/**
 * A file, or the process's own standard output, as the place where lines go.
 *
 * Writes go through `fs.write` and not `process.stdout`: Node writes to a pipe synchronously, so
 * that a reader who stopped reading would stop the data path with it.
 */
import { close, open, write } from "node:fs";
import type { LineSink } from "./line-queue.ts";

const STANDARD: ReadonlyMap<string, number> = new Map([
  ["/dev/stdout", 1],
  ["/dev/stderr", 2],
]);

/** How soon a write is tried again when the other end of a non-blocking pipe is full. */
const RETRY_MS = 20;

export class LineFile implements LineSink {
  readonly #path: string;
  #descriptor: number | undefined;
  #isBusy = false;
  #isStale = false;
  #isClosed = false;

  constructor(path: string) {
    this.#path = path;
    this.#descriptor = STANDARD.get(path);
  }

  write(bytes: Buffer, done: (error?: Error) => void): void {
    this.#isBusy = true;
    const end = (error?: Error) => {
      this.#isBusy = false;
      if (this.#isStale || this.#isClosed) this.#release();
      done(error);
    };
    if (this.#descriptor !== undefined) {
      this.#writeFrom(this.#descriptor, bytes, 0, end);
      return;
    }
    open(this.#path, "a", 0o640, (error, descriptor) => {
      if (error !== null) return end(error);
      this.#descriptor = descriptor;
      this.#writeFrom(descriptor, bytes, 0, end);
    });
  }

  /** The old file closes when no write is under way; the new one opens with the next write. */
  reopen(): void {
    this.#isStale = true;
    if (!this.#isBusy) this.#release();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    if (!this.#isBusy) this.#release();
  }

  #writeFrom(
    descriptor: number,
    bytes: Buffer,
    position: number,
    end: (error?: Error) => void,
  ): void {
    write(descriptor, bytes, position, bytes.length - position, null, (error, written) => {
      if (error !== null && error.code !== "EAGAIN") return end(error);
      const next = error === null ? position + written : position;
      if (next === bytes.length) return end();
      if (error === null) return this.#writeFrom(descriptor, bytes, next, end);
      if (this.#isClosed) return end(error);
      setTimeout(() => this.#writeFrom(descriptor, bytes, next, end), RETRY_MS);
    });
  }

  #release(): void {
    this.#isStale = false;
    const descriptor = this.#descriptor;
    if (descriptor === undefined || STANDARD.has(this.#path)) return;
    this.#descriptor = undefined;
    close(descriptor, () => {});
  }
}
