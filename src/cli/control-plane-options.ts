/**
 * The options of a control plane that has a cluster to look after, in the order of `--help`.
 */
import { hostname } from "node:os";
import { Option } from "commander";

/** As commander hands them over. */
export interface ClusterOptions {
  readonly mode?: "under" | "beside";
  readonly namespace: string;
  readonly podName: string;
  readonly waypointSettings?: string;
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
} satisfies Record<string, () => Option>;
