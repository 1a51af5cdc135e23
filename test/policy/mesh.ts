/** Small snapshots and facts for the tests of `src/policy`. */

import type { RequestAuthentication } from "../../src/model/request-authentication.ts";
import type { AttachedRoute, HttpRoute, HttpRouteRule } from "../../src/model/route.ts";
import type { AuthorizationPolicy, FieldMatch, L4Match, L4Policy } from "../../src/model/rule.ts";
import type { Service } from "../../src/model/service.ts";
import { DEFAULT_SETTINGS, type MeshSettings } from "../../src/model/settings.ts";
import type { Snapshot } from "../../src/model/snapshot.ts";
import type { Waypoint } from "../../src/model/waypoint.ts";
import type { Workload } from "../../src/model/workload.ts";
import type { ConnectionFacts, Hop, HttpFacts } from "../../src/policy/facts.ts";

export const WAYPOINT = "default/waypoint";
export const SERVICE = "default/reviews.default.svc.cluster.local";
export const WORKLOAD = "Kubernetes//Pod/default/reviews-v1";
export const PORT = 9080;

export const HTTP_HOP: Hop = {
  proxy: "waypoint",
  waypoint: WAYPOINT,
  service: SERVICE,
  port: PORT,
};
export const WORKLOAD_HOP: Hop = {
  proxy: "waypoint",
  waypoint: WAYPOINT,
  workload: WORKLOAD,
  port: PORT,
};
export const L4_HOP: Hop = { proxy: "ztunnel", workload: WORKLOAD };

export interface MeshParts {
  /** By target: `Service/…`, `Gateway/…`, `GatewayClass/…`. */
  policies?: Record<string, readonly AuthorizationPolicy[]>;
  authentications?: Record<string, readonly RequestAuthentication[]>;
  /** Applied to the mesh, to namespace `default` or by selector, as their scope says. */
  l4Policies?: readonly L4Policy[];
  routes?: Record<string, readonly AttachedRoute[]>;
  settings?: Partial<MeshSettings>;
  services?: readonly Service[];
  workloads?: readonly Workload[];
}

export function snapshotOf(parts: MeshParts, revision = 1): Snapshot {
  const l4 = parts.l4Policies ?? [];
  const byScope = (scope: L4Policy["scope"]) => l4.filter((policy) => policy.scope === scope);
  const selected = byScope("WORKLOAD_SELECTOR").map((policy) => policy.key);
  const workloads = parts.workloads ?? [workloadOf({ authorizationPolicies: selected })];
  return {
    revision,
    settings: { ...DEFAULT_SETTINGS, ...parts.settings },
    workloads: new Map(workloads.map((workload) => [workload.uid, workload])),
    services: new Map((parts.services ?? [SERVICE_VALUE]).map((service) => [service.key, service])),
    endpoints: new Map(),
    addresses: new Map(),
    waypoints: new Map([[WAYPOINT, WAYPOINT_VALUE]]),
    policies: new Map(Object.entries(parts.policies ?? {})),
    authentications: new Map(Object.entries(parts.authentications ?? {})),
    l4Policies: new Map(l4.map((policy) => [policy.key, policy])),
    l4PoliciesByNamespace: new Map([
      ["", byScope("GLOBAL")],
      ["default", byScope("NAMESPACE")],
    ]),
    routes: new Map(Object.entries(parts.routes ?? {})),
  };
}

const source = (kind: string, name: string) => ({ kind, namespace: "default", name });

export const SERVICE_VALUE: Service = {
  key: SERVICE,
  name: "reviews",
  namespace: "default",
  hostname: "reviews.default.svc.cluster.local",
  addresses: ["10.96.0.1"],
  ports: [{ port: PORT, targetPort: PORT, name: "http", protocol: "HTTP11" }],
  subjectAltNames: [],
  waypoint: undefined,
  ingressUseWaypoint: false,
  loadBalancing: { mode: "UNSPECIFIED", routingPreference: [], healthPolicy: "ONLY_HEALTHY" },
  canonical: true,
  source: source("Service", "reviews"),
  position: undefined,
};

const WAYPOINT_VALUE: Waypoint = {
  key: WAYPOINT,
  namespace: "default",
  name: "waypoint",
  className: "istio-waypoint",
  trafficType: "all",
  service: "default/waypoint.default.svc.cluster.local",
  hbonePort: 15008,
  identities: ["spiffe://cluster.local/ns/default/sa/waypoint"],
  isReady: true,
  source: source("Gateway", "waypoint"),
  position: undefined,
};

export function workloadOf(parts: Partial<Workload>): Workload {
  return {
    uid: WORKLOAD,
    name: "reviews-v1",
    namespace: "default",
    addresses: ["10.0.0.9"],
    network: "",
    tunnelProtocol: "HBONE",
    trustDomain: "cluster.local",
    serviceAccount: "reviews",
    waypoint: undefined,
    node: "",
    canonicalName: "reviews",
    canonicalRevision: "v1",
    workloadType: "POD",
    workloadName: "reviews-v1",
    clusterId: "Kubernetes",
    locality: undefined,
    status: "HEALTHY",
    services: new Map(),
    authorizationPolicies: [],
    waypointInstanceOf: undefined,
    source: source("Pod", "reviews-v1"),
    ...parts,
  };
}

export function policyOf(
  parts: Partial<AuthorizationPolicy> & { key: string },
): AuthorizationPolicy {
  const [namespace = "", name = ""] = parts.key.split("/");
  return {
    action: "ALLOW",
    provider: undefined,
    rules: [],
    isDryRun: false,
    source: { kind: "AuthorizationPolicy", namespace, name },
    position: { file: `${name}.yaml`, line: 1, column: 1 },
    ...parts,
  };
}

/** Any of the values; "*" is presence. */
export function field(name: FieldMatch["field"], ...values: string[]): FieldMatch {
  return {
    field: name,
    values: values.map((text) => ({
      type: "string",
      match: text === "*" ? { type: "presence" } : { type: "exact", value: text },
      text,
    })),
    notValues: [],
    hasValues: true,
    hasNotValues: false,
    path: name,
    position: undefined,
  };
}

export function l4PolicyOf(parts: Partial<L4Policy> & { name: string }): L4Policy {
  return {
    key: `default/${parts.name}`,
    namespace: "default",
    scope: "NAMESPACE",
    action: "ALLOW",
    rules: [],
    isDryRun: false,
    source: source("AuthorizationPolicy", parts.name),
    position: { file: `${parts.name}.yaml`, line: 1, column: 1 },
    because: undefined,
    ...parts,
  };
}

export const EMPTY_L4_MATCH: L4Match = {
  namespaces: [],
  notNamespaces: [],
  principals: [],
  notPrincipals: [],
  serviceAccounts: [],
  notServiceAccounts: [],
  sourceIps: [],
  notSourceIps: [],
  destinationIps: [],
  notDestinationIps: [],
  destinationPorts: [],
  notDestinationPorts: [],
};

export function routeOf(
  name: string,
  rules: readonly Partial<HttpRouteRule>[],
  parts: Partial<HttpRoute> = {},
): HttpRoute {
  return {
    kind: "HTTPRoute",
    key: `default/${name}`,
    source: source("HTTPRoute", name),
    createdMs: 0,
    hostnames: [],
    position: { file: `${name}.yaml`, line: 1, column: 1 },
    rules: rules.map((rule, index) => ({
      name: String(index),
      index,
      matches: [],
      filters: [],
      backends: [],
      problem: undefined,
      requestTimeoutMs: 0,
      backendRequestTimeoutMs: 0,
      retry: undefined,
      sessionPersistence: undefined,
      position: { file: `${name}.yaml`, line: 10 + index, column: 5 },
      ...rule,
    })),
    ...parts,
  };
}

export function connection(parts: Partial<ConnectionFacts> = {}): ConnectionFacts {
  return {
    sourceIdentity: "spiffe://cluster.local/ns/default/sa/client",
    sourceAddress: "10.0.0.1",
    destinationAddress: "10.96.0.1",
    destinationPort: PORT,
    ...parts,
  };
}

export type RequestParts = Partial<Omit<HttpFacts, "header">> & {
  headers?: Readonly<Record<string, string>>;
};

export function request(parts: RequestParts = {}): HttpFacts {
  const { headers = {}, ...rest } = parts;
  return {
    ...connection(),
    method: "GET",
    path: "/",
    query: "",
    authority: "reviews",
    header: (name) => headers[name],
    ...rest,
  };
}
