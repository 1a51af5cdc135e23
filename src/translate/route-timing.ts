/**
 * What of a rule has to do with time and with trying again: `timeouts` (GEP-1742), `retry`
 * (GEP-1731), `sessionPersistence` (GEP-1619).
 */
import type {
  HTTPRouteRetry,
  HTTPRouteRule,
  SessionPersistence as Persistence,
} from "../api/http-route.ts";
import type { FieldPath } from "../api/object.ts";
import type { RetryPolicy, SessionPersistence } from "../model/route.ts";
import { parseDurationMs } from "./duration.ts";
import type { RouteContext } from "./route-context.ts";

export interface RuleTimeouts {
  readonly requestTimeoutMs: number;
  readonly backendRequestTimeoutMs: number;
}

export function translateTimeouts(
  { request, backendRequest }: NonNullable<HTTPRouteRule["timeouts"]>,
  path: FieldPath,
  context: RouteContext,
): RuleTimeouts {
  const consequence = "there is no time-out";
  const requestTimeoutMs = durationOf(request, [...path, "request"], consequence, context) ?? 0;
  const field = [...path, "backendRequest"];
  let backendRequestTimeoutMs = durationOf(backendRequest, field, consequence, context) ?? 0;
  if (requestTimeoutMs > 0 && backendRequestTimeoutMs > requestTimeoutMs) {
    context.flaw(`${backendRequest} is longer than request (${request}), which counts`, field);
    backendRequestTimeoutMs = requestTimeoutMs;
  }
  return { requestTimeoutMs, backendRequestTimeoutMs };
}

/** As Istio: the mesh's default where a policy says nothing of attempts. */
export function translateRetry(
  retry: HTTPRouteRetry | undefined,
  path: FieldPath,
  context: RouteContext,
): RetryPolicy | undefined {
  if (retry === undefined) return undefined;
  return {
    attempts: Math.max(0, retry.attempts ?? context.near.settings.retryAttempts),
    codes: [...new Set(retry.codes ?? [])],
    grpcCodes: [],
    backoffMs: durationOf(retry.backoff, [...path, "backoff"], "the mesh's counts", context),
  };
}

export function translatePersistence(
  given: Persistence | undefined,
  defaultName: string,
  path: FieldPath,
  context: RouteContext,
): SessionPersistence | undefined {
  if (given === undefined) return undefined;
  const of = (field: "absoluteTimeout" | "idleTimeout") =>
    durationOf(given[field], [...path, field], "there is none", context) ?? 0;
  const type = given.type ?? "Cookie";
  const absoluteTimeoutMs = of("absoluteTimeout");
  const wantsPermanent = given.cookieConfig?.lifetimeType === "Permanent";
  if (wantsPermanent && absoluteTimeoutMs === 0) {
    const field = [...path, "cookieConfig", "lifetimeType"];
    context.flaw("Permanent needs an absoluteTimeout; the cookie lasts for a session", field);
  }
  return {
    type,
    name: sessionNameOf(given, type, defaultName, path, context),
    absoluteTimeoutMs,
    idleTimeoutMs: of("idleTimeout"),
    isPermanent: type === "Cookie" && wantsPermanent && absoluteTimeoutMs > 0,
  };
}

/** A cookie's name and a header's are tokens alike (RFC 6265 §4.1.1, RFC 9110 §5.1). */
const TOKEN = /^[A-Za-z0-9!#$%&'*+\-.^_`|~]+$/;

function sessionNameOf(
  { sessionName }: Persistence,
  type: SessionPersistence["type"],
  defaultName: string,
  path: FieldPath,
  context: RouteContext,
): string {
  const isUsable = sessionName !== undefined && TOKEN.test(sessionName);
  if (sessionName !== undefined && !isUsable) {
    const message = `"${sessionName}" is no name of a ${type.toLowerCase()}; it is called ${defaultName}`;
    context.flaw(message, [...path, "sessionName"]);
  }
  const name = isUsable ? sessionName : defaultName;
  return type === "Header" ? name.toLowerCase() : name;
}

function durationOf(
  text: string | undefined,
  path: FieldPath,
  consequence: string,
  context: RouteContext,
): number | undefined {
  if (text === undefined) return undefined;
  const ms = parseDurationMs(text);
  if (ms === undefined) context.flaw(`"${text}" is no duration; ${consequence}`, path);
  return ms;
}
