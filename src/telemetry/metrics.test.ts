import fc from "fast-check";
import { expect, test } from "vitest";
import { MetricRegistry } from "./metrics.ts";

interface Sample {
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly value: number;
}

/** A strict reader of text format 0.0.4: throws at the first line that is not of the format. */
function parseExposition(text: string): { samples: Sample[]; types: Map<string, string> } {
  const samples: Sample[] = [];
  const types = new Map<string, string>();
  if (text !== "" && !text.endsWith("\n")) throw new Error("the last line has no line feed");
  let family = "";
  for (const line of text.split("\n").slice(0, -1)) {
    const comment = /^# (HELP|TYPE) ([a-zA-Z_:][\w:]*) (.*)$/.exec(line);
    if (comment) {
      const [, keyword, name, rest] = comment;
      if (keyword === "TYPE") {
        if (types.has(name!)) throw new Error(`TYPE of ${name} twice`);
        if (!/^(counter|gauge|histogram)$/.test(rest!)) throw new Error(line);
        types.set(name!, rest!);
        family = name!;
      }
      continue;
    }
    const sample = parseSample(line);
    const base =
      types.get(family) === "histogram"
        ? /^(.*?)(_bucket|_sum|_count)$/.exec(sample.name)?.[1]
        : sample.name;
    if (base !== family) throw new Error(`${sample.name} stands in the family ${family}`);
    samples.push(sample);
  }
  return { samples, types };
}

function parseSample(line: string): Sample {
  const name = /^[a-zA-Z_:][\w:]*/.exec(line)?.[0];
  if (name === undefined) throw new Error(`no name: ${line}`);
  const labels = new Map<string, string>();
  let at = name.length;
  if (line[at] === "{") {
    at++;
    for (;;) {
      const found = /^([a-zA-Z_]\w*)="((?:[^"\\]|\\\\|\\"|\\n)*)"(,|\})/.exec(line.slice(at));
      if (!found) throw new Error(`no label at ${at}: ${line}`);
      if (labels.has(found[1]!)) throw new Error(`label ${found[1]} twice`);
      labels.set(
        found[1]!,
        found[2]!.replace(/\\(.)/g, (_, c: string) => (c === "n" ? "\n" : c)),
      );
      at += found[0].length;
      if (found[3] === "}") break;
    }
  }
  const value = /^ ([+-]?(?:Inf|\d+(?:\.\d+)?(?:e[+-]?\d+)?)|NaN)$/.exec(line.slice(at))?.[1];
  if (value === undefined) throw new Error(`no value: ${line}`);
  return { name, labels, value: value.endsWith("Inf") ? Number(`${value}inity`) : Number(value) };
}

function read(registry: MetricRegistry): Sample[] {
  return parseExposition(registry.expose()).samples;
}

test("expose() writes HELP, TYPE and samples, families by name", () => {
  const registry = new MetricRegistry();
  registry.gauge("b_open", "Open\nthings \\ now").child([]).set(-2.5);
  registry.counter("a_total", "As.", ["kind"]).child(["x"]).add(3);
  expect(registry.expose()).toBe(
    [
      "# HELP a_total As.",
      "# TYPE a_total counter",
      'a_total{kind="x"} 3',
      "# HELP b_open Open\\nthings \\\\ now",
      "# TYPE b_open gauge",
      "b_open -2.5",
      "",
    ].join("\n"),
  );
});

test("expose() is read back for any label values", () => {
  const values = fc.array(fc.tuple(fc.string({ unit: "binary" }), fc.string()), { maxLength: 20 });
  fc.assert(
    fc.property(values, (pairs) => {
      const registry = new MetricRegistry();
      const family = registry.counter("x_total", "X.", ["one", "two"]);
      const expected = new Map<string, number>();
      for (const pair of pairs) {
        family.child(pair).add(1);
        expected.set(JSON.stringify(pair), (expected.get(JSON.stringify(pair)) ?? 0) + 1);
      }
      // A carriage return is an ordinary character of a label value in this format.
      const samples = read(registry).map(
        ({ labels, value }) =>
          [JSON.stringify([labels.get("one"), labels.get("two")]), value] as const,
      );
      expect(new Map(samples)).toEqual(expected);
    }),
  );
});

test("child() keeps apart values that some way of joining would make the same", () => {
  const value = fc.string({
    unit: fc.constantFrom("a", ",", ":", "|", "1", "\0", '"'),
    maxLength: 4,
  });
  const tuples = fc.uniqueArray(fc.tuple(value, value), { selector: (t) => JSON.stringify(t) });
  fc.assert(
    fc.property(tuples, (pairs) => {
      const family = new MetricRegistry().counter("x_total", "X.", ["one", "two"]);
      expect(new Set(pairs.map((pair) => family.child(pair))).size).toBe(pairs.length);
      for (const pair of pairs) expect(family.child([...pair])).toBe(family.child(pair));
    }),
  );
  const family = new MetricRegistry().counter("x_total", "X.", ["one", "two"]);
  for (const joint of [",", ":", "|", "\0", "\n", '"', ";", "\u001f", "\u00ff"]) {
    expect(family.child([`a${joint}a`, "a"])).not.toBe(family.child(["a", `a${joint}a`]));
  }
});

test("histogram buckets are cumulative, inclusive, and end with +Inf", () => {
  const registry = new MetricRegistry();
  const child = registry.histogram("h", "H.", ["l"], [1, 5, 10]).child(["v"]);
  for (const value of [0, 1, 1.0001, 5, 10, 10.5, Number.POSITIVE_INFINITY]) child.observe(value);
  const buckets = read(registry).filter((s) => s.name === "h_bucket");
  expect(buckets.map((s) => [s.labels.get("le"), s.value])).toEqual([
    ["1", 2],
    ["5", 4],
    ["10", 5],
    ["+Inf", 7],
  ]);
  expect(read(registry).find((s) => s.name === "h_count")?.value).toBe(7);
  expect(read(registry).find((s) => s.name === "h_sum")?.value).toBe(Number.POSITIVE_INFINITY);
});

test("observe() finds the bucket that a linear search finds", () => {
  const bounds = fc.uniqueArray(fc.double({ noNaN: true, min: -1e9, max: 1e9 }), { maxLength: 30 });
  fc.assert(
    fc.property(bounds, fc.double({ noNaN: true, min: -2e9, max: 2e9 }), (unsorted, value) => {
      // -0 and 0 are one bound.
      const sorted = [...new Set(unsorted.map((bound) => bound + 0))].sort((a, b) => a - b);
      const child = new MetricRegistry().histogram("h", "H.", [], sorted).child([]);
      child.observe(value);
      const index = sorted.findIndex((bound) => value <= bound);
      expect(child.counts[index < 0 ? sorted.length : index]).toBe(1);
      expect(child.count).toBe(1);
    }),
  );
});

test("a full family answers with one overflow child and counts that", () => {
  const registry = new MetricRegistry({ childrenMax: 2 });
  const family = registry.counter("x_total", "X.", ["one", "two"]);
  for (let i = 0; i < 5; i++) family.child([String(i), "y"]).add(1);
  family.child(["0", "y"]).add(1);
  expect(family.size).toBe(2);
  const samples = read(registry);
  const of = (one: string) => samples.find((s) => s.labels.get("one") === one);
  expect(of("0")?.value).toBe(2);
  expect(of("4")).toBeUndefined();
  expect(of("overflow")).toEqual({
    name: "x_total",
    labels: new Map([
      ["one", "overflow"],
      ["two", "overflow"],
    ]),
    value: 3,
  });
  const overflows = samples.find((s) => s.name === "waystone_metric_overflow_total");
  expect(overflows?.labels.get("metric")).toBe("x_total");
  expect(overflows?.value).toBe(3);
});

test("a family is asked for again in the same shape only", () => {
  const registry = new MetricRegistry();
  const family = registry.counter("x_total", "X.", ["a"]);
  expect(registry.counter("x_total", "X.", ["a"])).toBe(family);
  expect(() => registry.counter("x_total", "X.", ["b"])).toThrow("another shape");
  expect(() => registry.gauge("x_total", "X.", ["a"])).toThrow("another shape");
  expect(() => registry.counter("1x", "X.")).toThrow("not a metric name");
  expect(() => registry.counter("y_total", "X.", ["__name__"])).toThrow("not a label name");
  expect(() => registry.counter("y_total", "X.", ["a", "a"])).toThrow("twice");
  expect(() => registry.histogram("h", "H.", ["le"], [1])).toThrow('"le"');
  expect(() => registry.histogram("h", "H.", [], [2, 1])).toThrow("ascend");
  expect(() => family.child([])).toThrow("wrong number of labels");
});

test("a counter does not go down and NaN is never taken", () => {
  const registry = new MetricRegistry();
  const counter = registry.counter("x_total", "X.").child([]);
  expect(() => counter.add(-1)).toThrow("negative");
  expect(() => counter.add(Number.NaN)).toThrow("negative");
  const histogram = registry.histogram("h", "H.", [], [1]).child([]);
  expect(() => histogram.observe(Number.NaN)).toThrow("NaN");
  expect(counter.value).toBe(0);
});

test("beforeExpose() sets gauges at the moment they are read, until it is taken back", () => {
  const registry = new MetricRegistry();
  const gauge = registry.gauge("g", "G.").child([]);
  let state = 1;
  const stop = registry.beforeExpose(() => gauge.set(state));
  expect(read(registry)[0]?.value).toBe(1);
  state = 7;
  expect(read(registry)[0]?.value).toBe(7);
  stop();
  state = 9;
  expect(read(registry)[0]?.value).toBe(7);
});

test("exposition() gives the text of expose() in pieces of a child", () => {
  const registry = new MetricRegistry();
  const family = registry.counter("x_total", "X.", ["i"]);
  for (let i = 0; i < 10; i++) family.child([String(i)]).add(i);
  const pieces = [...registry.exposition()];
  expect(pieces.length).toBe(10);
  expect(pieces.join("")).toBe(registry.expose());
});

/** A process's registry with one metric of each kind. */
function process(requests: number, active: number, revision: number, durations: number[]) {
  const registry = new MetricRegistry({ childrenMax: 3 });
  const total = registry.counter("requests_total", "R.", ["code"]);
  total.child(["200"]).add(requests);
  registry.gauge("active", "A.").child([]).set(active);
  registry.gauge("revision", "V.", [], "max").child([]).set(revision);
  const duration = registry.histogram("duration", "D.", ["code"], [1, 10]);
  for (const value of durations) duration.child(["200"]).observe(value);
  return registry;
}

test("absorb() sums what several processes count, and shows once what they have alike", () => {
  const all = new MetricRegistry({ childrenMax: 3 });
  const other = process(5, 3, 7, [0.5, 20]);
  other.counter("requests_total", "R.", ["code"]).child(['4"0\n4']).add(1);
  for (const registry of [process(2, 1, 7, [5]), other]) {
    all.absorb(structuredClone(registry.snapshot()));
  }
  const { samples } = parseExposition(all.expose());
  const lines = samples.map(({ name, labels, value }) => [name, [...labels.values()], value]);
  expect(lines).toEqual([
    ["active", [], 4],
    ["duration_bucket", ["200", "1"], 1],
    ["duration_bucket", ["200", "10"], 2],
    ["duration_bucket", ["200", "+Inf"], 3],
    ["duration_sum", ["200"], 25.5],
    ["duration_count", ["200"], 3],
    ["requests_total", ["200"], 7],
    ["requests_total", ['4"0\n4'], 1],
    ["revision", [], 7],
  ]);
});

test("absorb() keeps of a process that has ended its counts, not its state", () => {
  const all = new MetricRegistry();
  all.absorb(process(2, 1, 7, [5]).snapshot(), { gauges: false });
  expect(all.describe().map(({ name }) => name)).not.toContain("active");
  expect(all.counter("requests_total", "R.", ["code"]).child(["200"]).value).toBe(2);
});

test("absorb() is bounded: no total is lost, and the overflow is one series", () => {
  const all = new MetricRegistry({ childrenMax: 3 });
  for (const worker of [1, 2]) {
    const registry = new MetricRegistry({ childrenMax: 3 });
    const family = registry.counter("x_total", "X.", ["name"]);
    for (const name of ["a", "b", "c", "d", "e"]) family.child([`${name}${worker}`]).add(1);
    all.absorb(registry.snapshot());
  }
  const { samples } = parseExposition(all.expose());
  const counts = samples.filter(({ name }) => name === "x_total");
  expect(counts.map(({ labels, value }) => [labels.get("name"), value])).toEqual([
    ["a1", 1],
    ["b1", 1],
    ["c1", 1],
    ["overflow", 7],
  ]);
});
