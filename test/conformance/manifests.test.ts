/**
 * What the peers' suites apply, judged by our schemas and rules: every manifest reads without an
 * error.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { expect, test } from "vitest";
import { readObjects } from "../../src/api/read-objects.ts";
import { type Diagnostic, formatDiagnostic } from "../../src/kit/diagnostic.ts";
import { conformancePath } from "../support/conformance.ts";

const root = conformancePath();

function manifests(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && /\.ya?ml$/.test(entry.name))
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .filter((path) => !/^(validation-|analyze\/|ztunnel-local\/)|(^|\/)expected[^/]*$/.test(path))
    .sort();
}

/** The manifest as applied: its suite writes an address where it names a Pod or a Service. */
function applied(path: string): string {
  const text = readFileSync(join(root!, path), "utf8");
  return text.replaceAll(/\{(?:pod|service)IP:[^}]*\}/g, "10.1.0.1");
}

async function errorsOf(text: string, file: string): Promise<Diagnostic[]> {
  const { diagnostics } = await readObjects(text, file);
  return diagnostics.filter((d) => d.level === "error");
}

test.skipIf(root === undefined)("every manifest of the suites reads without an error", async () => {
  const refused: string[] = [];
  const paths = manifests(root!);
  for (const path of paths) {
    for (const error of await errorsOf(applied(path), path)) {
      refused.push(formatDiagnostic(error));
    }
  }
  process.stderr.write(`manifests: ${paths.length} read\n`);
  expect(refused).toEqual([]);
});
