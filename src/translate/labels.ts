/**
 * Labels and annotations that mean something to the mesh, and selectors over labels.
 */
import type { Labels } from "./object-names.ts";

export const LABEL = {
  dataplaneMode: "istio.io/dataplane-mode",
  useWaypoint: "istio.io/use-waypoint",
  useWaypointNamespace: "istio.io/use-waypoint-namespace",
  waypointFor: "istio.io/waypoint-for",
  ingressUseWaypoint: "istio.io/ingress-use-waypoint",
  gatewayName: "gateway.networking.k8s.io/gateway-name",
  managed: "gateway.istio.io/managed",
  tunnel: "networking.istio.io/tunnel",
  namespaceName: "kubernetes.io/metadata.name",
  serviceName: "kubernetes.io/service-name",
} as const;

export const ANNOTATION = {
  redirection: "ambient.istio.io/redirection",
  trafficDistribution: "networking.istio.io/traffic-distribution",
  dryRun: "istio.io/dry-run",
} as const;

/** Whether every label asked for is there. Nothing asked: everything is selected. */
export function selects(wanted: Labels, labels: Labels): boolean {
  for (const name in wanted) if (labels[name] !== wanted[name]) return false;
  return true;
}

/**
 * Selectors are found by one of their labels: a selector stands in an index under its
 * `selectorKey`, and an object looks for the selectors that may select it under its `labelKeys`.
 * The longest label serves, since it is likely the one that fewest objects carry.
 */
export function selectorKey(scope: string, wanted: Labels): string {
  let longest = "";
  for (const name of Object.keys(wanted).sort()) {
    const text = `${name}=${wanted[name]}`;
    if (text.length > longest.length) longest = text;
  }
  return `${scope}/${longest}`;
}

export function labelKeys(scope: string, labels: Labels): string[] {
  const keys = [`${scope}/`];
  for (const name in labels) keys.push(`${scope}/${name}=${labels[name]}`);
  return keys;
}

/** Kubernetes' LabelSelector. */
export interface LabelSelector {
  readonly matchLabels?: Labels;
  readonly matchExpressions?: readonly {
    readonly key: string;
    readonly operator: string;
    readonly values?: readonly string[];
  }[];
}

/** An unknown operator selects nothing. */
export function matchesSelector(selector: LabelSelector, labels: Labels): boolean {
  if (!selects(selector.matchLabels ?? {}, labels)) return false;
  return (selector.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
    const value = labels[key];
    switch (operator) {
      case "In":
        return value !== undefined && values.includes(value);
      case "NotIn":
        return value === undefined || !values.includes(value);
      case "Exists":
        return value !== undefined;
      case "DoesNotExist":
        return value === undefined;
      default:
        return false;
    }
  });
}
