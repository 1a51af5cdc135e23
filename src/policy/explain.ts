import type { Snapshot } from "../model/snapshot.ts";
import type { Decision } from "./decide.ts";
import type { ConnectionFacts, Hop, HttpFacts } from "./facts.ts";
import type { Trace } from "./trace.ts";

export interface TracedDecision extends Decision {
  readonly trace: Trace;
}

export function explain(
  _snapshot: Snapshot,
  _hop: Hop,
  _facts: ConnectionFacts | HttpFacts,
  _draw: number,
): TracedDecision {
  throw new Error("not written yet");
}
