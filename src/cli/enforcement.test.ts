/** What several replicas say of one policy, put together. */
import { expect, test } from "vitest";
import type { EnforcementReport } from "../control/serve/enforcement.ts";
import { enforcementOf } from "./enforcement.ts";

const report = (
  revision: number,
  proxies: Record<string, number | null>,
  generation = 1,
  name = "p",
): EnforcementReport => ({
  revision,
  policies: [
    {
      ...{ kind: "AuthorizationPolicy", namespace: "ns", name, uid: "u", generation },
      proxies: Object.entries(proxies).map(([proxy, at]) => ({ proxy, revision: at })),
    },
  ],
});

const of = (reports: Record<string, EnforcementReport>, since?: (name: string) => number) =>
  enforcementOf(new Map(Object.entries(reports)), since);

test("a proxy counts that any replica knows to be far enough, by that replica's own count", () => {
  const [found] = of({
    one: report(9, { a: 9, b: null, c: 8 }),
    two: report(3, { a: null, b: 3, c: null }),
  });
  expect(found).toMatchObject({ enforcing: ["a", "b"], waitingFor: ["c"], generation: 1 });
});

test("from a revision on, an older one than now is far enough", () => {
  const reports = { one: report(9, { a: 9, b: 8, c: 7 }) };
  expect(of(reports, () => 8)[0]).toMatchObject({ enforcing: ["a", "b"], waitingFor: ["c"] });
});

test("replicas that have read different versions, or not all of them any, have none in common", () => {
  const differing = { one: report(9, { a: 9 }, 2), two: report(9, { a: null }, 1) };
  expect(of(differing)[0]?.generation).toBeUndefined();
  const missing = { one: report(9, { a: 9 }, 2), two: { revision: 8, policies: [] } };
  expect(of(missing)[0]?.generation).toBeUndefined();
});

test("policies are told in order, each once", () => {
  const told = of({ one: report(1, {}, 1, "b"), two: report(1, {}, 1, "a"), three: report(1, {}) });
  expect(told.map(({ name }) => name)).toEqual(["a", "b", "p"]);
  expect(of({})).toEqual([]);
});
