import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LineFile } from "./line-file.ts";
import { type DropReason, LineQueue, type LineSink } from "./line-queue.ts";

/** A sink that finishes a write when the test says so. */
class SlowSink implements LineSink {
  readonly writes: string[] = [];
  isClosed = false;
  #done: ((error?: Error) => void) | undefined;

  write(bytes: Buffer, done: (error?: Error) => void): void {
    expect(this.#done).toBeUndefined();
    this.writes.push(bytes.toString());
    this.#done = done;
  }

  finish(error?: Error): void {
    const done = this.#done;
    this.#done = undefined;
    done?.(error);
  }

  reopen(): void {}

  async close(): Promise<void> {
    this.isClosed = true;
  }
}

const push = (queue: LineQueue, text: string) => {
  const bytes = Buffer.from(text);
  queue.push({ bytes, length: bytes.length });
};

const line = (i: number) => `line ${String(i).padStart(4, "0")}\n`; // 10 bytes

function slowQueue(options: ConstructorParameters<typeof LineQueue>[1] = {}) {
  const sink = new SlowSink();
  const dropped: [number, DropReason][] = [];
  const queue = new LineQueue(sink, {
    batchBytes: 100,
    queueBytesMax: 200,
    onDrop: (lines, reason) => dropped.push([lines, reason]),
    ...options,
  });
  return { sink, queue, dropped };
}

test("push() collects lines and writes them in one piece when the batch is full", () => {
  const { sink, queue } = slowQueue();
  for (let i = 0; i < 10; i++) push(queue, line(i));
  expect(sink.writes).toEqual([]);
  push(queue, line(10));
  expect(sink.writes).toEqual([Array.from({ length: 10 }, (_, i) => line(i)).join("")]);
});

test("a slow sink costs the new lines, counted, and never the order of the old ones", async () => {
  const { sink, queue, dropped } = slowQueue();
  for (let i = 0; i < 1000; i++) push(queue, line(i));
  const lost = dropped.reduce((sum, [lines]) => sum + lines, 0);
  const flushed = queue.flush();
  for (let i = 0; i < 10; i++) sink.finish();
  await flushed;
  const written = sink.writes.join("").split("\n").slice(0, -1);
  expect(written.length + lost).toBe(1000);
  // One batch is written, two wait, one is filled: 10 lines each.
  expect(written).toEqual(Array.from({ length: 40 }, (_, i) => line(i).trim()));
  expect(new Set(dropped.map(([, reason]) => reason))).toEqual(new Set(["queue_full"]));
  push(queue, line(7));
  expect(dropped.length).toBe(lost);
});

test("a line waits no longer than the interval", async () => {
  const { sink, queue } = slowQueue({ intervalMs: 20 });
  push(queue, line(1));
  expect(sink.writes).toEqual([]);
  await expect.poll(() => sink.writes).toEqual([line(1)]);
});

test("a line larger than a batch is written whole, in its place", async () => {
  const { sink, queue, dropped } = slowQueue({ queueBytesMax: 2000 });
  const long = `${"é".repeat(500)}\n`;
  push(queue, line(1));
  push(queue, long);
  push(queue, line(2));
  const flushed = queue.flush();
  for (let i = 0; i < 5; i++) sink.finish();
  await flushed;
  expect(sink.writes).toEqual([line(1), long, line(2)]);
  push(queue, "x".repeat(2001));
  expect(dropped).toEqual([[1, "queue_full"]]);
});

test("a write that fails is counted by lines, and later lines go on", async () => {
  const { sink, queue, dropped } = slowQueue();
  push(queue, line(1));
  push(queue, line(2));
  const first = queue.flush();
  sink.finish(new Error("disk full"));
  await first;
  expect(dropped).toEqual([[2, "write_failed"]]);
  push(queue, line(3));
  const second = queue.flush();
  sink.finish();
  await second;
  expect(sink.writes.at(-1)).toBe(line(3));
  expect(dropped).toHaveLength(1);
});

test("flush() waits for lines that were pushed before it, not for later ones", async () => {
  const { sink, queue } = slowQueue();
  push(queue, line(1));
  const first = queue.flush();
  push(queue, line(2));
  let isSecondDone = false;
  const second = queue.flush().then(() => {
    isSecondDone = true;
  });
  sink.finish();
  await first;
  expect(isSecondDone).toBe(false);
  sink.finish();
  await second;
  await queue.flush();
});

test("close() gives up on a sink that hangs, after its time-out", async () => {
  const { sink, queue, dropped } = slowQueue({ closeTimeoutMs: 30 });
  push(queue, line(1));
  const startMs = performance.now();
  await queue.close();
  expect(performance.now() - startMs).toBeGreaterThanOrEqual(25);
  expect(sink.isClosed).toBe(true);
  push(queue, line(2));
  expect(dropped).toEqual([[1, "queue_full"]]);
});

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "line-file-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test("LineFile appends, and after reopen() writes to the file's name again", async () => {
  const path = join(folder, "access.log");
  await writeFile(path, "old\n");
  const file = new LineFile(path);
  const queue = new LineQueue(file);
  push(queue, "one\n");
  await queue.flush();
  await rename(path, `${path}.1`);
  push(queue, "two\n");
  await queue.flush();
  file.reopen();
  push(queue, "three\n");
  await queue.close();
  expect(await readFile(`${path}.1`, "utf8")).toBe("old\none\ntwo\n");
  expect(await readFile(path, "utf8")).toBe("three\n");
});

test("LineFile reports a file that cannot be opened and tries again at the next write", async () => {
  const path = join(folder, "not-there", "access.log");
  const dropped: number[] = [];
  const queue = new LineQueue(new LineFile(path), { onDrop: (lines) => dropped.push(lines) });
  push(queue, "one\n");
  await queue.flush();
  expect(dropped).toEqual([1]);
  await mkdir(join(folder, "not-there"));
  push(queue, "two\n");
  await queue.close();
  expect(await readFile(path, "utf8")).toBe("two\n");
});
