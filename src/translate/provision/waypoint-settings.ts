/**
 * What an installation says of the Pods of its waypoints, the same for all Gateways.
 */
import type { Json } from "./strategic-merge.ts";

export interface WaypointSettings {
  /** The image whose entry point is `waystone`. */
  readonly image: string;
  readonly imagePullPolicy?: string;
  readonly imagePullSecrets?: readonly string[];
  /** `host:port` of the control plane. */
  readonly xdsAddress: string;
  /** `host:port` of the CA, where it is another. */
  readonly caAddress?: string;
  /** `host:port` of the istiod whose workloads count (beside istiod). */
  readonly istiodAddress?: string;
  /** SPIFFE id of the control plane, where its certificate is a workload's (beside istiod). */
  readonly controlPlaneIdentity?: string;
  readonly clusterId?: string;
  /** `topology.istio.io/network` of waypoints whose Gateway does not say. */
  readonly network?: string;
  /** `istio.io/rev` of Gateways that are ours. */
  readonly revision?: string;
  readonly resources?: Json;
  readonly affinity?: Json;
  readonly nodeSelector?: Json;
  readonly tolerations?: readonly Json[];
  readonly topologySpreadConstraints?: readonly Json[];
}

type FieldType = "text" | "texts" | "object" | "objects";

const FIELDS: Readonly<Record<keyof WaypointSettings, FieldType>> = {
  image: "text",
  imagePullPolicy: "text",
  imagePullSecrets: "texts",
  xdsAddress: "text",
  caAddress: "text",
  istiodAddress: "text",
  controlPlaneIdentity: "text",
  clusterId: "text",
  network: "text",
  revision: "text",
  resources: "object",
  affinity: "object",
  nodeSelector: "object",
  tolerations: "objects",
  topologySpreadConstraints: "objects",
};

const REQUIRED = ["image", "xdsAddress"] as const;

const isText = (value: unknown) => typeof value === "string" && value !== "";
const isObject = (value: unknown) =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const CHECKS: Readonly<Record<FieldType, readonly [(value: unknown) => boolean, string]>> = {
  text: [isText, "a text"],
  texts: [(value) => Array.isArray(value) && value.every(isText), "a list of texts"],
  object: [isObject, "a mapping"],
  objects: [(value) => Array.isArray(value) && value.every(isObject), "a list of mappings"],
};

/** The settings of a parsed file, or what is wrong with it, for whoever wrote it. */
export function readWaypointSettings(
  value: unknown,
): { readonly settings: WaypointSettings } | { readonly problem: string } {
  if (!isObject(value)) return { problem: "it is not a mapping" };
  const found: Record<string, unknown> = {};
  for (const [name, part] of Object.entries(value as Json)) {
    const type = Object.hasOwn(FIELDS, name) ? FIELDS[name as keyof WaypointSettings] : undefined;
    if (type === undefined) {
      return { problem: `${name} is unknown: there are ${Object.keys(FIELDS).join(", ")}` };
    }
    if (part === null || part === "") continue;
    const [isRight, what] = CHECKS[type];
    if (!isRight(part)) return { problem: `${name} is not ${what}` };
    found[name] = part;
  }
  for (const name of REQUIRED) if (!(name in found)) return { problem: `${name} is missing` };
  return { settings: found as unknown as WaypointSettings };
}
