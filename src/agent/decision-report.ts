/**
 * A recorded decision, explained: the same pure function again over the facts and the snapshot of
 * its moment (D1), with the trace, as data and as text. What the admin port answers at
 * `/decisions/<id>`.
 */
import { explain } from "../policy/explain.ts";
import { renderDecision } from "../policy/render.ts";
import type { RecordedDecision, RecordedFacts } from "../telemetry/decision-log.ts";
import type { DecisionPayload } from "./decision-record.ts";
import { replayedFacts } from "./replay/replayed-facts.ts";

export interface DecisionReport {
  readonly id: string;
  readonly proxy: "ztunnel" | "waypoint";
  readonly target: string;
  readonly revision: number;
  /** What the client got: an HTTP status, or 0 for a connection. */
  readonly status: number;
  readonly flags: string;
  /** Name of the workload that answered; empty when none did. */
  readonly servedBy: string;
  readonly isAllowed: boolean | undefined;
  /** `ns/name` of the deciding policy. */
  readonly policy: string | undefined;
  readonly rule: number | undefined;
  /** For people. */
  readonly text: string;
  readonly facts: RecordedFacts;
  readonly trace: unknown;
  /** Why the mesh had no way there; no policy was asked. */
  readonly refusal?: string;
}

export function decisionReport(recorded: RecordedDecision<DecisionPayload>): DecisionReport {
  const { id, proxy, target, revision, snapshot, facts, payload } = recorded;
  const { hop, draw, status, flags, servedBy } = payload;
  const base = { id, proxy, target, revision, status, flags, servedBy, facts };
  const { refusal } = payload;
  if (refusal !== undefined) {
    const undecided = { policy: undefined, rule: undefined, trace: null };
    return { ...base, ...undecided, isAllowed: false, text: refusal, refusal };
  }
  if (snapshot === undefined) {
    const text = `The configuration of that moment (revision ${revision}) is no longer kept.`;
    return { ...base, isAllowed: undefined, policy: undefined, rule: undefined, text, trace: null };
  }
  const traced = explain(snapshot, hop, replayedFacts(facts), draw);
  const { isAllowed, policy, rule } = traced.verdict;
  return { ...base, isAllowed, policy, rule, text: renderDecision(traced), trace: traced.trace };
}
