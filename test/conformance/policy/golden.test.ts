/**
 * The policy engine against what Istio's own filters and ztunnel's own tests say: the sets
 * authz-envoy-golden and ztunnel-rbac of the folder that WAYSTONE_CONFORMANCE names.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { decide } from "../../../src/policy/decide.ts";
import { explain } from "../../../src/policy/explain.ts";
import type { ConnectionFacts, HttpFacts } from "../../../src/policy/facts.ts";
import { matchesString } from "../../../src/policy/match/string.ts";
import type { Trace } from "../../../src/policy/trace.ts";
import type { Verdict } from "../../../src/policy/verdict.ts";
import { readProviders } from "../../../src/translate/authorization-providers.ts";
import {
  connection,
  HTTP_HOP,
  L4_HOP,
  request,
  SERVICE,
  snapshotOf,
  workloadOf,
} from "../../policy/mesh.ts";
import {
  asking,
  type JsonAuthorization,
  parseAuthorization,
  parsePolicies,
  parseStringMatch,
} from "./parse.ts";

const ROOT = process.env.WAYSTONE_CONFORMANCE;
const isThere = ROOT !== undefined && existsSync(ROOT);
if (!isThere)
  process.stderr.write("policy-golden: skipped, WAYSTONE_CONFORMANCE names no folder\n");

const json = <T>(...path: string[]): T => JSON.parse(readFileSync(join(ROOT!, ...path), "utf8"));

interface GoldenRequest {
  principal: string | null;
  sourceIp: string;
  destinationIp: string;
  destinationPort: number;
  method?: string;
  path?: string;
  authority?: string;
  headers?: Record<string, string>;
}

interface GoldenCase {
  kind: "http" | "tcp";
  trustDomain?: string;
  trustDomainAliases?: string[];
  meshConfig?: { extensionProviders?: unknown };
  requests: {
    request: GoldenRequest;
    expect: { allowed: boolean; matched?: Record<string, string[]>; extAuthzConsulted?: boolean };
  }[];
}

function factsOf(golden: GoldenRequest, kind: "http" | "tcp"): ConnectionFacts | HttpFacts {
  const facts = connection({
    sourceIdentity: golden.principal ?? undefined,
    sourceAddress: golden.sourceIp,
    destinationAddress: golden.destinationIp,
    destinationPort: golden.destinationPort,
  });
  if (kind === "tcp") return facts;
  const [path = "", query = ""] = (golden.path ?? "/").split("?");
  const headers = Object.entries(golden.headers ?? {}).map(([k, v]) => [k.toLowerCase(), v]);
  const { method = "GET", authority = "" } = golden;
  return request({
    ...facts,
    method,
    path,
    query,
    authority,
    headers: Object.fromEntries(headers),
  });
}

function nameOf(policy: string, rule: number): string {
  const [namespace, name] = policy.split("/");
  return `ns[${namespace}]-policy[${name}]-rule[${rule}]`;
}

/** What the sets ask of features that this version does not have. */
const SKIPPED_SETS: Record<string, string> = {};

function checkVerdict(
  { expect: wanted }: GoldenCase["requests"][number],
  { verdict, trace }: { verdict: Verdict; trace: Trace },
): void {
  expect(verdict.isAllowed).toBe(wanted.allowed);
  if (wanted.extAuthzConsulted !== undefined) {
    expect(trace.notes.some((note) => /would be asked/.test(note))).toBe(wanted.extAuthzConsulted);
  }
  if (verdict.policy !== undefined && !isCustom(trace)) {
    const enforced = [...(wanted.matched?.ALLOW ?? []), ...(wanted.matched?.DENY ?? [])];
    expect(enforced).toContain(nameOf(verdict.policy, verdict.rule!));
  }
  for (const name of wanted.matched?.ALLOW ?? [])
    expect(matchedRules(trace, false)).toContain(name);
  const dry = Object.entries(wanted.matched ?? {}).flatMap(([k, v]) =>
    /^DRY_RUN/.test(k) ? v : [],
  );
  expect(matchedRules(trace, true)).toEqual(expect.arrayContaining(dry));
}

/** Istio names the rules of CUSTOM policies in ways of its own. */
function isCustom(trace: Trace): boolean {
  return trace.policies.some(({ isDeciding, action }) => isDeciding && action === "CUSTOM");
}

function matchedRules(trace: Trace, isDryRun: boolean): readonly string[] {
  return trace.policies
    .filter((policy) => policy.isDryRun === isDryRun)
    .flatMap((policy) =>
      policy.rules
        .filter((rule) => rule.isMatched)
        .map((rule) => nameOf(policy.policy, rule.index)),
    );
}

describe.skipIf(!isThere)("authz-envoy-golden", () => {
  const skipped = new Map<string, number>();
  let judged = 0;
  afterAll(() => {
    process.stderr.write(`policy-golden: ${judged} requests judged\n`);
    for (const [why, count] of skipped) process.stderr.write(`  ${count} skipped: ${why}\n`);
    expect(judged).toBeGreaterThan(500);
  });

  for (const set of isThere ? readdirSync(join(ROOT!, "authz-envoy-golden")) : []) {
    test(set, () => {
      const golden = json<GoldenCase>("authz-envoy-golden", set, "case.json");
      const yaml = readFileSync(join(ROOT!, "authz-envoy-golden", set, "input.yaml"), "utf8");
      const { trustDomain = "cluster.local", trustDomainAliases = [], kind } = golden;
      const authorizationProviders =
        readProviders(golden.meshConfig?.extensionProviders ?? [])?.providers ?? [];
      const compatibility = "istio" as const;
      const settings = { trustDomain, trustDomainAliases, authorizationProviders, compatibility };
      const parsed = parsePolicies(yaml).map((policy) => asking(policy, authorizationProviders));
      const policies = { [`Service/${SERVICE}`]: parsed };
      const snapshot = snapshotOf({ policies, settings });
      for (const one of golden.requests) {
        const why = SKIPPED_SETS[set];
        if (why) {
          skipped.set(why, (skipped.get(why) ?? 0) + 1);
          continue;
        }
        const facts = factsOf(one.request, kind);
        const traced = explain(snapshot, HTTP_HOP, facts, 0);
        expect(decide(snapshot, HTTP_HOP, facts, 0).verdict).toEqual(traced.verdict);
        checkVerdict(one, traced);
        judged++;
      }
    });
  }
});

interface RbacConnection {
  srcIdentity: string | null;
  src: string;
  dst: string;
}

interface RbacCases {
  policyMatch: {
    name: string;
    policy: JsonAuthorization;
    checks: { connection: RbacConnection; matches: boolean }[];
  }[];
  stringMatch: { name: string; matcher: object; value: string; matches: boolean }[];
  decision: {
    name: string;
    policies: JsonAuthorization[];
    checks: {
      connection: RbacConnection;
      destinationWorkload: { namespace: string; ip: string };
      allowed: boolean;
      reason?: string;
      policy?: string;
    }[];
  }[];
}

function rbacFacts({ srcIdentity, src, dst }: RbacConnection): ConnectionFacts {
  const [destinationAddress = "", port] = dst.split(":");
  return {
    sourceIdentity: srcIdentity ?? undefined,
    sourceAddress: src.split(":")[0]!,
    destinationAddress,
    destinationPort: Number(port),
  };
}

describe.skipIf(!isThere)("ztunnel-rbac", () => {
  const cases = isThere
    ? json<RbacCases>("ztunnel-rbac", "cases.json")
    : { policyMatch: [], stringMatch: [], decision: [] };

  for (const { name, policy, checks } of cases.policyMatch) {
    test(`policy: ${name}`, () => {
      const parsed = { ...parseAuthorization(policy), scope: "GLOBAL" as const };
      const snapshot = snapshotOf({ l4Policies: [parsed] });
      for (const check of checks) {
        const facts = rbacFacts(check.connection);
        const { verdict } = decide(snapshot, L4_HOP, facts, 0);
        expect(verdict.because).toBe(check.matches ? "allowed" : "noAllowMatched");
        expect(explain(snapshot, L4_HOP, facts, 0).verdict).toEqual(verdict);
      }
    });
  }

  for (const { name, matcher, value, matches } of cases.stringMatch) {
    test(`string: ${name}`, () => {
      expect(matchesString(parseStringMatch(matcher), value)).toBe(matches);
    });
  }

  for (const { name, policies, checks } of cases.decision) {
    test(`decision: ${name}`, () => {
      const parsed = policies.map(parseAuthorization);
      for (const check of checks) {
        const { namespace } = check.destinationWorkload;
        const workload = workloadOf({ namespace });
        const snapshot = {
          ...snapshotOf({ l4Policies: parsed, workloads: [workload] }),
          l4PoliciesByNamespace: new Map([
            [namespace, parsed.filter((policy) => policy.namespace === namespace)],
          ]),
        };
        const { verdict } = decide(snapshot, L4_HOP, rbacFacts(check.connection), 0);
        expect(verdict.isAllowed).toBe(check.allowed);
        if (check.reason === "ExplicitlyDenied") expect(verdict.policy).toBe(check.policy);
        if (check.reason === "NotAllowed") expect(verdict.because).toBe("noAllowMatched");
      }
    });
  }
});
