/**
 * What stands in a cluster for a waypoint: the objects of its Gateway, as they are to be.
 *
 *     Gateway, settings ─ template ─ overlay of the class ─ overlay of the Gateway ─> objects
 *
 * Overlays are ConfigMaps whose keys name an object and whose values are strategic merge patches
 * of it. One that cannot be used makes the whole Gateway's parameters invalid: nothing is applied
 * that its author did not mean.
 */
import { parse } from "yaml";
import type { Gateway } from "../../api/gateway.ts";
import type { KubeObject } from "../../api/object.ts";
import { formatFieldPath } from "../../api/object.ts";
import {
  isJson,
  type Json,
  MERGE_RULES,
  type MergeRules,
  mergeProblems,
  strategicMerge,
} from "./strategic-merge.ts";
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
const KEYS = [
  "serviceAccount",
  "deployment",
  "service",
  "horizontalPodAutoscaler",
  "podDisruptionBudget",
] as const;

type OverlayKey = (typeof KEYS)[number];
type Patches = Partial<Record<OverlayKey, readonly Json[]>>;

/** There only when an overlay says what it is to be. */
const OVERLAID_ONLY: ReadonlySet<OverlayKey> = new Set([
  "horizontalPodAutoscaler",
  "podDisruptionBudget",
]);

/** Overlays in the order of laying them on. */
export function waypointObjects(
  gateway: Gateway,
  owner: WaypointClass,
  settings: WaypointSettings,
  overlays: readonly Overlay[],
): WaypointPlan {
  const template = new WaypointTemplate(gateway, owner, settings);
  const patches: Partial<Record<OverlayKey, Json[]>> = {};
  for (const overlay of overlays) {
    const problem = addPatches(overlay, patches);
    if (problem !== undefined) return { invalid: problem };
  }
  const objects: KubeObject[] = [];
  for (const key of KEYS) {
    const object = overlaid(template, key, patches);
    if (typeof object === "string") return { invalid: object };
    if (object !== undefined) objects.push(object);
  }
  return { objects };
}

/** Tells what is wrong with the overlay. */
function addPatches(
  { name, data }: Overlay,
  patches: Partial<Record<OverlayKey, Json[]>>,
): string | undefined {
  for (const [key, text] of Object.entries(data)) {
    if (!isOverlayKey(key)) {
      return `ConfigMap ${name}: unknown key "${key}": there are ${KEYS.join(", ")}`;
    }
    let patch: unknown;
    try {
      patch = parse(text, { maxAliasCount: 100 });
    } catch (caught) {
      const [reason] = (caught as Error).message.split("\n");
      return `ConfigMap ${name}, key ${key}: not YAML: ${reason}`;
    }
    if (patch === null || patch === undefined) continue;
    if (!isJson(patch)) return `ConfigMap ${name}, key ${key}: not a mapping of fields`;
    const [problem] = mergeProblems(patch, rulesOf(key));
    if (problem !== undefined) {
      const at = formatFieldPath(problem.path);
      return `ConfigMap ${name}, key ${key}: ${at} ${problem.message}`;
    }
    let list = patches[key];
    if (list === undefined) {
      list = [];
      patches[key] = list;
    }
    list.push(patch);
  }
  return undefined;
}

function isOverlayKey(key: string): key is OverlayKey {
  return (KEYS as readonly string[]).includes(key);
}

const RULES: Readonly<Record<OverlayKey, MergeRules>> = {
  serviceAccount: MERGE_RULES.ServiceAccount,
  deployment: MERGE_RULES.Deployment,
  service: MERGE_RULES.Service,
  horizontalPodAutoscaler: MERGE_RULES.HorizontalPodAutoscaler,
  podDisruptionBudget: MERGE_RULES.PodDisruptionBudget,
};

function rulesOf(key: OverlayKey): MergeRules {
  return RULES[key];
}

/** A text: what is wrong. Undefined: there is to be none. */
function overlaid(
  template: WaypointTemplate,
  key: OverlayKey,
  patches: Patches,
): KubeObject | string | undefined {
  const own = patches[key] ?? [];
  if (OVERLAID_ONLY.has(key) && own.length === 0) return undefined;
  const base = made(template, key);
  if (base === undefined) return undefined;
  let object: Json = base;
  for (const patch of own) object = strategicMerge(object, patch, rulesOf(key));
  const { apiVersion, kind, metadata } = object as Partial<KubeObject>;
  const { name, namespace, ownerReferences } = base.metadata;
  const isSame =
    apiVersion === base.apiVersion &&
    kind === base.kind &&
    metadata?.name === name &&
    metadata.namespace === namespace;
  if (!isSame) {
    return `overlay of ${key}: apiVersion, kind, name and namespace of an object cannot be changed`;
  }
  const { labels } = base.metadata;
  // By these it is known whose it is.
  const kept = { ...metadata, labels: { ...metadata.labels, ...ownership(labels) } };
  return { ...object, metadata: { ...kept, ownerReferences } } as KubeObject;
}

const OWNERSHIP = ["gateway.networking.k8s.io/gateway-name", "gateway.istio.io/managed"];

function ownership(labels: Readonly<Record<string, string>> = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).filter(([key]) => OWNERSHIP.includes(key)));
}

function made(template: WaypointTemplate, key: OverlayKey): KubeObject | undefined {
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
