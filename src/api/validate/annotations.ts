/** Annotations that Istio's kinds may have, and those that are istiod's own. */
import type { KubeObject } from "../object.ts";
import { type Problems, problem } from "./problem.ts";

const DRY_RUN = "istio.io/dry-run";
/** As Go reads a truth. */
const BOOLEAN = /^(1|t|T|TRUE|true|True|0|f|F|FALSE|false|False)$/;
const DRY_RUN_ACTIONS: ReadonlySet<unknown> = new Set([undefined, "ALLOW", "DENY"]);
/** By these istiod would take an object for one of its own making. */
const INTERNAL = ["internal.istio.io/parents", "internal.istio.io/parent-namespace"];
/** For tests of whoever asks a webhook. */
const ALWAYS_REJECT = "internal.istio.io/webhook-always-reject";

export function* annotationProblems({ kind, metadata, spec }: KubeObject): Problems {
  const { annotations = {} } = metadata;
  const at = (name: string) => ["metadata", "annotations", name];
  for (const name of INTERNAL) {
    if (annotations[name] !== undefined) yield problem(at(name), "is istiod's own");
  }
  if (annotations[ALWAYS_REJECT] !== undefined) {
    yield problem(at(ALWAYS_REJECT), "asks for the object to be refused");
  }
  const dryRun = annotations[DRY_RUN];
  if (dryRun === undefined) return;
  const { action } = (spec ?? {}) as { action?: unknown };
  if (kind !== "AuthorizationPolicy") {
    yield problem(at(DRY_RUN), "is for AuthorizationPolicies only");
  } else if (!DRY_RUN_ACTIONS.has(action)) {
    yield problem(at(DRY_RUN), "is for the actions ALLOW and DENY only");
  } else if (!BOOLEAN.test(dryRun)) {
    yield problem(at(DRY_RUN), "must be true or false");
  }
}
