/**
 * Kubernetes' strategic merge patch, for the objects that a waypoint is made of: what an overlay
 * does to the object that is generated.
 *
 *     mapping          merged field by field; `null` takes a field away
 *     list with a key  merged item by item (containers by name, ports by number …)
 *     other list       replaced
 *
 *     $patch: replace  of a mapping, or as an item of a keyed list: the rest takes its place
 *     $patch: delete   empties a mapping; takes the item with that key out of a list
 *     $retainKeys      takes away the fields that it does not name
 *     $deleteFromPrimitiveList/FIELD   takes these values out of a list
 *     $setElementOrder/FIELD           passed over: the order is as without it
 *
 * Keys and order are those of `kubectl patch`, so that an overlay means what it means there; of
 * two machine-made habits of kubectl's nothing is kept: nulls and directives never come out, and
 * `$patch: replace` of a field that is not there sets it. Laid on twice is laid on once.
 */
import type { FieldPath } from "../../api/object.ts";

export type Json = { readonly [key: string]: unknown };

/** How the lists somewhere below a field are merged; what is not named is merged or replaced. */
interface MergeRule {
  /** Of a list: the field by which its items are known. */
  readonly key?: string;
  /** Of a mapping: it is replaced as a whole. */
  readonly isAtomic?: boolean;
  readonly fields?: MergeRules;
}

export type MergeRules = Readonly<Record<string, MergeRule>>;

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
  ServiceAccount: { secrets: { key: "name" } },
  Deployment: { spec: { fields: { template: { fields: { spec: { fields: POD_SPEC } } } } } },
  Service: { spec: { fields: { ports: { key: "port" } } } },
  HorizontalPodAutoscaler: {},
  PodDisruptionBudget: { spec: { fields: { selector: { isAtomic: true } } } },
} as const satisfies Readonly<Record<string, MergeRules>>;

const PATCH = "$patch";
const RETAIN = "$retainKeys";
const DELETE_FROM = "$deleteFromPrimitiveList/";
const ELEMENT_ORDER = "$setElementOrder/";

/** The object with the patch laid over it; neither is changed. */
export function strategicMerge(target: Json, patch: Json, rules: MergeRules): Json {
  if (patch[PATCH] === "delete") return {};
  if (patch[PATCH] === "replace") return cleanMapping(patch);
  const retained = patch[RETAIN];
  const merged = new Map(
    Object.entries(target).filter(
      ([field]) => !Array.isArray(retained) || retained.includes(field),
    ),
  );
  for (const [directive, values] of Object.entries(patch)) {
    if (!directive.startsWith(DELETE_FROM) || !Array.isArray(values)) continue;
    const field = directive.slice(DELETE_FROM.length);
    const list = merged.get(field);
    if (!Array.isArray(list)) continue;
    merged.set(
      field,
      list.filter((value) => !values.includes(value)),
    );
  }
  for (const [field, value] of Object.entries(patch)) {
    if (field.startsWith("$")) continue;
    const before = merged.get(field);
    if (value === null || (isDeletion(value) && !isJson(before))) merged.delete(field);
    else merged.set(field, mergeValue(before, value, ruleOf(rules, field)));
  }
  // Also a field called `__proto__` is a field.
  return Object.fromEntries(merged);
}

const NO_RULE: MergeRule = {};

function ruleOf(rules: MergeRules, field: string): MergeRule {
  return Object.hasOwn(rules, field) ? rules[field]! : NO_RULE;
}

function mergeValue(before: unknown, value: unknown, rule: MergeRule): unknown {
  if (Array.isArray(value)) {
    const isMerged = rule.key !== undefined && Array.isArray(before);
    return isMerged ? mergeItems(before, value, rule.key, rule.fields ?? {}) : cleanList(value);
  }
  if (!isJson(value)) return value;
  if (!isJson(before) || rule.isAtomic === true) return cleanMapping(value);
  return strategicMerge(before, value, rule.fields ?? {});
}

function mergeItems(
  target: readonly unknown[],
  patch: readonly unknown[],
  key: string,
  fields: MergeRules,
): readonly unknown[] {
  const keyOf = (item: unknown) => (isJson(item) ? item[key] : undefined);
  const items = patch.filter((item) => !isReplacement(item) && !isDeletion(item));
  if (items.length < patch.length && patch.some(isReplacement)) return cleanList(items);
  const deleted = new Set(patch.filter(isDeletion).map(keyOf));
  const kept = target.filter((item) => !deleted.has(keyOf(item)));
  const merged = new Map<unknown, unknown>();
  for (const item of items) {
    const own = keyOf(item);
    const before = merged.get(own) ?? kept.find((one) => keyOf(one) === own);
    merged.set(own, mergeValue(before, item, { fields }));
  }
  return inOrder(kept, merged, keyOf);
}

/**
 * The items of the patch keep its order, the others theirs, and one that is not in the patch stands
 * before the first of the patch that it stood before. So what is new comes early: variables of an
 * overlay can be used by those that are there.
 */
function inOrder(
  kept: readonly unknown[],
  merged: ReadonlyMap<unknown, unknown>,
  keyOf: (item: unknown) => unknown,
): readonly unknown[] {
  const places = new Map(kept.map((item, place) => [keyOf(item), place]));
  const others = kept.flatMap((item, place) => (merged.has(keyOf(item)) ? [] : [{ item, place }]));
  const ordered: unknown[] = [];
  let next = 0;
  for (const [key, item] of merged) {
    const place = places.get(key);
    for (; place !== undefined && next < others.length; next++) {
      const other = others[next]!;
      if (other.place > place) break;
      ordered.push(other.item);
    }
    ordered.push(item);
  }
  return [...ordered, ...others.slice(next).map(({ item }) => item)];
}

function clean(value: unknown): unknown {
  if (Array.isArray(value)) return cleanList(value);
  return isJson(value) ? cleanMapping(value) : value;
}

function cleanList(values: readonly unknown[]): readonly unknown[] {
  return values.filter((value) => !isDeletion(value) && !isReplacement(value)).map(clean);
}

/** What takes the place of something else has nothing to be merged with. */
function cleanMapping(value: Json): Json {
  const fields = Object.entries(value).filter(
    ([field, inner]) => !field.startsWith("$") && inner !== null && !isDeletion(inner),
  );
  return Object.fromEntries(fields.map(([field, inner]) => [field, clean(inner)]));
}

function isDeletion(value: unknown): boolean {
  return isJson(value) && value[PATCH] === "delete";
}

/** As an item it speaks of its whole list. */
function isReplacement(value: unknown): boolean {
  return isJson(value) && value[PATCH] === "replace";
}

export function isJson(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export interface MergeProblem {
  readonly path: FieldPath;
  readonly message: string;
}

/**
 * Why a patch cannot be laid on: directives that there are not, items of keyed lists without their
 * key, numbers that JSON does not have.
 */
export function mergeProblems(
  patch: Json,
  rules: MergeRules,
  path: FieldPath = [],
): readonly MergeProblem[] {
  return Object.entries(patch).flatMap(([field, value]) => {
    const at = [...path, field];
    if (field.startsWith("$")) return directiveProblem(field, value, patch, at);
    return valueProblems(value, ruleOf(rules, field), at);
  });
}

function valueProblems(value: unknown, rule: MergeRule, path: FieldPath): readonly MergeProblem[] {
  const { key, fields = {} } = rule;
  if (isJson(value)) return mergeProblems(value, fields, path);
  if (Array.isArray(value)) {
    return value.flatMap((item, index) => {
      const at = [...path, index];
      const isKnown = key === undefined || isReplacement(item) || (isJson(item) && key in item);
      if (isKnown) return valueProblems(item, { fields }, at);
      return [{ path: at, message: `needs "${key}", by which the items of this list are known` }];
    });
  }
  if (typeof value !== "number" || Number.isFinite(value)) return [];
  return [{ path, message: `is ${value}: write a number` }];
}

function directiveProblem(
  field: string,
  value: unknown,
  patch: Json,
  path: FieldPath,
): readonly MergeProblem[] {
  const problem = (message: string) => [{ path, message }];
  if (field === PATCH) {
    if (value === "replace" || value === "delete") return [];
    return problem(`is ${JSON.stringify(value)}: use replace or delete`);
  }
  if (field !== RETAIN && !field.startsWith(DELETE_FROM) && !field.startsWith(ELEMENT_ORDER)) {
    return problem("is no directive: there are $patch, $retainKeys and $deleteFromPrimitiveList/…");
  }
  if (!Array.isArray(value)) return problem("is not a list");
  if (field !== RETAIN) return [];
  const missing = Object.entries(patch).find(
    ([name, inner]) => !name.startsWith("$") && inner !== null && !value.includes(name),
  );
  return missing === undefined
    ? []
    : problem(`does not name "${missing[0]}", which is set beside it`);
}
