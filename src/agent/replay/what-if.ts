/** Which recorded requests another configuration would treat in another way. */
import type { Snapshot } from "../../model/snapshot.ts";
import { judge } from "./judge.ts";
import { isSameOutcome, type Outcome } from "./outcome.ts";
import type { RecordedRequest } from "./recorded-request.ts";

/** A stable interface for programs. */
export interface WhatIfReport {
  /** All requests and connections that were looked at. */
  readonly recorded: number;
  readonly unchanged: number;
  /** Of those the configuration that decided is no longer kept. */
  readonly leftOut: number;
  readonly changes: readonly Change[];
  readonly cannotSay: readonly Undecided[];
}

export interface Change {
  readonly request: RecordedRequest;
  readonly was: Outcome;
  readonly wouldBe: Outcome;
}

export interface Undecided {
  readonly request: RecordedRequest;
  readonly was: Outcome;
  readonly because: string;
}

export function whatIf(snapshot: Snapshot, requests: readonly RecordedRequest[]): WhatIfReport {
  const changes: Change[] = [];
  const cannotSay: Undecided[] = [];
  let leftOut = 0;
  for (const request of requests) {
    const { outcome: was } = request;
    if (was === undefined) {
      leftOut++;
      continue;
    }
    const judged = judge(snapshot, request);
    if (judged.cannotSay !== undefined) {
      cannotSay.push({ request, was, because: judged.cannotSay });
    } else if (!isSameOutcome(was, judged.outcome)) {
      changes.push({ request, was, wouldBe: judged.outcome });
    }
  }
  const recorded = requests.length;
  const unchanged = recorded - leftOut - changes.length - cannotSay.length;
  return { recorded, unchanged, leftOut, changes, cannotSay };
}
