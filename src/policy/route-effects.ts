/**
 * What a rule does besides choosing a backend, as lines for a trace in the Gateway API's words.
 * Values of headers are left out: they can be secrets.
 */
import type {
  Backend,
  HeaderModifier,
  HttpBackend,
  HttpRouteRule,
  PathModifier,
  RedirectFilter,
  RetryPolicy,
  RewriteFilter,
  RouteFilter,
  SessionPersistence,
} from "../model/route.ts";
import { backendName } from "./backend-name.ts";

/**
 * In the order in which they are written in a rule; those of the chosen backend behind. `route`:
 * the key of the rule's route. `status`: what is answered in the backend's place; then only that
 * has an effect which comes before.
 */
export function effectsOf(
  route: string,
  rule: HttpRouteRule,
  backend: HttpBackend | undefined,
  status: number | undefined,
): string[] {
  if (status !== undefined) return effectsBefore(status, route, rule, backend);
  const effects = rule.filters.map((filter) => filterText(filter, route));
  if (rule.requestTimeoutMs > 0) effects.push(`timeouts.request: ${rule.requestTimeoutMs} ms`);
  if (rule.backendRequestTimeoutMs > 0) {
    effects.push(`timeouts.backendRequest: ${rule.backendRequestTimeoutMs} ms`);
  }
  if (rule.retry !== undefined) effects.push(retryText(rule.retry));
  if (rule.sessionPersistence !== undefined) effects.push(sessionText(rule.sessionPersistence));
  for (const filter of backend?.filters ?? []) effects.push(ofBackend(filter, route));
  return effects;
}

/** In the order of the waypoint's pipeline: CORS, ExternalAuth, redirect, those of the backend. */
function effectsBefore(
  status: number,
  route: string,
  { problem, filters }: HttpRouteRule,
  backend: HttpBackend | undefined,
): string[] {
  if (problem !== undefined) return [];
  const isPreflight = status === 200;
  const before = filters.filter(({ type }) =>
    isPreflight ? type === "CORS" : type === "ExternalAuth" || type === "RequestRedirect",
  );
  // What does not exist sends nobody elsewhere.
  const redirects = backend?.service === undefined ? [] : backend.filters.filter(isRedirect);
  return [
    ...before.map((filter) => filterText(filter, route)),
    ...redirects.map((filter) => ofBackend(filter, route)),
  ];
}

function isRedirect({ type }: RouteFilter): boolean {
  return type === "RequestRedirect";
}

function ofBackend(filter: RouteFilter, route: string): string {
  return `of the backend: ${filterText(filter, route)}`;
}

function filterText(filter: RouteFilter, route: string): string {
  switch (filter.type) {
    case "RequestHeaderModifier":
    case "ResponseHeaderModifier":
      return `${filter.type}: ${headersText(filter.headers)}`;
    case "RequestRedirect":
      return `${filter.type}: ${redirectText(filter)}`;
    case "URLRewrite":
      return `${filter.type}: ${rewriteText(filter)}`;
    case "RequestMirror":
      return `${filter.type}: ${percentOf(filter.share)} % to ${backendText(filter.backend, route)}`;
    case "CORS":
      return `${filter.type}: allows ${filter.allowOrigins.join(" or ") || "no origin"}`;
    case "ExternalAuth":
      return `${filter.type}: asks ${backendText(filter.backend, route)} (${filter.protocol})`;
  }
}

function headersText({ set, add, remove }: HeaderModifier): string {
  const parts: string[] = [];
  if (set.length > 0) parts.push(`set ${set.map(({ name }) => name).join(", ")}`);
  if (add.length > 0) parts.push(`add ${add.map(({ name }) => name).join(", ")}`);
  if (remove.length > 0) parts.push(`remove ${remove.join(", ")}`);
  return parts.join("; ") || "nothing";
}

function redirectText({ scheme, hostname, port, path, statusCode }: RedirectFilter): string {
  const parts = [`${statusCode}`];
  if (scheme !== undefined) parts.push(`scheme ${scheme}`);
  if (hostname !== undefined) parts.push(`hostname ${hostname}`);
  if (port !== undefined) parts.push(`port ${port}`);
  if (path !== undefined) parts.push(pathText(path));
  return parts.join(", ");
}

function rewriteText({ hostname, path }: RewriteFilter): string {
  const parts: string[] = [];
  if (hostname !== undefined) parts.push(`hostname ${hostname}`);
  if (path !== undefined) parts.push(pathText(path));
  return parts.join(", ") || "nothing";
}

function pathText({ type, value }: PathModifier): string {
  return `${type} ${JSON.stringify(value)}`;
}

/** 0.1 + 0.2 is no percentage that anybody wrote. */
function percentOf(share: number): number {
  return Number((share * 100).toFixed(4));
}

function retryText({ attempts, codes, grpcCodes, backoffMs }: RetryPolicy): string {
  const parts = [`${attempts} attempts`];
  if (codes.length > 0) parts.push(`codes ${codes.join(", ")}`);
  if (grpcCodes.length > 0) parts.push(`gRPC codes ${grpcCodes.join(", ")}`);
  if (backoffMs !== undefined) parts.push(`backoff ${backoffMs} ms`);
  return `retry: ${parts.join("; ")}`;
}

function sessionText({ type, name }: SessionPersistence): string {
  return `sessionPersistence: ${type} ${name}`;
}

function backendText({ service, port, problem }: Backend, route: string): string {
  return service === undefined ? `nothing (${problem})` : backendName(service, port, route);
}
