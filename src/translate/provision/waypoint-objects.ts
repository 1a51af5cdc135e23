/**
 * What stands in a cluster for a waypoint: the objects of its Gateway, as they are to be.
 *
 *     Gateway, settings ─ template ─ overlay of the class ─ overlay of the Gateway ─> objects
 *
 * Overlays are ConfigMaps whose keys name an object and whose values are strategic merge patches
 * of it. One that cannot be used makes the whole Gateway's parameters invalid: nothing is applied
 * that its author did not mean.
 */
import { isDeepStrictEqual } from "node:util";
import type { Gateway } from "../../api/gateway.ts";
import { formatFieldPath, type KubeObject, type ObjectMeta } from "../../api/object.ts";
import { KUBECTL_YAML, parseYaml } from "../../api/yaml.ts";
import { LABEL } from "../labels.ts";
import {
  isJson,
  type Json,
  MERGE_RULES,
  type MergeRules,
  mergeProblems,
  strategicMerge,
} from "./strategic-merge.ts";
import { annotationsProblem } from "./waypoint-annotations.ts";
import type { WaypointSettings } from "./waypoint-settings.ts";
import { type WaypointClass, WaypointTemplate } from "./waypoint-template.ts";

/** A ConfigMap, as far as it matters. */
export interface Overlay {
  /** `namespace/name`, for messages. */
  readonly name: string;
  readonly data: Readonly<Record<string, string>>;
}

export type WaypointPlan =
  /** In the order of applying. */
  | { readonly objects: readonly KubeObject[] }
  /** Of the Gateway's condition `Accepted`, with reason InvalidParameters. */
  | { readonly invalid: string };

/** In the order of applying. */
export const OVERLAY_KEYS = [
  "serviceAccount",
  "deployment",
  "service",
  "horizontalPodAutoscaler",
  "podDisruptionBudget",
] as const;

type OverlayKey = (typeof OVERLAY_KEYS)[number];

interface Patch {
  /** Whose it is, for messages. */
  readonly overlay: string;
  readonly value: Json;
}

type Patches = ReadonlyMap<OverlayKey, readonly Patch[]>;

/** There only when an overlay says what it is to be. */
const OVERLAID_ONLY: ReadonlySet<OverlayKey> = new Set([
  "horizontalPodAutoscaler",
  "podDisruptionBudget",
]);

const RULES: Readonly<Record<OverlayKey, MergeRules>> = {
  serviceAccount: MERGE_RULES.ServiceAccount,
  deployment: MERGE_RULES.Deployment,
  service: MERGE_RULES.Service,
  horizontalPodAutoscaler: MERGE_RULES.HorizontalPodAutoscaler,
  podDisruptionBudget: MERGE_RULES.PodDisruptionBudget,
};

/** Overlays in the order of laying them on. */
export function waypointObjects(
  gateway: Gateway,
  owner: WaypointClass,
  settings: WaypointSettings,
  overlays: readonly Overlay[],
): WaypointPlan {
  const invalid = annotationsProblem(gateway);
  if (invalid !== undefined) return { invalid };
  const template = new WaypointTemplate(gateway, owner, settings);
  const patches = new Map<OverlayKey, Patch[]>();
  for (const overlay of overlays) {
    const problem = addPatches(overlay, patches);
    if (problem !== undefined) return { invalid: `ConfigMap ${overlay.name}${problem}` };
  }
  const objects: KubeObject[] = [];
  for (const key of OVERLAY_KEYS) {
    if (OVERLAID_ONLY.has(key) && !patches.has(key)) continue;
    const object = overlaid(made(template, key), key, patches);
    if (typeof object === "string") return { invalid: object };
    objects.push(object);
  }
  return { objects };
}

/** Tells what is wrong with the overlay. */
function addPatches(
  { name, data }: Overlay,
  patches: Map<OverlayKey, Patch[]>,
): string | undefined {
  for (const [key, text] of Object.entries(data)) {
    if (!isOverlayKey(key)) {
      return `: unknown key "${key}": there are ${OVERLAY_KEYS.join(", ")}`;
    }
    const read = readPatch(text, RULES[key]);
    if (typeof read === "string") return `, key ${key}: ${read}`;
    if (read === undefined) continue;
    const patch = { overlay: name, value: read };
    patches.set(key, [...(patches.get(key) ?? []), patch]);
  }
  return undefined;
}

/** A text: what is wrong. Undefined: it says nothing. */
function readPatch(text: string, rules: MergeRules): Json | string | undefined {
  const { objects, diagnostics } = parseYaml(text, "", KUBECTL_YAML);
  const [diagnostic] = diagnostics;
  if (diagnostic !== undefined) {
    const { line, column, message } = diagnostic;
    return `line ${line ?? 1}, column ${column ?? 1} is not YAML: ${message}`;
  }
  if (objects.length > 1) return "more than one document: write one patch";
  const [patch] = objects;
  if (patch === undefined) return undefined;
  if (!isJson(patch.value)) return "not a mapping: write the fields that are to differ";
  const [problem] = mergeProblems(patch.value, rules);
  if (problem === undefined) return patch.value;
  return `${formatFieldPath(problem.path)} ${problem.message}`;
}

function isOverlayKey(key: string): key is OverlayKey {
  return (OVERLAY_KEYS as readonly string[]).includes(key);
}

/** A text: what is wrong. */
function overlaid(base: KubeObject, key: OverlayKey, patches: Patches): KubeObject | string {
  let object: Json = base;
  for (const { overlay, value } of patches.get(key) ?? []) {
    object = strategicMerge(object, value, RULES[key]);
    const changed = changedIdentity(base, object);
    if (changed === undefined) continue;
    return `ConfigMap ${overlay}, key ${key}: ${changed} of an object cannot be changed: leave it out`;
  }
  const metadata = object.metadata as ObjectMeta;
  return { ...object, metadata: { ...metadata, labels: owned(base, metadata) } } as KubeObject;
}

/** Of an object's metadata overlays may change these, and no more: the rest says what it is. */
const FREE_METADATA: ReadonlySet<string> = new Set(["labels", "annotations"]);

/** The field that makes it another object, or another's. */
function changedIdentity(base: KubeObject, object: Json): string | undefined {
  for (const field of ["apiVersion", "kind"]) if (object[field] !== base[field]) return field;
  const { metadata } = object;
  if (!isJson(metadata)) return "metadata";
  const before: Json = { ...base.metadata };
  const fields = new Set([...Object.keys(before), ...Object.keys(metadata)]);
  for (const field of fields) {
    if (FREE_METADATA.has(field)) {
      if (field in metadata && !isJson(metadata[field])) return `metadata.${field}`;
    } else if (!isDeepStrictEqual(before[field], metadata[field])) return `metadata.${field}`;
  }
  return undefined;
}

const OWNERSHIP = [LABEL.gatewayName, LABEL.managed];

/** The labels, with those by which it is known whose it is. */
function owned(base: KubeObject, { labels }: ObjectMeta): ObjectMeta["labels"] {
  const own = Object.entries(base.metadata.labels ?? {}).filter(([key]) =>
    (OWNERSHIP as readonly string[]).includes(key),
  );
  return { ...labels, ...Object.fromEntries(own) };
}

function made(template: WaypointTemplate, key: OverlayKey): KubeObject {
  switch (key) {
    case "serviceAccount":
      return template.serviceAccount();
    case "deployment":
      return template.deployment();
    case "service":
      return template.service();
    case "horizontalPodAutoscaler":
      return template.autoscaler();
    case "podDisruptionBudget":
      return template.disruptionBudget();
  }
}
