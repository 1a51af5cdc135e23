/**
 * What a policy for ztunnels reaches: the workloads that it selects, the Services that they stand
 * behind, and how the same policy would be written for the waypoints of those Services.
 *
 * At a ztunnel `ports` are the workload's, at a waypoint the Service's; they are carried over where
 * that is certain.
 */
import type { AuthorizationPolicy, AuthorizationRule } from "../api/authorization-policy.ts";
import type { KindName } from "../api/kinds.ts";
import type { ParsedObject } from "../api/object.ts";
import type { Edit, Remedy } from "../kit/diagnostic.ts";
import type { Service } from "../model/service.ts";
import type { Workload } from "../model/workload.ts";
import { LABEL, selects } from "../translate/labels.ts";
import {
  compareText,
  type Labels,
  labelsOf,
  nameOf,
  namespaceOf,
} from "../translate/object-names.ts";
import type { TargetingObject } from "../translate/policy-targets.ts";
import { bindingRemedy, createWaypoint, useWaypoint } from "./binding-remedies.ts";
import { isMeshed, labelOfKey, type MeshView } from "./mesh-view.ts";
import { removeField, setField, setLabel } from "./remedy-text.ts";
import { TARGETS_MAX, targetRefOf } from "./target-refs.ts";

export type Policy = ParsedObject<AuthorizationPolicy>;

/** A policy, or a RequestAuthentication, which has no rules. */
type Guarding = ParsedObject<
  TargetingObject & {
    readonly spec?: {
      readonly selector?: { readonly matchLabels?: Labels };
      readonly rules?: readonly AuthorizationRule[];
    };
  }
>;

const GATEWAY_API = "gateway.networking.k8s.io";

/** A policy without targets: the workloads it is for, waypoints' own included. */
export function selectedWorkloads(policy: Guarding, mesh: MeshView): readonly Workload[] {
  const known = mesh.selections.get(policy);
  if (known !== undefined) return known;
  const selected = select(policy, mesh);
  mesh.selections.set(policy, selected);
  return selected;
}

function select(policy: Guarding, mesh: MeshView): readonly Workload[] {
  const namespace = namespaceOf(policy);
  const isMeshWide = namespace === mesh.snapshot.settings.rootNamespace;
  const candidates = isMeshWide
    ? [...mesh.snapshot.workloads.values()]
    : mesh.workloadsOf(namespace);
  const { selector } = policy.value.spec ?? {};
  if (selector === undefined) return candidates;
  return candidates.filter(({ source }) => {
    const object = mesh.object(source.kind as KindName, `${source.namespace}/${source.name}`);
    return object !== undefined && selects(selector.matchLabels ?? {}, labelsOf(object));
  });
}

/** Services that people call: those with a virtual IP that a waypoint could serve. */
export function servicesBehind(workloads: readonly Workload[], mesh: MeshView): readonly Service[] {
  const found = new Set<Service>();
  for (const workload of workloads) {
    if (!isMeshed(workload)) continue;
    for (const key of workload.services.keys()) {
      const service = mesh.snapshot.services.get(key);
      if (service !== undefined && service.addresses.length > 0) found.add(service);
    }
  }
  return [...found].sort((a, b) => compareText(a.key, b.key));
}

/** The same policy at the waypoints, instead of at ztunnels. */
export function movedToWaypoint(policy: Guarding, mesh: MeshView): Remedy | undefined {
  const namespace = namespaceOf(policy);
  const hasSelector = policy.value.spec?.selector !== undefined;
  const isMeshWide = namespace === mesh.snapshot.settings.rootNamespace;
  const workloads = selectedWorkloads(policy, mesh);
  const services = servicesBehind(workloads, mesh).filter((s) => s.namespace === namespace);
  const place = isMeshWide
    ? wholeMesh(hasSelector, mesh)
    : hasSelector
      ? ofServices(services, mesh)
      : ofNamespace(namespace, services, mesh);
  if (place === undefined) return undefined;
  return [
    ...once(place.edits),
    ...(hasSelector ? [removeField(policy, ["spec", "selector"])] : []),
    setField(policy, ["spec", "targetRefs"], place.targetRefs),
    ...portEdits(policy, services, workloads),
  ];
}

interface Place {
  readonly targetRefs: readonly object[];
  /** What must be so that a waypoint serves them. */
  readonly edits: Remedy;
}

function wholeMesh(hasSelector: boolean, mesh: MeshView): Place | undefined {
  const [waypoint] = mesh.snapshot.waypoints.values();
  if (hasSelector || waypoint === undefined) return undefined;
  const name = waypoint.className;
  return { targetRefs: [{ group: GATEWAY_API, kind: "GatewayClass", name }], edits: [] };
}

function ofServices(services: readonly Service[], mesh: MeshView): Place | undefined {
  if (services.length === 0 || services.length > TARGETS_MAX) return undefined;
  return { targetRefs: services.map(targetRefOf), edits: bindings(services, mesh) };
}

/** The Gateway that serves the namespace, if it stands there; else each Service. */
function ofNamespace(
  namespace: string,
  services: readonly Service[],
  mesh: MeshView,
): Place | undefined {
  const [waypoint] = mesh.waypointsFor(namespace);
  if (waypoint !== undefined && waypoint.namespace !== namespace) return ofServices(services, mesh);
  const name = waypoint?.name ?? mesh.freeName("Gateway", namespace, "waypoint");
  const targetRefs = [{ group: GATEWAY_API, kind: "Gateway", name }];
  const isUnbound = services.some((service) => service.waypoint === undefined);
  const label = labelOfKey("Namespace", "", namespace);
  const created = waypoint === undefined ? [createWaypoint(namespace, name, mesh)] : [];
  // One that no file declares is in the mesh by itself, and would not be if it were declared.
  const isDeclared = (mesh.named(label)?.position.file ?? "") !== "";
  if (!isUnbound) return { targetRefs, edits: created };
  const labels = isDeclared
    ? [setLabel(label, LABEL.useWaypoint, name)]
    : services.flatMap(({ source, waypoint: binding }) => {
        if (binding !== undefined) return [];
        const object = labelOfKey(source.kind, source.namespace, source.name);
        return [setLabel(object, LABEL.useWaypoint, name)];
      });
  return { targetRefs, edits: [...created, ...labels] };
}

function bindings(services: readonly Service[], mesh: MeshView): Remedy {
  return services.flatMap((service): Remedy => {
    if (service.waypoint?.state === "bound") return [];
    const { kind, namespace, name } = service.source;
    const label = labelOfKey(kind, namespace, name);
    const object = mesh.named(label);
    if (object === undefined) return [];
    return (
      bindingRemedy(object, mesh) ?? (service.waypoint ? [] : useWaypoint(label, namespace, mesh))
    );
  });
}

function once(edits: Remedy): Remedy {
  const seen = new Set<string>();
  return edits.filter((edit) => {
    const text = JSON.stringify(edit);
    return !seen.has(text) && seen.add(text);
  });
}

/** The Service's port behind which a workload's port stands; itself when that is not certain. */
function servicePort(
  text: string,
  services: readonly Service[],
  workloads: readonly Workload[],
): string {
  const found = new Set<number>();
  for (const workload of workloads) {
    for (const { key } of services) {
      for (const [port, target] of workload.services.get(key) ?? []) {
        if (String(target) === text) found.add(port);
      }
    }
  }
  return found.size === 1 ? String([...found][0]) : text;
}

function portEdits(
  policy: Guarding,
  services: readonly Service[],
  workloads: readonly Workload[],
): Remedy {
  return (policy.value.spec?.rules ?? []).flatMap(({ to = [] }, i) =>
    to.flatMap(({ operation = {} }, j) =>
      (["ports", "notPorts"] as const).flatMap((field) =>
        (operation[field] ?? []).flatMap((text, k) => {
          const port = servicePort(text, services, workloads);
          const path = ["spec", "rules", i, "to", j, "operation", field, k];
          return port === text ? [] : [setField(policy, path, port)];
        }),
      ),
    ),
  );
}

const IDENTITY_FIELDS: ReadonlySet<string> = new Set([
  "principals",
  "notPrincipals",
  "namespaces",
  "notNamespaces",
  "serviceAccounts",
  "notServiceAccounts",
]);
const IDENTITY_KEYS = /^source\.(principal|namespace|serviceAccount)$/;

/** Whether all that it asks is who the client is, so that it means the same at a waypoint. */
export function asksIdentityAlone({ from = [], to = [], when = [] }: AuthorizationRule): boolean {
  return (
    to.length === 0 &&
    from.every(({ source = {} }) => Object.keys(source).every((f) => IDENTITY_FIELDS.has(f))) &&
    when.every(({ key }) => IDENTITY_KEYS.test(key)) &&
    from.length + when.length > 0
  );
}

/** A second policy that says the same at the waypoints of Services of one namespace. */
export function copyAtWaypoint(
  policy: Policy,
  services: readonly Service[],
  mesh: MeshView,
): Edit | undefined {
  const { rules = [], action } = policy.value.spec ?? {};
  if (rules.length === 0 || !rules.every(asksIdentityAlone)) return undefined;
  if (services.length === 0 || services.length > TARGETS_MAX) return undefined;
  const namespace = services[0]!.namespace;
  const isElsewhere = namespace !== namespaceOf(policy);
  if (isElsewhere && /"(notS|s)erviceAccounts":/.test(JSON.stringify(rules))) return undefined;
  const name = mesh.freeName("AuthorizationPolicy", namespace, `${nameOf(policy)}-at-waypoint`);
  const value = {
    apiVersion: policy.value.apiVersion,
    kind: policy.value.kind,
    metadata: { name, namespace },
    spec: {
      targetRefs: services.map(targetRefOf),
      ...(action === undefined ? {} : { action }),
      rules,
    },
  };
  return { op: "create", object: labelOfKey("AuthorizationPolicy", namespace, name), value };
}
