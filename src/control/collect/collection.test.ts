import fc from "fast-check";
import { expect, test } from "vitest";
import type { Collection, SourceCollection } from "./collection.ts";
import { Graph } from "./graph.ts";

interface Pod {
  readonly labels: readonly string[];
  readonly weight: number;
}

/** A small graph with every kind of edge: input, fetch, lookup, keys, union, contested outputs. */
class Sample {
  readonly graph = new Graph();
  readonly pods: SourceCollection<Pod> = this.graph.source("pods");
  readonly services: SourceCollection<string> = this.graph.source("services");
  readonly podsByLabel = this.graph.index("podsByLabel", this.pods, (pod) => pod.labels);
  /** A service with the total weight of what it selects. */
  readonly totals: Collection<{ total: number; first: string }> = this.graph.derive(
    "totals",
    this.services,
    (context, selector, key) => {
      const selected = context.lookup(this.podsByLabel, selector);
      const total = selected.reduce((sum, pod) => sum + pod.weight, 0);
      const named = context.fetch(this.pods, key);
      return total > 6 ? [] : [[key, { total, first: named?.labels[0] ?? "" }]];
    },
  );
  /** Every pod claims its labels: several claim the same. */
  readonly claims: Collection<number> = this.graph.derive("claims", this.pods, (_context, pod) =>
    pod.labels.map((label) => [label, pod.weight] as const),
  );
  readonly totalsByFirst = this.graph.index("totalsByFirst", this.totals, ({ first }) => [first]);
  readonly labels = this.graph.keys("labels", [this.podsByLabel, this.totalsByFirst]);
  readonly summary: Collection<unknown> = this.graph.derive(
    "summary",
    this.labels,
    (ctx, label) => [
      [label, [ctx.lookup(this.totalsByFirst, label), ctx.fetch(this.claims, label)]],
    ],
  );
  readonly all: Collection<unknown> = this.graph.union<unknown>("all", [this.totals, this.claims]);

  state(): unknown {
    return [this.totals, this.claims, this.labels, this.summary, this.all].map((collection) =>
      Object.fromEntries([...collection.entries()].sort(([a], [b]) => (a < b ? -1 : 1))),
    );
  }
}

const key = fc.constantFrom("a", "b", "c", "d");
const pod = fc.record({
  labels: fc.uniqueArray(fc.constantFrom("a", "b", "x", "y"), { maxLength: 3 }),
  weight: fc.integer({ min: 0, max: 4 }),
});
const edit = fc.oneof(
  fc.record({ into: fc.constant("pods" as const), key, value: fc.option(pod, { nil: undefined }) }),
  fc.record({
    into: fc.constant("services" as const),
    key,
    value: fc.option(fc.constantFrom("a", "x", "y"), { nil: undefined }),
  }),
);

test("a graph that saw every edit equals one that is built from the end", () => {
  fc.assert(
    fc.property(fc.array(fc.array(edit, { maxLength: 4 }), { maxLength: 12 }), (batches) => {
      const incremental = new Sample();
      for (const batch of batches) {
        const before = new Map(incremental.summary.entries());
        incremental.graph.forgetChanges();
        for (const change of batch) apply(incremental, change);
        incremental.graph.commit();
        for (const [name, { after }] of incremental.summary.changes) {
          expect(after).not.toEqual(before.get(name));
        }
      }
      const fresh = new Sample();
      for (const [name, value] of incremental.services.entries()) fresh.services.set(name, value);
      for (const [name, value] of incremental.pods.entries()) fresh.pods.set(name, value);
      fresh.graph.commit();
      expect(incremental.state()).toEqual(fresh.state());
    }),
    { numRuns: 300 },
  );
});

function apply(sample: Sample, change: { into: string; key: string; value: unknown }): void {
  const source = change.into === "pods" ? sample.pods : sample.services;
  if (change.value === undefined) source.delete(change.key);
  else (source as SourceCollection<unknown>).set(change.key, change.value);
}

test("commit() recomputes only what read what changed", () => {
  const sample = new Sample();
  for (let i = 0; i < 100; i++) {
    sample.services.set(`s${i}`, `l${i}`);
    sample.pods.set(`p${i}`, { labels: [`l${i}`], weight: 1 });
  }
  sample.graph.commit();
  const before = sample.graph.recomputed;
  sample.pods.set("p7", { labels: ["l7"], weight: 2 });
  sample.graph.commit();
  // The pod's claims, the service that selects it, the summaries of its label and of "".
  expect(sample.graph.recomputed - before).toBe(4);
});

test("commit() keeps the identity of an output that came out equal, and stops there", () => {
  const graph = new Graph();
  const source = graph.source<{ name: string; note: string }>("source");
  const names = graph.derive("names", source, (_context, { name }, key) => [[key, { name }]]);
  let runs = 0;
  graph.derive("behind", names, (_context, value, key) => {
    runs++;
    return [[key, value]];
  });
  source.set("a", { name: "n", note: "one" });
  graph.commit();
  const first = names.get("a");
  source.set("a", { name: "n", note: "two" });
  graph.commit();
  expect(names.get("a")).toBe(first);
  expect(runs).toBe(1);
});

test("fetch() refuses a collection that is made later", () => {
  const graph = new Graph();
  const source = graph.source<string>("source");
  const later: { collection?: Collection<string> } = {};
  graph.derive("early", source, (context, _input, key) => {
    context.fetch(later.collection!, key);
    return [];
  });
  later.collection = graph.derive("late", source, (_context, input, key) => [[key, input]]);
  source.set("a", "a");
  expect(() => graph.commit()).toThrow("early reads late, which is made later");
});

test("lookup() gives sorted values that later changes leave alone", () => {
  const graph = new Graph();
  const source = graph.source<string>("source");
  const index = graph.index("index", source, () => ["all"]);
  for (const name of ["c", "a", "b"]) source.set(name, name);
  const seen = index.lookup("all");
  expect(seen).toEqual(["a", "b", "c"]);
  source.delete("b");
  source.set("aa", "aa");
  expect(seen).toEqual(["a", "b", "c"]);
  expect(index.lookup("all")).toEqual(["a", "aa", "c"]);
});
