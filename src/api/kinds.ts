/**
 * The table of kinds: everything that an ambient mesh reads.
 *
 * A kind that is recognised is validated against its schema. `acted`: this version does something
 * with it; `read`: it belongs to applications and is only looked at in passing, if at all;
 * `later`: it is a mesh's kind, and the author is told that it has no effect yet.
 */
export type KindUse = "acted" | "read" | "later";

export interface Kind {
  /** API group; "" for Kubernetes' core. */
  readonly group: string;
  /** Versions that are accepted; they share one schema. */
  readonly versions: readonly string[];
  readonly isNamespaced: boolean;
  readonly use: KindUse;
  /** What stands in `kind:` when another group has a kind of the same name; else the entry's name. */
  readonly spelling?: string;
  /** Absent for kinds of which nothing is read. Loaded when the first such object comes. */
  readonly schema?: () => Promise<{ readonly schema: object }>;
}

const GATEWAY = "gateway.networking.k8s.io";
const NETWORKING = "networking.istio.io";
const SECURITY = "security.istio.io";
const ISTIO_VERSIONS = ["v1", "v1beta1", "v1alpha3"] as const;
const SECURITY_VERSIONS = ["v1", "v1beta1"] as const;

const kind = (
  group: string,
  versions: readonly string[],
  use: KindUse,
  schema?: Kind["schema"],
): Kind => ({ group, versions, use, isNamespaced: true, ...(schema ? { schema } : {}) });

const clusterWide = (entry: Kind): Kind => ({ ...entry, isNamespaced: false });

export const KINDS = {
  ConfigMap: kind("", ["v1"], "acted", () => import("./schemas/config-map.ts")),
  EndpointSlice: kind(
    "discovery.k8s.io",
    ["v1"],
    "acted",
    () => import("./schemas/endpoint-slice.ts"),
  ),
  Endpoints: kind("", ["v1"], "read"),
  Namespace: clusterWide(kind("", ["v1"], "acted", () => import("./schemas/namespace.ts"))),
  Node: clusterWide(kind("", ["v1"], "read")),
  Pod: kind("", ["v1"], "acted", () => import("./schemas/pod.ts")),
  Secret: kind("", ["v1"], "read"),
  Service: kind("", ["v1"], "acted", () => import("./schemas/service.ts")),
  ServiceAccount: kind("", ["v1"], "acted", () => import("./schemas/service-account.ts")),
  DaemonSet: kind("apps", ["v1"], "acted", () => import("./schemas/daemon-set.ts")),
  Deployment: kind("apps", ["v1"], "acted", () => import("./schemas/deployment.ts")),
  ReplicaSet: kind("apps", ["v1"], "read"),
  StatefulSet: kind("apps", ["v1"], "acted", () => import("./schemas/stateful-set.ts")),
  CronJob: kind("batch", ["v1"], "read"),
  Job: kind("batch", ["v1"], "acted", () => import("./schemas/job.ts")),
  Gateway: kind(GATEWAY, ["v1", "v1beta1"], "acted", () => import("./schemas/gateway.ts")),
  GatewayClass: clusterWide(
    kind(GATEWAY, ["v1", "v1beta1"], "acted", () => import("./schemas/gateway-class.ts")),
  ),
  GRPCRoute: kind(GATEWAY, ["v1", "v1alpha2"], "acted", () => import("./schemas/grpc-route.ts")),
  HTTPRoute: kind(GATEWAY, ["v1", "v1beta1"], "acted", () => import("./schemas/http-route.ts")),
  ReferenceGrant: kind(
    GATEWAY,
    ["v1", "v1beta1", "v1alpha2"],
    "acted",
    () => import("./schemas/reference-grant.ts"),
  ),
  TCPRoute: kind(GATEWAY, ["v1", "v1alpha2"], "acted", () => import("./schemas/tcp-route.ts")),
  TLSRoute: kind(
    GATEWAY,
    ["v1", "v1alpha3", "v1alpha2"],
    "acted",
    () => import("./schemas/tls-route.ts"),
  ),
  BackendTLSPolicy: kind(
    GATEWAY,
    ["v1", "v1alpha3"],
    "later",
    () => import("./schemas/backend-tls-policy.ts"),
  ),
  XBackendTrafficPolicy: kind(
    "gateway.networking.x-k8s.io",
    ["v1alpha1"],
    "later",
    () => import("./schemas/x-backend-traffic-policy.ts"),
  ),
  AuthorizationPolicy: kind(
    SECURITY,
    SECURITY_VERSIONS,
    "acted",
    () => import("./schemas/authorization-policy.ts"),
  ),
  PeerAuthentication: kind(
    SECURITY,
    SECURITY_VERSIONS,
    "acted",
    () => import("./schemas/peer-authentication.ts"),
  ),
  RequestAuthentication: kind(
    SECURITY,
    SECURITY_VERSIONS,
    "acted",
    () => import("./schemas/request-authentication.ts"),
  ),
  DestinationRule: kind(
    NETWORKING,
    ISTIO_VERSIONS,
    "later",
    () => import("./schemas/destination-rule.ts"),
  ),
  EnvoyFilter: kind(NETWORKING, ["v1alpha3"], "later", () => import("./schemas/envoy-filter.ts")),
  IstioGateway: {
    ...kind(NETWORKING, ISTIO_VERSIONS, "later", () => import("./schemas/istio-gateway.ts")),
    spelling: "Gateway",
  },
  ProxyConfig: kind(NETWORKING, ["v1beta1"], "later", () => import("./schemas/proxy-config.ts")),
  ServiceEntry: kind(
    NETWORKING,
    ISTIO_VERSIONS,
    "acted",
    () => import("./schemas/service-entry.ts"),
  ),
  Sidecar: kind(NETWORKING, ISTIO_VERSIONS, "later", () => import("./schemas/sidecar.ts")),
  VirtualService: kind(
    NETWORKING,
    ISTIO_VERSIONS,
    "later",
    () => import("./schemas/virtual-service.ts"),
  ),
  WorkloadEntry: kind(
    NETWORKING,
    ISTIO_VERSIONS,
    "acted",
    () => import("./schemas/workload-entry.ts"),
  ),
  WorkloadGroup: kind(
    NETWORKING,
    ISTIO_VERSIONS,
    "later",
    () => import("./schemas/workload-group.ts"),
  ),
  Telemetry: kind(
    "telemetry.istio.io",
    ["v1", "v1alpha1"],
    "later",
    () => import("./schemas/telemetry.ts"),
  ),
  TrafficExtension: kind(
    "extensions.istio.io",
    ["v1alpha1"],
    "later",
    () => import("./schemas/traffic-extension.ts"),
  ),
  WasmPlugin: kind(
    "extensions.istio.io",
    ["v1alpha1"],
    "later",
    () => import("./schemas/wasm-plugin.ts"),
  ),
} as const satisfies Record<string, Kind>;

/** Kubernetes' own groups: there a field that is null is a field that is absent. */
const BUILT_IN_GROUPS = new Set(["", "apps", "batch", "discovery.k8s.io"]);

export function isBuiltIn(name: KindName): boolean {
  return BUILT_IN_GROUPS.has(KINDS[name].group);
}

export type KindName = keyof typeof KINDS;

const NAMES: ReadonlyMap<string, KindName> = new Map(
  Object.entries<Kind>(KINDS).map(([name, { group, spelling = name }]) => [
    `${group}/${spelling}`,
    name as KindName,
  ]),
);

/** The kind of an object, or `undefined` when a mesh does not read such objects. */
export function kindOf(apiVersion: string, spelling: string): KindName | undefined {
  const slash = apiVersion.indexOf("/");
  const group = slash < 0 ? "" : apiVersion.slice(0, slash);
  const version = apiVersion.slice(slash + 1);
  const name = NAMES.get(`${group}/${spelling}`);
  if (name === undefined) return undefined;
  const { versions }: Kind = KINDS[name];
  return versions.includes(version) ? name : undefined;
}
