/**
 * What only the whole mesh shows to be wrong, and remedies for what the translation of single
 * objects has found. It reads the snapshot that is in force and the objects behind it, and asks the
 * proxies' own decision function rather than guessing.
 *
 * It runs when diagnostics are asked for, and not with every change.
 */
import type { AuthorizationPolicy } from "../api/authorization-policy.ts";
import type { ParsedObject } from "../api/object.ts";
import type { RequestAuthentication } from "../api/request-authentication.ts";
import type { Diagnostic, Remedy } from "../kit/diagnostic.ts";
import { hasTargets } from "../translate/policies.ts";
import { unmeshedClients, unmeshedNamespaces } from "./ambience.ts";
import { bindingRemedy } from "./binding-remedies.ts";
import { unverifiedTokens } from "./jwt-conditions.ts";
import { lockedOut } from "./locked-out.ts";
import { type AnalyzedMesh, MeshView } from "./mesh-view.ts";
import { neverMatching } from "./never-matches.ts";
import { movedToWaypoint, type Policy } from "./policy-reach.ts";
import { aboutPrincipals } from "./principals.ts";
import { removeField, withRemedy } from "./remedy-text.ts";
import { aboutSelector, selectsWaypointsAlone } from "./selectors.ts";
import { aboutTarget } from "./target-remedies.ts";

export type { AnalyzedMesh } from "./mesh-view.ts";

/** `found`: what the translations say. All of it, with remedies, and what else is wrong. */
export function analyze(mesh: AnalyzedMesh, found: readonly Diagnostic[]): readonly Diagnostic[] {
  const view = new MeshView(mesh);
  const policies = view.objects<AuthorizationPolicy>("AuthorizationPolicy");
  return [
    ...found.flatMap((diagnostic) => remedied(diagnostic, view)),
    ...policies.flatMap((policy) => aboutPolicy(policy, view)),
    ...lockedOut(view),
    ...unmeshedNamespaces(view, policies),
  ];
}

/** None: a mistake behind it is told instead. */
function remedied(found: Diagnostic, mesh: MeshView): readonly Diagnostic[] {
  const object = found.object === undefined ? undefined : mesh.named(found.object);
  if (object === undefined) return [found];
  if (found.code === "WS0103") return [withRemedy(found, bindingRemedy(object, mesh))];
  if (object.kind === "RequestAuthentication") {
    const authentication = object as unknown as ParsedObject<RequestAuthentication>;
    if (found.code !== "WS0106" || hasTargets(authentication)) {
      return [aboutTarget(found, authentication, mesh)];
    }
    return [withRemedy(found, movedToWaypoint(authentication, mesh))];
  }
  if (object.kind !== "AuthorizationPolicy") return [found];
  const policy = object as unknown as Policy;
  switch (found.code) {
    case "WS0111":
    case "WS0112":
      if (selectsWaypointsAlone(policy, mesh)) return [];
      return [withRemedy(found, movedToWaypoint(policy, mesh))];
    case "WS0107":
      return [withRemedy(found, withoutField(policy, found.path))];
    default:
      return [aboutTarget(found, policy, mesh)];
  }
}

function withoutField(policy: Policy, path: string | undefined): Remedy | undefined {
  if (path !== "spec.selector" && path !== "spec.provider") return undefined;
  return [removeField(policy, path.split("."))];
}

function aboutPolicy(policy: Policy, mesh: MeshView): readonly Diagnostic[] {
  return [
    ...aboutPrincipals(policy, mesh),
    ...neverMatching(policy, mesh),
    ...unmeshedClients(policy, mesh),
    ...(hasTargets(policy) ? unverifiedTokens(policy, mesh) : aboutSelector(policy, mesh)),
  ];
}
