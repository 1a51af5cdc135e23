/**
 * What is compiled for the proxies, what the trace walks and the plainest code one can write must
 * come to the same for any policies, routes and facts.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { AuthorizationPolicy, L4Match, L4Policy } from "../../src/model/rule.ts";
import { DEFAULT_SETTINGS } from "../../src/model/settings.ts";
import type { Snapshot } from "../../src/model/snapshot.ts";
import { decide } from "../../src/policy/decide.ts";
import { explain } from "../../src/policy/explain.ts";
import type { ConnectionFacts, Hop, HttpFacts } from "../../src/policy/facts.ts";
import { renderDecision } from "../../src/policy/render.ts";
import type { Verdict } from "../../src/policy/verdict.ts";
import {
  connections,
  EVALUABLE_FIELDS,
  l4Policies,
  policies,
  requests,
  SETTINGS,
} from "./arbitraries.ts";
import { countFields, Shares } from "./deciding-fields.ts";
import { HTTP_HOP, L4_HOP, SERVICE, snapshotOf, WAYPOINT } from "./mesh.ts";
import { naiveAuthorize, naiveL4 } from "./naive.ts";

/**
 * Each run judges several facts: 4,000 runs are 24,000 pairs. `WAYSTONE_PAIRS=200000` draws that
 * many, and each field has to decide 500 of them.
 */
const FACTS_PER_RUN = 6;
const PAIRS = Number(process.env.WAYSTONE_PAIRS ?? 24_000);
const RUNS = Math.ceil(PAIRS / FACTS_PER_RUN);
const DECIDED_MIN = (500 * PAIRS) / 200_000;
const settings = { ...DEFAULT_SETTINGS, ...SETTINGS };

function bare({ isAllowed, because, policy, rule }: Verdict) {
  return { isAllowed, because, policy, rule };
}

/** Compiled and traced, held against one another; the traced one must also be printable. */
function judged(snapshot: Snapshot, hop: Hop, facts: ConnectionFacts | HttpFacts, draw = 0) {
  const compiled = decide(snapshot, hop, facts, draw);
  const traced = explain(snapshot, hop, facts, draw);
  expect(traced.verdict).toEqual(compiled.verdict);
  expect(traced.status).toBe(compiled.status);
  expect(traced.backend).toEqual(compiled.backend);
  expect(traced.route?.name).toBe(compiled.route?.name);
  expect(traced.route?.rule).toBe(compiled.route?.rule);
  expect(renderDecision(traced).length).toBeGreaterThan(0);
  return compiled;
}

function l7Snapshot(all: readonly AuthorizationPolicy[]): Snapshot {
  const targets = ["GatewayClass/istio-waypoint", `Gateway/${WAYPOINT}`, `Service/${SERVICE}`];
  const perTarget = targets.map((target, i) => [target, all.filter((_, at) => at % 3 === i)]);
  return snapshotOf({ policies: Object.fromEntries(perTarget), settings: SETTINGS });
}

test("requests: compiled, traced and naive verdicts are the same", { timeout: 120_000 }, () => {
  const shares = new Shares();
  const many = fc.array(requests, { minLength: FACTS_PER_RUN, maxLength: FACTS_PER_RUN });
  fc.assert(
    fc.property(policies, many, (all, facts) => {
      const snapshot = l7Snapshot(all);
      for (const request of facts) {
        const { verdict } = judged(snapshot, HTTP_HOP, request);
        expect(bare(verdict)).toEqual(naiveAuthorize(all, request, settings));
        countFields(all, request, settings, shares);
      }
    }),
    { numRuns: RUNS },
  );
  for (const name of EVALUABLE_FIELDS) {
    expect(shares.decided(name), `${name} decides`).toBeGreaterThan(DECIDED_MIN);
  }
});

test("many rules: what the index leaves out matches nothing", { timeout: 120_000 }, () => {
  const manyPolicies = fc
    .array(policies, { minLength: 60, maxLength: 60 })
    .map((sets) => sets.flat().map((policy, i) => ({ ...policy, key: `a/p${i}` })));
  const facts = fc.array(requests, { minLength: 20, maxLength: 20 });
  fc.assert(
    fc.property(manyPolicies, facts, fc.array(connections), (all, asked, connected) => {
      const snapshot = l7Snapshot(all);
      for (const one of [...asked, ...asked, ...connected]) {
        const { verdict } = decide(snapshot, HTTP_HOP, one, 0);
        expect(bare(verdict)).toEqual(naiveAuthorize(inOrder(all), one, settings));
      }
    }),
    { numRuns: 100 },
  );
});

/** As they stand under the three targets of `l7Snapshot()`. */
function inOrder(all: readonly AuthorizationPolicy[]): readonly AuthorizationPolicy[] {
  return [0, 1, 2].flatMap((target) => all.filter((_, at) => at % 3 === target));
}

test("TCP: compiled, traced and naive verdicts are the same", { timeout: 120_000 }, () => {
  const shares = new Shares();
  const many = fc.array(connections, { minLength: FACTS_PER_RUN, maxLength: FACTS_PER_RUN });
  fc.assert(
    fc.property(policies, many, (all, facts) => {
      const snapshot = l7Snapshot(all);
      for (const connection of facts) {
        const { verdict } = judged(snapshot, HTTP_HOP, connection);
        expect(bare(verdict)).toEqual(naiveAuthorize(all, connection, settings));
      }
      countFields(all, facts[0]!, settings, shares);
    }),
    { numRuns: RUNS },
  );
  // Those of requests decide too, by leaving rules out of an ALLOW.
  for (const [name, share] of Object.entries(shares.of(EVALUABLE_FIELDS))) {
    expect(share, `${name} decides`).toBeGreaterThan(0.03);
  }
});

const L4_FIELDS = [
  "namespaces",
  "notNamespaces",
  "principals",
  "notPrincipals",
  "serviceAccounts",
  "notServiceAccounts",
  "sourceIps",
  "notSourceIps",
  "destinationIps",
  "notDestinationIps",
  "destinationPorts",
  "notDestinationPorts",
] as const;

function countL4Fields(all: readonly L4Policy[], facts: ConnectionFacts, shares: Shares): void {
  const verdict = JSON.stringify(naiveL4(all, facts));
  const matches = all.flatMap((p) => p.rules.flatMap((r) => r.clauses.flat()));
  for (const match of matches) {
    for (const name of L4_FIELDS) {
      if (match[name].length === 0) continue;
      const other = replaceMatch(all, match, { ...match, [name]: [] });
      shares.count(name, JSON.stringify(naiveL4(other, facts)) !== verdict);
    }
  }
}

function replaceMatch(all: readonly L4Policy[], from: L4Match, to: L4Match): readonly L4Policy[] {
  return all.map((policy) => ({
    ...policy,
    rules: policy.rules.map((rule) => ({
      ...rule,
      clauses: rule.clauses.map((clause) => clause.map((m) => (m === from ? to : m))),
    })),
  }));
}

test("L4: compiled, traced and naive verdicts are the same", { timeout: 120_000 }, () => {
  const shares = new Shares();
  const many = fc.array(connections, { minLength: FACTS_PER_RUN, maxLength: FACTS_PER_RUN });
  fc.assert(
    fc.property(l4Policies, many, (all, facts) => {
      const snapshot = snapshotOf({ l4Policies: all });
      const order = ["GLOBAL", "NAMESPACE", "WORKLOAD_SELECTOR"];
      const sorted = all.toSorted((a, b) => order.indexOf(a.scope) - order.indexOf(b.scope));
      for (const connection of facts) {
        const { verdict } = judged(snapshot, L4_HOP, connection);
        expect(bare(verdict)).toEqual(naiveL4(sorted, connection));
      }
      countL4Fields(sorted, facts[0]!, shares);
    }),
    { numRuns: RUNS },
  );
  for (const [name, share] of Object.entries(shares.of(L4_FIELDS))) {
    expect(share, `${name} decides`).toBeGreaterThan(0.05);
  }
});
