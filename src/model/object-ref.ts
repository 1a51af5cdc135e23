/**
 * Where a model value came from: the object a person wrote, and the place in the file.
 *
 * Everything that can decide something about traffic (a policy rule, a route rule) carries one,
 * so that every answer can be traced back to a line of YAML.
 */
export interface ObjectRef {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

/** A place in a file. Lines and columns count from 1. Absent for objects that no file holds. */
export interface SourcePosition {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** `examples/mlflow/policy.yaml:12:7`, or `undefined` when there is no file. */
export function formatPosition(position: SourcePosition | undefined): string | undefined {
  return position && `${position.file}:${position.line}:${position.column}`;
}
