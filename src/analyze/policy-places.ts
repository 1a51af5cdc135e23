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
 * The target, and what else reaches the same requests, as keys of the snapshot's indexes; none: it
 * is not there.
 */
export function placesOf(
  ref: PolicyTargetReference,
  namespace: string,
  mesh: MeshView,
): readonly string[] {
  if (ref.kind === "GatewayClass") return [`GatewayClass/${ref.name}`];
  const services = servicesOf(ref, namespace, mesh);
  const waypoints =
    ref.kind === "Gateway"
      ? [`${namespace}/${ref.name}`]
      : services.flatMap(({ waypoint }) => waypoint?.waypoint ?? []);
  const known = waypoints.flatMap((key) => mesh.snapshot.waypoints.get(key) ?? []);
  return [
    ...services.map(({ key }) => `Service/${key}`),
    ...known.map(({ key }) => `Gateway/${key}`),
    ...known.map(({ className }) => `GatewayClass/${className}`),
  ];
}
