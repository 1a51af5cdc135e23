/**
 * What every object says about itself: its name, its namespace, when it was made, its labels.
 */
import { KINDS } from "../api/kinds.ts";
import type { ParsedObject } from "../api/object.ts";
import type { ObjectRef } from "../model/object-ref.ts";

/** Empty for what stands in no namespace. */
export function namespaceOf(object: ParsedObject): string {
  if (!KINDS[object.kind].isNamespaced) return "";
  return object.value.metadata.namespace ?? "default";
}

export function nameOf(object: ParsedObject): string {
  return object.value.metadata.name;
}

/** `<namespace>/<name>`, or the name alone for what stands in no namespace. */
export function keyOf(object: ParsedObject): string {
  return objectKey(namespaceOf(object), nameOf(object));
}

export function objectKey(namespace: string, name: string): string {
  return namespace === "" ? name : `${namespace}/${name}`;
}

export function refOf(object: ParsedObject): ObjectRef {
  return { kind: object.kind, namespace: namespaceOf(object), name: nameOf(object) };
}

export function labelsOf(object: ParsedObject): Labels {
  return object.value.metadata.labels ?? NO_LABELS;
}

export function annotationsOf(object: ParsedObject): Labels {
  return object.value.metadata.annotations ?? NO_LABELS;
}

/** Files seldom say it; then it is 0, and names decide between objects. */
export function createdMsOf(object: ParsedObject): number {
  const text = object.value.metadata.creationTimestamp;
  const ms = text === undefined || text === null ? Number.NaN : Date.parse(String(text));
  return Number.isNaN(ms) ? 0 : ms;
}

export type Labels = Readonly<Record<string, string>>;

const NO_LABELS: Labels = {};

/** Negative: the first goes before the second. By code units, as names are compared everywhere. */
export function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
