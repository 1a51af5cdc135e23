import { expect, test } from "vitest";
import { Turns } from "./turns.ts";

test("run() lets so many run at a time, and the others in order", async () => {
  const turns = new Turns(2);
  const started: number[] = [];
  const ends: (() => void)[] = [];
  const all = [0, 1, 2, 3].map((i) =>
    turns.run(() => {
      started.push(i);
      return new Promise<number>((resolve) => ends.push(() => resolve(i)));
    }),
  );
  await Promise.resolve();
  expect(started).toEqual([0, 1]);
  ends[1]!();
  await all[1];
  await expect.poll(() => started).toEqual([0, 1, 2]);
  for (const i of [0, 2]) ends[i]!();
  await expect.poll(() => started).toEqual([0, 1, 2, 3]);
  ends[3]!();
  expect(await Promise.all(all)).toEqual([0, 1, 2, 3]);
});

test("a piece of work that fails gives its turn on", async () => {
  const turns = new Turns(1);
  const failing = turns.run(() => Promise.reject(new Error("no")));
  const next = turns.run(async () => "yes");
  await expect(failing).rejects.toThrow("no");
  expect(await next).toBe("yes");
});

test("hasRoom is false when the queue is full", async () => {
  const turns = new Turns(1, 1);
  const ends: (() => void)[] = [];
  const first = turns.run(() => new Promise<void>((resolve) => ends.push(resolve)));
  expect(turns.hasRoom).toBe(true);
  const second = turns.run(async () => {});
  expect(turns.hasRoom).toBe(false);
  ends[0]!();
  await Promise.all([first, second]);
  expect(turns.hasRoom).toBe(true);
});
