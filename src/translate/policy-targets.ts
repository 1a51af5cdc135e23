/**
 * What the `targetRefs` of a policy come to, and the condition `WaypointAccepted`.
 *
 * A policy may name Services and ServiceEntries of its namespace, waypoints of its namespace, and
 * from the root namespace the GatewayClass of waypoints; at most 16. A target that no waypoint
 * serves is kept, so that the policy is in force from the moment that one does.
 */
import type { PolicyTargetReference } from "../api/authorization-policy.ts";
import type { FieldPath, KubeObject, ParsedObject } from "../api/object.ts";
import type { DiagnosticCode } from "../kit/diagnostic.ts";
import { serviceKey } from "../model/service.ts";
import type { WaypointBinding } from "../model/waypoint.ts";
import type { Findings } from "./findings.ts";
import { namespaceOf } from "./object-names.ts";
import type { Surroundings } from "./surroundings.ts";
import { isWaypointClass } from "./waypoints.ts";

const TARGETS_MAX = 16;
const NETWORKING = "networking.istio.io";
const GATEWAY_API = "gateway.networking.k8s.io";

export type TargetSurroundings = Pick<
  Surroundings,
  "settings" | "service" | "servicesOfEntry" | "waypoint" | "gatewayClass" | "hasEntry"
>;

/** The API groups of the kinds that a policy may name. */
export const TARGET_GROUPS: Readonly<Record<string, string>> = {
  Service: "",
  ServiceEntry: NETWORKING,
  Gateway: GATEWAY_API,
  GatewayClass: GATEWAY_API,
};

/** What one reference came to. Without `keys` the policy does nothing there. */
interface Resolved {
  /** Of what is Invalid. */
  readonly code?: DiagnosticCode;
  readonly keys: readonly string[];
  readonly isAccepted: boolean;
  readonly reason: "Accepted" | "TargetNotFound" | "AncestorNotBound" | "Invalid";
  readonly message: string;
  readonly isToldElsewhere?: boolean;
}

/** An AuthorizationPolicy or a RequestAuthentication. */
export interface TargetingObject extends KubeObject {
  readonly spec?: {
    readonly targetRef?: PolicyTargetReference;
    readonly targetRefs?: readonly PolicyTargetReference[];
  };
}

export function resolveTargets(
  object: ParsedObject<TargetingObject>,
  near: TargetSurroundings,
  findings: Findings,
): readonly string[] {
  const { targetRef, targetRefs = [] } = object.value.spec ?? {};
  const isLegacy = targetRefs.length === 0 && targetRef !== undefined;
  const refs = isLegacy ? [targetRef] : targetRefs;
  const resolved = refs.slice(0, TARGETS_MAX).map((ref, index) => {
    const path: FieldPath = isLegacy ? ["spec", "targetRef"] : ["spec", "targetRefs", index];
    const result = resolve(ref, namespaceOf(object), near);
    report(result, path, findings);
    return { ref, result };
  });
  if (refs.length > TARGETS_MAX) {
    const message = `only the first ${TARGETS_MAX} targetRefs count`;
    findings.report("WS0107", message, ["spec", "targetRefs", TARGETS_MAX]);
  }
  summarize(resolved, namespaceOf(object), findings);
  return [...new Set(resolved.flatMap(({ result }) => result.keys))];
}

function report(
  { reason, message, code, isToldElsewhere }: Resolved,
  path: FieldPath,
  findings: Findings,
): void {
  switch (reason) {
    case "TargetNotFound":
      findings.report("WS0101", `${message}: the policy does nothing there`, path);
      break;
    case "AncestorNotBound":
      if (isToldElsewhere) return;
      findings.report("WS0106", `${message}: nothing enforces the policy there`, path);
      break;
    case "Invalid":
      findings.report(code ?? "WS0102", message, path);
      break;
  }
}

function resolve(
  ref: PolicyTargetReference,
  namespace: string,
  near: TargetSurroundings,
): Resolved {
  const group = ref.group === undefined || ref.group === "core" ? "" : ref.group;
  if (ref.namespace !== undefined && ref.namespace !== "" && ref.namespace !== namespace) {
    const message = `targetRef ${ref.kind} ${ref.name} names another namespace, which none may`;
    return { ...invalid(message), code: "WS0110" };
  }
  switch (`${group}/${ref.kind}`) {
    case "/Service":
      return resolveService(ref, namespace, near);
    case `${NETWORKING}/ServiceEntry`:
      return resolveEntry(ref, namespace, near);
    case `${GATEWAY_API}/Gateway`:
      return resolveGateway(ref, namespace, near);
    case `${GATEWAY_API}/GatewayClass`:
      return resolveClass(ref, namespace, near);
    default: {
      const message = `targetRef of kind ${group === "" ? ref.kind : `${group}/${ref.kind}`} is not known`;
      if (TARGET_GROUPS[ref.kind] === undefined) return invalid(message);
      return { ...invalid(message), code: "WS0109" };
    }
  }
}

function resolveService(
  ref: PolicyTargetReference,
  namespace: string,
  near: TargetSurroundings,
): Resolved {
  const key = serviceKey(namespace, ref.name, near.settings.clusterDomain);
  const facts = near.service(key);
  if (facts === undefined) return notFound(`Service ${namespace}/${ref.name}`, [`Service/${key}`]);
  const binding = facts.service.waypoint;
  return ofBinding(`Service ${namespace}/${ref.name}`, binding, [`Service/${key}`]);
}

function resolveEntry(
  ref: PolicyTargetReference,
  namespace: string,
  near: TargetSurroundings,
): Resolved {
  const what = `ServiceEntry ${namespace}/${ref.name}`;
  const services = near.servicesOfEntry(`${namespace}/${ref.name}`);
  const keys = services.map(({ service }) => `Service/${service.key}`);
  if (services.length === 0) {
    return near.hasEntry(`${namespace}/${ref.name}`) ? notBound(what, []) : notFound(what, []);
  }
  return ofBinding(what, services[0]!.service.waypoint, keys);
}

/** That a waypoint cannot be used is told of the object that asks for it. */
function ofBinding(
  what: string,
  binding: WaypointBinding | undefined,
  keys: readonly string[],
): Resolved {
  if (binding === undefined) return notBound(what, keys);
  if (binding.state === "bound") return accepted(binding.waypoint, keys);
  const { message, ...rest } = notBound(what, keys);
  const why = `${message}: ${binding.waypoint} cannot be used (${binding.reason})`;
  return { ...rest, message: why, isToldElsewhere: true };
}

function resolveGateway(
  ref: PolicyTargetReference,
  namespace: string,
  near: TargetSurroundings,
): Resolved {
  const key = `${namespace}/${ref.name}`;
  if (near.waypoint(key) === undefined) return notFound(`Gateway ${key}`, [`Gateway/${key}`]);
  return accepted(key, [`Gateway/${key}`]);
}

function resolveClass(
  ref: PolicyTargetReference,
  namespace: string,
  near: TargetSurroundings,
): Resolved {
  if (namespace !== near.settings.rootNamespace) {
    return invalid(
      `targetRef GatewayClass ${ref.name} is for policies of the root namespace (${near.settings.rootNamespace})`,
    );
  }
  if (!isWaypointClass(ref.name, near.gatewayClass(ref.name))) {
    return invalid(`GatewayClass ${ref.name} is not one of waypoints`);
  }
  return accepted(ref.name, [`GatewayClass/${ref.name}`]);
}

function accepted(waypoint: string, keys: readonly string[]): Resolved {
  return { keys, isAccepted: true, reason: "Accepted", message: `bound to ${waypoint}` };
}

function notFound(what: string, keys: readonly string[]): Resolved {
  return { keys, isAccepted: false, reason: "TargetNotFound", message: `${what} was not found` };
}

function notBound(what: string, keys: readonly string[]): Resolved {
  const message = `${what} is not bound to a waypoint`;
  return { keys, isAccepted: false, reason: "AncestorNotBound", message };
}

function invalid(message: string): Resolved {
  return { keys: [], isAccepted: false, reason: "Invalid", message };
}

/** One reference: its own reason. Several: whether any, or all, are bound. */
function summarize(
  resolved: readonly { readonly ref: PolicyTargetReference; readonly result: Resolved }[],
  namespace: string,
  findings: Findings,
): void {
  const type = "WaypointAccepted";
  const [first] = resolved;
  if (first !== undefined && resolved.length === 1) {
    const { isAccepted, reason, message } = first.result;
    findings.condition(type, isAccepted, reason, message);
    return;
  }
  const wrong = resolved.filter(({ result }) => !result.isAccepted);
  const names = wrong.map(({ ref }) => {
    return `${ref.kind}.${ref.group || "core"}:${namespace}/${ref.name}`;
  });
  const good = resolved.find(({ result }) => result.isAccepted);
  if (good === undefined) {
    findings.condition(type, false, "Invalid", `Invalid targetRefs: ${names.join(", ")}`);
  } else if (wrong.length > 0) {
    const message = `${good.result.message}. Invalid targetRefs: ${names.join(", ")}`;
    findings.condition(type, true, "PartiallyInvalid", message);
  } else findings.condition(type, true, "Accepted", good.result.message);
}
