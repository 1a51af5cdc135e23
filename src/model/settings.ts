/**
 * Mesh settings: the part of Istio's MeshConfig that Waystone reads, and Waystone's own (D12).
 */
import type { AuthorizationProvider } from "./authorization-provider.ts";

export interface MeshSettings {
  readonly trustDomain: string;
  readonly trustDomainAliases: readonly string[];
  readonly rootNamespace: string;
  readonly clusterDomain: string;
  readonly clusterId: string;
  readonly network: string;
  /** "" turns the access log off; "/dev/stdout" is the usual one. */
  readonly accessLogFile: string;
  readonly accessLogEncoding: "TEXT" | "JSON";
  /** "" means Istio's default format. */
  readonly accessLogFormat: string;
  readonly connectTimeoutMs: number;
  readonly hboneIdleTimeoutMs: number;
  readonly protocolDetectionTimeoutMs: number;
  readonly pathNormalization: "NONE" | "BASE" | "MERGE_SLASHES" | "DECODE_AND_MERGE_SLASHES";
  /** `defaultHttpRetryPolicy.attempts`; 0 turns retries off. */
  readonly retryAttempts: number;
  /** Of X-Forwarded-For, so many entries from the right are of proxies that are trusted. */
  readonly numTrustedProxies: number;
  /** By name, in the order of `extensionProviders`. */
  readonly authorizationProviders: readonly AuthorizationProvider[];
  /** Answers of waypoints say under which id their decision is kept (`x-waystone-decision`). */
  readonly decisionHeader: boolean;
  /** `istio`: Istio's behaviour, bug for bug, where ours differs (D4). */
  readonly compatibility: "waystone" | "istio";
}

export const DEFAULT_SETTINGS: MeshSettings = {
  trustDomain: "cluster.local",
  trustDomainAliases: [],
  rootNamespace: "istio-system",
  clusterDomain: "cluster.local",
  clusterId: "Kubernetes",
  network: "",
  accessLogFile: "",
  accessLogEncoding: "TEXT",
  accessLogFormat: "",
  connectTimeoutMs: 10_000,
  hboneIdleTimeoutMs: 3_600_000,
  protocolDetectionTimeoutMs: 0,
  pathNormalization: "BASE",
  retryAttempts: 2,
  numTrustedProxies: 0,
  authorizationProviders: [],
  decisionHeader: false,
  compatibility: "waystone",
};
