/**
 * The parts of an object that a pattern names, with their paths: `spec.rules[].filters[]`,
 * `spec.endpoints[].ports{}`.
 */
import type { FieldPath } from "../object.ts";

export interface Place<T> {
  readonly path: FieldPath;
  readonly value: T;
}

type Fields = Readonly<Record<string, unknown>>;

/** `[]`: each item; `{}`: each value of a map. What is not there, or of another type, is no place. */
export function* each<T>(
  root: unknown,
  pattern: string,
  from: FieldPath = [],
): Generator<Place<T>, void, undefined> {
  yield* follow<T>(root, pattern.match(/[^.[\]{}]+|\[\]|\{\}/g) ?? [], from);
}

function* follow<T>(
  value: unknown,
  [step, ...steps]: readonly string[],
  path: FieldPath,
): Generator<Place<T>, void, undefined> {
  if (value === undefined || value === null) return;
  if (step === undefined) {
    yield { path, value: value as T };
  } else if (step === "[]") {
    if (!Array.isArray(value)) return;
    for (const [i, item] of value.entries()) yield* follow<T>(item, steps, [...path, i]);
  } else if (typeof value === "object" && !Array.isArray(value)) {
    const fields = value as Fields;
    const names = step === "{}" ? Object.keys(fields) : Object.hasOwn(fields, step) ? [step] : [];
    for (const name of names) yield* follow<T>(fields[name], steps, [...path, name]);
  }
}
