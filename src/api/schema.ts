/**
 * Is an object what its kind allows? Types, enums, what is required, and no field that the kind does
 * not have (as `kubectl --validate=strict`: a misspelt field is a policy that does not apply).
 */
import { Ajv, type ErrorObject, type ValidateFunction } from "ajv";
import { type Diagnostic, diagnostic } from "../kit/diagnostic.ts";
import { nearest } from "../kit/nearest.ts";
import { KINDS, type Kind, type KindName } from "./kinds.ts";
import { type FieldPath, formatFieldPath } from "./object.ts";
import type { RawObject } from "./yaml.ts";

const ajv = new Ajv({ allErrors: true, strict: false, validateFormats: false, verbose: true });
const compiled = new Map<KindName, ValidateFunction | undefined>();

/** Loads the schemas of these kinds; `schemaDiagnostics` needs them. */
export async function loadSchemas(kinds: Iterable<KindName>): Promise<void> {
  for (const name of kinds) {
    if (compiled.has(name)) continue;
    const load = (KINDS[name] as Kind).schema;
    compiled.set(name, load && ajv.compile((await load()).schema));
  }
}

/** What is wrong with the object; its kind's schema has been loaded. */
export function schemaDiagnostics(kind: KindName, raw: RawObject, object: string): Diagnostic[] {
  const validate = compiled.get(kind);
  if (validate === undefined || validate(raw.value)) return [];
  const errors = (validate.errors ?? []).filter((e) => !isNoise(e, validate.errors ?? []));
  return errors.map((error) => describe(error, raw, object));
}

/** Of an alternative that failed only its own error is told, not that of each branch. */
function isNoise(error: ErrorObject, all: readonly ErrorObject[]): boolean {
  return all.some((other) => {
    const isAlternative = other.keyword === "anyOf" || other.keyword === "oneOf";
    return isAlternative && other !== error && error.schemaPath.startsWith(`${other.schemaPath}/`);
  });
}

function describe(error: ErrorObject, raw: RawObject, object: string): Diagnostic {
  const path = pathOf(error.instancePath, raw.value);
  if (error.keyword === "additionalProperties") {
    const name = String(error.params.additionalProperty);
    const field = [...path, name];
    const known = Object.keys((error.parentSchema as { properties?: object })?.properties ?? {});
    const guess = nearest(name, known);
    const message = `unknown field "${formatFieldPath(field)}"${guess ? `, did you mean "${guess}"?` : ""}`;
    return at("WS0002", message, field, raw.positionOfKey(field), object);
  }
  if (error.keyword === "required") {
    const field = [...path, String(error.params.missingProperty)];
    return at(
      "WS0002",
      `${formatFieldPath(field)} is required`,
      path,
      raw.positionOf(path),
      object,
    );
  }
  const message = `${formatFieldPath(path) || "the object"}: ${complaint(error)}`;
  return at("WS0002", message, path, raw.positionOf(path), object);
}

function complaint(error: ErrorObject): string {
  const got = error.data === null ? "null" : Array.isArray(error.data) ? "list" : typeof error.data;
  switch (error.keyword) {
    case "type":
      return `expected ${[error.params.type].flat().join(" or ")}, got ${got}`;
    case "enum": {
      const allowed = (error.params.allowedValues as unknown[]).map(String);
      const guess = nearest(String(error.data), allowed);
      const hint = guess ? `, did you mean "${guess}"?` : "";
      return `"${String(error.data)}" is not one of ${allowed.join(", ")}${hint}`;
    }
    case "minimum":
    case "maximum":
      return `${String(error.data)} is out of range (${error.message ?? ""})`;
    default:
      return error.message ?? "not allowed";
  }
}

function at(
  code: "WS0002",
  message: string,
  path: FieldPath,
  place: { file: string; line: number; column: number },
  object: string,
): Diagnostic {
  return diagnostic(code, message, { object, path: formatFieldPath(path), ...place });
}

/** A JSON pointer as a path; numbers where the value has a list. */
function pathOf(pointer: string, value: unknown): FieldPath {
  const path: (string | number)[] = [];
  let here = value;
  for (const token of pointer.split("/").slice(1)) {
    const name = token.replaceAll("~1", "/").replaceAll("~0", "~");
    const part = Array.isArray(here) ? Number(name) : name;
    path.push(part);
    here = (here as Record<string | number, unknown>)?.[part];
  }
  return path;
}
