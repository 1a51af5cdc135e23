import { expect, test } from "vitest";
import type { RetryPolicy } from "../model/route.ts";
import { DEFAULT_SETTINGS } from "../model/settings.ts";
import { backoffMs, isRetriableAnswer, isRetriableTimeout, meshRetryPolicy } from "./retry.ts";

const policy: RetryPolicy = { attempts: 3, codes: [503], grpcCodes: [8], backoffMs: 100 };

test("a configured backoff is a minimum that doubles, up to ten times", () => {
  for (const [retry, atLeast] of [
    [1, 100],
    [2, 200],
    [4, 800],
    [5, 1000],
    [50, 1000],
  ] as const) {
    expect(backoffMs(policy, retry, () => 0)).toBe(atLeast);
    expect(backoffMs(policy, retry, () => 0.999)).toBeLessThan(atLeast * 1.5);
  }
});

test("without one it is jittered between nothing and 25 ms, 50 ms … 250 ms", () => {
  const mesh = meshRetryPolicy(DEFAULT_SETTINGS);
  expect(mesh.attempts).toBe(2);
  expect(backoffMs(mesh, 1, () => 0)).toBe(0);
  expect(backoffMs(mesh, 1, () => 1)).toBe(25);
  expect(backoffMs(mesh, 2, () => 1)).toBe(50);
  expect(backoffMs(mesh, 9, () => 1)).toBe(250);
});

test.each([
  [503, undefined, true],
  [500, undefined, false],
  [200, "14", true],
  [200, "1", true],
  [200, "8", true],
  [200, "0", false],
  [200, "", false],
  [200, "13", false],
])("an answer %i with gRPC status %j is none: %j", (status, grpcStatus, isRetried) => {
  expect(isRetriableAnswer(policy, status, grpcStatus)).toBe(isRetried);
});

test("an attempt that took too long: when twice does no harm, or 504 is asked for", () => {
  expect(isRetriableTimeout(policy, "PUT")).toBe(true);
  expect(isRetriableTimeout(policy, "POST")).toBe(false);
  expect(isRetriableTimeout({ ...policy, codes: [504] }, "POST")).toBe(true);
});
