import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { DIAGNOSTICS } from "../../src/kit/diagnostic.ts";
import { FAILURES } from "../../src/kit/failure.ts";
import { HTTP_LABELS } from "../../src/telemetry/istio-metrics.ts";
import { LIMITS } from "../../src/telemetry/limits-reached.ts";
import { fullRegistry, metricsPage, PAGES } from "../../tools/docs.ts";

/** A metric made with a literal name. */
const METRIC_MADE = /\.(?:counter|gauge|histogram)\(\s*"([^"]+)"/g;
/** Its name is a constant. */
const OVERFLOW_METRIC = "waystone_metric_overflow_total";

function page(name: string): string {
  return readFileSync(new URL(`../../docs/reference/${name}`, import.meta.url), "utf8");
}

/** First cells of the table under the first head row that begins with `head`. */
function firstColumn(text: string, head: string): string[] {
  const lines = text.split("\n");
  const start = lines.findIndex((line) => line.startsWith(`| ${head} |`));
  const rows = lines.slice(start + 2);
  const end = rows.findIndex((line) => !line.startsWith("|"));
  return rows.slice(0, end).map((line) => /^\| `([^`]+)` \|/.exec(line)?.[1] ?? line);
}

test("errors.md has exactly the codes of the table, with what they mean", () => {
  const text = page("errors.md");
  expect(firstColumn(text, "code")).toEqual(Object.keys(FAILURES));
  for (const { meaning } of Object.values(FAILURES)) expect(text).toContain(meaning);
});

test("diagnostics.md has exactly the codes of the table, with what they mean", () => {
  const text = page("diagnostics.md");
  expect(firstColumn(text, "code")).toEqual(Object.keys(DIAGNOSTICS));
  for (const { description } of Object.values(DIAGNOSTICS)) expect(text).toContain(description);
});

test("metrics.md has exactly the metrics and labels of the registry", () => {
  const text = page("metrics.md");
  const metrics = fullRegistry().describe();
  expect(firstColumn(text, "metric")).toEqual(metrics.map((metric) => metric.name));
  const labels = new Set([...HTTP_LABELS, ...metrics.flatMap((metric) => metric.labelNames)]);
  expect(firstColumn(text, "label")).toEqual([...labels]);
});

test("metrics.md has every metric that the source makes, and no waystone metric beyond", () => {
  const root = new URL("../../src/", import.meta.url);
  const files = readdirSync(root, { recursive: true, encoding: "utf8" });
  const made = files
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"))
    .flatMap((file) => [...readFileSync(new URL(file, root), "utf8").matchAll(METRIC_MADE)])
    .map(([, name]) => name!);
  const listed = firstColumn(page("metrics.md"), "metric");
  expect(made.length).toBeGreaterThan(3);
  expect(listed).toEqual(expect.arrayContaining(made));
  const own = listed.filter((name) => name.startsWith("waystone_"));
  expect([...made, OVERFLOW_METRIC]).toEqual(expect.arrayContaining(own));
});

test("limits.md names metrics that there are, and every limit that is counted by name", () => {
  const text = page("limits.md");
  const listed = firstColumn(page("metrics.md"), "metric");
  const named = [...text.matchAll(/`((?:istio|waystone)_[a-z0-9_]+)(?:\{[^`]*)?`/g)].map(
    ([, name]) => name!,
  );
  expect(named.length).toBeGreaterThan(20);
  expect(listed).toEqual(expect.arrayContaining(named));
  const counted = [...text.matchAll(/limits_reached_total\{limit="(\w+)"\}/g)].map(
    ([, name]) => name,
  );
  expect([...new Set(counted)].sort()).toEqual([...LIMITS].sort());
});

test("metricsPage() refuses a label that nobody described", () => {
  const registry = fullRegistry();
  registry.counter("x_total", "X.", ["mystery"]);
  expect(() => metricsPage(registry.describe())).toThrow("mystery");
});

test.each(Object.keys(PAGES))("%s is what tools/docs.ts writes", async (name) => {
  await expect(PAGES[name]!()).toMatchFileSnapshot(`../../docs/reference/${name}`);
});
