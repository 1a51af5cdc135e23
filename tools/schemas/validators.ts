/**
 * Which values a field takes, read out of the compiled validators of the @kubernetes-models
 * packages (`_schemas/*.js`): one function for each part of a schema, all made by one generator,
 * so that a handful of patterns finds every keyword, property and reference in them.
 *
 * A property whose schema allows everything leaves no trace in a validator; declarations.ts knows
 * its name.
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

export type Schema = { [keyword: string]: unknown };

export interface Constraints {
  /** type, enum, pattern, minLength, …: keywords that stand for themselves. */
  readonly keywords: Schema;
  readonly properties: ReadonlyMap<string, Constraints>;
  readonly items?: Constraints | undefined;
  readonly values?: Constraints | undefined;
}

interface Validator {
  readonly text: string;
  readonly functions: ReadonlyMap<string, string>;
  /** Local name → file. */
  readonly imports: ReadonlyMap<string, string>;
  readonly main: string;
}

const validators = new Map<string, Validator>();

/** The constraints that a `_schemas` file and the files that it refers to make. */
export function constraintsOf(file: string, modules: string): Constraints {
  return readFunction(load(file, modules), "", modules, []);
}

function load(file: string, modules: string): Validator {
  const known = validators.get(file);
  if (known !== undefined) return known;
  const text = readFileSync(file, "utf8");
  const starts = [...text.matchAll(/function (validate\d+)\(data,/g)];
  const functions = new Map(
    starts.map((start, i) => [start[1]!, text.slice(start.index, starts[i + 1]?.index)]),
  );
  const imports = new Map<string, string>();
  for (const [, name, from] of text.matchAll(/import\{validate as (validate\d+)\}from"([^"]+)"/g)) {
    imports.set(name!, locate(from!, file, modules));
  }
  const main = /export const validate=(validate\d+)/.exec(text)?.[1];
  if (main === undefined) throw new Error(`no validator in ${file}`);
  const validator = { text, functions, imports, main };
  validators.set(file, validator);
  return validator;
}

function locate(from: string, file: string, modules: string): string {
  const path = from.startsWith(".") ? join(dirname(file), from) : join(modules, from);
  return existsSync(path) ? path : `${path}.js`;
}

function readFunction(
  validator: Validator,
  name: string,
  modules: string,
  seen: readonly string[],
): Constraints {
  const imported = validator.imports.get(name);
  if (imported !== undefined) {
    if (seen.includes(imported)) return { keywords: {}, properties: new Map() };
    return readFunction(load(imported, modules), "", modules, [...seen, imported]);
  }
  const body = validator.functions.get(name === "" ? validator.main : name)!;
  const read = (other: string) => readFunction(validator, other, modules, seen);
  const properties = new Map<string, Constraints>();
  const property = /void 0!==data(?:\.(\w+)|\["([^"]+)"\])&&\((validate\d+)\(data/g;
  for (const [, plain, quoted, other] of body.matchAll(property)) {
    properties.set((plain ?? quoted)!, read(other!));
  }
  const items = /(validate\d+)\(data\[i\d+\]/.exec(body)?.[1];
  const values = /(validate\d+)\(data\[key\d+\]/.exec(body)?.[1];
  const own: Constraints = {
    keywords: keywordsOf(body, validator.text),
    properties,
    items: items === undefined ? undefined : read(items),
    values: values === undefined ? undefined : read(values),
  };
  // What is called on the value itself is an alternative, a negation, or a reference.
  const same = [...body.matchAll(/(validate\d+)\(data,\{instancePath,/g)].map((m) => read(m[1]!));
  const combination = /keyword:"(anyOf|oneOf|not)"/.exec(body)?.[1];
  if (combination === undefined) return same.reduce(joined, own);
  const branches = same.map(conditionOf);
  const condition = combination === "not" ? branches[0]! : branches;
  return { ...own, keywords: { ...own.keywords, [combination]: condition } };
}

const BOUNDS = "maxLength|minLength|maxItems|minItems|maxProperties|minProperties|maximum|minimum";

function keywordsOf(body: string, text: string): Schema {
  const keywords: Schema = {};
  const type = /keyword:"type",params:\{type:"([\w,]+)"/.exec(body)?.[1];
  if (type !== undefined) keywords.type = type.includes(",") ? type.split(",") : type;
  const required = [...body.matchAll(/params:\{missingProperty:"([^"]+)"/g)].map((m) => m[1]!);
  if (required.length > 0) keywords.required = required;
  const pattern = /keyword:"pattern",params:\{pattern:("(?:[^"\\]|\\.)*")/.exec(body)?.[1];
  if (pattern !== undefined) keywords.pattern = JSON.parse(pattern);
  const bound = new RegExp(
    `keyword:"(${BOUNDS})",params:\\{(?:comparison:"..",)?limit:([-+.\\w]+)`,
    "g",
  );
  for (const [, keyword, limit] of body.matchAll(bound)) keywords[keyword!] = Number(limit);
  const list = /params:\{allowedValues:(\w+)\}/.exec(body)?.[1];
  if (list !== undefined) {
    const values = new RegExp(`\\b${list.replace("$", "\\$")}=(\\[[^\\]]*\\])`).exec(text)?.[1];
    if (values === undefined) throw new Error(`no values of ${list}`);
    keywords.enum = JSON.parse(values);
  }
  return keywords;
}

/** A reference's constraints and one's own: the own ones win. */
function joined(one: Constraints, other: Constraints): Constraints {
  return {
    keywords: { ...other.keywords, ...one.keywords },
    properties: new Map([...other.properties, ...one.properties]),
    items: one.items ?? other.items,
    values: one.values ?? other.values,
  };
}

/** Inside a condition no field is unknown: it only looks at some of them. */
function conditionOf(constraints: Constraints): Schema {
  const schema: Schema = { ...constraints.keywords };
  if (constraints.properties.size > 0) {
    schema.properties = Object.fromEntries(
      [...constraints.properties].map(([name, inner]) => [name, conditionOf(inner)]),
    );
  }
  if (constraints.items !== undefined) schema.items = conditionOf(constraints.items);
  return schema;
}
