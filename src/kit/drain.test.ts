import { expect, test } from "vitest";
import { Drain, type Drainable } from "./drain.ts";

function member(drain: () => Promise<void>) {
  const seen = { drained: 0, destroyed: 0 };
  const drainable: Drainable = {
    drain() {
      seen.drained++;
      return drain();
    },
    destroy() {
      seen.destroyed++;
    },
  };
  return { seen, drainable };
}

const never = () => new Promise<void>(() => {});

test("start() drains each member once, waits for all, and says that it drains", async () => {
  const drain = new Drain();
  let release = () => {};
  const slow = member(() => new Promise((resolve) => (release = resolve)));
  const quick = member(async () => {});
  drain.add(slow.drainable);
  drain.add(quick.drainable);
  expect(drain.isDraining).toBe(false);
  let isDone = false;
  const first = drain.start(10_000);
  const done = first.then(() => (isDone = true));
  expect(drain.start(1)).toBe(first);
  expect(drain.isDraining).toBe(true);
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect(isDone).toBe(false);
  release();
  await done;
  expect([slow.seen.drained, quick.seen.drained]).toEqual([1, 1]);
  expect([slow.seen.destroyed, quick.seen.destroyed]).toEqual([1, 1]);
});

test("after the deadline what remains is cut, late comers too, those that left not", async () => {
  const drain = new Drain();
  const stuck = member(never);
  const left = member(async () => {});
  const late = member(never);
  drain.add(stuck.drainable);
  const leave = drain.add(left.drainable);
  const done = drain.start(20);
  leave();
  drain.add(late.drainable);
  await done;
  expect([stuck.seen.destroyed, left.seen.destroyed, late.seen.destroyed]).toEqual([1, 0, 1]);
});

test("a member that fails to drain does not keep the others from it", async () => {
  const drain = new Drain();
  const failing = member(() => Promise.reject(new Error("no")));
  const throwing = member(() => {
    throw new Error("at once");
  });
  const good = member(async () => {});
  for (const { drainable } of [throwing, failing, good]) drain.add(drainable);
  await drain.start(1000);
  expect(good.seen).toEqual({ drained: 1, destroyed: 1 });
});
