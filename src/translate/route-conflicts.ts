/**
 * Routes of several kinds on one port (GEP-1294): the most specific kind is followed, the others
 * are ignored, and their `Accepted` is False with reason `Conflicted`. Producer and consumer routes
 * never meet: each client has either.
 */
import type { ParentReference, RouteObject } from "../api/http-route.ts";
import type { ParsedObject } from "../api/object.ts";
import { type Condition, makeCondition } from "./findings.ts";
import { keyOf, namespaceOf } from "./object-names.ts";

/** The most specific first. */
const BY_SPECIFICITY = ["GRPCRoute", "HTTPRoute", "TLSRoute", "TCPRoute"] as const;
type RouteKind = (typeof BY_SPECIFICITY)[number];
/** Kinds before which another one steps back. */
export type OverridingKind = Exclude<RouteKind, "TCPRoute">;
export const OVERRIDING_KINDS: readonly OverridingKind[] = ["GRPCRoute", "HTTPRoute", "TLSRoute"];

export interface ConflictSurroundings {
  /** Routes of that kind with that parent (`parentKey`). */
  routesOfParent(kind: OverridingKind, key: string): readonly ParsedObject<RouteObject>[];
}

/** Whom a parentRef means, whatever it says of ports. */
export function parentKey(parent: ParentReference, routeNamespace: string): string {
  const { group = "gateway.networking.k8s.io", kind = "Gateway", name } = parent;
  const namespace = parent.namespace ?? routeNamespace;
  return `${group === "core" ? "" : group}/${kind}/${namespace}/${name}`;
}

export interface Claim {
  readonly route: ParsedObject<RouteObject>;
  readonly parent: ParentReference;
  /** The parent's ports that a parentRef of it stands for. */
  readonly portsOf: (parent: ParentReference) => readonly number[];
  /** Whether a route of that namespace is for the same clients. */
  readonly isForSameClients: (namespace: string) => boolean;
}

/** Instead of `Accepted` True, when every port of the claim is another kind's. */
export function conflictOf(claim: Claim, near: ConflictSurroundings): Condition | undefined {
  const { route, parent, portsOf, isForSameClients } = claim;
  const key = parentKey(parent, namespaceOf(route));
  const left = new Set(portsOf(parent));
  for (const kind of OVERRIDING_KINDS) {
    if (kind === route.kind) return undefined;
    for (const other of near.routesOfParent(kind, key)) {
      const namespace = namespaceOf(other);
      if (!isForSameClients(namespace)) continue;
      for (const ref of other.value.spec.parentRefs ?? []) {
        if (parentKey(ref, namespace) !== key) continue;
        for (const port of portsOf(ref)) left.delete(port);
      }
      if (left.size > 0) continue;
      const message = `${kind} ${keyOf(other)} is followed instead: it is of a more specific kind`;
      return makeCondition("Accepted", false, "Conflicted", message);
    }
  }
  return undefined;
}
