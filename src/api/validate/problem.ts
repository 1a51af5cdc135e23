/**
 * What the rules of a kind find in an object: values with a path, no positions yet.
 *
 * Rules are generators, so that those of a part stand in the rules of the whole with `yield*`.
 */
import type { DiagnosticCode } from "../../kit/diagnostic.ts";
import type { FieldPath } from "../object.ts";

export interface Problem {
  readonly path: FieldPath;
  /** What is wrong and what is allowed, after the name of the field: `must be …`. */
  readonly message: string;
  /** By default WS0008, which refuses the object. */
  readonly code?: DiagnosticCode;
}

export type Problems = Generator<Problem, void, undefined>;

export function problem(path: FieldPath, message: string): Problem {
  return { path, message };
}

/** Discouraged, and accepted all the same. */
export function warning(path: FieldPath, message: string): Problem {
  return { path, message, code: "WS0118" };
}
