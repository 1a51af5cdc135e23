import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parse } from "yaml";
import {
  type Json,
  MERGE_RULES,
  type MergeRules,
  mergeProblems,
  strategicMerge,
} from "./strategic-merge.ts";

/** Generated patches, and what Kubernetes' own code (apimachinery 0.36) makes of them. */
const KUBERNETES = new URL(
  "../../../test/fixtures/strategic-merge/kubernetes.jsonl",
  import.meta.url,
);

interface Case {
  readonly kind: keyof typeof MERGE_RULES;
  readonly target: Json;
  readonly patch: Json;
  readonly result: Json;
}

const cases = readFileSync(KUBERNETES, "utf8")
  .trim()
  .split("\n")
  .map((line): Case => JSON.parse(line));

test("strategicMerge() does what Kubernetes does", () => {
  expect(cases.length).toBeGreaterThan(40);
  for (const { kind, target, patch, result } of cases) {
    const before = structuredClone([target, patch]);
    const merged = strategicMerge(target, patch, MERGE_RULES[kind]);
    expect(merged, JSON.stringify(patch)).toEqual(result);
    expect([target, patch]).toEqual(before);
  }
});

const POD = `
spec:
  template:
    spec:
      containers:
        - name: istio-proxy
          args: [waypoint, --a, --b]
          env: [{ name: A, value: "1" }, { name: B, value: "2" }]
          ports: [{ containerPort: 15020, name: metrics }]
      tolerations: [{ key: a }]
      volumes: [{ name: state, emptyDir: {} }]
`;

function merged(target: string, patch: string, rules: MergeRules = MERGE_RULES.Deployment) {
  return strategicMerge(parse(target) as Json, parse(patch) as Json, rules);
}

/** The Pod's spec after a patch of it. */
function podAfter(patch: string): unknown {
  const spec = strategicMerge(
    parse(POD) as Json,
    { spec: { template: { spec: parse(patch) } } },
    MERGE_RULES.Deployment,
  ) as { spec: { template: { spec: Json } } };
  return spec.spec.template.spec;
}

test.each([
  [
    "a variable that is new comes before those that are there",
    "containers: [{ name: istio-proxy, env: [{ name: C, value: '3' }, { name: A, value: '0' }] }]",
    {
      containers: [{ env: [{ name: "C", value: "3" }, { name: "A", value: "0" }, { name: "B" }] }],
    },
  ],
  ["a container that is new", "containers: [{ name: x }]", { containers: [{ name: "x" }, {}] }],
  ["tolerations are replaced", "tolerations: [{ key: b }]", { tolerations: [{ key: "b" }] }],
  [
    "values are taken out of a plain list",
    "containers: [{ name: istio-proxy, $deleteFromPrimitiveList/args: [--a] }]",
    { containers: [{ args: ["waypoint", "--b"] }] },
  ],
  [
    "an item is taken out by its key",
    "containers: [{ name: istio-proxy, env: [{ name: A, $patch: delete }] }]",
    { containers: [{ env: [{ name: "B" }] }] },
  ],
  [
    "a list is replaced",
    "containers: [{ $patch: replace }, { name: x, env: [{ name: A, $patch: delete }] }]",
    { containers: [{ name: "x", env: [] }] },
  ],
  [
    "one kind of volume takes another's place",
    "volumes: [{ name: state, $retainKeys: [name, configMap], configMap: { name: c } }]",
    { volumes: [{ name: "state", configMap: { name: "c" } }] },
  ],
  [
    "the order that kubectl apply notes is passed over",
    "{ $setElementOrder/volumes: [{ name: state }], volumes: [{ name: v }] }",
    { volumes: [{ name: "v" }, { name: "state" }] },
  ],
  [
    "a field that is not there is set by a replacement, without nulls",
    "affinity: { $patch: replace, a: 1, b: null }",
    { affinity: { a: 1 } },
  ],
] as const)("strategicMerge(): %s", (_what, patch, expected) => {
  expect(podAfter(patch)).toMatchObject(expected);
});

test("strategicMerge() takes a field away by null, and replaces a budget's selector", () => {
  expect(merged("{ a: 1, b: { c: 1, d: 2 } }", "{ a: null, b: { c: null } }")).toEqual({
    b: { d: 2 },
  });
  const rules = MERGE_RULES.PodDisruptionBudget;
  const patch = "spec: { selector: { matchLabels: { b: x } } }";
  expect(merged("spec: { selector: { matchLabels: { a: x } } }", patch, rules)).toEqual({
    spec: { selector: { matchLabels: { b: "x" } } },
  });
});

test("strategicMerge() takes any name for a field's", () => {
  const result = merged(
    "{ a: 1 }",
    "{ __proto__: { b: 1 }, constructor: [{ c: 1 }], toString: x }",
  );
  expect(Object.keys(result)).toEqual(["a", "__proto__", "constructor", "toString"]);
  expect(Object.getPrototypeOf(result)).toBe(Object.prototype);
});

const name = fc.constantFrom("a", "b", "c", "d");
const items = fc.uniqueArray(
  fc.record(
    { name, value: fc.option(name), $patch: fc.constantFrom("delete", "replace") },
    { requiredKeys: ["name"] },
  ),
  { maxLength: 5, selector: (item) => item.name },
);
const patches = fc.letrec((tie) => ({
  patch: fc.record(
    {
      containers: items,
      volumes: items,
      args: fc.array(name),
      "$deleteFromPrimitiveList/args": fc.array(name),
      a: fc.option(fc.oneof({ maxDepth: 3 }, name, tie("patch"))),
      b: fc.oneof({ maxDepth: 3 }, fc.array(fc.option(name)), tie("patch")),
      $patch: fc.constantFrom("delete", "replace"),
    },
    { requiredKeys: [] },
  ),
})).patch as fc.Arbitrary<Json>;
const RULES: MergeRules = { containers: { key: "name" }, volumes: { key: "name" } };

test("strategicMerge() of the same patch twice is that of it once, and leaves no directive", () => {
  fc.assert(
    fc.property(patches, patches, (first, patch) => {
      const target = strategicMerge({}, first, RULES);
      const once = strategicMerge(target, patch, RULES);
      expect(strategicMerge(once, patch, RULES)).toEqual(once);
      expect(JSON.stringify(once)).not.toMatch(/"\$/);
    }),
    { numRuns: 500 },
  );
});

test.each([
  ["{ $patch: merge }", "$patch", 'is "merge": use replace or delete'],
  ["{ a: { $pacth: delete } }", "a.$pacth", "is no directive"],
  ["{ $retainKeys: name }", "$retainKeys", "is not a list"],
  ["{ $retainKeys: [a], b: 1 }", "$retainKeys", 'does not name "b"'],
  [
    "spec: { template: { spec: { containers: [{ image: x }] } } }",
    "spec.template.spec.containers.0",
    'needs "name"',
  ],
  [
    "spec: { template: { spec: { volumes: [x] } } }",
    "spec.template.spec.volumes.0",
    'needs "name"',
  ],
  ["spec: { replicas: .inf }", "spec.replicas", "write a number"],
])("mergeProblems() of %s", (patch, path, message) => {
  const [problem] = mergeProblems(parse(patch) as Json, MERGE_RULES.Deployment);
  expect(problem?.path.join(".")).toBe(path);
  expect(problem?.message).toContain(message);
});

test("mergeProblems() finds none in what can be laid on", () => {
  for (const { kind, patch } of cases) expect(mergeProblems(patch, MERGE_RULES[kind])).toEqual([]);
});
