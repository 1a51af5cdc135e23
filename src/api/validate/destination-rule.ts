/** What a schema cannot say of a DestinationRule. */
import { durationProblems, selectorProblems } from "./istio-definitions.ts";
import { TRAFFIC_DURATIONS } from "./istio-kinds.ts";
import type { Problems } from "./problem.ts";

/** Where a traffic policy stands. */
const POLICIES = [
  "spec.trafficPolicy",
  "spec.trafficPolicy.portLevelSettings[]",
  "spec.subsets[].trafficPolicy",
  "spec.subsets[].trafficPolicy.portLevelSettings[]",
];

export function* destinationRuleProblems(rule: unknown): Problems {
  yield* selectorProblems(rule, "spec.workloadSelector.matchLabels");
  for (const policy of POLICIES) {
    yield* durationProblems(
      rule,
      TRAFFIC_DURATIONS.map((field) => `${policy}.${field}`),
    );
  }
}
