/**
 * The values of an installation: the defaults, with files and `--set` laid over them as Helm does,
 * checked against the schema that the chart has too.
 */
import { Ajv, type ErrorObject } from "ajv";
import { parseDocument } from "yaml";
import { nearest } from "../../kit/nearest.ts";
import { usageError } from "../command-error.ts";
import { VALUE_TABLE, type ValueKind } from "./value-table.ts";

export type Values = { readonly [key: string]: unknown };
type Tree = { [key: string]: unknown };

/** As `values.yaml` has them. */
export function usualValues(): Values {
  const values: Tree = {};
  for (const { path, usual } of VALUE_TABLE) {
    const keys = path.split(".");
    const last = keys.pop()!;
    let at = values;
    for (const key of keys) {
      at[key] ??= {};
      at = at[key] as Tree;
    }
    at[last] = structuredClone(usual);
  }
  return values;
}

/**
 * Values laid over others: mappings are merged, all else is replaced. `null` takes away what is
 * below; between files it is kept, for what is below them all.
 */
export function overlaid(below: Values, above: Values, keepsNull = false): Values {
  const merged: Tree = { ...below };
  for (const [key, value] of Object.entries(above)) {
    if (value === null && !keepsNull) delete merged[key];
    else if (isMapping(value)) {
      const before = ownValue(below, key);
      setOwn(merged, key, overlaid(isMapping(before) ? before : {}, value, keepsNull));
    } else setOwn(merged, key, value);
  }
  return merged;
}

/** A key may be `constructor`. */
export function ownValue(values: Values, key: string): unknown {
  return Object.hasOwn(values, key) ? values[key] : undefined;
}

/** A key may be `__proto__`. */
export function setOwn(values: Values, key: string, value: unknown): void {
  Object.defineProperty(values, key, {
    value,
    enumerable: true,
    configurable: true,
    writable: true,
  });
}

/** The text of a file of values; throws a usage error. */
export function parseValues(text: string, path: string): Values {
  const document = parseDocument(text, { version: "1.1", merge: true });
  const [error] = document.errors;
  if (error !== undefined) throw usageError(`${path}: ${error.message}`);
  const values: unknown = document.toJS() ?? {};
  if (!isMapping(values)) throw usageError(`${path}: values are a mapping`);
  return values;
}

/** Throws a usage error at the first value that is unknown or not what it may be. */
export function checkValues(values: Values): void {
  const validate = new Ajv({ allErrors: true, strict: false }).compile(valuesSchema());
  if (validate(values)) return;
  const errors = validate.errors ?? [];
  const first = errors.find(({ keyword }) => keyword === "additionalProperties") ?? errors[0]!;
  throw valueError(first);
}

function valueError({ instancePath, keyword, params, message }: ErrorObject): Error {
  const path = instancePath.slice(1).replaceAll("/", ".");
  const child = params.additionalProperty ?? params.missingProperty;
  const full = [path, child].filter((part) => part).join(".");
  if (keyword === "additionalProperties") {
    const like = nearest(
      full,
      VALUE_TABLE.map((one) => one.path),
    );
    const hint = like === undefined ? "" : `Did you mean ${like}? `;
    return usageError(
      `there is no value ${full}`,
      `${hint}All values: docs/reference/chart.md, or the chart's values.yaml.`,
    );
  }
  if (keyword === "required") return usageError(`the value ${full} may not be taken away`);
  const kind = VALUE_TABLE.find((one) => full === one.path || full.startsWith(`${one.path}.`));
  const allowed = params.allowedValues as readonly string[] | undefined;
  const what = allowed === undefined ? message : `must be ${allowed.join(" or ")}`;
  return usageError(`the value ${full} ${what}`, kind?.description);
}

type Schema = { [key: string]: unknown };

/** `values.schema.json`. */
export function valuesSchema(): Schema {
  const root = group();
  for (const kind of VALUE_TABLE) {
    const keys = kind.path.split(".");
    const last = keys.pop()!;
    let at = root;
    for (const key of keys) {
      at.properties[key] ??= group();
      if (!at.required.includes(key)) at.required.push(key);
      at = at.properties[key] as Group;
    }
    at.properties[last] = schemaOf(kind);
    if (kind.type !== "nullable object") at.required.push(last);
  }
  // Helm's own, for a chart that is part of another.
  root.properties.global = { type: "object" };
  return { $schema: "http://json-schema.org/draft-07/schema#", ...root };
}

type Group = { properties: Schema; required: string[]; [key: string]: unknown };

function group(): Group {
  return { type: "object", properties: {}, required: [], additionalProperties: false };
}

function schemaOf({ type, description, choices, pattern, minimum }: ValueKind): Schema {
  const text = {
    type: "string",
    ...(choices && { enum: choices }),
    ...(pattern && { pattern }),
  };
  switch (type) {
    case "text":
      return { description, ...text };
    case "integer":
      return { description, type, minimum, maximum: 100_000 };
    case "boolean":
      return { description, type };
    case "texts":
      return { description, type: "array", items: text };
    case "objects":
      return { description, type: "array", items: { type: "object" } };
    case "object":
      return { description, type };
    case "nullable object":
      return { description, type: ["object", "null"] };
  }
}

function isMapping(value: unknown): value is Values {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
