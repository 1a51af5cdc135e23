/**
 * What can be set of an installation: every value, its default, and what it means. The chart's
 * `values.yaml` and `values.schema.json`, the reference page, and the checks of `waystone install
 * --set` are made from this table.
 */
import { ROOT_NAMESPACE } from "../../control/cluster/permissions.ts";

/** `object` and `objects` hold what Kubernetes or MeshConfig says of them: it is not looked into. */
export type ValueType =
  | "text"
  | "integer"
  | "boolean"
  | "texts"
  | "object"
  | "nullable object"
  | "objects";

export interface ValueKind {
  readonly path: string;
  readonly type: ValueType;
  readonly usual: unknown;
  /** Sentences; for the reader of `values.yaml`. */
  readonly description: string;
  readonly choices?: readonly string[];
  readonly pattern?: string;
  readonly minimum?: number;
}

const HOST_PORT = "^(\\[[0-9a-fA-F:.]+\\]|[A-Za-z0-9.-]+):[0-9]{1,5}$";
const NAME = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";

function entry(
  path: string,
  type: ValueType,
  usual: unknown,
  description: string,
  limits: Pick<ValueKind, "choices" | "pattern" | "minimum"> = {},
): ValueKind {
  return { path, type, usual, description, ...limits };
}

/** In the order of `values.yaml`. */
export const VALUE_TABLE: readonly ValueKind[] = [
  entry(
    "mode",
    "text",
    "under",
    "How Waystone lives in the cluster. `under`: it is the control plane of Istio's ztunnels and of " +
      "Gateways of class `istio-waypoint`, in istiod's place. `beside`: istiod stays, and Waystone " +
      "looks after Gateways of class `waystone-waypoint` alone.",
    { choices: ["under", "beside"] },
  ),
  entry("replicas", "integer", 2, "Pods of the control plane: all serve, one of them writes.", {
    minimum: 1,
  }),
  entry(
    "image.repository",
    "text",
    "waystone",
    "Where the image is, with the host of its registry; control plane and waypoints are one image.",
    { pattern: "^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)*$" },
  ),
  entry("image.tag", "text", "", "Its tag; empty: the version of the chart's application.", {
    pattern: "^([A-Za-z0-9_][A-Za-z0-9._-]{0,127})?$",
  }),
  entry("image.pullPolicy", "text", "IfNotPresent", "When nodes fetch it.", {
    choices: ["Always", "IfNotPresent", "Never"],
  }),
  entry(
    "image.pullSecrets",
    "texts",
    [],
    "Names of the Secrets to fetch it with; each namespace with a waypoint needs them, too.",
    { pattern: NAME },
  ),
  entry(
    "meshConfig",
    "nullable object",
    { trustDomain: "cluster.local", rootNamespace: ROOT_NAMESPACE },
    "Istio's MeshConfig: `under` writes it into the ConfigMap `istio`, unless there is one that " +
      "somebody else has made. `null`: leave it to somebody else anyway.",
  ),
  entry(
    "istiod.address",
    "text",
    `istiod.${ROOT_NAMESPACE}.svc:15012`,
    "`beside`: where istiod is, for certificates and workloads.",
    { pattern: HOST_PORT },
  ),
  entry(
    "istiod.trustDomain",
    "text",
    "cluster.local",
    "`beside`: istiod's trust domain, in which the control plane gets its identity.",
    { pattern: "^[A-Za-z0-9._-]+$" },
  ),
  entry("clusterId", "text", "Kubernetes", "The cluster's name in telemetry and certificates.", {
    pattern: "^[A-Za-z0-9._-]+$",
  }),
  entry(
    "network",
    "text",
    "",
    "The network (`topology.istio.io/network`) of waypoints whose Gateway does not say; empty: none.",
    { pattern: "^[A-Za-z0-9._-]*$" },
  ),
  entry(
    "revision",
    "text",
    "default",
    "`under`: Gateways with this `istio.io/rev`, their own or their namespace's, are looked after.",
    { pattern: NAME },
  ),
  entry(
    "trustedNodeAccounts",
    "texts",
    [`${ROOT_NAMESPACE}/ztunnel`],
    "`under`: accounts that may obtain certificates for all workloads of their node.",
    { pattern: "^[a-z0-9.-]+/[a-z0-9.-]+$" },
  ),
  entry(
    "bindHost",
    "text",
    "0.0.0.0",
    "The address that ports listen on; `[::]` where the cluster has IPv6.",
    { pattern: "^([0-9.]+|\\[[0-9a-fA-F:.]+\\])$" },
  ),
  entry("logLevel", "text", "info", "How much the log tells.", {
    choices: ["trace", "debug", "info", "warn", "error"],
  }),
  entry(
    "waypoint.resources",
    "object",
    { requests: { cpu: "100m", memory: "128Mi" } },
    "Of each Pod of a waypoint. Overlays of a Gateway (`parametersRef`) come after these.",
  ),
  entry("waypoint.affinity", "object", {}, "Of each Pod of a waypoint."),
  entry("waypoint.nodeSelector", "object", {}, "Of each Pod of a waypoint."),
  entry("waypoint.tolerations", "objects", [], "Of each Pod of a waypoint."),
  entry("waypoint.topologySpreadConstraints", "objects", [], "Of each Pod of a waypoint."),
  entry(
    "resources",
    "object",
    { requests: { cpu: "250m", memory: "512Mi" } },
    "Of each Pod of the control plane. A mesh of 10,000 Services takes about 1 GiB.",
  ),
  entry(
    "affinity",
    "object",
    {},
    "Where Pods of the control plane go; empty: on different nodes, as far as there are several.",
  ),
  entry("topologySpreadConstraints", "objects", [], "Of the control plane."),
  entry("nodeSelector", "object", {}, "Of the control plane."),
  entry("tolerations", "objects", [], "Of the control plane."),
  entry("priorityClassName", "text", "", "Of the control plane; empty: the cluster's usual.", {
    pattern: "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$",
  }),
  entry(
    "terminationGracePeriodSeconds",
    "integer",
    30,
    "How long a Pod may take to end; what is left 5 s before is cut.",
    { minimum: 1 },
  ),
  entry(
    "podAnnotations",
    "object",
    { "prometheus.io/scrape": "true", "prometheus.io/port": "15014" },
    "Of the control plane's Pods.",
  ),
  entry(
    "env",
    "objects",
    [],
    "Variables of the control plane's container, as a Pod has them: `HTTPS_PROXY` and the like.",
  ),
  entry("extraArgs", "texts", [], "Further options of `waystone control-plane`."),
  entry(
    "podDisruptionBudget.enabled",
    "boolean",
    true,
    "Keep the drain of nodes from taking the control plane's Pods all at once.",
  ),
  entry("podDisruptionBudget.maxUnavailable", "integer", 1, "Of them at a time.", { minimum: 1 }),
  entry(
    "networkPolicy.enabled",
    "boolean",
    false,
    "Let only the control plane's own ports in, and out only what it needs.",
  ),
  entry(
    "networkPolicy.egress",
    "objects",
    [],
    "Further egress rules: without them DNS, the ports 443 and 6443 (API server, issuers of tokens) " +
      "and istiod's.",
  ),
  entry(
    "webhook.enabled",
    "boolean",
    true,
    "`under`: have the API server ask before it takes an object of the mesh.",
  ),
  entry(
    "webhook.failurePolicy",
    "text",
    "Ignore",
    "What it does when no control plane answers. With `Fail` nothing of the mesh can be changed then; " +
      "with `Ignore` what cannot be used is stored, and has no effect until it is corrected.",
    { choices: ["Ignore", "Fail"] },
  ),
];
