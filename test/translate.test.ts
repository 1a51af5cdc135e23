/**
 * Golden tests from objects to the Snapshot: `fixtures/translate/<situation>.yaml` is applied on top of
 * `base.yaml`, or of the situation that its line `# on:` names (an object of the same name replaces
 * the one below), and what that makes different is compared with `<situation>.out.yaml`. `npx vitest run test/translate.test.ts -u` renews.
 */
import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { stringify } from "yaml";
import type { ParsedObject } from "../src/api/object.ts";
import { readObjects } from "../src/api/read-objects.ts";
import { ControlPlane } from "../src/control/control-plane.ts";
import { formatDiagnostic } from "../src/kit/diagnostic.ts";

const FOLDER = new URL("fixtures/translate/", import.meta.url);
const SECTIONS = [
  "waypoints",
  "services",
  "workloads",
  "endpoints",
  "addresses",
  "routes",
  "policies",
  "authentications",
  "l4Policies",
  "l4PoliciesByNamespace",
] as const;

const situations = readdirSync(FOLDER)
  .filter((file) => file.endsWith(".yaml") && !file.endsWith(".out.yaml"))
  .map((file) => file.slice(0, -".yaml".length));

for (const situation of situations) {
  test(`translation of ${situation}`, async () => {
    const controlPlane = new ControlPlane({ enrolment: "label" });
    const steps = stepsTo(situation);
    for (const step of steps.slice(0, -1)) {
      controlPlane.apply({ upserted: await read(step), removed: [] });
    }
    const before = steps.length === 1 ? {} : outcome(controlPlane);
    controlPlane.apply({ upserted: await read(situation), removed: [] });
    const text = stringify(difference(before, outcome(controlPlane)), {
      lineWidth: 0,
      aliasDuplicateObjects: false,
    });
    await expect(text).toMatchFileSnapshot(new URL(`${situation}.out.yaml`, FOLDER).pathname);
  });
}

test("every situation comes out the same when its objects arrive one by one, last first", async () => {
  for (const situation of situations) {
    const objects = (await Promise.all(stepsTo(situation).map(read))).flat();
    const byKey = new Map(
      objects.map((o) => [`${o.kind}/${o.value.metadata.namespace}/${o.value.metadata.name}`, o]),
    );
    const atOnce = new ControlPlane({ enrolment: "label" });
    atOnce.apply({ upserted: [...byKey.values()], removed: [] });
    const oneByOne = new ControlPlane({ enrolment: "label" });
    for (const object of [...byKey.values()].reverse()) {
      oneByOne.apply({ upserted: [object], removed: [] });
    }
    expect(outcome(oneByOne), situation).toEqual(outcome(atOnce));
  }
});

/** What is applied, one on top of the other. */
function stepsTo(situation: string): readonly string[] {
  if (situation === "base") return ["base"];
  const text = readFileSync(new URL(`${situation}.yaml`, FOLDER), "utf8");
  const below = /^# on: (\S+)$/m.exec(text)?.[1] ?? "base";
  return [...stepsTo(below), situation];
}

async function read(name: string): Promise<readonly ParsedObject[]> {
  const text = readFileSync(new URL(`${name}.yaml`, FOLDER), "utf8");
  const { objects, diagnostics } = await readObjects(text, `${name}.yaml`);
  // What rules refuse in a file may be in a cluster all the same.
  const others = diagnostics.filter(({ code }) => code !== "WS0008" && code !== "WS0118");
  expect(others.map(formatDiagnostic)).toEqual([]);
  return objects;
}

type Outcome = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

function outcome(controlPlane: ControlPlane): Outcome {
  const parts: Record<string, Record<string, unknown>> = {};
  for (const section of SECTIONS) {
    const entries: [string, unknown][] = [...controlPlane.current[section].entries()];
    parts[section] = sorted(entries.map(([key, value]) => [key, plain(value)]));
  }
  parts.conditions = sorted(
    [...controlPlane.conditions.entries()].flatMap(([key, { conditions, parents }]) => {
      const lines = conditions.map(formatCondition);
      for (const { parent, conditions: own } of parents) {
        const port = parent.port === undefined ? "" : `:${parent.port}`;
        const name = `${parent.kind} ${parent.namespace}/${parent.name}${port}`;
        lines.push(...own.map((condition) => `${name}: ${formatCondition(condition)}`));
      }
      return lines.length === 0 ? [] : [[key, lines] as const];
    }),
  );
  const diagnostics = controlPlane.diagnostics.map((d) => [formatDiagnostic(d), d.path ?? ""]);
  parts.diagnostics = Object.fromEntries(diagnostics);
  return parts;
}

function formatCondition(condition: {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}): string {
  return `${condition.type}=${condition.status} ${condition.reason}: ${condition.message}`;
}

function sorted(entries: Iterable<readonly [string, unknown]>): Record<string, unknown> {
  return Object.fromEntries([...entries].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Without places in files and without what is empty, so that a golden shows what matters. */
function plain(value: unknown): unknown {
  if (value instanceof Map) return plain(Object.fromEntries(value));
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  const kept = Object.entries(value).filter(
    ([key, v]) =>
      key !== "position" &&
      key !== "source" &&
      v !== undefined &&
      v !== "" &&
      !(Array.isArray(v) && v.length === 0),
  );
  return Object.fromEntries(kept.map(([key, v]) => [key, plain(v)]));
}

/** What the situation adds or changes; what it takes away is `null`. */
function difference(before: Outcome, after: Outcome): Outcome {
  const parts: Record<string, Record<string, unknown>> = {};
  for (const [section, entries] of Object.entries(after)) {
    const own = before[section] ?? {};
    const changed = Object.entries(entries).filter(
      ([key, value]) => JSON.stringify(own[key]) !== JSON.stringify(value),
    );
    const gone = Object.keys(own).filter((key) => !(key in entries));
    if (changed.length + gone.length === 0) continue;
    parts[section] = Object.fromEntries([...changed, ...gone.map((key) => [key, null] as const)]);
  }
  return parts;
}
