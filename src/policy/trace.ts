/**
 * The trace of a decision as data: every policy and route that was considered, what each part of
 * it wanted, what was seen, and where it is written. `render.ts` prints it for people.
 */
import type { ObjectRef, SourcePosition } from "../model/object-ref.ts";
import type { Route } from "../model/route.ts";
import type { PolicyAction } from "../model/rule.ts";

export interface Trace {
  readonly revision: number;
  /** In the order of evaluation. */
  readonly policies: readonly PolicyTrace[];
  /** undefined: no route was looked for (denied before, or at a ztunnel). */
  readonly routes: RouteTrace | undefined;
  /** Remarks about the whole decision. */
  readonly notes: readonly string[];
}

export interface PolicyTrace {
  /** `<namespace>/<name>`. */
  readonly policy: string;
  readonly layer: "L4" | "L7";
  readonly action: PolicyAction;
  /** How it came to apply: `Service/…`, `Gateway/…`, `GatewayClass/…`, `mesh`, `namespace x`, `selector`. */
  readonly attachedTo: string;
  readonly isDryRun: boolean;
  readonly isMatched: boolean;
  /** The first rule that matched. */
  readonly matchedRule: number | undefined;
  /** It is the one that the verdict names. */
  readonly isDeciding: boolean;
  readonly rules: readonly RuleTrace[];
  readonly note: string | undefined;
  readonly source: ObjectRef;
  readonly position: SourcePosition | undefined;
}

export interface RuleTrace {
  readonly index: number;
  readonly isMatched: boolean;
  /** All of them must hold. */
  readonly clauses: readonly ClauseTrace[];
  readonly note: string | undefined;
  readonly position: SourcePosition | undefined;
}

/** `from`, `to`, `when`, or a clause of an L4 rule: one alternative must hold. */
export interface ClauseTrace {
  readonly name: "from" | "to" | "when" | "clause";
  readonly isMatched: boolean;
  readonly alternatives: readonly AlternativeTrace[];
}

/** All of its fields must hold. */
export interface AlternativeTrace {
  readonly isMatched: boolean;
  readonly fields: readonly FieldTrace[];
}

export interface FieldTrace {
  /** As written: `from[0].source.principals`. */
  readonly path: string;
  /** `principal`, `method`, `header x-user` … */
  readonly label: string;
  readonly isMatched: boolean;
  /** Any of these … */
  readonly wanted: readonly string[];
  /** … and none of these. */
  readonly unwanted: readonly string[];
  /** Redacted where it could be a secret; undefined: there was none. */
  readonly seen: string | undefined;
  readonly note: string | undefined;
  readonly position: SourcePosition | undefined;
}

export interface RouteTrace {
  /** Whose routes were followed (D6). */
  readonly from: "consumer" | "service" | "gateway" | "default";
  /** In order of precedence; each ends at the first criterion that failed. */
  readonly candidates: readonly RouteCandidateTrace[];
  /** Attached here, but not for this request or connection; or for it, behind the chosen one. */
  readonly passedOver: readonly PassedOverTrace[];
  /** undefined: 404, or a connection that is closed. */
  readonly chosen: ChosenRouteTrace | undefined;
  readonly notes: readonly string[];
}

export interface PassedOverTrace {
  readonly kind: Route["kind"];
  /** `<namespace>/<name>`. */
  readonly route: string;
  /** undefined: all of the route. */
  readonly rule: number | undefined;
  /** `it is for port 80, not 9080`. */
  readonly because: string;
  readonly position: SourcePosition | undefined;
}

export interface RouteCandidateTrace {
  readonly kind: Route["kind"];
  /** `<namespace>/<name>`. */
  readonly route: string;
  readonly rule: number;
  readonly match: number;
  readonly isMatched: boolean;
  /** What failed first: `path: wanted /api (PathPrefix), saw /`. */
  readonly failed: string | undefined;
  readonly position: SourcePosition | undefined;
}

export interface ChosenRouteTrace {
  /** undefined: the default route. */
  readonly kind: Route["kind"] | undefined;
  readonly route: string | undefined;
  readonly rule: number | undefined;
  /** Service key; undefined: none, or the workload addressed. */
  readonly service: string | undefined;
  readonly port: number;
  readonly weight: number;
  readonly totalWeight: number;
  readonly problem: string | undefined;
  /** What is answered in the backend's place, a redirect for one. */
  readonly status: number | undefined;
  /** Filters, time-outs, retries …, as they are written: `RequestMirror: 10 % to reviews:80`. */
  readonly effects: readonly string[];
  readonly position: SourcePosition | undefined;
}
