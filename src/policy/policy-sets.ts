/**
 * Which policies apply: at a waypoint those of its class, of the Gateway and of the Service, all
 * together and none overriding another; at a ztunnel those of the mesh, of the workload's namespace
 * and those that the workload names.
 */
import type { RequestAuthentication } from "../model/request-authentication.ts";
import type { AuthorizationPolicy, L4Policy } from "../model/rule.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { Workload } from "../model/workload.ts";

export interface PolicySet<P> {
  /** The target that people wrote, or what stands for it. */
  readonly attachedTo: string;
  readonly policies: readonly P[];
}

const NONE: readonly never[] = [];

/** `service`: its key; undefined for traffic addressed to a workload. */
export function policiesFor(
  snapshot: Snapshot,
  waypoint: string,
  service: string | undefined,
): readonly PolicySet<AuthorizationPolicy>[] {
  return targetsOf(snapshot, waypoint, service).map((target) => ({
    attachedTo: target,
    policies: snapshot.policies.get(target) ?? NONE,
  }));
}

/** RequestAuthentications, by target: all together, likewise. */
export function authenticationsFor(
  snapshot: Snapshot,
  waypoint: string,
  service: string | undefined,
): readonly (readonly RequestAuthentication[])[] {
  return targetsOf(snapshot, waypoint, service).map(
    (target) => snapshot.authentications.get(target) ?? NONE,
  );
}

function targetsOf(snapshot: Snapshot, waypoint: string, service: string | undefined): string[] {
  const className = snapshot.waypoints.get(waypoint)?.className;
  const targets = [`Gateway/${waypoint}`];
  if (className !== undefined) targets.unshift(`GatewayClass/${className}`);
  if (service !== undefined) targets.push(`Service/${service}`);
  return targets;
}

export function l4PoliciesFor(
  snapshot: Snapshot,
  workload: Workload,
): readonly PolicySet<L4Policy>[] {
  const { namespace } = workload;
  // Names that are not known (yet) are skipped, as in ztunnel.
  const selected = workload.authorizationPolicies.flatMap(
    (name) => snapshot.l4Policies.get(name) ?? [],
  );
  return [
    { attachedTo: "mesh", policies: snapshot.l4PoliciesByNamespace.get("") ?? NONE },
    {
      attachedTo: `namespace ${namespace}`,
      policies: snapshot.l4PoliciesByNamespace.get(namespace) ?? NONE,
    },
    { attachedTo: "selector", policies: selected },
  ];
}

/** Each policy once, with the first target that brings it: it may name several. */
export function eachOnce<P>(
  sets: readonly PolicySet<P>[],
): readonly { readonly policy: P; readonly attachedTo: string }[] {
  const found = new Map<P, string>();
  for (const { attachedTo, policies } of sets) {
    for (const policy of policies) {
      if (!found.has(policy)) found.set(policy, attachedTo);
    }
  }
  return [...found].map(([policy, attachedTo]) => ({ policy, attachedTo }));
}
