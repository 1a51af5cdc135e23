/** What a route of a VirtualService does: redirect, rewrite, answer, retry, fail, CORS. */

import { parseGoDuration } from "../../kit/go-duration.ts";
import type { FieldPath } from "../object.ts";
import { corsNameProblem } from "./header-values.ts";
import { durationProblems, portProblems } from "./istio-definitions.ts";
import { each } from "./places.ts";
import { type Problems, problem, warning } from "./problem.ts";
import { regexMatchProblems, regexProblems, type StringMatch } from "./string-match.ts";

export interface Redirect {
  readonly uri?: string;
  readonly prefixRewrite?: string;
  readonly authority?: string;
  readonly port?: number;
  readonly derivePort?: string;
  readonly scheme?: string;
  readonly redirectCode?: number;
}

export interface Rewrite {
  readonly uri?: string;
  readonly authority?: string;
  readonly uriRegexRewrite?: { readonly match?: string; readonly rewrite?: string };
}

export interface DirectResponse {
  readonly status?: number;
  readonly body?: { readonly string?: string; readonly bytes?: string };
}

export interface Retries {
  readonly attempts?: number;
  readonly perTryTimeout?: string;
  readonly retryOn?: string;
  readonly retryRemoteLocalities?: boolean;
  readonly backoff?: string;
}

interface Abort {
  readonly percentage?: { readonly value?: number };
  readonly httpStatus?: number;
  readonly grpcStatus?: string;
  readonly http2Error?: string;
}

interface Delay {
  readonly percentage?: { readonly value?: number };
  readonly fixedDelay?: string;
  readonly exponentialDelay?: string;
}

export interface Fault {
  readonly abort?: Abort;
  readonly delay?: Delay;
}

export interface CorsPolicy {
  readonly allowOrigins?: readonly StringMatch[];
  readonly allowMethods?: readonly string[];
  readonly allowHeaders?: readonly string[];
  readonly exposeHeaders?: readonly string[];
  readonly maxAge?: string;
}

const isGiven = (value: unknown) => value !== undefined && value !== "" && value !== null;

/** `isPrefixMatched`: of each match that has a URI, it is a prefix. */
export function* redirectProblems(
  redirect: Redirect,
  path: FieldPath,
  isPrefixMatched: boolean,
): Problems {
  const { uri, prefixRewrite, authority, port, derivePort, scheme, redirectCode = 0 } = redirect;
  if (isGiven(uri) && isGiven(prefixRewrite)) {
    yield problem([...path, "prefixRewrite"], "and uri exclude each other");
  }
  if (isGiven(prefixRewrite) && !isPrefixMatched) {
    yield problem([...path, "prefixRewrite"], "needs URIs that are matched by a prefix");
  }
  if (![uri, prefixRewrite, authority, port, derivePort, scheme].some(isGiven)) {
    yield problem(path, "must say where to: uri, authority, scheme or port");
  }
  if (redirectCode !== 0 && (redirectCode < 300 || redirectCode > 399)) {
    yield problem([...path, "redirectCode"], "must be from 300 to 399");
  }
  if (isGiven(scheme) && scheme !== "http" && scheme !== "https") {
    yield problem([...path, "scheme"], "must be http or https");
  }
  if ((port ?? 0) !== 0) yield* portProblems(redirect, ["port"], path);
}

export function* rewriteProblems(rewrite: Rewrite, path: FieldPath): Problems {
  const { uri, authority, uriRegexRewrite: regex } = rewrite;
  if (isGiven(uri) && regex !== undefined) {
    yield problem([...path, "uriRegexRewrite"], "and uri exclude each other");
  }
  if (!isGiven(uri) && regex === undefined && !isGiven(authority)) {
    yield problem(path, "must have uri, uriRegexRewrite or authority");
  }
  if (regex === undefined) return;
  const at = [...path, "uriRegexRewrite"];
  for (const field of ["match", "rewrite"] as const) {
    if (!isGiven(regex[field])) yield problem([...at, field], "is required");
  }
  if (isGiven(regex.match)) yield* regexProblems(regex.match!, [...at, "match"]);
}

const BODY_MAX = 1024 * 1024;
const BODY_LARGE = 100 * 1024;

export function* directResponseProblems(answer: DirectResponse, path: FieldPath): Problems {
  const { string = "", bytes = "" } = answer.body ?? {};
  const size = string === "" ? Buffer.from(bytes, "base64").length : Buffer.byteLength(string);
  const at = [...path, "body"];
  if (size > BODY_MAX) yield problem(at, "is larger than 1 MiB");
  else if (size > BODY_LARGE) yield warning(at, "is large, and in the configuration of each proxy");
  yield* statusProblems(answer.status ?? 0, [...path, "status"]);
}

function* statusProblems(status: number, path: FieldPath): Problems {
  if (status < 200 || status > 599) yield problem(path, "must be a status from 200 to 599");
}

/** Of Envoy (x-envoy-retry-on, x-envoy-retry-grpc-on). */
const RETRY_CONDITIONS: ReadonlySet<string> = new Set([
  ...["5xx", "gateway-error", "reset", "reset-before-request", "connect-failure"],
  ...["retriable-4xx", "refused-stream", "retriable-status-codes", "retriable-headers"],
  ...["envoy-ratelimited", "http3-post-connect-failure"],
  ...["cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"],
]);

export function* retryProblems(retries: Retries, path: FieldPath): Problems {
  const { attempts = 0, perTryTimeout, retryOn = "", retryRemoteLocalities } = retries;
  if (attempts < 0) yield problem([...path, "attempts"], "must not be negative");
  const [meant] = Object.entries({ perTryTimeout, retryOn, retryRemoteLocalities }).find(([, of]) =>
    isGiven(of),
  ) ?? [undefined];
  if (attempts === 0 && meant !== undefined) {
    yield problem([...path, meant], "has no effect without attempts");
  }
  yield* durationProblems(retries, ["perTryTimeout", "backoff"], path);
  if (retryOn === "") return;
  for (const condition of retryOn.split(",")) {
    const isStatus = /^[1-5]\d\d$/.test(condition);
    if (isStatus || RETRY_CONDITIONS.has(condition)) continue;
    yield problem([...path, "retryOn"], `${JSON.stringify(condition)} is nothing to retry on`);
  }
}

const GRPC_STATUSES: ReadonlySet<string> = new Set([
  ...["OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND"],
  ...["ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"],
  ...["ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"],
  "UNAUTHENTICATED",
]);
const LEAST_PERCENT = 0.0001;

export function* faultProblems({ abort, delay }: Fault, path: FieldPath): Problems {
  if (abort === undefined && delay === undefined) yield problem(path, "must have abort or delay");
  if (abort !== undefined) yield* abortProblems(abort, [...path, "abort"]);
  if (delay === undefined) return;
  const at = [...path, "delay"];
  yield* shareProblems(delay, at);
  yield* durationProblems(delay, ["fixedDelay", "exponentialDelay"], at);
  if (delay.exponentialDelay !== undefined) {
    yield problem([...at, "exponentialDelay"], "is not supported: use fixedDelay");
  }
}

function* abortProblems(abort: Abort, path: FieldPath): Problems {
  const { httpStatus, grpcStatus, http2Error } = abort;
  yield* shareProblems(abort, path);
  if (grpcStatus !== undefined && !GRPC_STATUSES.has(grpcStatus)) {
    yield problem([...path, "grpcStatus"], `${JSON.stringify(grpcStatus)} is no status of gRPC`);
  }
  if (http2Error !== undefined) yield problem([...path, "http2Error"], "is not supported");
  if (httpStatus !== undefined) yield* statusProblems(httpStatus, [...path, "httpStatus"]);
  if ([httpStatus, grpcStatus, http2Error].every((one) => one === undefined)) {
    yield warning(path, "says not with which status");
  }
}

function* shareProblems(
  { percentage }: { readonly percentage?: { readonly value?: number } },
  path: FieldPath,
): Problems {
  const value = percentage?.value ?? 0;
  if (value === 0 || (value >= LEAST_PERCENT && value <= 100)) return;
  yield problem([...path, "percentage", "value"], `must be 0, or from ${LEAST_PERCENT} to 100`);
}

const CORS_METHODS: ReadonlySet<string> = new Set([
  ...["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"],
]);

export function* corsProblems(policy: CorsPolicy, path: FieldPath): Problems {
  for (const [i, origin] of (policy.allowOrigins ?? []).entries()) {
    const at = [...path, "allowOrigins", i];
    const text = origin?.exact ?? origin?.prefix ?? origin?.regex ?? "";
    if (text === "") yield problem(at, "must have exact, prefix or regex");
    else yield* regexMatchProblems(origin, at);
  }
  for (const { path: at, value } of each<string>(policy, "allowMethods[]", path)) {
    if (!CORS_METHODS.has(value)) yield problem(at, `${JSON.stringify(value)} is no method`);
  }
  for (const field of ["allowHeaders", "exposeHeaders"]) {
    for (const { path: at, value } of each<string>(policy, `${field}[]`, path)) {
      const wrong = corsNameProblem(value);
      if (wrong !== undefined) yield problem(at, wrong);
    }
  }
  yield* durationProblems(policy, ["maxAge"], path);
  const ms = parseGoDuration(policy.maxAge ?? "0s") ?? 0;
  if (ms >= 1 && ms % 1000 !== 0) yield problem([...path, "maxAge"], "must be whole seconds");
}
