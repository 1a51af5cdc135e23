/** Where a policy with targets is enforced: its Services, and all names that such a place has. */
import type { PolicyTargetReference } from "../api/authorization-policy.ts";
import type { Service } from "../model/service.ts";
import { namespaceOf } from "../translate/object-names.ts";
import type { MeshView } from "./mesh-view.ts";
import type { Policy } from "./policy-reach.ts";
import { targetsOf } from "./target-remedies.ts";

/** `undefined`: a whole waypoint, where Services come and go, is among the targets. */
export function targetedServices(policy: Policy, mesh: MeshView): readonly Service[] | undefined {
  const found: Service[] = [];
  for (const { ref } of targetsOf(policy)) {
    if (ref.kind !== "Service" && ref.kind !== "ServiceEntry") return undefined;
    found.push(...servicesOf(ref, namespaceOf(policy), mesh));
  }
  return found;
}

function servicesOf(
  ref: PolicyTargetReference,
  namespace: string,
  mesh: MeshView,
): readonly Service[] {
  return mesh
    .servicesOf(namespace)
    .filter(({ source }) => source.kind === ref.kind && source.name === ref.name);
}

/**
 * What else than the target itself reaches the same requests: `Service ns/name`,
 * `Gateway ns/name`, `GatewayClass name`.
 */
export function placesOf(
  ref: PolicyTargetReference,
  namespace: string,
  mesh: MeshView,
): readonly string[] {
  const waypoints =
    ref.kind === "Gateway"
      ? [`${namespace}/${ref.name}`]
      : servicesOf(ref, namespace, mesh).flatMap(({ waypoint }) => waypoint?.waypoint ?? []);
  const classes = waypoints.flatMap((key) => mesh.snapshot.waypoints.get(key)?.className ?? []);
  return [
    placeOf(ref, namespace),
    ...waypoints.map((key) => `Gateway ${key}`),
    ...classes.map((name) => `GatewayClass ${name}`),
  ];
}

export function placeOf(ref: PolicyTargetReference, namespace: string): string {
  return ref.kind === "GatewayClass"
    ? `GatewayClass ${ref.name}`
    : `${ref.kind} ${namespace}/${ref.name}`;
}
