/** GRPCRoute (Gateway API). */
import type {
  HeaderMatch,
  HTTPBackendRef,
  HTTPRouteFilter,
  RouteObject,
  SessionPersistence,
} from "./http-route.ts";

export interface GRPCMethodMatch {
  readonly type?: "Exact" | "RegularExpression";
  readonly service?: string;
  readonly method?: string;
}

export interface GRPCRouteMatch {
  readonly method?: GRPCMethodMatch;
  readonly headers?: readonly HeaderMatch[];
}

export interface GRPCRouteRule {
  readonly name?: string;
  readonly matches?: readonly GRPCRouteMatch[];
  readonly filters?: readonly HTTPRouteFilter[];
  readonly backendRefs?: readonly HTTPBackendRef[];
  readonly sessionPersistence?: SessionPersistence;
}

export interface GRPCRoute extends RouteObject {
  readonly kind: "GRPCRoute";
  readonly spec: RouteObject["spec"] & { readonly rules?: readonly GRPCRouteRule[] };
}
