/**
 * `waystone/testing`: tests for the policies and routes of a mesh, in vitest or node:test.
 *
 *     const mesh = await loadMesh("manifests/");
 *     const result = mesh.request({ from: "shop/client", to: "cart.shop", method: "DELETE" });
 *
 *     expect.extend(waystoneMatchers);                          // vitest
 *     expect(result).toBeDenied({ by: "shop/readers", with: 403 });
 *
 *     assertDenied(result, { by: "shop/readers", with: 403 });  // node:test, or any other runner
 */
import assert from "node:assert/strict";
import {
  type AllowedBy,
  type DeniedBy,
  notAllowed,
  notDenied,
  notReaching,
} from "./expectations.ts";
import type { TestResult } from "./test-mesh.ts";

export type { RuleCoverage } from "./coverage.ts";
export type { AllowedBy, DeniedBy } from "./expectations.ts";
export { loadMesh, type TestMesh, type TestRequest, type TestResult } from "./test-mesh.ts";

export function assertAllowed(result: TestResult, expected?: AllowedBy): void {
  const problem = notAllowed(result, expected);
  if (problem !== undefined) assert.fail(problem);
}

export function assertDenied(result: TestResult, expected?: DeniedBy): void {
  const problem = notDenied(result, expected);
  if (problem !== undefined) assert.fail(problem);
}

/** `backend`: the name of a workload, of what owns it, or of its application. */
export function assertReaches(result: TestResult, backend: string): void {
  const problem = notReaching(result, backend);
  if (problem !== undefined) assert.fail(problem);
}

interface MatcherResult {
  readonly pass: boolean;
  message(): string;
}

/** For `expect.extend()`. */
export const waystoneMatchers = {
  toBeAllowed: (result: TestResult, expected?: AllowedBy) =>
    matched(notAllowed(result, expected), result),
  toBeDenied: (result: TestResult, expected?: DeniedBy) =>
    matched(notDenied(result, expected), result),
  toReach: (result: TestResult, backend: string) => matched(notReaching(result, backend), result),
};

function matched(problem: string | undefined, { trace }: TestResult): MatcherResult {
  return {
    pass: problem === undefined,
    message: () => problem ?? `expected it not to be so\n\n${trace}`,
  };
}

/** What the matchers add to `expect()`; for `declare module "vitest"`. */
export interface WaystoneMatchers<R = unknown> {
  toBeAllowed(expected?: AllowedBy): R;
  toBeDenied(expected?: DeniedBy): R;
  toReach(backend: string): R;
}
