/**
 * The options of a control plane that has a cluster to look after, in the order of `--help`.
 */
import { hostname } from "node:os";
import { Option } from "commander";
import type { HostPort } from "../net/listeners.ts";
import { parseHostPort } from "./options.ts";
import { PROXY_OPTIONS, parseControlPlane } from "./proxy-options.ts";

/** As commander hands them over. */
export interface ClusterOptions {
  readonly mode?: "under" | "beside";
  readonly namespace: string;
  readonly podName: string;
  readonly waypointSettings?: string;
  readonly webhookAddress?: HostPort;
  readonly caAddress?: HostPort;
  readonly roots: string;
  readonly token: string;
  readonly clusterId: string;
  readonly serviceAccount?: string;
}

export const CLUSTER_OPTIONS = {
  mode: () =>
    new Option(
      "--mode <mode>",
      "write to the cluster too: 'under' is the control plane of Istio's ztunnels and of class " +
        "istio-waypoint, 'beside' leaves all to istiod but class waystone-waypoint",
    ).choices(["under", "beside"]),
  namespace: () =>
    new Option("--namespace <name>", "the namespace that it runs in: its Lease is there")
      .env("POD_NAMESPACE")
      .default("istio-system"),
  podName: () =>
    new Option("--pod-name <name>", "its own name among others that do the same")
      .env("POD_NAME")
      .default(hostname(), "the host's name"),
  waypointSettings: () =>
    new Option(
      "--waypoint-settings <file>",
      "what the Pods of waypoints are made of: image, addresses, resources",
    ).env("WAYSTONE_WAYPOINT_SETTINGS"),
  webhookAddress: () =>
    new Option(
      "--webhook-address <host:port>",
      "where the API server asks by TLS whether it may store an object (default: nowhere)",
    ).argParser(parseHostPort),
  caAddress: () =>
    new Option(
      "--ca-address <host:port>",
      "beside istiod: where its CA is, which gives all certificates",
    ).argParser(parseControlPlane),
  roots: PROXY_OPTIONS.roots,
  token: PROXY_OPTIONS.token,
  clusterId: PROXY_OPTIONS.clusterId,
  serviceAccount: () =>
    new Option("--service-account <name>", "beside istiod: the account it runs as")
      .env("SERVICE_ACCOUNT")
      .default("waystone"),
} satisfies Record<string, () => Option>;
