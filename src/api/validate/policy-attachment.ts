/** Where a policy stands: a selector, or targets. */
import {
  exclusiveProblems,
  selectorProblems,
  targetNamespaceProblems,
} from "./istio-definitions.ts";
import { each } from "./places.ts";
import { type Problems, problem, warning } from "./problem.ts";

interface TargetRef {
  readonly group?: string;
  readonly kind: string;
  readonly name: string;
}

const GATEWAY_API = "gateway.networking.k8s.io";
const TARGETS: ReadonlySet<string> = new Set([
  "core/Service",
  "networking.istio.io/ServiceEntry",
  `${GATEWAY_API}/Gateway`,
  `${GATEWAY_API}/GatewayClass`,
]);
const LABELS = "spec.selector.matchLabels";

export function* attachmentProblems(policy: unknown): Problems {
  yield* labelSelectorProblems(policy);
  yield* targetNamespaceProblems(policy);
  yield* exclusiveProblems(policy, "spec", ["selector", "targetRef", "targetRefs"]);
  for (const pattern of ["spec.targetRef", "spec.targetRefs[]"]) {
    for (const { path, value } of each<TargetRef>(policy, pattern)) {
      const group = (value.group ?? "") === "" ? "core" : value.group;
      if (TARGETS.has(`${group}/${value.kind}`)) continue;
      const known = "a Service, ServiceEntry, Gateway or GatewayClass, with its group";
      yield problem([...path, "kind"], `is no kind that a policy may target: ${known}`);
    }
  }
}

/** Of a kind that has a selector and no targets. */
export function* labelSelectorProblems(policy: unknown): Problems {
  yield* selectorProblems(policy, LABELS);
  for (const { path, value } of each<{ matchLabels?: object }>(policy, "spec.selector")) {
    if (Object.keys(value.matchLabels ?? {}).length > 0) continue;
    yield warning(path, "has no labels, so it takes every workload");
  }
}
