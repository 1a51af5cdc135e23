/**
 * Access logs of several workers into one place, without a torn line: the parent is the only one
 * that writes. (A write of more than PIPE_BUF bytes to a pipe may be interleaved with another
 * process's, and a batch of lines is larger than that; so may be a single line.)
 *
 * A worker's queue hands over one batch at a time and waits until it is written, so the parent
 * holds no more than a batch of each worker; a slow file costs lines there, counted, as it does
 * without workers.
 */
import { LineFile } from "../../telemetry/line-file.ts";
import type { LineSink } from "../../telemetry/line-queue.ts";
import type { FromWorker } from "./messages.ts";

/** In a worker: the file, by way of the parent. */
export class RemoteLines {
  readonly #send: (message: FromWorker) => void;
  readonly #writing = new Map<number, (error?: Error) => void>();
  #nextId = 1;

  constructor(send: (message: FromWorker) => void) {
    this.#send = send;
  }

  sink(file: string): LineSink {
    return {
      write: (bytes, done) => {
        const id = this.#nextId++;
        this.#writing.set(id, done);
        this.#send({ kind: "lines", id, file, bytes });
      },
      // The parent has the file, and opens it anew.
      reopen: () => {},
      close: async () => {},
    };
  }

  /** From the parent. */
  onWritten(id: number, error: string | undefined): void {
    const done = this.#writing.get(id);
    this.#writing.delete(id);
    done?.(error === undefined ? undefined : new Error(error));
  }
}

interface Batch {
  readonly bytes: Uint8Array;
  readonly done: (error?: Error) => void;
}

/** In the parent: the files, each written by one write at a time. */
export class LineFiles {
  readonly #files = new Map<string, { readonly file: LineFile; readonly waiting: Batch[] }>();

  write(path: string, bytes: Uint8Array, done: (error?: Error) => void): void {
    let entry = this.#files.get(path);
    if (entry === undefined) {
      entry = { file: new LineFile(path), waiting: [] };
      this.#files.set(path, entry);
    }
    entry.waiting.push({ bytes, done });
    if (entry.waiting.length === 1) this.#writeNext(entry);
  }

  #writeNext(entry: { readonly file: LineFile; readonly waiting: Batch[] }): void {
    const batch = entry.waiting[0];
    if (batch === undefined) return;
    const { bytes, done } = batch;
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    entry.file.write(buffer, (error) => {
      entry.waiting.shift();
      done(error);
      this.#writeNext(entry);
    });
  }

  /** After a rotation. */
  reopen(): void {
    for (const { file } of this.#files.values()) file.reopen();
  }

  async close(): Promise<void> {
    await Promise.all([...this.#files.values()].map(({ file }) => file.close()));
    this.#files.clear();
  }
}
