/**
 * The leader's work on waypoints: the objects of each of our Gateways stand in the cluster as they
 * are to be.
 */
import { setInterval } from "node:timers";
import { LABEL } from "../../translate/labels.ts";
import { objectKey } from "../../translate/object-names.ts";
import { MANAGED_LABEL, managedBy } from "../../translate/provision/waypoint-template.ts";
import type { ControlPlane } from "../control-plane.ts";
import type { KubeClient } from "../source/kubernetes/kube-client.ts";
import type { Duty } from "./cluster-duties.ts";
import type { ClusterMode } from "./cluster-mode.ts";
import { OwnedObjects } from "./owned-objects.ts";
import type { WaypointPlans } from "./waypoint-plans.ts";

export interface DeployDutyOptions {
  readonly client: Pick<KubeClient, "get" | "write">;
  readonly control: Pick<ControlPlane, "onChange">;
  readonly plans: Pick<WaypointPlans, "plan" | "gateways" | "refused">;
  readonly mode: ClusterMode;
  readonly lookMs?: number;
}

/** Overlays are read so often. */
const LOOK_MS = 15_000;

export function deployDuty(options: DeployDutyOptions): Duty {
  return { lead: (signal) => lead(options, signal) };
}

function lead(options: DeployDutyOptions, signal: AbortSignal): void {
  const { client, control, plans, mode, lookMs = LOOK_MS } = options;
  const objects = new OwnedObjects({
    client,
    // Under Waystone istiod's own: what it has applied is taken over, and leaves nothing behind.
    fieldManager: mode.routeControllerName,
    label: { key: MANAGED_LABEL, value: managedBy(mode) },
    isListed: true,
    plan: (owner) => plans.plan(owner),
    onInvalid: (owner, reason) => plans.refused(owner, reason),
    ownerOf: ({ metadata: { namespace = "", labels } }) => {
      const gateway = labels?.[LABEL.gatewayName];
      return gateway === undefined ? undefined : objectKey(namespace, gateway);
    },
    signal,
    lookMs,
  });
  const touchAll = () => {
    for (const key of plans.gateways) objects.touch(key);
  };
  const end = control.onChange(({ upserted, removed }) => {
    for (const { kind, value } of upserted) {
      // The revision of a namespace is that of its Gateways.
      if (kind === "Namespace") touchAll();
      if (kind !== "Gateway") continue;
      objects.touch(objectKey(value.metadata.namespace ?? "default", value.metadata.name));
    }
    for (const { kind, namespace, name } of removed) {
      if (kind === "Gateway") objects.touch(objectKey(namespace, name));
    }
  });
  const timer = setInterval(touchAll, lookMs).unref();
  signal.addEventListener("abort", () => {
    end();
    clearInterval(timer);
  });
  objects.start();
  touchAll();
}
