/**
 * Namespaces that are not in the mesh and would have to be: one whose Services have a waypoint or
 * whose workloads a policy guards, since past it they can be reached as before; and one that an
 * ALLOW names as the home of clients, who there have no identity.
 */
import type { Diagnostic } from "../kit/diagnostic.ts";
import { LABEL } from "../translate/labels.ts";
import { nameOf, namespaceOf } from "../translate/object-names.ts";
import { hasTargets } from "../translate/policies.ts";
import { labelOfKey, type MeshView } from "./mesh-view.ts";
import { valueLists } from "./policy-fields.ts";
import type { Policy } from "./policy-reach.ts";
import { finding, setLabel } from "./remedy-text.ts";
import { targetsOf } from "./target-remedies.ts";

/** About the namespaces themselves. */
export function unmeshedNamespaces(
  mesh: MeshView,
  policies: readonly Policy[],
): readonly Diagnostic[] {
  return mesh.objects("Namespace").flatMap((namespace) => {
    const name = nameOf(namespace);
    if (!isOutside(name, mesh)) return [];
    const needs = whatNeeds(name, mesh, policies);
    if (needs === undefined) return [];
    const message = `namespace ${name} is not in the mesh, so its workloads can be reached past ${needs}`;
    const path = ["metadata", "labels"];
    return [finding(namespace, "WS0116", message, path, [ambient(name)])];
  });
}

/** A namespace of workloads, of which none is in the mesh. */
function isOutside(name: string, mesh: MeshView): boolean {
  if (name === mesh.snapshot.settings.rootNamespace || mesh.isAmbient(name)) return false;
  const { labels } = mesh.namespace(name);
  // Sidecars are another way into a mesh.
  if (labels["istio-injection"] === "enabled" || labels["istio.io/rev"] !== undefined) return false;
  return mesh.workloadsOf(name).some(({ waypointInstanceOf }) => waypointInstanceOf === undefined);
}

function whatNeeds(name: string, mesh: MeshView, policies: readonly Policy[]): string | undefined {
  const bound = mesh.servicesOf(name).find(({ waypoint }) => waypoint?.state === "bound");
  if (bound?.waypoint !== undefined) return `waypoint ${bound.waypoint.waypoint}`;
  const policy = policies.find((p) => namespaceOf(p) === name && guardsWorkloads(p));
  return policy && `AuthorizationPolicy ${name}/${nameOf(policy)}`;
}

function guardsWorkloads(policy: Policy): boolean {
  return !hasTargets(policy) || targetsOf(policy).some(({ ref }) => ref.kind === "Service");
}

function ambient(namespace: string) {
  return setLabel(labelOfKey("Namespace", "", namespace), LABEL.dataplaneMode, "ambient");
}

/** About the namespaces whose clients a policy names. */
export function unmeshedClients(policy: Policy, mesh: MeshView): readonly Diagnostic[] {
  const { action = "ALLOW" } = policy.value.spec ?? {};
  if (action !== "ALLOW" && action !== "DENY") return [];
  const effect = action === "ALLOW" ? "lets none of them in" : "denies none of them";
  const found: Diagnostic[] = [];
  for (const { name, isNegative, values, path } of valueLists(policy)) {
    if (isNegative) continue;
    values.forEach((text, index) => {
      const namespace = namespaceNamed(name, text, policy);
      if (namespace === undefined || !isOutside(namespace, mesh)) return;
      const message = `namespace ${namespace} is not in the mesh, so its clients have no identity and "${text}" ${effect}`;
      found.push(finding(policy, "WS0116", message, [...path, index], [ambient(namespace)]));
    });
  }
  return found;
}

function namespaceNamed(field: string, text: string, policy: Policy): string | undefined {
  switch (field) {
    case "namespaces":
    case "source.namespace":
      return text.includes("*") ? undefined : text;
    case "principals":
    case "source.principal":
      return /(?:^|\/)ns\/([^/*]+)\//.exec(text)?.[1];
    case "serviceAccounts":
    case "source.serviceAccount":
      return text.includes("/") ? text.slice(0, text.indexOf("/")) : namespaceOf(policy);
    default:
      return undefined;
  }
}
