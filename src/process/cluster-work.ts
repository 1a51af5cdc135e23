/**
 * What a control plane does to the cluster that it serves: the waypoints of its Gateways, and
 * statuses, for as long as it leads.
 */

import { ClusterDuties, clusterMetrics, type Duty } from "../control/cluster/cluster-duties.ts";
import type { ClusterMode } from "../control/cluster/cluster-mode.ts";
import { deployDuty } from "../control/cluster/deploy-duty.ts";
import { statusDuty } from "../control/cluster/status-duty.ts";
import { WantedStatuses } from "../control/cluster/wanted-statuses.ts";
import { WaypointPlans, type WaypointPlansOptions } from "../control/cluster/waypoint-plans.ts";
import type { ControlPlane } from "../control/control-plane.ts";
import type { KubernetesSource } from "../control/source/kubernetes/kubernetes-source.ts";
import type { MetricRegistry } from "../telemetry/metrics.ts";

import type { IstiodCa } from "./identity-source.ts";

export interface ClusterWorkOptions {
  readonly source: KubernetesSource;
  readonly mode: ClusterMode;
  /** Where the Lease is. */
  readonly namespace: string;
  /** Of this process: no other may have it. */
  readonly identity: string;
  /** Beside istiod: certificates are its to give. */
  readonly istiod?: IstiodCa | undefined;
  /** Undefined: Gateways get no objects, only a status. */
  readonly waypoints: WaypointPlansOptions["settings"] | undefined;
}

export function clusterWork(
  options: ClusterWorkOptions,
  control: ControlPlane,
  registry: MetricRegistry,
  others: readonly Duty[] = [],
): ClusterDuties {
  const { source, mode, namespace, identity, waypoints } = options;
  const { client } = source;
  const settings = waypoints ?? { image: "", xdsAddress: "" };
  const plans = new WaypointPlans({ client, control, mode, settings });
  const metrics = clusterMetrics(registry);
  const duties = [
    ...others,
    ...(waypoints === undefined ? [] : [deployDuty({ client, control, plans, mode })]),
    statusDuty({
      source,
      control,
      wanted: new WantedStatuses(control, mode, plans),
      fieldManager: mode.controllerName,
      onWritten: () => metrics.statusesWritten.add(1),
    }),
  ];
  return new ClusterDuties({ client, namespace, identity, duties, metrics });
}
