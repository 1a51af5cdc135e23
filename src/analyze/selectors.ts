/**
 * Policies whose selector is meant for a waypoint: one that takes the waypoint's own pods, which no
 * ztunnel guards; and a DENY of clients by who they are, where all of them come as their waypoint.
 */
import type { AuthorizationRule } from "../api/authorization-policy.ts";
import type { FieldPath } from "../api/object.ts";
import type { Diagnostic } from "../kit/diagnostic.ts";
import type { Service } from "../model/service.ts";
import type { Workload } from "../model/workload.ts";
import { nameOf, namespaceOf } from "../translate/object-names.ts";
import type { MeshView } from "./mesh-view.ts";
import {
  asksIdentityAlone,
  copyAtWaypoint,
  type Policy,
  selectedWorkloads,
  servicesBehind,
} from "./policy-reach.ts";
import { finding, removeField, setField } from "./remedy-text.ts";

/** Of a policy without targets. */
export function aboutSelector(policy: Policy, mesh: MeshView): readonly Diagnostic[] {
  const { selector, action } = policy.value.spec ?? {};
  const workloads = selectedWorkloads(policy, mesh);
  if (Object.keys(selector?.matchLabels ?? {}).length > 0) {
    const waypoints = selectedWaypoints(workloads);
    const isAlone = workloads.every((w) => w.waypointInstanceOf !== undefined);
    if (waypoints.length > 0) return [takesWaypoint(policy, waypoints, isAlone)];
  }
  if (action !== "DENY") return [];
  const bound = servicesBehind(workloads, mesh).filter((s) => s.waypoint?.state === "bound");
  const own = bound.filter((service) => service.namespace === namespaceOf(policy));
  const rules = policy.value.spec?.rules ?? [];
  const index = rules.findIndex((rule) => asksIdentityAlone(rule) && namesClients(rule));
  if (index < 0 || own.length === 0 || own.every((s) => isJudged(policy, s, mesh))) return [];
  return [hasHiddenClients(policy, index, own, mesh)];
}

/** Whether the pods of waypoints are all that the policy selects. */
export function selectsWaypointsAlone(policy: Policy, mesh: MeshView): boolean {
  if (policy.value.spec?.selector === undefined) return false;
  const workloads = selectedWorkloads(policy, mesh);
  return workloads.length > 0 && workloads.every((w) => w.waypointInstanceOf !== undefined);
}

function selectedWaypoints(workloads: readonly Workload[]): readonly string[] {
  return [...new Set(workloads.flatMap((w) => w.waypointInstanceOf ?? []))].sort();
}

function takesWaypoint(policy: Policy, waypoints: readonly string[], isAlone: boolean): Diagnostic {
  const prefix = `${namespaceOf(policy)}/`;
  const isOwn = waypoints.every((key) => key.startsWith(prefix));
  const targetRefs = waypoints.map((key) => {
    const name = key.slice(prefix.length);
    return { group: "gateway.networking.k8s.io", kind: "Gateway", name };
  });
  const path: FieldPath = ["spec", "selector"];
  const message = `the selector takes the pods of waypoint ${waypoints.join(", ")}, and waypoints enforce policies with targetRefs alone`;
  return finding(
    policy,
    "WS0108",
    message,
    path,
    isOwn && isAlone
      ? [removeField(policy, path), setField(policy, ["spec", "targetRefs"], targetRefs)]
      : undefined,
  );
}

/** Whether it denies some clients, and not all but some. */
function namesClients({ from = [], when = [] }: AuthorizationRule): boolean {
  const isPositive = ({ source = {} }: { source?: object }) =>
    Object.keys(source).some((field) => !field.startsWith("not"));
  return from.some(isPositive) || when.some(({ values }) => (values ?? []).length > 0);
}

/** Whether a DENY with the same rules stands at the waypoint already. */
function isJudged(policy: Policy, service: Service, mesh: MeshView): boolean {
  if (service.waypoint?.state !== "bound") return false;
  const rules = JSON.stringify(policy.value.spec?.rules);
  const targets = [`Service/${service.key}`, `Gateway/${service.waypoint.waypoint}`];
  return targets.some((target) =>
    (mesh.snapshot.policies.get(target) ?? []).some(({ key }) => {
      const spec = mesh.object<Policy["value"]>("AuthorizationPolicy", key)?.value.spec;
      return spec?.action === "DENY" && JSON.stringify(spec.rules) === rules;
    }),
  );
}

function hasHiddenClients(
  policy: Policy,
  rule: number,
  services: readonly Service[],
  mesh: MeshView,
): Diagnostic {
  const names = services.map((service) => service.source.name).join(", ");
  const message = `clients of ${names} come through a waypoint, and a ztunnel sees its identity instead of theirs: ${nameOf(policy)} does not deny them`;
  const copy = copyAtWaypoint(policy, services, mesh);
  return finding(policy, "WS0108", message, ["spec", "rules", rule], copy && [copy]);
}
