import type { TracedDecision } from "./explain.ts";

/** The decision as lines for a terminal, without colours. */
export function renderDecision(_decision: TracedDecision): string {
  throw new Error("not written yet");
}
