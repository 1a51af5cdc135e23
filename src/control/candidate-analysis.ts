/**
 * What the mesh would say of an object that is not in it yet: a second control plane is given all
 * objects and the candidate.
 *
 * That costs what a start costs, so it is for meshes of some size only, and takes no more than a
 * tenth of the time when objects come one after the other: it is advice, and may be left out.
 */
import { KINDS, type KindName } from "../api/kinds.ts";
import { type KubeObject, objectLabel, type ParsedObject } from "../api/object.ts";
import type { Diagnostic } from "../kit/diagnostic.ts";
import { ControlPlane } from "./control-plane.ts";

/** Of a mesh of so many the second control plane takes about 100 ms. */
const OBJECTS_MAX = 3000;
const REST_PARTS = 9;
/** So long at once without a rest: a file of several objects comes as a burst. */
const BURST_MS = 1000;

export class CandidateAnalysis {
  readonly #control: Pick<ControlPlane, "enrolment" | "objects">;
  /** How long analyses may still take, and as of when. */
  #creditMs = BURST_MS;
  #atMs = performance.now();

  constructor(control: Pick<ControlPlane, "enrolment" | "objects">) {
    this.#control = control;
  }

  /** What is wrong with the candidate among the others; nothing when there is no time to look. */
  diagnosticsOf(candidate: ParsedObject): readonly Diagnostic[] {
    const startMs = performance.now();
    this.#creditMs += (startMs - this.#atMs) / REST_PARTS;
    this.#creditMs = Math.min(this.#creditMs, BURST_MS);
    this.#atMs = startMs;
    if (this.#creditMs <= 0) return [];
    const objects = this.#objects();
    if (objects === undefined) return [];
    const control = new ControlPlane({ enrolment: this.#control.enrolment });
    control.apply({ upserted: [...objects, candidate], removed: [] });
    const label = objectLabel(candidate.value);
    const found = control.diagnostics.filter(({ object }) => object === label);
    this.#creditMs -= performance.now() - startMs;
    return found;
  }

  #objects(): ParsedObject[] | undefined {
    const objects: ParsedObject[] = [];
    for (const kind of Object.keys(KINDS) as KindName[]) {
      for (const [, object] of this.#control.objects<KubeObject>(kind)) {
        if (objects.length === OBJECTS_MAX) return undefined;
        objects.push(object);
      }
    }
    return objects;
  }
}
