/** What a schema cannot say of a DestinationRule. */
import type { FieldPath, KubeObject } from "../object.ts";
import { isDnsLabel, wildcardHostProblem } from "./dns-names.ts";
import { exportProblems } from "./export-to.ts";
import { labelProblems, selectorProblems } from "./istio-definitions.ts";
import { each } from "./places.ts";
import { type Problems, problem, warning } from "./problem.ts";
import { type TrafficPolicy, trafficPolicyProblems } from "./traffic-policy.ts";
import { unique } from "./uniqueness.ts";

interface Subset {
  readonly name?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly trafficPolicy?: TrafficPolicy;
}

interface Spec {
  readonly host?: string;
  readonly trafficPolicy?: TrafficPolicy;
  readonly subsets?: readonly (Subset | null)[];
  readonly exportTo?: readonly string[];
  readonly workloadSelector?: { readonly matchLabels?: object };
}

export function* destinationRuleProblems(rule: KubeObject): Problems {
  yield* selectorProblems(rule, "spec.workloadSelector.matchLabels");
  const { namespace = "" } = rule.metadata;
  for (const { path, value } of each<Spec>(rule, "spec")) {
    const { host = "", trafficPolicy, subsets, exportTo, workloadSelector } = value;
    const wrong = wildcardHostProblem(host);
    if (wrong !== undefined) yield problem([...path, "host"], wrong);
    if (trafficPolicy !== undefined) {
      yield* trafficPolicyProblems(trafficPolicy, [...path, "trafficPolicy"], namespace);
    }
    yield* subsetProblems(subsets ?? [], [...path, "subsets"], namespace);
    const isOwnOnly = workloadSelector !== undefined;
    yield* exportProblems(exportTo, [...path, "exportTo"], namespace, { isOwnOnly });
    if (isOwnOnly && Object.keys(workloadSelector.matchLabels ?? {}).length === 0) {
      yield warning([...path, "workloadSelector"], "has no labels, so it takes every workload");
    }
  }
}

function* subsetProblems(
  subsets: readonly (Subset | null)[],
  path: FieldPath,
  namespace: string,
): Problems {
  const named = (name: string) => `a subset of the name ${name}`;
  yield* unique(subsets, path, (subset) => subset?.name, named, ["name"]);
  for (const [i, subset] of subsets.entries()) {
    const at = [...path, i];
    if (subset === null) {
      yield problem(at, "must not be null");
      continue;
    }
    yield* subsetNameProblems(subset.name, [...at, "name"]);
    yield* labelProblems(subset.labels, [...at, "labels"]);
    if (subset.trafficPolicy === undefined) continue;
    yield* trafficPolicyProblems(subset.trafficPolicy, [...at, "trafficPolicy"], namespace);
  }
}

/** Also where a route names one. */
export function* subsetNameProblems(name: string | undefined, path: FieldPath): Problems {
  if (!isDnsLabel(name ?? "")) yield problem(path, 'must be a name of letters, digits and "-"');
}
