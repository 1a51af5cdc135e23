import { expect, test } from "vitest";
import { Drain } from "../kit/drain.ts";
import { Readiness } from "./readiness.ts";

test("isReady is true when every required condition is met", () => {
  const readiness = new Readiness();
  readiness.require("snapshot", "no configuration yet");
  readiness.require("certificate", "none for ns/shop/sa/web");
  expect(readiness.isReady).toBe(false);
  readiness.meet("snapshot");
  expect(readiness.reasons).toEqual(["certificate: none for ns/shop/sa/web"]);
  readiness.meet("certificate");
  expect(readiness.isReady).toBe(true);
  readiness.require("snapshot", "the control plane is gone");
  expect(readiness.isReady).toBe(false);
});

test("subscribe() tells of turns only, until it is stopped", () => {
  const readiness = new Readiness();
  const seen: boolean[] = [];
  const stop = readiness.subscribe((isReady) => seen.push(isReady));
  readiness.require("a", "1");
  readiness.require("a", "2");
  readiness.require("b", "1");
  readiness.meet("a");
  readiness.meet("b");
  stop();
  readiness.require("a", "3");
  expect(seen).toEqual([false, true]);
});

test("a drain turns readiness off at once and for good", async () => {
  const readiness = new Readiness();
  const drain = new Drain();
  drain.add(readiness);
  const done = drain.start(1000);
  expect(readiness.isReady).toBe(false);
  expect(readiness.reasons).toEqual(["draining: the process is shutting down"]);
  readiness.meet("x");
  await done;
  expect(readiness.isReady).toBe(false);
});
