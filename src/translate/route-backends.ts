/**
 * `backendRefs[]` of a rule. A backend that stands for nothing keeps its weight: its share of the
 * traffic gets an error, and nobody else's does (Gateway API).
 */
import type { BackendObjectReference, BackendRef } from "../api/http-route.ts";
import type { FieldPath } from "../api/object.ts";
import type { Backend } from "../model/route.ts";
import { resolveBackend } from "./backends.ts";
import { namespaceOf } from "./object-names.ts";
import type { RouteContext } from "./route-context.ts";

/** `consequence`: what becomes of the traffic when there is no such backend. */
export function translateBackend(
  ref: BackendObjectReference & Pick<BackendRef, "weight">,
  path: FieldPath,
  context: RouteContext,
  consequence: string,
): Backend {
  const { object, near, findings, unresolved } = context;
  const { parentRefs = [] } = object.value.spec;
  const route = { kind: object.kind, namespace: namespaceOf(object), parentRefs };
  const resolved = resolveBackend(ref, route, object.positionOf(path), near);
  if (resolved.problem !== undefined) {
    unresolved.push(resolved);
    const code = resolved.problem === "BackendNotFound" ? "WS0101" : "WS0102";
    findings.report(code, `${resolved.message}: ${consequence}`, path);
  }
  return resolved.backend;
}
