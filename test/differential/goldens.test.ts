/** Policies as Envoy's filters, against Istio's own: the set authz-envoy-golden. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { readProviders } from "../../src/translate/authorization-providers.ts";
import { asking, parsePolicies } from "../conformance/policy/parse.ts";
import { authorizationFilters } from "./envoy-authorizers.ts";

const ROOT = process.env.WAYSTONE_CONFORMANCE;
const FOLDER = ROOT === undefined ? undefined : join(ROOT, "authz-envoy-golden");
if (FOLDER === undefined) {
  process.stderr.write("differential: goldens skipped, WAYSTONE_CONFORMANCE names no folder\n");
}

interface Case {
  kind: "http" | "tcp";
  expected: string[];
  trustDomain?: string;
  trustDomainAliases?: string[];
  meshConfig?: { extensionProviders?: unknown };
}

/** What is joined by "and" or "or" has no order; names of headers have no case. */
function canonical(value: unknown, name = ""): unknown {
  if (Array.isArray(value)) {
    const all = value.map((one) => canonical(one));
    if (!/^(rules|ids|permissions|principals|valueMatchers|patterns)$/.test(name)) return all;
    return all.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  }
  if (typeof value !== "object" || value === null) return value;
  if ("ignoreCase" in value) return JSON.parse(JSON.stringify(value).toLowerCase());
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(
    entries.map(([key, inner]) => [
      key,
      key === "header" ? lowered(canonical(inner)) : canonical(inner, key),
    ]),
  );
}

function lowered(header: unknown): unknown {
  const { name, ...rest } = header as { name: string };
  return { name: name.toLowerCase(), ...rest };
}

for (const set of FOLDER === undefined ? [] : readdirSync(FOLDER)) {
  test(`golden ${set}`, () => {
    const read = (file: string) => readFileSync(join(FOLDER!, set, file), "utf8");
    const golden = JSON.parse(read("case.json")) as Case;
    const { kind, trustDomain = "cluster.local", trustDomainAliases = [], meshConfig } = golden;
    const providers = readProviders(meshConfig?.extensionProviders ?? [])?.providers ?? [];
    const policies = parsePolicies(read("input.yaml")).map((policy) => asking(policy, providers));
    const target = { isTcp: kind === "tcp", trustDomain, trustDomainAliases };
    const filters = authorizationFilters(policies, providers, target);
    expect(filters.map((filter) => canonical(filter))).toEqual(
      golden.expected.map((file) => canonical(parse(read(file)))),
    );
  });
}
