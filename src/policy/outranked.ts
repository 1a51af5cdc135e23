/**
 * Why one of two matches that both hold goes before the other, in words: the first criterion of
 * the Gateway API's precedence by which they differ. The order itself is that of `route-order.ts`.
 */

import { passedOver } from "./passed-over.ts";
import { prefixOf, type RouteCandidate } from "./route-order.ts";
import type { PassedOverTrace } from "./trace.ts";

/** A match and how specific the host name is by which its route takes the request. */
export interface NamedCandidate {
  readonly candidate: RouteCandidate;
  readonly names: number;
}

/** `kind`: as it is written, for a TCPRoute is tried as an HTTPRoute. */
export function outranked(
  winner: NamedCandidate,
  loser: NamedCandidate,
  kind: PassedOverTrace["kind"],
): PassedOverTrace {
  const { route, rule } = loser.candidate;
  const first = `${winner.candidate.route.key} rule ${winner.candidate.rule.index}`;
  const because = `it matches, too, but ${first} ${reason(winner, loser)}`;
  const position = rule.position ?? route.position;
  return { ...passedOver(route, because), kind, rule: rule.index, position };
}

function reason(winner: NamedCandidate, loser: NamedCandidate): string {
  if (winner.names !== loser.names) return "names the host more closely";
  const { candidate: a } = winner;
  const { candidate: b } = loser;
  const byPath = a.route.kind === "GRPCRoute" ? methodReason(a, b) : pathReason(a, b);
  return byPath ?? criteriaReason(a, b);
}

function methodReason(
  { match: { grpc: a } }: RouteCandidate,
  { match: { grpc: b } }: RouteCandidate,
) {
  if ((a?.service.length ?? 0) !== (b?.service.length ?? 0)) return "names more of the service";
  if ((a?.method.length ?? 0) !== (b?.method.length ?? 0)) return "names more of the method";
  return undefined;
}

function pathReason(
  { match: { path: a } }: RouteCandidate,
  { match: { path: b } }: RouteCandidate,
) {
  if (a.type !== b.type) return `has a path of type ${a.type}, not ${b.type}`;
  const isLonger = a.type === "PathPrefix" && prefixOf(a).length !== prefixOf(b).length;
  return isLonger ? "has the longer path prefix" : undefined;
}

function criteriaReason(a: RouteCandidate, b: RouteCandidate): string {
  if ((a.match.method === undefined) !== (b.match.method === undefined)) return "names a method";
  if (a.match.headers.length !== b.match.headers.length) return "asks for more headers";
  if (a.match.queryParams.length !== b.match.queryParams.length) {
    return "asks for more query parameters";
  }
  return orderReason(a.route, b.route) ?? "is the earlier rule";
}

/** Between routes that ask for as much. */
export function orderReason(
  a: { readonly createdMs: number; readonly key: string },
  b: { readonly createdMs: number; readonly key: string },
): string | undefined {
  if (a.createdMs !== b.createdMs) return "is older";
  return a.key === b.key ? undefined : "has the name that comes first";
}
