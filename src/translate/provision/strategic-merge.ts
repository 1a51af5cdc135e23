/**
 * Kubernetes' strategic merge patch, for the objects that a waypoint is made of: what an overlay
 * does to the object that is generated.
 *
 *     mapping          merged field by field; `null` takes a field away
 *     list with a key  merged item by item (containers by name, ports by number …); new items last
 *     other list       replaced
 *
 * `$patch: replace` puts the rest of a mapping (of a list) in the place of what was there,
 * `$patch: delete` takes it away, `$retainKeys` takes away what it does not name. The directives
 * that only machines write (`$setElementOrder/…`, `$deleteFromPrimitiveList/…`) are refused.
 *
 * Laying an overlay on twice is laying it on once.
 */
import type { FieldPath } from "../../api/object.ts";

export type Json = { readonly [key: string]: unknown };

/** How the lists somewhere below a field are merged; what is not named is replaced or merged. */
interface MergeRule {
  /** Of a list: the field by which its items are known. */
  readonly key?: string;
  /** A list of plain values that is a set. */
  readonly isSet?: boolean;
  readonly fields?: MergeRules;
}

export type MergeRules = Readonly<Record<string, MergeRule>>;

const METADATA: MergeRule = {
  fields: { ownerReferences: { key: "uid" }, finalizers: { isSet: true } },
};

const CONTAINER: MergeRules = {
  env: { key: "name" },
  ports: { key: "containerPort" },
  volumeMounts: { key: "mountPath" },
  volumeDevices: { key: "devicePath" },
};

const POD_SPEC: MergeRules = {
  containers: { key: "name", fields: CONTAINER },
  initContainers: { key: "name", fields: CONTAINER },
  ephemeralContainers: { key: "name", fields: CONTAINER },
  volumes: { key: "name" },
  imagePullSecrets: { key: "name" },
  hostAliases: { key: "ip" },
  topologySpreadConstraints: { key: "topologyKey" },
  schedulingGates: { key: "name" },
  resourceClaims: { key: "name" },
};

/** By kind, as Kubernetes' API declares it of its types. */
export const MERGE_RULES = {
  ServiceAccount: { metadata: METADATA, fields: {}, secrets: { key: "name" } },
  Deployment: {
    metadata: METADATA,
    spec: { fields: { template: { fields: { metadata: METADATA, spec: { fields: POD_SPEC } } } } },
  },
  Service: { metadata: METADATA, spec: { fields: { ports: { key: "port" } } } },
  HorizontalPodAutoscaler: { metadata: METADATA },
  PodDisruptionBudget: { metadata: METADATA },
} as const satisfies Readonly<Record<string, MergeRules>>;

const PATCH = "$patch";
const RETAIN = "$retainKeys";

/** The object with the patch laid over it; neither is changed. */
export function strategicMerge(target: Json, patch: Json, rules: MergeRules): Json {
  if (patch[PATCH] === "replace") return withoutDirectives(patch);
  if (patch[PATCH] === "delete") return {};
  const merged: Record<string, unknown> = { ...retained(target, patch[RETAIN]) };
  for (const [field, value] of Object.entries(patch)) {
    if (field.startsWith("$")) continue;
    if (value === null) delete merged[field];
    else if (isDeletion(value)) delete merged[field];
    else set(merged, field, mergeValue(merged[field], value, rules[field] ?? {}));
  }
  return merged;
}

/** Also a field called `__proto__` is a field. */
function set(object: Record<string, unknown>, field: string, value: unknown): void {
  Object.defineProperty(object, field, {
    value,
    enumerable: true,
    configurable: true,
    writable: true,
  });
}

function retained(target: Json, keys: unknown): Json {
  if (!Array.isArray(keys)) return target;
  return Object.fromEntries(Object.entries(target).filter(([field]) => keys.includes(field)));
}

function mergeValue(target: unknown, patch: unknown, rule: MergeRule): unknown {
  if (Array.isArray(patch)) return mergeList(Array.isArray(target) ? target : [], patch, rule);
  if (!isJson(patch)) return patch;
  return strategicMerge(isJson(target) ? target : {}, patch, rule.fields ?? {});
}

function mergeList(target: readonly unknown[], patch: readonly unknown[], rule: MergeRule) {
  const { key, isSet, fields = {} } = rule;
  if (isSet) return [...new Set([...target, ...patch])];
  const items = patch.filter((item) => !isReplacement(item));
  const isReplaced = items.length < patch.length;
  if (key === undefined || isReplaced) return items.map(clean);
  const merged = [...target];
  for (const item of items) {
    const index = isJson(item)
      ? merged.findIndex((known) => isJson(known) && known[key] === item[key])
      : -1;
    if (isDeletion(item)) {
      if (index >= 0) merged.splice(index, 1);
    } else if (index >= 0) merged[index] = mergeValue(merged[index], item, { fields });
    else merged.push(mergeValue({}, item, { fields }));
  }
  return merged;
}

function clean(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(clean);
  return isJson(value) ? withoutDirectives(value) : value;
}

/** What is put in place of something else has nothing to be merged with. */
function withoutDirectives(value: Json): Json {
  const fields = Object.entries(value).filter(([f, v]) => !f.startsWith("$") && v !== null);
  return Object.fromEntries(fields.map(([field, inner]) => [field, clean(inner)]));
}

function isDeletion(value: unknown): boolean {
  return isJson(value) && value[PATCH] === "delete";
}

/** `- $patch: replace`: an item that speaks of its whole list. */
function isReplacement(value: unknown): boolean {
  return isJson(value) && value[PATCH] === "replace" && Object.keys(value).length === 1;
}

export function isJson(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What cannot be merged: unknown directives, and items of keyed lists without their key. */
export interface MergeProblem {
  readonly path: FieldPath;
  readonly message: string;
}

export function mergeProblems(
  patch: unknown,
  rules: MergeRules,
  path: FieldPath = [],
): readonly MergeProblem[] {
  if (!isJson(patch)) return [];
  return Object.entries(patch).flatMap(([field, value]) => {
    const at = [...path, field];
    if (field.startsWith("$")) return directiveProblem(field, value, at);
    const rule: MergeRule = rules[field] ?? {};
    if (!Array.isArray(value)) return mergeProblems(value, rule.fields ?? {}, at);
    return value.flatMap((item, index) => itemProblems(item, rule, [...at, index]));
  });
}

function itemProblems(item: unknown, rule: MergeRule, path: FieldPath): readonly MergeProblem[] {
  const { key, fields = {} } = rule;
  if (key !== undefined && !isReplacement(item) && (!isJson(item) || item[key] === undefined)) {
    return [{ path, message: `needs "${key}", by which the items of this list are known` }];
  }
  return mergeProblems(item, fields, path);
}

function directiveProblem(field: string, value: unknown, path: FieldPath): readonly MergeProblem[] {
  if (field === RETAIN && Array.isArray(value)) return [];
  if (field === PATCH && (value === "replace" || value === "delete" || value === "merge")) {
    return [];
  }
  const message =
    field === PATCH
      ? `is ${JSON.stringify(value)}: use replace, delete or merge`
      : "is not a directive that can be followed: use $patch or $retainKeys";
  return [{ path, message }];
}
