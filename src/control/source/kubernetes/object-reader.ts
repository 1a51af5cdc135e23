/**
 * An object of the API server → one of the mesh, or what is wrong with it (D11).
 *
 * Kubernetes' own kinds are as it checked them, and a newer Kubernetes may have fields that are
 * not known here. Of the others the schema is checked: the API server has that of the installed
 * definition, which may be another version's, or none.
 */
import { isBuiltIn, type KindName } from "../../../api/kinds.ts";
import {
  type KubeObject,
  objectLabel,
  type ParsedObject,
  type Position,
} from "../../../api/object.ts";
import { schemaDiagnostics } from "../../../api/schema.ts";
import { ruleDiagnostics } from "../../../api/validate/rules.ts";
import type { RawObject } from "../../../api/yaml.ts";
import { type Diagnostic, diagnostic } from "../../../kit/diagnostic.ts";

/** Objects of an API server stand in no file. */
const NOWHERE: Position = { file: "", line: 1, column: 1 };
const nowhere = () => NOWHERE;

export interface ReadObject {
  /** Absent: it cannot be used. */
  readonly object?: ParsedObject;
  readonly diagnostics: readonly Diagnostic[];
}

const NONE: readonly Diagnostic[] = [];

/** The kind's schema has been loaded (`loadSchemas`). */
export function readObject(kind: KindName, value: KubeObject): ReadObject {
  if (isBuiltIn(kind)) return { object: parsed(kind, value), diagnostics: NONE };
  const diagnostics = problemsOf(kind, value);
  if (diagnostics.length > 0) return { diagnostics };
  // What a webhook should have refused is in the cluster all the same; its author is told.
  const broken = ruleDiagnostics(kind, rawOf(value), objectLabel(value));
  return {
    object: parsed(kind, value),
    diagnostics: broken.map((found) => ({ ...found, level: "warning" })),
  };
}

function problemsOf(kind: KindName, value: KubeObject): Diagnostic[] {
  return schemaDiagnostics(kind, rawOf(value), objectLabel(value));
}

function rawOf(value: KubeObject): RawObject {
  return { value, position: NOWHERE, positionOf: nowhere, positionOfKey: nowhere };
}

function parsed(kind: KindName, value: KubeObject): ParsedObject {
  return { kind, value, position: NOWHERE, positionOf: nowhere };
}

/**
 * What stands in for an object that has never been usable. Only an AuthorizationPolicy needs one:
 * it denies what it selects, or its whole namespace when that cannot be read either.
 */
export function standIn(kind: KindName, value: KubeObject): ParsedObject | undefined {
  if (kind !== "AuthorizationPolicy") return undefined;
  const { apiVersion, metadata } = value;
  const { selector, targetRef, targetRefs } = (value.spec ?? {}) as Record<string, unknown>;
  const selecting = Object.fromEntries(
    Object.entries({ selector, targetRef, targetRefs }).filter(([, part]) => part !== undefined),
  );
  const denying = (spec: object): KubeObject => ({
    apiVersion,
    kind: value.kind,
    metadata,
    spec: { ...spec, action: "DENY", rules: [{}] },
  });
  const selected = denying(selecting);
  return parsed(kind, problemsOf(kind, selected).length === 0 ? selected : denying({}));
}

/** Says what is in force instead of the object. */
export function unusable(
  problems: readonly Diagnostic[],
  value: KubeObject,
  instead: "last" | "denies" | "nothing",
): readonly Diagnostic[] {
  const effect = {
    last: "its last usable version stays in force",
    denies: "it denies all that it selects until it is corrected",
    nothing: "it has no effect until it is corrected",
  }[instead];
  const object = objectLabel(value);
  return [...problems, diagnostic("WS0102", `the object cannot be used: ${effect}`, { object })];
}
