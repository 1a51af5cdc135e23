/**
 * `rules[].matches[]` of a GRPCRoute: a method is a path, `/<service>/<method>` (gRPC over HTTP/2).
 */
import type { GRPCMethodMatch, GRPCRouteRule } from "../api/grpc-route.ts";
import type { FieldPath } from "../api/object.ts";
import type { HttpMatch, PathMatch } from "../model/route.ts";
import type { RouteContext } from "./route-context.ts";
import { areUsable, translateValues } from "./route-matches.ts";

/** `undefined`: the rule is to be dropped. */
export function translateGrpcMatches(
  rule: GRPCRouteRule,
  path: FieldPath,
  context: RouteContext,
): readonly HttpMatch[] | undefined {
  const given = rule.matches ?? [];
  const matches = (given.length > 0 ? given : [{}]).map(({ method, headers }) => ({
    path: pathOf(method ?? {}),
    grpc: {
      type: method?.type ?? ("Exact" as const),
      service: method?.service ?? "",
      method: method?.method ?? "",
    },
    headers: translateValues(headers, (name) => name.toLowerCase()),
    queryParams: [],
    method: undefined,
  }));
  return areUsable(matches, path, context) ? matches : undefined;
}

const ANY_ELEMENT = "[^/]+";

function pathOf({ type = "Exact", service, method }: GRPCMethodMatch): PathMatch {
  if (!service && !method) return { type: "PathPrefix", value: "/" };
  if (type === "RegularExpression") {
    // In groups of their own: an alternative must not reach over the slash.
    const element = (expression: string | undefined) =>
      expression ? `(?:${expression})` : ANY_ELEMENT;
    return { type: "RegularExpression", value: `/${element(service)}/${element(method)}` };
  }
  if (service && method) return { type: "Exact", value: `/${service}/${method}` };
  const element = (text: string | undefined) => (text ? quoted(text) : ANY_ELEMENT);
  return { type: "RegularExpression", value: `/${element(service)}/${element(method)}` };
}

function quoted(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}
