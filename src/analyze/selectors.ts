/**
 * Policies whose selector is meant for a waypoint: one that takes the waypoint's own pods, which no
 * ztunnel guards; and one that judges clients by who they are, where all of them come as their
 * waypoint: a DENY then denies none of them, and an ALLOW that happens to let in the waypoint, with
 * its namespace perhaps, lets in everybody. (One that does not, locks it out: `locked-out.ts`.)
 */
import type { AuthorizationRule, Condition } from "../api/authorization-policy.ts";
import type { FieldPath } from "../api/object.ts";
import type { Diagnostic } from "../kit/diagnostic.ts";
import { principalOf } from "../model/identity.ts";
import type { L4Policy } from "../model/rule.ts";
import type { Service } from "../model/service.ts";
import type { Workload } from "../model/workload.ts";
import { policiesFor } from "../policy/policy-sets.ts";
import { traceL4Policy } from "../policy/trace-l4.ts";
import { keyOf, nameOf, namespaceOf } from "../translate/object-names.ts";
import type { MeshView } from "./mesh-view.ts";
import {
  copyAtWaypoint,
  movedToWaypoint,
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
  const own = servicesBehind(workloads, mesh).filter(
    ({ waypoint, namespace }) => waypoint?.state === "bound" && namespace === namespaceOf(policy),
  );
  const isDeny = action === "DENY";
  if (!isDeny && (action ?? "ALLOW") !== "ALLOW") return [];
  const bare = own.filter((service) =>
    isDeny ? !isDeniedThere(policy, service, mesh) : isOpen(policy, service, mesh),
  );
  const rules = policy.value.spec?.rules ?? [];
  const index = rules.findIndex((rule) => isLayer4(rule) && namesClients(rule));
  if (index < 0 || bare.length === 0) return [];
  return [hasHiddenClients(policy, index, bare, mesh)];
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

/** Whether it is about some clients, and not about all but some. */
function namesClients({ from = [], when = [] }: AuthorizationRule): boolean {
  const isPositive = ({ source = {} }: { source?: object }) =>
    Object.keys(source).some((field) => CLIENT_FIELDS.has(field));
  return from.some(isPositive) || when.some(isAboutClients);
}

const CLIENT_FIELDS: ReadonlySet<string> = new Set(["principals", "namespaces", "serviceAccounts"]);
const LAYER_4 = /^((source|remote)\.ip|source\.|destination\.)/;

function isAboutClients({ key, values = [] }: Condition): boolean {
  return values.length > 0 && /^source\.(principal|namespace|serviceAccount)$/.test(key);
}

/** What asks about HTTP is another mistake. */
function isLayer4({ from = [], to = [], when = [] }: AuthorizationRule): boolean {
  const isHttp = (field: string) => /^(requestP|notRequestP|remote|notRemote)/.test(field);
  return (
    from.every(({ source = {} }) => !Object.keys(source).some(isHttp)) &&
    to.every(({ operation = {} }) =>
      Object.keys(operation).every((f) => /^(p|notP)orts$/.test(f)),
    ) &&
    when.every(({ key }) => LAYER_4.test(key))
  );
}

/**
 * Whether the waypoint comes in by chance, and nothing there judges who comes in through it. Where
 * it is named, somebody has thought of it.
 */
function isOpen(policy: Policy, service: Service, mesh: MeshView): boolean {
  if (service.waypoint?.state !== "bound") return false;
  const waypoint = mesh.snapshot.waypoints.get(service.waypoint.waypoint);
  const own = mesh.snapshot.l4Policies.get(keyOf(policy));
  if (waypoint === undefined || own === undefined) return false;
  const sets = policiesFor(mesh.snapshot, waypoint.key, service.key);
  if (sets.some((set) => set.policies.some(({ action }) => action === "ALLOW"))) return false;
  return waypoint.identities.some((identity) => admits(own, identity, service, mesh));
}

function admits(policy: L4Policy, identity: string, service: Service, mesh: MeshView): boolean {
  const principal = principalOf(identity);
  const [, , home, , account] = principal.split("/");
  const isNamed = policy.rules.some(({ clauses }) =>
    clauses
      .flat()
      .some(
        ({ principals, serviceAccounts }) =>
          principals.some((match) => match.type === "exact" && match.value === principal) ||
          serviceAccounts.some((a) => a.namespace === home && a.serviceAccount === account),
      ),
  );
  if (isNamed) return false;
  const [endpoint] = mesh.snapshot.endpoints.get(service.key) ?? [];
  if (endpoint === undefined) return false;
  return [...endpoint.ports.values()].some((destinationPort) => {
    const destinationAddress = endpoint.address;
    const facts = {
      sourceIdentity: identity,
      sourceAddress: "",
      destinationAddress,
      destinationPort,
    };
    return traceL4Policy(policy, "selector", facts).isMatched;
  });
}

/** Whether a DENY with the same rules stands at the waypoint already. */
function isDeniedThere(policy: Policy, service: Service, mesh: MeshView): boolean {
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
  const isDeny = policy.value.spec?.action === "DENY";
  const effect = isDeny ? "does not deny them" : "lets in all of them with it";
  const message = `clients of ${names} come through a waypoint, and a ztunnel sees its identity instead of theirs: ${nameOf(policy)} ${effect}`;
  const copy = copyAtWaypoint(policy, services, mesh);
  const remedy = copy === undefined ? movedToWaypoint(policy, mesh) : [copy];
  return finding(policy, "WS0108", message, ["spec", "rules", rule], remedy);
}
