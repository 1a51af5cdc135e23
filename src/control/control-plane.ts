/** The control plane (skeleton; see the contract). */
import type { ObjectChange } from "../api/object.ts";
import type { Diagnostic } from "../kit/diagnostic.ts";
import type { Index, Snapshot, SnapshotSource } from "../model/snapshot.ts";
import type { MeshSettings } from "../model/settings.ts";
import type { ObjectStatus } from "../translate/findings.ts";

export interface ControlPlaneOptions {
  /**
   * How a Pod is known to be in the mesh: by the annotation that Istio's CNI writes, or (where no CNI
   * is: files) by the label `istio.io/dataplane-mode` of its namespace or its own.
   */
  readonly enrolment: "annotation" | "label";
  /** What a mesh without a MeshConfig has. */
  readonly defaults?: Partial<MeshSettings>;
}

export class ControlPlane implements SnapshotSource {
  constructor(_options: ControlPlaneOptions) {}
  get current(): Snapshot {
    throw new Error("not written yet");
  }
  /** One batch: at most one new snapshot. */
  apply(_change: ObjectChange): void {}
  subscribe(_listener: (snapshot: Snapshot, previous: Snapshot) => void): () => void {
    return () => {};
  }
  /** All that is wrong at present, sorted by file and line. */
  get diagnostics(): readonly Diagnostic[] {
    return [];
  }
  /** Conditions by `<Kind>/<ns>/<name>`. */
  get conditions(): Index<ObjectStatus> {
    throw new Error("not written yet");
  }
  get recomputedObjects(): number {
    return 0;
  }
}
