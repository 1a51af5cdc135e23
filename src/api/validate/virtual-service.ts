/** What a schema cannot say of a VirtualService. */
import { durationProblems } from "./istio-definitions.ts";
import type { Problems } from "./problem.ts";

const DURATIONS = [
  "corsPolicy.maxAge",
  "fault.delay.exponentialDelay",
  "fault.delay.fixedDelay",
  "retries.backoff",
  "retries.perTryTimeout",
  "timeout",
];

export function* virtualServiceProblems(service: unknown): Problems {
  yield* durationProblems(
    service,
    DURATIONS.map((field) => `spec.http[].${field}`),
  );
}
