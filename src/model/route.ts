/**
 * Routes of a service port, as the waypoint follows them (Gateway API HTTPRoute, one to one:
 * one rule here is one rule there).
 */
import type { ObjectRef, SourcePosition } from "./object-ref.ts";

export type StringMatchType = "Exact" | "PathPrefix" | "RegularExpression";

export interface PathMatch {
  readonly type: StringMatchType;
  readonly value: string;
}

/** Headers and query parameters: exact or RE2, whole value. Header names are lower case. */
export interface ValueMatch {
  readonly type: "Exact" | "RegularExpression";
  readonly name: string;
  readonly value: string;
}

export interface HttpMatch {
  readonly path: PathMatch;
  readonly headers: readonly ValueMatch[];
  readonly queryParams: readonly ValueMatch[];
  readonly method: string | undefined;
}

/** A backend. Without `service` it is invalid, and its share of the requests is answered 500. */
export interface Backend {
  readonly weight: number;
  readonly service: string | undefined;
  readonly port: number;
  /** Why there is no service: `BackendNotFound`, `RefNotPermitted`, `InvalidKind` … */
  readonly problem: string | undefined;
  readonly position: SourcePosition | undefined;
}

export interface HttpRouteRule {
  /** The rule's name, or its index in the route. */
  readonly name: string;
  readonly index: number;
  readonly matches: readonly HttpMatch[];
  readonly backends: readonly Backend[];
  /** 0: none. */
  readonly requestTimeoutMs: number;
  readonly position: SourcePosition | undefined;
}

export interface HttpRoute {
  /** `<namespace>/<name>`. */
  readonly key: string;
  readonly source: ObjectRef;
  /** Oldest first decides between routes; then the key. Milliseconds since the epoch. */
  readonly createdMs: number;
  readonly rules: readonly HttpRouteRule[];
  /** Only for routes attached to the whole waypoint (D6); empty means any. Lower case. */
  readonly hostnames: readonly string[];
  readonly position: SourcePosition | undefined;
}

/** The routes attached to one thing: a Service, or a waypoint Gateway. */
export interface AttachedRoute {
  readonly route: HttpRoute;
  /** Ports it is limited to (`parentRefs[].port`); empty means all. */
  readonly ports: readonly number[];
}
