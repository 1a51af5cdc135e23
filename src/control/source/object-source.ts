/**
 * Where objects come from: files, or a Kubernetes API server. Whoever reads them sees no
 * difference: a first change with everything in it, then what changes.
 */
import type { ObjectChange } from "../../api/object.ts";
import type { Diagnostic } from "../../kit/diagnostic.ts";

export interface LoadResult {
  readonly change: ObjectChange;
}

export interface ObjectSource {
  /** What is wrong with objects that are not in force, or not as they are written. */
  readonly diagnostics: readonly Diagnostic[];
  /** Everything as it is; changes are told from then on. Once. */
  start(): Promise<LoadResult>;
  /** Called with an empty change when only the diagnostics are others. */
  subscribe(listener: (change: ObjectChange) => void): () => void;
  close(): void;
}

export const NO_CHANGE: ObjectChange = { upserted: [], removed: [] };
