/**
 * What the rules of a kind find in an object: values with a path, no positions yet.
 *
 * Rules are generators, so that those of a part stand in the rules of the whole with `yield*`.
 */
import type { FieldPath } from "../object.ts";

export interface Problem {
  readonly path: FieldPath;
  /** What is wrong and what is allowed, after the name of the field: `must be …`. */
  readonly message: string;
  /** Discouraged, and accepted all the same. */
  readonly isWarning?: true;
}

export type Problems = Generator<Problem, void, undefined>;

export function problem(path: FieldPath, message: string): Problem {
  return { path, message };
}

export function warning(path: FieldPath, message: string): Problem {
  return { path, message, isWarning: true };
}
