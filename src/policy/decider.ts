import type { Snapshot } from "../model/snapshot.ts";
import type { Workload } from "../model/workload.ts";
import type { ConnectionFacts, HttpFacts } from "./facts.ts";
import type { RouteChoice, Verdict } from "./verdict.ts";

export type { Hop } from "./facts.ts";
export type { RouteChoice, Verdict } from "./verdict.ts";

export interface L4Decider {
  authorize(facts: ConnectionFacts): Verdict;
}

export interface HttpDecider {
  authorize(facts: HttpFacts): Verdict;
  authorizeTcp(facts: ConnectionFacts): Verdict;
  chooseRoute(facts: HttpFacts): RouteChoice | undefined;
}

export type DeciderTarget = { readonly service: string } | { readonly workload: string };

export function l4Decider(_snapshot: Snapshot, _workload: Workload): L4Decider {
  throw new Error("not written yet");
}
export function httpDecider(
  _snapshot: Snapshot,
  _waypoint: string,
  _target: DeciderTarget,
  _port: number,
): HttpDecider {
  throw new Error("not written yet");
}
