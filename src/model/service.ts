/**
 * Services, their ports and endpoints, as the proxies see them (Istio's workload API, `Service`).
 */
import type { ObjectRef, SourcePosition } from "./object-ref.ts";
import type { WaypointBinding } from "./waypoint.ts";

/** `AppProtocol` of the workload API, plus what we learn beyond it. */
export type AppProtocol = "UNKNOWN" | "HTTP11" | "HTTP2" | "GRPC" | "TCP" | "TLS";

export interface ServicePort {
  readonly port: number;
  /** 0: a named target port; each endpoint then carries its own number. */
  readonly targetPort: number;
  readonly name: string;
  readonly protocol: AppProtocol;
}

export type LoadBalancingMode = "UNSPECIFIED" | "STRICT" | "FAILOVER" | "PASSTHROUGH";
export type LocalityScope = "REGION" | "ZONE" | "SUBZONE" | "NODE" | "CLUSTER" | "NETWORK";

export interface LoadBalancing {
  readonly mode: LoadBalancingMode;
  readonly routingPreference: readonly LocalityScope[];
  readonly healthPolicy: "ONLY_HEALTHY" | "ALLOW_ALL";
}

export interface Service {
  /** `<namespace>/<hostname>`: the resource name on the wire and the key everywhere. */
  readonly key: string;
  readonly name: string;
  readonly namespace: string;
  readonly hostname: string;
  /** Virtual IPs, textual; empty for a headless Service. */
  readonly addresses: readonly string[];
  readonly ports: readonly ServicePort[];
  readonly subjectAltNames: readonly string[];
  readonly waypoint: WaypointBinding | undefined;
  readonly ingressUseWaypoint: boolean;
  readonly loadBalancing: LoadBalancing;
  /** True when it stands for a Kubernetes Service; false for a ServiceEntry beside one. */
  readonly canonical: boolean;
  readonly source: ObjectRef;
  readonly position: SourcePosition | undefined;
}

/** One workload behind a service. */
export interface Endpoint {
  readonly workloadUid: string;
  /** The address to dial, textual. */
  readonly address: string;
  /** Service port → target port. */
  readonly ports: ReadonlyMap<number, number>;
  readonly isHealthy: boolean;
}

/** The key of a Kubernetes Service: `<namespace>/<name>.<namespace>.svc.<cluster domain>`. */
export function serviceKey(namespace: string, name: string, clusterDomain: string): string {
  return `${namespace}/${name}.${namespace}.svc.${clusterDomain}`;
}
