/** What is counted of policies that decide nothing is what the trace says of them. */
import fc from "fast-check";
import { expect, test } from "vitest";
import {
  connections,
  l4Policies,
  policies,
  requests,
  SETTINGS,
} from "../../test/policy/arbitraries.ts";
import {
  HTTP_HOP,
  L4_HOP,
  SERVICE,
  snapshotOf,
  WAYPOINT,
  WORKLOAD,
} from "../../test/policy/mesh.ts";
import { httpDecider, l4Decider } from "./decider.ts";
import { explain } from "./explain.ts";
import type { PolicyTrace } from "./trace.ts";
import type { Verdict } from "./verdict.ts";

const RUNS = 3_000;

/** By the plainest reading: `kind policy`, in the order in which they are counted. */
function expected(all: readonly PolicyTrace[], verdict: Verdict): string[] {
  const dryRun = (action: string) => all.filter((p) => p.isDryRun && p.action === action);
  const matched = all.filter((p) => p.action === "AUDIT" && !p.isDryRun && p.isMatched);
  const counts = matched.map(({ policy }) => `audited ${policy}`);
  const denying = dryRun("DENY").find(({ isMatched }) => isMatched);
  if (denying) counts.push(`deny_shadow_denied ${denying.policy}`);
  else if (dryRun("DENY").length > 0) counts.push("deny_shadow_allowed ");
  if (verdict.because === "denied" || dryRun("ALLOW").length === 0) return counts;
  const allowing = dryRun("ALLOW").find(({ isMatched }) => isMatched);
  counts.push(allowing ? `allow_shadow_allowed ${allowing.policy}` : "allow_shadow_denied ");
  return counts;
}

class Counted {
  readonly all: string[] = [];

  add(kind: string, policy: string): void {
    this.all.push(`${kind} ${policy}`);
  }
}

const many = <T>(one: fc.Arbitrary<T>) => fc.array(one, { minLength: 4, maxLength: 4 });

test("requests", { timeout: 120_000 }, () => {
  let count = 0;
  fc.assert(
    fc.property(policies, many(requests), (all, facts) => {
      const snapshot = snapshotOf({
        policies: { [`Service/${SERVICE}`]: all },
        settings: SETTINGS,
      });
      const decider = httpDecider(snapshot, WAYPOINT, { service: SERVICE }, 9080);
      for (const request of facts) {
        const verdict = decider.authorize(request);
        const counted = new Counted();
        decider.shadow?.judge(request, verdict, counted);
        const { trace } = explain(snapshot, HTTP_HOP, request, 0);
        expect(counted.all).toEqual(expected(trace.policies, verdict));
        count += counted.all.length;
      }
    }),
    { numRuns: RUNS },
  );
  expect(count).toBeGreaterThan(RUNS / 4);
});

test("connections at a ztunnel", { timeout: 120_000 }, () => {
  let count = 0;
  fc.assert(
    fc.property(l4Policies, many(connections), (all, facts) => {
      const snapshot = snapshotOf({ l4Policies: all });
      const decider = l4Decider(snapshot, snapshot.workloads.get(WORKLOAD)!);
      for (const connection of facts) {
        const verdict = decider.authorize(connection);
        const counted = new Counted();
        decider.shadow?.judge(connection, verdict, counted);
        const { trace } = explain(snapshot, L4_HOP, connection, 0);
        expect(counted.all).toEqual(expected(trace.policies, verdict));
        count += counted.all.length;
      }
    }),
    { numRuns: RUNS },
  );
  expect(count).toBeGreaterThan(RUNS / 4);
});
