import { expect, test } from "vitest";
import { WATCHED_KINDS } from "../source/kubernetes/watched-kinds.ts";
import { type PolicyRule, permissionsOf, rulesOf } from "./permissions.ts";

const MODES = ["under", "beside"] as const;

function verbsOn(rules: readonly PolicyRule[], group: string, resource: string): string[] {
  return rules
    .filter((rule) => rule.apiGroups.includes(group) && rule.resources.includes(resource))
    .flatMap((rule) => rule.verbs);
}

test.each(MODES)("permissionsOf() %s lets every watched kind be listed and watched", (mode) => {
  const readable = permissionsOf(mode)
    .filter(({ rule }) => rule.verbs.includes("list") && rule.verbs.includes("watch"))
    .flatMap(({ rule }) => rule.resources.map((name) => `${rule.apiGroups[0]}/${name}`));
  // Two of the kinds are called Gateway, in groups of their own.
  expect(readable.length).toBe(WATCHED_KINDS.length);
  expect(readable).toEqual(
    expect.arrayContaining([
      "gateway.networking.k8s.io/gatewayclasses",
      "gateway.networking.k8s.io/gateways",
      "networking.istio.io/gateways",
      "networking.istio.io/serviceentries",
      "/configmaps",
      "/services",
    ]),
  );
});

test.each(MODES)("permissionsOf() %s has no wildcard, no deletion of others' objects", (mode) => {
  for (const { rule } of permissionsOf(mode)) {
    expect([...rule.verbs, ...rule.resources, ...rule.apiGroups]).not.toContain("*");
    expect(rule.verbs).not.toContain("deletecollection");
    expect(rule.verbs).not.toContain("escalate");
    expect(rule.verbs).not.toContain("impersonate");
  }
  const deletable = permissionsOf(mode)
    .filter(({ rule }) => rule.verbs.includes("delete"))
    .flatMap(({ rule }) => rule.resources);
  expect(deletable).toEqual(["horizontalpodautoscalers", "poddisruptionbudgets"]);
});

test.each(MODES)(
  "permissionsOf() %s reads Secrets by name and in one namespace, if at all",
  (mode) => {
    const all = permissionsOf(mode).filter(({ rule }) => rule.resources.includes("secrets"));
    expect(all.every(({ scope }) => scope === "root")).toBe(true);
    const named = all.map(({ rule }) => [rule.verbs.join(), ...(rule.resourceNames ?? [])]);
    // A `create` cannot be held to a name.
    expect(named).toEqual(
      mode === "under"
        ? [["get", "cacerts", "istio-ca-secret"], ["get,update", "waystone-ca"], ["create"]]
        : [],
    );
  },
);

test("rulesOf() beside istiod writes no status that istiod writes", () => {
  const beside = rulesOf("beside", "cluster");
  const under = rulesOf("under", "cluster");
  for (const [group, resource] of [
    ["security.istio.io", "authorizationpolicies/status"],
    ["networking.istio.io", "serviceentries/status"],
    ["", "services/status"],
  ] as const) {
    expect(verbsOn(under, group, resource)).toEqual(["patch"]);
    expect(verbsOn(beside, group, resource)).toEqual([]);
  }
  expect(verbsOn(beside, "gateway.networking.k8s.io", "httproutes/status")).toEqual(["patch"]);
  expect(verbsOn(beside, "", "configmaps")).toEqual(["get"]);
});

test("rulesOf() gives the Lease where the control plane is, by its name but for the first", () => {
  expect(rulesOf("beside", "own")).toEqual([
    {
      apiGroups: ["coordination.k8s.io"],
      resources: ["leases"],
      resourceNames: ["waystone-leader"],
      verbs: ["get", "update"],
    },
    { apiGroups: ["coordination.k8s.io"], resources: ["leases"], verbs: ["create"] },
  ]);
});
