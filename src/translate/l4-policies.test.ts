/**
 * Against the conformance data (`WAYSTONE_CONFORMANCE`): what Istio sends to ztunnels for a policy, and
 * what it says about it. Both fix Istio's behaviour, so they run with `compatibility: istio`.
 */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { conformanceJson, conformancePath } from "../../test/support/conformance.ts";
import type { AuthorizationPolicy } from "../api/authorization-policy.ts";
import type { ParsedObject } from "../api/object.ts";
import type { Cidr, L4Match, L4Policy } from "../model/rule.ts";
import { DEFAULT_SETTINGS } from "../model/settings.ts";
import { translateL4Policy } from "./l4-policies.ts";
import { hasTargets } from "./policies.ts";

const ISTIO = { ...DEFAULT_SETTINGS, compatibility: "istio" } as const;

function parsed(value: unknown): ParsedObject<AuthorizationPolicy> {
  const { metadata, ...object } = value as Partial<AuthorizationPolicy>;
  const position = { file: "policy.yaml", line: 1, column: 1 };
  return {
    kind: "AuthorizationPolicy",
    value: {
      ...(object as AuthorizationPolicy),
      metadata: { namespace: "default", ...metadata, name: metadata?.name ?? "policy" },
    },
    position,
    positionOf: () => position,
  };
}

function policy(spec: AuthorizationPolicy["spec"]): ParsedObject<AuthorizationPolicy> {
  return parsed({ apiVersion: "security.istio.io/v1", kind: "AuthorizationPolicy", spec });
}

/** As protobuf JSON has it: empty lists left out, bytes in base64. */
function wire(policy: L4Policy): unknown {
  const cidr = ({ bytes, prefixLength }: Cidr) => ({
    address: Buffer.from(bytes, "hex").toString("base64"),
    length: prefixLength,
  });
  const match = (m: L4Match) => {
    const strings = (list: L4Match["principals"]) =>
      list.map((s) => (s.type === "presence" ? { presence: {} } : { [s.type]: s.value }));
    const all = {
      ...m,
      principals: strings(m.principals),
      notPrincipals: strings(m.notPrincipals),
      namespaces: strings(m.namespaces),
      notNamespaces: strings(m.notNamespaces),
      sourceIps: m.sourceIps.map(cidr),
      notSourceIps: m.notSourceIps.map(cidr),
      destinationIps: m.destinationIps.map(cidr),
      notDestinationIps: m.notDestinationIps.map(cidr),
    };
    return Object.fromEntries(Object.entries(all).filter(([, list]) => list.length > 0));
  };
  return {
    name: policy.name,
    scope: policy.scope,
    ...(policy.action === "DENY" ? { action: "DENY" } : {}),
    groups: policy.rules.map(({ clauses }) => ({
      rules: clauses.map((clause) => ({ matches: clause.map(match) })),
    })),
  };
}

test("translateL4Policy() makes of deny-groups what Istio makes of it", ({ skip }) => {
  const folder = conformancePath("wds-policy", "deny-groups");
  if (folder === undefined) return skip();
  const read = (name: string) => parse(readFileSync(`${folder}/${name}`, "utf8"));
  const { facts } = translateL4Policy(parsed(read("input.yaml")), ISTIO);
  expect(wire(facts!.policy)).toEqual(read("expected.yaml"));
});

interface StatusSet {
  readonly tests: { readonly TestConvertAuthorizationPolicyStatus: readonly StatusCase[] };
}

interface StatusCase {
  readonly name: string;
  readonly inputAuthzPol: unknown;
  readonly expectStatusMessage: { readonly reason: string; readonly message: string } | null;
}

test("translateL4Policy() says what Istio says", ({ skip }) => {
  const set = conformanceJson<StatusSet>("wds-objects", "cases.json");
  if (set === undefined) return skip();
  const cases = set.tests.TestConvertAuthorizationPolicyStatus;
  expect(cases.length).toBeGreaterThan(4);
  for (const { name, inputAuthzPol, expectStatusMessage } of cases) {
    const object = parsed(inputAuthzPol);
    if (hasTargets(object)) continue;
    const { status } = translateL4Policy(object, ISTIO);
    const [condition] = status!.conditions;
    const { reason, message } = condition!;
    expect({ reason, message }, name).toEqual({
      reason: expectStatusMessage?.reason,
      message: expectStatusMessage?.message,
    });
  }
});

test("an ALLOW that asks nothing of a source never holds, a DENY always does", () => {
  const rules = [{ from: [{ source: {} }] }];
  const allow = translateL4Policy(policy({ action: "ALLOW", rules }), DEFAULT_SETTINGS);
  expect(allow.facts?.policy.rules).toEqual([]);
  const deny = translateL4Policy(policy({ action: "DENY", rules }), DEFAULT_SETTINGS);
  expect(deny.facts?.policy.rules.map(({ clauses }) => clauses)).toEqual([[]]);
});

test("a service account without a namespace is one of the policy's", () => {
  const rules = [{ from: [{ source: { serviceAccounts: ["own", "other/sa"] } }] }];
  const { facts } = translateL4Policy(policy({ rules }), DEFAULT_SETTINGS);
  expect(facts?.policy.rules[0]?.clauses[0]?.[0]?.serviceAccounts).toEqual([
    { namespace: "default", serviceAccount: "own" },
    { namespace: "other", serviceAccount: "sa" },
  ]);
});
