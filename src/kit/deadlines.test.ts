import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type DeadlineEntry, Deadlines, deadlinesAfter } from "./deadlines.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

let fired: string[] = [];

function entry(name: string, then = () => {}): DeadlineEntry {
  return {
    deadlinePrevious: null,
    deadlineNext: null,
    deadlineAtMs: 0,
    onDeadline() {
      fired.push(name);
      then();
    },
  };
}

beforeEach(() => {
  fired = [];
});

test("entries fire once, in the order they were armed, within a tick of their time", () => {
  const deadlines = new Deadlines(100, 10);
  deadlines.arm(entry("a"), performance.now());
  vi.advanceTimersByTime(50);
  deadlines.arm(entry("b"), performance.now());
  vi.advanceTimersByTime(49);
  expect(fired).toEqual([]);
  vi.advanceTimersByTime(11);
  expect(fired).toEqual(["a"]);
  vi.advanceTimersByTime(1000);
  expect(fired).toEqual(["a", "b"]);
});

test("arm() again starts the time anew; disarm() ends it, also twice", () => {
  const deadlines = new Deadlines(100, 10);
  const one = entry("one");
  const two = entry("two");
  deadlines.arm(one, performance.now());
  deadlines.arm(two, performance.now());
  vi.advanceTimersByTime(60);
  deadlines.arm(one, performance.now());
  Deadlines.disarm(two);
  Deadlines.disarm(two);
  vi.advanceTimersByTime(60);
  expect(fired).toEqual([]);
  vi.advanceTimersByTime(60);
  expect(fired).toEqual(["one"]);
  expect(one.deadlineNext).toBeNull();
});

test("an entry may arm itself, or disarm another, when it fires", () => {
  const deadlines = new Deadlines(100, 10);
  const other = entry("other");
  const again: DeadlineEntry = entry("again", () => {
    Deadlines.disarm(other);
    if (fired.length < 3) deadlines.arm(again, performance.now());
  });
  deadlines.arm(again, performance.now());
  deadlines.arm(other, performance.now());
  vi.advanceTimersByTime(1000);
  expect(fired).toEqual(["again", "again", "again"]);
});

test("the timer stops when nobody waits, and an entry may move to another list", () => {
  const short = new Deadlines(50, 10);
  const long = new Deadlines(500, 10);
  const one = entry("one");
  short.arm(one, performance.now());
  long.arm(one, performance.now());
  expect(vi.getTimerCount()).toBe(2);
  vi.advanceTimersByTime(100);
  expect(fired).toEqual([]);
  expect(vi.getTimerCount()).toBe(1);
  vi.advanceTimersByTime(500);
  expect(fired).toEqual(["one"]);
  expect(vi.getTimerCount()).toBe(0);
});

test("lengths that peers choose: never shorter, hardly longer, and few of them", () => {
  const lists = new Set<Deadlines>();
  for (let ms = 1; ms < 300_000; ms += 0.7 + ms / 5_000) {
    const list = deadlinesAfter(ms);
    lists.add(list);
    expect(list.lengthMs).toBeGreaterThanOrEqual(ms);
    expect(list.lengthMs).toBeLessThan(Math.max(ms + 1, ms * (1 + 1 / 32)));
  }
  expect(lists.size).toBeLessThan(64 + 32 * 13);
  expect(deadlinesAfter(-0.001).lengthMs).toBe(1);
});
