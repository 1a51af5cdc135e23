/**
 * Routes of a service port, as the waypoint follows them: one to one with the Gateway API's
 * HTTPRoute, GRPCRoute, TLSRoute and TCPRoute (one rule here is one rule there). A GRPCRoute is an
 * HttpRoute whose method matches have become paths.
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

/** The part of a GRPCRoute's match that its path was made from; "" for any. */
export interface GrpcMethodMatch {
  readonly type: "Exact" | "RegularExpression";
  readonly service: string;
  readonly method: string;
}

export interface HttpMatch {
  readonly path: PathMatch;
  /** Only in GRPCRoutes. */
  readonly grpc?: GrpcMethodMatch | undefined;
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

/** With the filters that hold for requests to this backend alone, before those of the rule. */
export interface HttpBackend extends Backend {
  readonly filters: readonly RouteFilter[];
}

export interface HeaderValue {
  readonly name: string;
  readonly value: string;
}

/** In this order (Gateway API HTTPHeaderFilter): set, add, remove. Names are lower case. */
export interface HeaderModifier {
  readonly set: readonly HeaderValue[];
  readonly add: readonly HeaderValue[];
  readonly remove: readonly string[];
}

export interface PathModifier {
  readonly type: "ReplaceFullPath" | "ReplacePrefixMatch";
  readonly value: string;
}

export interface RequestHeaderFilter {
  readonly type: "RequestHeaderModifier";
  readonly headers: HeaderModifier;
}

export interface ResponseHeaderFilter {
  readonly type: "ResponseHeaderModifier";
  readonly headers: HeaderModifier;
}

export interface RedirectFilter {
  readonly type: "RequestRedirect";
  readonly scheme: string | undefined;
  readonly hostname: string | undefined;
  readonly path: PathModifier | undefined;
  readonly port: number | undefined;
  readonly statusCode: number;
}

export interface RewriteFilter {
  readonly type: "URLRewrite";
  readonly hostname: string | undefined;
  readonly path: PathModifier | undefined;
}

export interface MirrorFilter {
  readonly type: "RequestMirror";
  readonly backend: Backend;
  /** Of the requests, from 0 to 1. */
  readonly share: number;
}

export interface CorsFilter {
  readonly type: "CORS";
  /** `*`, or origins, whose host may begin with a `*.`. */
  readonly allowOrigins: readonly string[];
  readonly allowCredentials: boolean;
  readonly allowMethods: readonly string[];
  readonly allowHeaders: readonly string[];
  readonly exposeHeaders: readonly string[];
  readonly maxAgeS: number;
}

export interface ExternalAuthFilter {
  readonly type: "ExternalAuth";
  readonly protocol: "HTTP" | "GRPC";
  readonly backend: Backend;
  /** Before the request's own path (HTTP only). */
  readonly pathPrefix: string;
  /** Headers of the request that are shown besides the usual ones; empty: HTTP none, gRPC all. */
  readonly allowedRequestHeaders: readonly string[];
  /** Headers of an HTTP answer that go on with the request; empty: all. */
  readonly allowedResponseHeaders: readonly string[];
  /** Of the body, this much is shown; 0: none. */
  readonly bodyBytesMax: number;
}

export type RouteFilter =
  | RequestHeaderFilter
  | ResponseHeaderFilter
  | RedirectFilter
  | RewriteFilter
  | MirrorFilter
  | CorsFilter
  | ExternalAuthFilter;

/** `rules[].retry`: instead of what the mesh does by itself. */
export interface RetryPolicy {
  /** Beyond the first; 0: none at all. */
  readonly attempts: number;
  /** Statuses of answers that are not taken for one. */
  readonly codes: readonly number[];
  /** gRPC statuses, by number, likewise. */
  readonly grpcCodes: readonly number[];
  /** At least this long between attempts; undefined: the mesh's way. */
  readonly backoffMs: number | undefined;
}

/** `rules[].sessionPersistence` (GEP-1619). */
export interface SessionPersistence {
  readonly type: "Cookie" | "Header";
  readonly name: string;
  /** 0: none. */
  readonly absoluteTimeoutMs: number;
  /** 0: none. */
  readonly idleTimeoutMs: number;
  /** A cookie that outlives the browser (`lifetimeType: Permanent`). */
  readonly isPermanent: boolean;
}

export interface HttpRouteRule {
  /** The rule's name, or its index in the route. */
  readonly name: string;
  readonly index: number;
  readonly matches: readonly HttpMatch[];
  readonly filters: readonly RouteFilter[];
  readonly backends: readonly HttpBackend[];
  /** A filter that cannot be acted on: what it is meant for is answered 500. */
  readonly problem: string | undefined;
  /** 0: none. */
  readonly requestTimeoutMs: number;
  /** Of each attempt. 0: none. */
  readonly backendRequestTimeoutMs: number;
  readonly retry: RetryPolicy | undefined;
  readonly sessionPersistence: SessionPersistence | undefined;
  readonly position: SourcePosition | undefined;
}

interface RouteBase {
  /** `<namespace>/<name>`. */
  readonly key: string;
  readonly source: ObjectRef;
  /** Oldest first decides between routes; then the key. Milliseconds since the epoch. */
  readonly createdMs: number;
  /**
   * HTTPRoute and GRPCRoute: only for routes attached to the whole waypoint (D6). TLSRoute: the
   * server names it takes. Empty means any. Lower case.
   */
  readonly hostnames: readonly string[];
  readonly position: SourcePosition | undefined;
}

export interface HttpRoute extends RouteBase {
  readonly kind: "HTTPRoute" | "GRPCRoute";
  readonly rules: readonly HttpRouteRule[];
}

export interface ConnectionRouteRule {
  /** The rule's name, or its index in the route. */
  readonly name: string;
  readonly index: number;
  readonly backends: readonly Backend[];
  readonly position: SourcePosition | undefined;
}

/** For connections that are not looked into. */
export interface ConnectionRoute extends RouteBase {
  readonly kind: "TLSRoute" | "TCPRoute";
  /** Only the first counts. */
  readonly rules: readonly ConnectionRouteRule[];
}

export type Route = HttpRoute | ConnectionRoute;

/** The routes attached to one thing: a Service, or a waypoint Gateway. */
export interface AttachedRoute<R extends Route = Route> {
  readonly route: R;
  /** Ports it is limited to (`parentRefs[].port`); empty means all. */
  readonly ports: readonly number[];
  /**
   * A consumer route (GEP-1294): only for clients of this namespace, and before what the service's
   * own namespace says. undefined: for everybody.
   */
  readonly consumer?: string | undefined;
}

export function isHttpRoute(attached: AttachedRoute): attached is AttachedRoute<HttpRoute> {
  return attached.route.kind === "HTTPRoute" || attached.route.kind === "GRPCRoute";
}

export function isConnectionRoute(
  attached: AttachedRoute,
): attached is AttachedRoute<ConnectionRoute> {
  return !isHttpRoute(attached);
}
