/**
 * Is an object what its kind allows? Types, enums, what is required, and no field that the kind
 * does not have (as `kubectl --validate=strict`: a misspelt field is a policy that does not apply).
 */
import { Ajv, type ErrorObject, type ValidateFunction } from "ajv";
import { type Diagnostic, diagnostic } from "../kit/diagnostic.ts";
import { nearest } from "../kit/nearest.ts";
import { KINDS, type Kind, type KindName } from "./kinds.ts";
import { type FieldPath, formatFieldPath } from "./object.ts";
import { type SchemaPart, schemaPartOf, tokensOf } from "./schema-part.ts";
import type { RawObject } from "./yaml.ts";

// `verbose` and inlined references would double the time to compile, which a start waits for.
const ajv = new Ajv({ allErrors: true, strict: false, validateFormats: false, inlineRefs: false });
const compiled = new Map<KindName, ValidateFunction | undefined>();

/** More than these say nothing new of one object. */
const PROBLEMS_MAX = 100;

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
  const errors = withoutConsequences(validate.errors ?? []).slice(0, PROBLEMS_MAX);
  return errors.map((error) => describe(error, validate.schema, raw, object));
}

/**
 * One complaint about one mistake: of an alternative that failed not those of each branch, of a
 * value of the wrong type nothing else.
 */
function withoutConsequences(errors: readonly ErrorObject[]): ErrorObject[] {
  const alternatives = errors.filter((e) => e.keyword === "oneOf" || e.keyword === "anyOf");
  const placesOf = (keyword: string) =>
    new Set(errors.filter((e) => e.keyword === keyword).map((e) => e.instancePath));
  const mistyped = placesOf("type");
  const ofOtherLength = new Set([...placesOf("minLength"), ...placesOf("maxLength")]);
  const excluded = placesOf("not");
  const excluding = new Set<string>();
  return errors.filter((error) => {
    if (error.keyword === "type") return true;
    if (error.keyword === "pattern" && ofOtherLength.has(error.instancePath)) return false;
    // What has another type's field has not its own.
    const isOfType = error.schemaPath.endsWith("/then/required");
    if (isOfType && excluded.has(error.instancePath)) return false;
    // Of fields that exclude each other, one pair is enough.
    if (error.keyword === "not" && excluding.has(error.instancePath)) return false;
    if (error.keyword === "not") excluding.add(error.instancePath);
    // What follows from the condition, or is wrong with the name, is told by itself.
    if (error.keyword === "if" || error.keyword === "propertyNames") return false;
    if (mistyped.has(error.instancePath)) return false;
    return !alternatives.some(({ schemaPath }) => error.schemaPath.startsWith(`${schemaPath}/`));
  });
}

function describe(
  error: ErrorObject,
  schema: ValidateFunction["schema"],
  raw: RawObject,
  object: string,
): Diagnostic {
  const { path, value } = lookUp(error.instancePath, raw.value);
  const parent = schemaPartOf(error, schema as SchemaPart);
  if (error.keyword === "additionalProperties") {
    const name = String(error.params.additionalProperty);
    const field = [...path, name];
    const guess = nearest(name, Object.keys(parent?.properties ?? {}));
    const hint = guess === undefined ? "" : `, did you mean "${guess}"?`;
    const message = `unknown field "${formatFieldPath(field)}"${hint}`;
    const place = raw.positionOfKey(field);
    return diagnostic("WS0002", message, { object, path: formatFieldPath(field), ...place });
  }
  if (error.propertyName !== undefined) {
    const field = [...path, error.propertyName];
    const message = `${formatFieldPath(field)}: ${complaint(error, error.propertyName, parent)}`;
    const place = raw.positionOfKey(field);
    return diagnostic("WS0002", message, { object, path: formatFieldPath(field), ...place });
  }
  const place = { object, path: formatFieldPath(path), ...raw.positionOf(path) };
  if (error.keyword === "required") {
    const field = [...path, String(error.params.missingProperty)];
    return diagnostic("WS0002", `${formatFieldPath(field)} is required`, place);
  }
  const subject = formatFieldPath(path) || "the object";
  return diagnostic("WS0002", `${subject}: ${complaint(error, value, parent)}`, place);
}

/** What is wrong with a value, in the words of whoever wrote it. */
function complaint(error: ErrorObject, value: unknown, schema: SchemaPart | undefined): string {
  const limit = String(error.params.limit);
  switch (error.keyword) {
    case "type":
      return `expected ${[error.params.type].flat().join(" or ")}, got ${typeName(value)}`;
    case "enum": {
      const allowed = (error.params.allowedValues as unknown[]).map(String);
      const guess = nearest(String(value), allowed);
      const hint = guess === undefined ? "" : `, did you mean "${guess}"?`;
      return `${shown(value)} is not one of ${allowed.join(", ")}${hint}`;
    }
    case "oneOf":
      return `at most one of ${alternativesOf(schema).join(", ")} may be given`;
    case "pattern":
      return schema?.description === undefined
        ? `${shown(value)} does not have the form ${String(error.params.pattern)}`
        : `${shown(value)} is not allowed: ${schema.description} only`;
    case "minimum":
      return `${shown(value)} is too small, at least ${limit} is allowed`;
    case "maximum":
      return `${shown(value)} is too large, at most ${limit} is allowed`;
    case "minItems":
    case "minProperties":
      return `at least ${limit} must be given`;
    case "maxItems":
    case "maxProperties":
      return `at most ${limit} may be given`;
    case "minLength":
      return limit === "1" ? "must not be empty" : `must have at least ${limit} characters`;
    case "maxLength":
      return `must have at most ${limit} characters`;
    case "not":
    case "anyOf":
      return schema?.description ?? "not allowed";
    default:
      return error.message ?? "not allowed";
  }
}

/** The fields that exclude each other. */
function alternativesOf(schema: SchemaPart | undefined): string[] {
  return (schema?.oneOf ?? []).flatMap((branch) => branch.required ?? []);
}

function typeName(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

const SHOWN_LENGTH_MAX = 80;

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > SHOWN_LENGTH_MAX ? `${text.slice(0, SHOWN_LENGTH_MAX)}…` : text;
}

/** Follows a JSON pointer; the path has numbers where the value has a list. */
function lookUp(
  pointer: string,
  root: unknown,
): { readonly path: FieldPath; readonly value: unknown } {
  const path: (string | number)[] = [];
  let value = root;
  for (const name of tokensOf(pointer)) {
    const part = Array.isArray(value) ? Number(name) : name;
    path.push(part);
    value = (value as Record<string | number, unknown> | undefined)?.[part];
  }
  return { path, value };
}
