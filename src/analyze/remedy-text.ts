/**
 * Remedies in words, so exact that a program could follow them: the message of a diagnostic ends
 * with the same edits that its `remedy` carries.
 */
import { type FieldPath, formatFieldPath, type ParsedObject } from "../api/object.ts";
import type { Diagnostic, DiagnosticCode, Edit, Remedy } from "../kit/diagnostic.ts";
import { Findings } from "../translate/findings.ts";
import { labelOf } from "./mesh-view.ts";

/** The diagnostic with a remedy at its end. */
export function withRemedy(found: Diagnostic, remedy: Remedy | undefined): Diagnostic {
  if (remedy === undefined || remedy.length === 0) return found;
  const problem = found.message.replace(/\.$/, "");
  const message = `${problem}; remedy: ${remedyText(remedy, found.object)}`;
  return { ...found, message, remedy };
}

/** What is wrong with a part of an object, and the remedy. */
export function finding(
  object: ParsedObject,
  code: DiagnosticCode,
  message: string,
  path: FieldPath,
  remedy?: Remedy,
): Diagnostic {
  const findings = new Findings(object);
  findings.report(code, message, path);
  return withRemedy(findings.status()!.diagnostics[0]!, remedy);
}

/** `about`: the object that need not be named. */
export function remedyText(remedy: Remedy, about?: string): string {
  return remedy.map((edit) => editText(edit, about)).join(", and ");
}

function editText(edit: Edit, about: string | undefined): string {
  if (edit.op === "create") return `create ${JSON.stringify(edit.value)}`;
  const of = edit.object === about ? "" : ` of ${edit.object}`;
  const path = formatFieldPath(edit.path);
  switch (edit.op) {
    case "set":
      if (isLabel(edit.path)) {
        const label = `${edit.path[2]}: ${edit.value}`;
        return `add the label ${label} to ${edit.object}`;
      }
      return `set ${path}${of} to ${JSON.stringify(edit.value)}`;
    case "append":
      return `add ${JSON.stringify(edit.value)} to ${path}${of}`;
    case "remove":
      return `remove ${path}${of}`;
  }
}

function isLabel(path: FieldPath): boolean {
  return path.length === 3 && path[0] === "metadata" && path[1] === "labels";
}

export function setField(object: ParsedObject, path: FieldPath, value: unknown): Edit {
  return { op: "set", object: labelOf(object), path, value };
}

export function removeField(object: ParsedObject, path: FieldPath): Edit {
  return { op: "remove", object: labelOf(object), path };
}

export function appendTo(object: ParsedObject, path: FieldPath, value: unknown): Edit {
  return { op: "append", object: labelOf(object), path, value };
}

/** `object`: its `Kind ns/name`. */
export function setLabel(object: string, label: string, value: string): Edit {
  return { op: "set", object, path: ["metadata", "labels", label], value };
}
