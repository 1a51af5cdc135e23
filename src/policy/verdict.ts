/**
 * The answers: may it pass, and where to. They are made when a policy or route is compiled and
 * shared by every request they hold for, so answering allocates nothing.
 */
import type { SourcePosition } from "../model/object-ref.ts";
import type {
  Backend,
  ConnectionRoute,
  ConnectionRouteRule,
  HttpBackend,
  HttpRoute,
  HttpRouteRule,
} from "../model/route.ts";

export interface Verdict {
  readonly isAllowed: boolean;
  readonly because: "noAllowPolicies" | "allowed" | "denied" | "noAllowMatched";
  /** `<namespace>/<name>` of the policy that decided; undefined when none did. */
  readonly policy: string | undefined;
  /** Index of its rule. */
  readonly rule: number | undefined;
  readonly position: SourcePosition | undefined;
}

export interface RouteChoice {
  /** undefined: the default route, to the service or workload that was addressed. */
  readonly route: HttpRoute | undefined;
  readonly rule: HttpRouteRule | undefined;
  /** As access logs name it: `<namespace>.<name>.<rule>`, or `default`. */
  readonly name: string;
  /** Weighted choice by a draw from [0, 1). undefined: nothing to choose from (500). */
  chooseBackend(draw: number): HttpBackend | undefined;
}

/** The same for a connection that is not looked into. */
export interface ConnectionChoice {
  readonly route: ConnectionRoute | undefined;
  readonly rule: ConnectionRouteRule | undefined;
  readonly name: string;
  /** undefined: nothing to choose from; the connection is closed. */
  chooseBackend(draw: number): Backend | undefined;
}

export const NO_ALLOW_POLICIES: Verdict = {
  isAllowed: true,
  because: "noAllowPolicies",
  policy: undefined,
  rule: undefined,
  position: undefined,
};

export const NO_ALLOW_MATCHED: Verdict = {
  isAllowed: false,
  because: "noAllowMatched",
  policy: undefined,
  rule: undefined,
  position: undefined,
};

/** The service or workload is not in the snapshot: what applies to it is not known (D4). */
export const UNKNOWN_TARGET: Verdict = {
  isAllowed: false,
  because: "denied",
  policy: undefined,
  rule: undefined,
  position: undefined,
};
