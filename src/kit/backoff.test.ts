import { expect, test } from "vitest";
import { Backoff, pause } from "./backoff.ts";

test("next() doubles up to the longest, and begins anew after reset()", () => {
  const backoff = new Backoff({ firstMs: 10, maxMs: 50, random: () => 1 });
  expect([1, 2, 3, 4, 5].map(() => backoff.next())).toEqual([10, 20, 40, 50, 50]);
  backoff.reset();
  expect(backoff.next()).toBe(10);
});

test("next() stays between half of the delay and all of it", () => {
  const backoff = new Backoff({ firstMs: 100, maxMs: 100 });
  const drawn = Array.from({ length: 200 }, () => backoff.next());
  expect(Math.min(...drawn)).toBeGreaterThanOrEqual(50);
  expect(Math.max(...drawn)).toBeLessThanOrEqual(100);
  expect(new Set(drawn).size).toBeGreaterThan(1);
});

test("pause() ends when the signal aborts, also when it has before", async () => {
  const controller = new AbortController();
  const paused = pause(60_000, controller.signal);
  controller.abort();
  await paused;
  await pause(60_000, controller.signal);
});
