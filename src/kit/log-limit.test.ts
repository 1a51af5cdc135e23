import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { LogLimit } from "./log-limit.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test("lets so many lines of a kind through, then says how many were left out", () => {
  const leftOut: string[] = [];
  const limit = new LogLimit({
    linesPerInterval: 2,
    intervalMs: 1_000,
    onLeftOut: (kind, count) => leftOut.push(`${kind} ${count}`),
  });
  const asked = Array.from({ length: 5 }, () => limit.allows("refused"));
  expect(asked).toEqual([true, true, false, false, false]);
  expect(limit.allows("malformed")).toBe(true);
  expect(leftOut).toEqual([]);
  vi.advanceTimersByTime(1_000);
  expect(leftOut).toEqual(["refused 3"]);
  expect(limit.allows("refused")).toBe(true);
  vi.advanceTimersByTime(1_000);
  expect(leftOut).toEqual(["refused 3"]);
  expect(vi.getTimerCount()).toBe(0);
});

test("says it at once when the log is about to be closed", () => {
  const leftOut: string[] = [];
  const onLeftOut = (kind: string, count: number) => leftOut.push(`${kind} ${count}`);
  const limit = new LogLimit({ linesPerInterval: 1, onLeftOut });
  limit.allows("a");
  limit.allows("a");
  limit.flush();
  expect(leftOut).toEqual(["a 1"]);
  expect(vi.getTimerCount()).toBe(0);
});
