/**
 * What a proxy writes down about a decision, so that it can be explained later: enough, with the
 * facts and the snapshot, to run the same pure function again with its trace (D1).
 */
import type { Hop } from "../policy/facts.ts";

export interface DecisionPayload {
  readonly hop: Hop;
  /** The random draw of the weighted choice. */
  readonly draw: number;
  /** Absent: it did not come to a choice, and `draw` says nothing. */
  readonly isDrawn?: boolean;
  /** What the client got: an HTTP status, or 0 for a connection. */
  readonly status: number;
  readonly flags: string;
  /** Name of the workload that answered; empty when none did. */
  readonly servedBy: string;
  /** Why there was no way to go, or what was wrong with a token; then no policy was asked. */
  readonly refusal?: string;
}
