/**
 * Counters, gauges and histograms, and their exposition in the Prometheus text format 0.0.4.
 *
 * Written for the data path: a child is looked up once and kept, and counting with it is an
 * addition (a histogram adds a binary search). Every family is bounded: the series of a hostile or
 * merely large mesh end up in one child whose labels all read `overflow`, and that is counted too.
 */
import { assert } from "../kit/assert.ts";
import { escapeHelp, exposeChild, labelBlock } from "./exposition.ts";

const CHILDREN_MAX_DEFAULT = 10_000;

const METRIC_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL_NAME = /^(?!__)[a-zA-Z_][a-zA-Z0-9_]*$/;
const OVERFLOW_METRIC = "waystone_metric_overflow_total";

type MetricType = "counter" | "gauge" | "histogram";

/** What several processes' gauges of one name amount to: their sum, or one value they all show. */
export type Combination = "sum" | "max";

export class Counter {
  value = 0;

  /** `amount` ≥ 0: a counter that goes down would be read as a restart of the process. */
  add(amount: number): void {
    assert(amount >= 0, "a counter was given a negative amount");
    this.value += amount;
  }
}

export class Gauge {
  value = 0;

  set(value: number): void {
    this.value = value;
  }

  /** May be negative. */
  add(amount: number): void {
    this.value += amount;
  }
}

export class Histogram {
  readonly bounds: Float64Array;
  /** Per bucket, not cumulative; the last one has no upper bound. */
  readonly counts: Float64Array;
  sum = 0;

  constructor(bounds: Float64Array) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  get count(): number {
    let total = 0;
    for (const count of this.counts) total += count;
    return total;
  }

  observe(value: number): void {
    assert(!Number.isNaN(value), "a histogram was given NaN");
    const bounds = this.bounds;
    let low = 0;
    let high = bounds.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (value <= bounds[middle]!) high = middle;
      else low = middle + 1;
    }
    this.counts[low]! += 1;
    this.sum += value;
  }
}

/** What a family is: for the reference page, and for another process. */
export interface MetricDescription {
  readonly name: string;
  readonly type: MetricType;
  readonly help: string;
  readonly labelNames: readonly string[];
  readonly bucketBounds: readonly number[];
  readonly combination: Combination;
}

/**
 * One family's children as plain data. Each child has its place in `numbers`: its value, or its
 * buckets and then its sum; the overflow child comes last.
 */
export interface FamilySnapshot {
  readonly description: MetricDescription;
  readonly children: readonly { readonly key: string; readonly labels: string }[];
  readonly hasOverflow: boolean;
  readonly numbers: Float64Array;
}

export type MetricsSnapshot = readonly FamilySnapshot[];

function writeNumbers(
  child: Counter | Gauge | Histogram,
  numbers: Float64Array,
  start: number,
): void {
  if (!(child instanceof Histogram)) numbers[start] = child.value;
  else {
    numbers.set(child.counts, start);
    numbers[start + child.counts.length] = child.sum;
  }
}

function addNumbers(
  child: Counter | Gauge | Histogram,
  numbers: Float64Array,
  start: number,
  combination: Combination,
): void {
  if (child instanceof Histogram) {
    child.counts.forEach((count, i) => {
      child.counts[i] = count + numbers[start + i]!;
    });
    child.sum += numbers[start + child.counts.length]!;
    return;
  }
  const value = numbers[start]!;
  child.value = combination === "sum" ? child.value + value : Math.max(child.value, value);
}

interface Labelled<C> {
  readonly labels: string;
  readonly child: C;
}

/** All children of one name. */
class Family<C extends Counter | Gauge | Histogram> {
  readonly description: MetricDescription;
  readonly #children = new Map<string, Labelled<C>>();
  readonly #create: () => C;
  readonly #childrenMax: number;
  readonly #onOverflow: () => void;
  #overflow: Labelled<C> | undefined;

  constructor(
    description: MetricDescription,
    create: () => C,
    childrenMax: number,
    onOverflow: () => void,
  ) {
    this.description = description;
    this.#create = create;
    this.#childrenMax = childrenMax;
    this.#onOverflow = onOverflow;
  }

  /** The child with these values, in the order of the label names. Look it up once, keep it. */
  child(values: readonly string[]): C {
    const names = this.description.labelNames;
    assert(values.length === names.length, `${this.description.name}: wrong number of labels`);
    let key = "";
    // Lengths in front: no value can pass for the boundary between two others.
    for (const value of values) key += `${value.length}:${value}`;
    const known = this.#children.get(key);
    if (known !== undefined) return known.child;
    if (this.#children.size < this.#childrenMax) return this.#add(key, labelBlock(names, values));
    this.#onOverflow();
    return this.#overflowChild();
  }

  #add(key: string, labels: string): C {
    const child = this.#create();
    this.#children.set(key, { labels, child });
    return child;
  }

  snapshot(): FamilySnapshot {
    const { description } = this;
    const children = [...this.#children].map(([key, { labels }]) => ({ key, labels }));
    const all = [...this.#children.values(), ...(this.#overflow ? [this.#overflow] : [])];
    const width = description.type === "histogram" ? description.bucketBounds.length + 2 : 1;
    const numbers = new Float64Array(all.length * width);
    all.forEach(({ child }, i) => {
      writeNumbers(child, numbers, i * width);
    });
    return { description, children, hasOverflow: this.#overflow !== undefined, numbers };
  }

  /** Adds what another process has counted. What finds no room here goes to the overflow child. */
  absorb({ children, hasOverflow, numbers }: FamilySnapshot): void {
    const { type, bucketBounds, combination } = this.description;
    const width = type === "histogram" ? bucketBounds.length + 2 : 1;
    const count = children.length + (hasOverflow ? 1 : 0);
    for (let i = 0; i < count; i++) {
      const named = children[i];
      addNumbers(this.#counterpart(named), numbers, i * width, combination);
    }
  }

  #counterpart(named: { readonly key: string; readonly labels: string } | undefined): C {
    if (named === undefined) return this.#overflowChild();
    const known = this.#children.get(named.key);
    if (known !== undefined) return known.child;
    if (this.#children.size >= this.#childrenMax) return this.#overflowChild();
    return this.#add(named.key, named.labels);
  }

  get size(): number {
    return this.#children.size;
  }

  /** Lines of text, a child at a time; nothing when there are no children. */
  *expose(): Generator<string> {
    const { name, help, type } = this.description;
    let head = `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} ${type}\n`;
    for (const { labels, child } of this.#children.values()) {
      yield head + exposeChild(name, labels, child);
      head = "";
    }
    if (this.#overflow !== undefined) {
      yield head + exposeChild(name, this.#overflow.labels, this.#overflow.child);
    }
  }

  #overflowChild(): C {
    const names = this.description.labelNames;
    this.#overflow ??= {
      labels: labelBlock(
        names,
        names.map(() => "overflow"),
      ),
      child: this.#create(),
    };
    return this.#overflow.child;
  }
}

export type CounterFamily = Family<Counter>;
export type GaugeFamily = Family<Gauge>;
export type HistogramFamily = Family<Histogram>;

export class MetricRegistry {
  readonly #families = new Map<string, Family<Counter> | Family<Gauge> | Family<Histogram>>();
  readonly #collectors = new Set<() => void>();
  readonly #childrenMax: number;
  readonly #overflows: CounterFamily;

  constructor(options: { childrenMax?: number } = {}) {
    this.#childrenMax = options.childrenMax ?? CHILDREN_MAX_DEFAULT;
    this.#overflows = this.counter(
      OVERFLOW_METRIC,
      "Look-ups of new label values that a full metric answered with its overflow child.",
      ["metric"],
    );
  }

  counter(name: string, help: string, labelNames: readonly string[] = []): CounterFamily {
    return this.#family(
      { name, type: "counter", help, labelNames, bucketBounds: [], combination: "sum" },
      () => new Counter(),
    );
  }

  /** `combination`: what the gauges of several workers amount to; "max" for what all have alike. */
  gauge(
    name: string,
    help: string,
    labelNames: readonly string[] = [],
    combination: Combination = "sum",
  ): GaugeFamily {
    return this.#family(
      { name, type: "gauge", help, labelNames, bucketBounds: [], combination },
      () => new Gauge(),
    );
  }

  /** `bucketBounds` are inclusive upper bounds in ascending order, without +Inf. */
  histogram(
    name: string,
    help: string,
    labelNames: readonly string[],
    bucketBounds: readonly number[],
  ): HistogramFamily {
    const isAscending = bucketBounds.every(
      (bound, i) => Number.isFinite(bound) && (i === 0 || bound > bucketBounds[i - 1]!),
    );
    assert(isAscending, `${name}: bucket bounds must ascend and be finite`);
    assert(!labelNames.includes("le"), `${name}: the label "le" belongs to the buckets`);
    const bounds = Float64Array.from(bucketBounds);
    return this.#family(
      { name, type: "histogram", help, labelNames, bucketBounds, combination: "sum" },
      () => new Histogram(bounds),
    );
  }

  /** Called before each exposition: the place to set gauges that mirror a state. */
  beforeExpose(collector: () => void): () => void {
    this.#collectors.add(collector);
    return () => this.#collectors.delete(collector);
  }

  /** Prometheus text 0.0.4: families by name, children in the order in which they appeared. */
  expose(): string {
    return [...this.exposition()].join("");
  }

  /** The same in pieces, so that a large exposition need not stand still for it. */
  *exposition(): Generator<string> {
    for (const collector of this.#collectors) collector();
    for (const name of [...this.#families.keys()].sort()) yield* this.#families.get(name)!.expose();
  }

  /** All that is counted here, for another process to absorb: plain data. */
  snapshot(): MetricsSnapshot {
    for (const collector of this.#collectors) collector();
    return [...this.#families.values()].map((family) => family.snapshot());
  }

  /**
   * Adds another process's snapshot; families that are not known here are made. Without `gauges`
   * only what a process that has ended leaves behind: its counters and histograms.
   */
  absorb(
    snapshot: MetricsSnapshot,
    options: { readonly gauges: boolean } = { gauges: true },
  ): void {
    for (const family of snapshot) {
      const { name, type, help, labelNames, bucketBounds, combination } = family.description;
      if (type === "counter") this.counter(name, help, labelNames).absorb(family);
      else if (type === "histogram") {
        this.histogram(name, help, labelNames, bucketBounds).absorb(family);
      } else if (options.gauges) this.gauge(name, help, labelNames, combination).absorb(family);
    }
  }

  /** Every family, by name. */
  describe(): readonly MetricDescription[] {
    const families = [...this.#families.values()].map((family) => family.description);
    return families.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Asking again for a name gives the same family; asking for another shape is our mistake. */
  #family<C extends Counter | Gauge | Histogram>(
    description: MetricDescription,
    create: () => C,
  ): Family<C> {
    const { name } = description;
    const known = this.#families.get(name) as Family<C> | undefined;
    if (known !== undefined) {
      assert(isSameShape(known.description, description), `metric ${name} exists in another shape`);
      return known;
    }
    assert(METRIC_NAME.test(name), `${name} is not a metric name`);
    for (const label of description.labelNames) {
      assert(LABEL_NAME.test(label), `${name}: ${label} is not a label name`);
    }
    const isUnique = new Set(description.labelNames).size === description.labelNames.length;
    assert(isUnique, `${name}: a label is named twice`);
    const family = new Family(description, create, this.#childrenMax, () =>
      this.#overflows.child([name]).add(1),
    );
    this.#families.set(name, family as unknown as Family<Counter>);
    return family;
  }
}

function isSameShape(a: MetricDescription, b: MetricDescription): boolean {
  const shape = (d: MetricDescription) =>
    JSON.stringify([d.type, d.labelNames, d.bucketBounds, d.combination]);
  return shape(a) === shape(b);
}
