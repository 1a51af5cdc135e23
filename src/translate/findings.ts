/**
 * What translating one object brings to light beside the model: diagnostics for whoever wrote it,
 * and the conditions that Kubernetes would show on it.
 *
 * Transforms collect into a `Findings` and give its `status()` away with their result.
 */
import type { ParsedObject } from "../api/object.ts";
import { type FieldPath, formatFieldPath } from "../api/object.ts";
import { type Diagnostic, type DiagnosticCode, diagnostic } from "../kit/diagnostic.ts";
import type { ObjectRef } from "../model/object-ref.ts";
import { refOf } from "./object-names.ts";

/** One entry of `status.conditions`. */
export interface Condition {
  readonly type: string;
  readonly status: "True" | "False";
  readonly reason: string;
  readonly message: string;
}

/** One entry of a route's `status.parents`. */
export interface ParentStatus {
  readonly parent: {
    readonly group: string;
    readonly kind: string;
    readonly namespace: string;
    readonly name: string;
    readonly sectionName: string | undefined;
    readonly port: number | undefined;
  };
  readonly conditions: readonly Condition[];
}

export interface ObjectStatus {
  readonly object: ObjectRef;
  readonly conditions: readonly Condition[];
  /** Only for routes. */
  readonly parents: readonly ParentStatus[];
  readonly diagnostics: readonly Diagnostic[];
}

export class Findings {
  readonly #object: ParsedObject;
  readonly #conditions: Condition[] = [];
  readonly #parents: ParentStatus[] = [];
  readonly #diagnostics: Diagnostic[] = [];

  constructor(object: ParsedObject) {
    this.#object = object;
  }

  /** Notes what is wrong with a field (with the whole object: no path). */
  report(code: DiagnosticCode, message: string, path: FieldPath = []): void {
    const { kind, namespace, name } = refOf(this.#object);
    const position = path.length === 0 ? this.#object.position : this.#object.positionOf(path);
    this.#diagnostics.push(
      diagnostic(code, message, {
        object: `${kind} ${namespace === "" ? name : `${namespace}/${name}`}`,
        ...(path.length > 0 ? { path: formatFieldPath(path) } : {}),
        // Objects that controllers make stand in no file.
        ...(position.file === ""
          ? {}
          : { file: position.file, line: position.line, column: position.column }),
      }),
    );
  }

  condition(type: string, status: boolean, reason: string, message: string): void {
    this.#conditions.push(makeCondition(type, status, reason, message));
  }

  parent(status: ParentStatus): void {
    this.#parents.push(status);
  }

  /** `undefined` when there is nothing to say. */
  status(): ObjectStatus | undefined {
    const isEmpty =
      this.#conditions.length === 0 && this.#parents.length === 0 && this.#diagnostics.length === 0;
    if (isEmpty) return undefined;
    return {
      object: refOf(this.#object),
      conditions: this.#conditions,
      parents: this.#parents,
      diagnostics: this.#diagnostics,
    };
  }
}

export function makeCondition(
  type: string,
  isTrue: boolean,
  reason: string,
  message: string,
): Condition {
  return { type, status: isTrue ? "True" : "False", reason, message };
}
