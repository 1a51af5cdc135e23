/**
 * Remedies for `targetRefs` that come to nothing: another API group, another namespace, a name that
 * nobody has, a target that no waypoint serves.
 */
import type { PolicyTargetReference } from "../api/authorization-policy.ts";
import type { KindName } from "../api/kinds.ts";
import type { FieldPath, ParsedObject } from "../api/object.ts";
import type { Diagnostic, Remedy } from "../kit/diagnostic.ts";
import { nearest } from "../kit/nearest.ts";
import { nameOf, namespaceOf } from "../translate/object-names.ts";
import { TARGET_GROUPS, type TargetingObject } from "../translate/policy-targets.ts";
import { bindingRemedy } from "./binding-remedies.ts";
import { labelOfKey, type MeshView } from "./mesh-view.ts";
import { removeField, setField, withRemedy } from "./remedy-text.ts";
import { TARGETS_MAX, targetRefOf } from "./target-refs.ts";

/** An AuthorizationPolicy or a RequestAuthentication. */
type Policy = ParsedObject<TargetingObject>;

interface Target {
  readonly ref: PolicyTargetReference;
  readonly path: FieldPath;
}

/** Of a policy, as they stand in it. */
export function targetsOf(policy: Policy): readonly Target[] {
  const { targetRef, targetRefs = [] } = policy.value.spec ?? {};
  if (targetRefs.length > 0) {
    return targetRefs.map((ref, index) => ({ ref, path: ["spec", "targetRefs", index] }));
  }
  return targetRef === undefined ? [] : [{ ref: targetRef, path: ["spec", "targetRef"] }];
}

/** The diagnostic about one target, with what the rest of the mesh says about it. */
export function aboutTarget(found: Diagnostic, policy: Policy, mesh: MeshView): Diagnostic {
  const target = targetsOf(policy).find(({ path }) => found.path === pathText(path));
  if (target === undefined) return found;
  switch (found.code) {
    case "WS0109":
      return wrongGroup(found, policy, target);
    case "WS0110":
      return withRemedy(found, moved(policy, target.ref.namespace!, mesh));
    case "WS0102":
      return withRemedy(found, otherKind(policy, target));
    case "WS0101":
      return notFound(found, policy, target, mesh);
    case "WS0106":
      return withRemedy(found, binding(policy, target.ref, mesh));
    default:
      return found;
  }
}

function pathText(path: FieldPath): string {
  return path.length === 2 ? "spec.targetRef" : `spec.targetRefs[${path[2]}]`;
}

function wrongGroup(found: Diagnostic, policy: Policy, { ref, path }: Target): Diagnostic {
  const message = `targetRef ${ref.name} has group "${ref.group}", which is not that of a ${ref.kind}: the policy does nothing there`;
  const edit = setField(policy, [...path, "group"], TARGET_GROUPS[ref.kind]);
  return withRemedy({ ...found, message }, [edit]);
}

function otherKind(policy: Policy, { ref, path }: Target): Remedy | undefined {
  if (TARGET_GROUPS[ref.kind] !== undefined) return undefined;
  const kind = nearest(ref.kind, Object.keys(TARGET_GROUPS));
  if (kind === undefined) return undefined;
  const edit = setField(policy, [...path, "kind"], kind);
  const group = TARGET_GROUPS[kind]!;
  return (ref.group ?? "") === group ? [edit] : [edit, setField(policy, [...path, "group"], group)];
}

/** It may stand in another namespace, or under another name. */
function notFound(found: Diagnostic, policy: Policy, target: Target, mesh: MeshView): Diagnostic {
  const { ref, path } = target;
  const own = namespaceOf(policy);
  const homes = homesOf(ref, mesh).filter((namespace) => namespace !== own);
  if (homes.length > 0) {
    const bound = homes.filter((namespace) => isServed(ref, namespace, mesh));
    const home = bound.length === 1 ? bound[0] : homes.length === 1 ? homes[0] : undefined;
    const where = homes.map((namespace) => `${namespace}/${ref.name}`).join(", ");
    const message = `${ref.kind} ${ref.name} stands in another namespace than the policy (${where}), and a policy reaches targets of its own alone`;
    const moving =
      home === undefined
        ? undefined
        : (itsServices(policy, target, home, mesh) ?? moved(policy, home, mesh));
    return withRemedy({ ...found, code: "WS0110", message }, moving);
  }
  const names = namesIn(ref, own, mesh);
  const guess = nearest(ref.name, names);
  if (guess !== undefined) {
    return withRemedy(found, [setField(policy, [...path, "name"], guess)]);
  }
  const known = names.length === 0 ? "none there" : `there: ${names.slice(0, 5).join(", ")}`;
  return { ...found, message: `${found.message}; create it or correct the name (${known})` };
}

/**
 * The waypoint of another namespace serves more than the policy's: what is meant are the Services
 * of the policy's namespace that it serves. `undefined`: there are none.
 */
function itsServices(
  policy: Policy,
  { ref }: Target,
  home: string,
  mesh: MeshView,
): Remedy | undefined {
  if (ref.kind !== "Gateway" || targetsOf(policy).length > 1) return undefined;
  const services = mesh
    .servicesOf(namespaceOf(policy))
    .filter(({ waypoint }) => waypoint?.waypoint === `${home}/${ref.name}`);
  if (services.length === 0 || services.length > TARGETS_MAX) return undefined;
  const isLegacy = policy.value.spec?.targetRef !== undefined;
  const targetRefs = services.map(targetRefOf);
  const edit = setField(policy, ["spec", "targetRefs"], targetRefs);
  return isLegacy ? [removeField(policy, ["spec", "targetRef"]), edit] : [edit];
}

/** `undefined`: not all of its targets are there. */
function moved(policy: Policy, namespace: string, mesh: MeshView): Remedy | undefined {
  const targets = targetsOf(policy);
  const isHome = ({ ref }: Target) => homesOf(ref, mesh).includes(namespace);
  if (!targets.every(isHome)) return undefined;
  const named = targets.filter(({ ref }) => ref.namespace !== undefined);
  return [
    ...named.map(({ path }) => removeField(policy, [...path, "namespace"])),
    setField(policy, ["metadata", "namespace"], namespace),
  ];
}

/** Namespaces with such a target. */
function homesOf(ref: PolicyTargetReference, mesh: MeshView): readonly string[] {
  if (!isNamespaced(ref.kind)) return [];
  return mesh
    .namesakes(ref.kind as KindName, ref.name)
    .map(namespaceOf)
    .sort();
}

function namesIn(ref: PolicyTargetReference, namespace: string, mesh: MeshView): readonly string[] {
  if (!isNamespaced(ref.kind)) return [];
  return mesh
    .inhabitants(ref.kind as KindName, namespace)
    .filter((object) => ref.kind !== "Gateway" || isWaypoint(namespace, nameOf(object), mesh))
    .filter((object) => ref.kind !== "Service" || !isFront(namespace, nameOf(object), mesh))
    .map(nameOf)
    .sort();
}

function isNamespaced(kind: string): boolean {
  return kind === "Service" || kind === "ServiceEntry" || kind === "Gateway";
}

function isServed(ref: PolicyTargetReference, namespace: string, mesh: MeshView): boolean {
  if (ref.kind === "Gateway") return isWaypoint(namespace, ref.name, mesh);
  return mesh.servicesOf(namespace).some((s) => s.name === ref.name && s.waypoint !== undefined);
}

function isWaypoint(namespace: string, name: string, mesh: MeshView): boolean {
  return mesh.snapshot.waypoints.get(`${namespace}/${name}`) !== undefined;
}

/** Nobody means the Service in front of a waypoint. */
function isFront(namespace: string, name: string, mesh: MeshView): boolean {
  return mesh.isFront(mesh.service(namespace, name)?.key);
}

function binding(policy: Policy, ref: PolicyTargetReference, mesh: MeshView): Remedy | undefined {
  const key = labelOfKey(ref.kind, namespaceOf(policy), ref.name);
  const object = mesh.named(key);
  return object === undefined ? undefined : bindingRemedy(object, mesh);
}
