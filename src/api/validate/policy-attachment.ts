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
/** Kinds that a policy may name, and their groups. */
const TARGETS: Readonly<Record<string, string>> = {
  Service: "core",
  ServiceEntry: "networking.istio.io",
  Gateway: GATEWAY_API,
  GatewayClass: GATEWAY_API,
};
const LABELS = "spec.selector.matchLabels";

export function* attachmentProblems(policy: unknown): Problems {
  yield* labelSelectorProblems(policy);
  yield* targetNamespaceProblems(policy);
  yield* exclusiveProblems(policy, "spec", ["selector", "targetRef", "targetRefs"]);
  for (const pattern of ["spec.targetRef", "spec.targetRefs[]"]) {
    for (const { path, value } of each<TargetRef>(policy, pattern)) {
      const { group = "", kind } = value;
      if (!Object.hasOwn(TARGETS, kind)) {
        const known = Object.keys(TARGETS).join(", ");
        yield problem([...path, "kind"], `is no kind that a policy may target: ${known}`);
      } else if ((group === "" ? "core" : group) !== TARGETS[kind]) {
        const message = `names the group ${JSON.stringify(group)}, which is not that of a ${kind}`;
        yield { path, message, code: "WS0109" };
      }
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
