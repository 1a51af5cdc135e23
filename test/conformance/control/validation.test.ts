/**
 * What an API server (schema and rules of the kinds' definitions) and Istio's webhook decide of
 * single objects, and of parts of them: the three validation sets of the folder that
 * WAYSTONE_CONFORMANCE names.
 */
import { afterAll, describe, expect, test } from "vitest";
import { type KindName, kindOf } from "../../../src/api/kinds.ts";
import { type KubeObject, objectLabel } from "../../../src/api/object.ts";
import { loadSchemas } from "../../../src/api/schema.ts";
import { objectDiagnostics } from "../../../src/api/validate/rules.ts";
import type { Diagnostic } from "../../../src/kit/diagnostic.ts";
import { conformanceJson } from "../../support/conformance.ts";
import { partDiagnostics } from "./validated-parts.ts";

interface ValidationCase {
  readonly name: string;
  readonly resource?: KubeObject;
  readonly resources?: readonly KubeObject[];
  readonly fragment?: unknown;
  readonly type?: string;
  readonly valid: boolean;
  readonly warning?: boolean;
}

const SETS = ["validation-gateway-api", "validation-istio-crd", "validation-istio-webhook"];
const NOWHERE = { file: "", line: 1, column: 1 };

async function diagnosticsOf(value: KubeObject): Promise<readonly Diagnostic[]> {
  const kind = kindOf(value.apiVersion, value.kind);
  expect(kind, `${value.apiVersion} ${value.kind}`).toBeDefined();
  await loadSchemas([kind as KindName]);
  const raw = {
    value,
    position: NOWHERE,
    positionOf: () => NOWHERE,
    positionOfKey: () => NOWHERE,
  };
  return objectDiagnostics(kind as KindName, raw, objectLabel(value));
}

/** The names say which objects are those that istiod makes of Gateway API's. */
function asMade(name: string, object: KubeObject): KubeObject {
  if (!name.startsWith("TestValidateK8sGateway")) return object;
  const annotations = { "internal.istio.io/gateway-semantics": "gateway" };
  return { ...object, metadata: { ...object.metadata, annotations } };
}

async function found(one: ValidationCase): Promise<readonly Diagnostic[]> {
  if (one.fragment !== undefined) return await partDiagnostics(one.type!, one.name, one.fragment);
  const objects = (one.resources ?? [one.resource!]).map((object) => asMade(one.name, object));
  return (await Promise.all(objects.map(diagnosticsOf))).flat();
}

let judged = 0;

afterAll(() => {
  if (judged > 0) process.stderr.write(`validation: ${judged} cases judged\n`);
});

for (const set of SETS) {
  const cases = conformanceJson<{ cases: ValidationCase[] }>(set, "cases.json")?.cases;
  describe.skipIf(cases === undefined)(set, () => {
    test.each((cases ?? []).map((one, i) => [`${one.name} (${i})`, one] as const))(
      "%s",
      async (_name, one) => {
        const diagnostics = await found(one);
        const errors = diagnostics.filter(({ level }) => level === "error");
        const told = errors.map(({ message }) => message);
        if (one.valid) expect(told).toEqual([]);
        else expect(told).not.toEqual([]);
        if (one.warning) expect(diagnostics.some(({ level }) => level === "warning")).toBe(true);
        judged++;
      },
    );
  });
}
