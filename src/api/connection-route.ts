/** TLSRoute and TCPRoute (Gateway API): what is not looked into. */
import type { BackendRef, RouteObject } from "./http-route.ts";

export interface ConnectionRouteRule {
  readonly name?: string;
  readonly backendRefs?: readonly BackendRef[];
}

export interface ConnectionRouteObject extends RouteObject {
  readonly kind: "TLSRoute" | "TCPRoute";
  readonly spec: RouteObject["spec"] & { readonly rules?: readonly ConnectionRouteRule[] };
}
