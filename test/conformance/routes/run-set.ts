/**
 * A set of cases as tests of vitest: one for each test of the set, with every case by every client
 * that its protocol allows, and a table by feature at the end.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { RouteSet, RouteTest } from "./cases.ts";
import { RouteMesh, type RouteMeshOptions } from "./route-mesh.ts";
import { clientsOf, runCase, runStatus } from "./run-case.ts";

interface Row {
  cases: number;
  passed: number;
  failed: number;
  skipped: number;
}

export interface SetOptions extends Omit<RouteMeshOptions, "base"> {
  /** Why a test is not run; undefined: it is. */
  readonly skip?: (one: RouteTest) => string | undefined;
}

/** Known limits of the suites: conditions are kept as for a Gateway, also of one left out. */
const NO_PARENT = "a parent that is not in the manifests cannot have accepted a route";
const TEST_TIMEOUT_MS = 120_000;

export function testSet(set: RouteSet, options: SetOptions = {}): void {
  const rows = new Map<string, Row>();
  const reasons = new Map<string, number>();
  const unsteady = new Set<string>();
  const total: Row = { cases: 0, passed: 0, failed: 0, skipped: 0 };
  let mesh: RouteMesh;

  const count = (one: RouteTest, what: "passed" | "failed" | "skipped", by = 1) => {
    const meant = [total];
    for (const feature of one.features) {
      let row = rows.get(feature);
      if (row === undefined) {
        row = { cases: 0, passed: 0, failed: 0, skipped: 0 };
        rows.set(feature, row);
      }
      meant.push(row);
    }
    for (const row of meant) {
      row.cases += by;
      row[what] += by;
    }
  };

  beforeAll(async () => {
    mesh = await RouteMesh.start({ ...options, base: set.base });
  });
  afterAll(async () => {
    await mesh?.stop();
    process.stderr.write(table(set.name, rows, total, [...notesOn(reasons, unsteady)]));
  });

  for (const one of set.tests) {
    const why = options.skip?.(one);
    if (why !== undefined) {
      const cases = one.cases.length + one.status.length;
      test.skip(one.name);
      count(one, "skipped", cases);
      reasons.set(why, (reasons.get(why) ?? 0) + cases);
      continue;
    }
    test(
      one.name,
      async () => {
        const problems: string[] = [];
        await mesh.apply(one.resources, one.cases);
        for (const status of one.status) {
          if (status.condition.status === "True" && !mesh.has(status.parent)) {
            count(one, "skipped");
            reasons.set(NO_PARENT, (reasons.get(NO_PARENT) ?? 0) + 1);
            continue;
          }
          const wrong = await runStatus(mesh, status);
          count(one, wrong.length === 0 ? "passed" : "failed");
          problems.push(...wrong);
        }
        for (const [index, single] of one.cases.entries()) {
          let isRight = true;
          for (const kind of clientsOf(single)) {
            const name = single.name ?? `case ${index} from ${single.from.app}`;
            const wrong = await runCase(mesh, single, kind, (once) =>
              unsteady.add(`${one.name}: ${name} (${kind}): ${once.join("; ")}`),
            ).catch((caught: unknown) => [String(caught)]);
            if (wrong.length === 0) continue;
            isRight = false;
            problems.push(`${name} (${kind}): ${wrong.join("; ")}`);
          }
          count(one, isRight ? "passed" : "failed");
        }
        expect(problems).toEqual([]);
      },
      TEST_TIMEOUT_MS,
    );
  }
}

function* notesOn(reasons: ReadonlyMap<string, number>, unsteady: ReadonlySet<string>) {
  for (const [why, count] of reasons) yield `${count} skipped: ${why}`;
  for (const what of unsteady) yield `unsteady: ${what}`;
}

function table(
  name: string,
  rows: ReadonlyMap<string, Row>,
  total: Row,
  notes: readonly string[],
): string {
  const width = Math.max(name.length, ...[...rows.keys()].map((feature) => feature.length));
  const line = (first: string, cells: readonly (string | number)[]) =>
    `  ${first.padEnd(width)}${cells.map((cell) => String(cell).padStart(9)).join("")}`;
  const cells = ({ cases, passed, failed, skipped }: Row) => [cases, passed, failed, skipped];
  const lines = [
    "",
    line(name, ["cases", "passed", "failed", "skipped"]),
    ...[...rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([f, row]) => line(f, cells(row))),
    line("total", cells(total)),
    ...notes.map((note) => `  ${note}`),
    "",
  ];
  return `${lines.join("\n")}\n`;
}
