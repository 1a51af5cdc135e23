/**
 * Objects as people write them: plain JSON, with the place in the file where each part stood.
 */
import type { KindName } from "./kinds.ts";

/** Structurally the model's SourcePosition; lines and columns count from 1. */
export interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

export interface ObjectMeta {
  readonly name: string;
  readonly namespace?: string | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  readonly creationTimestamp?: string | null | undefined;
  readonly deletionTimestamp?: string | null | undefined;
  readonly generation?: number | undefined;
  readonly uid?: string | undefined;
  readonly ownerReferences?: readonly OwnerReference[] | undefined;
}

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid?: string | undefined;
  readonly controller?: boolean | undefined;
}

export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: ObjectMeta;
  readonly [field: string]: unknown;
}

/** The path to a part of an object, from its root: `["spec", "rules", 0]`. */
export type FieldPath = readonly (string | number)[];

/** An object of a kind that we know, and where it stood. */
export interface ParsedObject<T = KubeObject> {
  readonly kind: KindName;
  /** Keeps its identity while the object says the same. */
  readonly value: T;
  readonly position: Position;
  /** Where a part stands; for one that is not there, its nearest ancestor. */
  positionOf(path: FieldPath): Position;
}

export interface ObjectKey {
  readonly kind: KindName;
  /** Empty for what stands in no namespace. */
  readonly namespace: string;
  readonly name: string;
}

/** One batch of what changed: applied whole. */
export interface ObjectChange {
  readonly upserted: readonly ParsedObject[];
  readonly removed: readonly ObjectKey[];
}

/** `Kind ns/name`, as diagnostics name objects. */
export function objectLabel({ kind, metadata: { namespace, name } }: KubeObject): string {
  return `${kind} ${namespace === undefined ? name : `${namespace}/${name}`}`;
}

/** `spec.rules[0].matches`; `metadata.labels["app.kubernetes.io/name"]`. */
export function formatFieldPath(path: FieldPath): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else if (text === "") text = part;
    else text += /^\w[\w-]*$/.test(part) ? `.${part}` : `[${JSON.stringify(part)}]`;
  }
  return text;
}
