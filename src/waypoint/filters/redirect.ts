/** RequestRedirect (Gateway API, HTTPRequestRedirectFilter): where the client is sent. */
import type { HttpRouteRule, RedirectFilter } from "../../model/route.ts";
import { changedPath } from "./path-change.ts";

export interface RedirectedRequest {
  readonly path: string;
  readonly query: string;
  readonly authority: string;
  /** The port that was asked for. */
  readonly destinationPort: number;
}

const WELL_KNOWN_PORTS: Readonly<Record<string, number>> = { http: 80, https: 443 };

export function locationOf(
  filter: RedirectFilter,
  rule: HttpRouteRule,
  request: RedirectedRequest,
): string {
  const scheme = filter.scheme ?? "http";
  const host = filter.hostname ?? hostOf(request.authority);
  const port = portOf(filter, request);
  // A port that the scheme implies is left out.
  const authority = port === WELL_KNOWN_PORTS[scheme] ? host : `${host}:${port}`;
  const path = filter.path ? changedPath(request.path, filter.path, rule) : request.path;
  const query = request.query === "" ? "" : `?${request.query}`;
  return `${scheme}://${authority}${path}${query}`;
}

/** The scheme's where only the scheme is given, else the one that the client has used. */
function portOf({ port, scheme }: RedirectFilter, request: RedirectedRequest): number {
  if (port !== undefined) return port;
  if (scheme !== undefined) return WELL_KNOWN_PORTS[scheme] ?? request.destinationPort;
  const [, given] = /:(\d+)$/.exec(request.authority) ?? [];
  return given === undefined ? request.destinationPort : Number(given);
}

function hostOf(authority: string): string {
  return authority.replace(/:\d*$/, "");
}
