/** Which fields of an object its kind refuses, by schema and rules: as a file of it would show. */
import { expect, test } from "vitest";
import { readObjects } from "../../src/api/read-objects.ts";

/** The paths of what is wrong with an object of this spec, in YAML. */
export async function refusedFields(kind: string, spec: string): Promise<readonly string[]> {
  const [, group, version, name] = /^(.+)\/(.+) (.+)$/.exec(kind) ?? [];
  const text = [
    `apiVersion: ${group}/${version}`,
    `kind: ${name}`,
    "metadata: { name: object }",
    `spec: ${spec}`,
  ].join("\n");
  const { diagnostics } = await readObjects(text, "object.yaml");
  return diagnostics.flatMap(({ level, message, path }) =>
    level === "error" ? [path ?? message] : [],
  );
}

/** Rows: what is tried, the spec, and the fields that are refused (none: the object is right). */
export type RefusalRow = readonly [what: string, spec: string, ...fields: string[]];

/** A test for each row; the fields are below `spec`. */
export function testRefusals(kind: string, rows: readonly RefusalRow[]): void {
  test.each(rows)(`${kind.split(" ")[1]}: %s`, async (_, spec, ...fields) => {
    const refused = await refusedFields(kind, spec);
    expect(refused).toEqual(fields.map((field) => `spec${field && `.${field}`}`));
  });
}
