/**
 * What the peers' suites apply and what their API servers refuse, judged by our schemas alone:
 * every manifest reads without an error, and the validation sets come out as counted below.
 *
 * Rules that compare fields with one another are no structure; the cases that only they decide are
 * counted as disagreements, and the bound says how many agree.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { expect, test } from "vitest";
import { readObjects } from "../../src/api/read-objects.ts";
import { type Diagnostic, formatDiagnostic } from "../../src/kit/diagnostic.ts";
import { conformanceJson, conformancePath } from "../support/conformance.ts";

const root = conformancePath();

function manifests(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && /\.ya?ml$/.test(entry.name))
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .filter((path) => !/^(validation-|analyze\/|ztunnel-local\/)|(^|\/)expected[^/]*$/.test(path))
    .sort();
}

async function errorsOf(text: string, file: string): Promise<Diagnostic[]> {
  const { diagnostics } = await readObjects(text, file);
  return diagnostics.filter((d) => d.level === "error");
}

test.skipIf(root === undefined)("every manifest of the suites reads without an error", async () => {
  const refused: string[] = [];
  const paths = manifests(root!);
  for (const path of paths) {
    for (const error of await errorsOf(readFileSync(join(root!, path), "utf8"), path)) {
      refused.push(formatDiagnostic(error));
    }
  }
  process.stderr.write(`manifests: ${paths.length} read\n`);
  expect(refused).toEqual([]);
});

interface ValidationCase {
  readonly name: string;
  readonly resource?: unknown;
  readonly resources?: readonly unknown[];
  readonly valid: boolean;
  readonly errorContains?: string | readonly string[];
}

interface Agreement {
  readonly valid: number;
  readonly validAgreed: number;
  readonly invalid: number;
  readonly invalidAgreed: number;
  /** Valid ones that we refuse, with our reason. */
  readonly refused: readonly string[];
}

async function agreement(set: string): Promise<Agreement | undefined> {
  const cases = conformanceJson<{ cases: readonly ValidationCase[] }>(set, "cases.json")?.cases;
  if (cases === undefined) return undefined;
  const count = { valid: 0, validAgreed: 0, invalid: 0, invalidAgreed: 0 };
  const refused: string[] = [];
  for (const { name, resource, resources = [resource], valid } of cases) {
    const text = resources.map((r) => JSON.stringify(r)).join("\n---\n");
    const errors = await errorsOf(text, name);
    const isAgreed = (errors.length === 0) === valid;
    count[valid ? "valid" : "invalid"]++;
    if (isAgreed) count[valid ? "validAgreed" : "invalidAgreed"]++;
    else if (valid) refused.push(formatDiagnostic(errors[0]!));
  }
  process.stderr.write(`${set}: ${JSON.stringify(count)}\n`);
  return { ...count, refused };
}

test.skipIf(root === undefined)("the CRD cases of Istio: what is valid is accepted", async () => {
  const found = (await agreement("validation-istio-crd"))!;
  expect(found.refused).toEqual([]);
  expect(found.invalidAgreed).toBeGreaterThanOrEqual(34);
});

/** Valid by their source, refused here, each with its reason. */
const REFUSED_RIGHTLY = [
  // Go writes the empty group that the converted case has lost.
  "TestHTTPRouteRule/valid httpRoute with duplicate ExtensionRef filters",
];

test.skipIf(root === undefined)("the Gateway API's cases: what is valid is accepted", async () => {
  const found = (await agreement("validation-gateway-api"))!;
  expect(found.refused.filter((r) => !REFUSED_RIGHTLY.some((name) => r.includes(name)))).toEqual(
    [],
  );
  expect(found.invalidAgreed).toBeGreaterThanOrEqual(54);
});
