/**
 * `filters[]` of a rule or of a backend.
 *
 * A filter that cannot be acted on must not be skipped (Gateway API, HTTPRouteFilter): what it is
 * meant for is answered 500. A mirror without a backend is the exception: it is left out.
 */
import type {
  HTTPHeader,
  HTTPHeaderFilter,
  HTTPPathModifier,
  HTTPRouteFilter,
} from "../api/http-route.ts";
import type { FieldPath } from "../api/object.ts";
import type { HeaderModifier, HttpMatch, PathModifier, RouteFilter } from "../model/route.ts";
import { translateBackend } from "./route-backends.ts";
import type { RouteContext } from "./route-context.ts";

export interface TranslatedFilters {
  readonly filters: readonly RouteFilter[];
  /** Why requests that these filters are meant for are answered 500. */
  readonly problem: string | undefined;
}

interface FilterPlace {
  readonly context: RouteContext;
  /** Of the rule: a prefix can be replaced only where there is one. */
  readonly matches: readonly HttpMatch[];
}

/** Kinds that may stand several times in one list. */
const REPEATABLE: ReadonlySet<string> = new Set(["RequestMirror", "ExtensionRef", "ExternalAuth"]);

const ANSWERED_500 = "the requests it is meant for are answered 500";

export function translateFilters(
  given: readonly HTTPRouteFilter[] | undefined,
  path: FieldPath,
  place: FilterPlace,
): TranslatedFilters {
  const filters: RouteFilter[] = [];
  const seen = new Set<string>();
  let problem: string | undefined;
  const fail = (reason: string, message: string, at: FieldPath) => {
    place.context.flaw(`${message}; ${ANSWERED_500}`, at);
    problem ??= reason;
  };
  (given ?? []).forEach((filter, index) => {
    const at = [...path, index];
    const { type } = filter;
    if (seen.has(type) && !REPEATABLE.has(type)) {
      fail("IncompatibleFilters", `a second ${type} in one list`, at);
    } else if (type === "URLRewrite" && seen.has("RequestRedirect")) {
      fail("IncompatibleFilters", "URLRewrite beside RequestRedirect", at);
    } else if (type === "RequestRedirect" && seen.has("URLRewrite")) {
      fail("IncompatibleFilters", "RequestRedirect beside URLRewrite", at);
    }
    seen.add(type);
    const translated = translateFilter(filter, at, place);
    if (translated === undefined) return;
    if ("type" in translated) filters.push(translated);
    else fail(translated.reason, translated.message, at);
  });
  return { filters, problem };
}

interface Refusal {
  readonly reason: string;
  readonly message: string;
}

/** `undefined`: it is left out. */
function translateFilter(
  filter: HTTPRouteFilter,
  path: FieldPath,
  place: FilterPlace,
): RouteFilter | Refusal | undefined {
  const { type } = filter;
  switch (type) {
    case "RequestHeaderModifier":
    case "ResponseHeaderModifier": {
      const isRequest = type === "RequestHeaderModifier";
      const field = isRequest ? "requestHeaderModifier" : "responseHeaderModifier";
      return { type, headers: modifierOf(filter[field] ?? {}, [...path, field], place.context) };
    }
    case "RequestRedirect":
      return redirectOf(filter.requestRedirect ?? {}, place);
    case "URLRewrite":
      return rewriteOf(filter.urlRewrite ?? {}, place);
    case "RequestMirror":
      return mirrorOf(filter, [...path, "requestMirror"], place.context);
    case "CORS":
      return corsOf(filter.cors ?? {});
    case "ExternalAuth":
      return externalAuthOf(filter, [...path, "externalAuth"], place.context);
    default:
      return { reason: "UnsupportedFilter", message: `filter ${type} is not known here` };
  }
}

/** A header name as RFC 9110 §5.1 has it. */
const TOKEN = /^[A-Za-z0-9!#$%&'*+\-.^_`|~]+$/;

function modifierOf(
  { set = [], add = [], remove = [] }: HTTPHeaderFilter,
  path: FieldPath,
  context: RouteContext,
): HeaderModifier {
  const removed = remove.filter((name, index) => {
    if (TOKEN.test(name)) return true;
    const message = `"${name}" is no header name; nothing is removed`;
    context.findings.report("WS0102", message, [...path, "remove", index]);
    return false;
  });
  return {
    set: firstOfEachName(set),
    add: add.map(lowerCased),
    remove: removed.map((name) => name.toLowerCase()),
  };
}

function lowerCased({ name, value }: HTTPHeader): HTTPHeader {
  return { name: name.toLowerCase(), value };
}

/** Gateway API: of several entries with one name only the first counts. */
function firstOfEachName(headers: readonly HTTPHeader[]): readonly HTTPHeader[] {
  const seen = new Set<string>();
  return headers.map(lowerCased).filter(({ name }) => {
    const isNew = !seen.has(name);
    seen.add(name);
    return isNew;
  });
}

function redirectOf(
  redirect: NonNullable<HTTPRouteFilter["requestRedirect"]>,
  place: FilterPlace,
): RouteFilter | Refusal {
  const path = pathModifierOf(redirect.path, place);
  if (path !== undefined && "reason" in path) return path;
  return {
    type: "RequestRedirect",
    scheme: redirect.scheme,
    hostname: redirect.hostname,
    path,
    port: redirect.port,
    statusCode: redirect.statusCode ?? 302,
  };
}

function rewriteOf(
  rewrite: NonNullable<HTTPRouteFilter["urlRewrite"]>,
  place: FilterPlace,
): RouteFilter | Refusal {
  const path = pathModifierOf(rewrite.path, place);
  if (path !== undefined && "reason" in path) return path;
  return { type: "URLRewrite", hostname: rewrite.hostname, path };
}

/** What may stand in a path of RFC 3986, percent-encoded where it must be. */
const PATH = /^\/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*$/;

function pathModifierOf(
  given: HTTPPathModifier | undefined,
  { matches }: FilterPlace,
): PathModifier | Refusal | undefined {
  if (given === undefined) return undefined;
  const { type } = given;
  if (type === "ReplaceFullPath") {
    const value = given.replaceFullPath ?? "";
    return PATH.test(value) ? { type, value } : notAPath(value);
  }
  const value = given.replacePrefixMatch ?? "";
  if (value !== "" && !PATH.test(value)) return notAPath(value);
  const [first, ...others] = matches;
  if (first?.path.type === "PathPrefix" && others.length === 0) return { type, value };
  const message = "ReplacePrefixMatch needs a rule with one match, of a path prefix";
  return { reason: "IncompatibleFilters", message };
}

function notAPath(value: string): Refusal {
  return { reason: "UnsupportedValue", message: `"${value}" is no path` };
}

function mirrorOf(
  { requestMirror: mirror }: HTTPRouteFilter,
  path: FieldPath,
  context: RouteContext,
): RouteFilter | undefined {
  if (mirror === undefined) return undefined;
  const consequence = "nothing is mirrored";
  const backend = translateBackend(
    mirror.backendRef,
    [...path, "backendRef"],
    context,
    consequence,
  );
  if (backend.service === undefined) return undefined;
  const { numerator, denominator = 100 } = mirror.fraction ?? { numerator: mirror.percent ?? 100 };
  return { type: "RequestMirror", backend, share: Math.min(1, numerator / denominator) };
}

/** Seconds (Gateway API, HTTPCORSFilter.maxAge). */
const CORS_MAX_AGE_S = 5;

function corsOf(cors: NonNullable<HTTPRouteFilter["cors"]>): RouteFilter {
  return {
    type: "CORS",
    allowOrigins: cors.allowOrigins ?? [],
    allowCredentials: cors.allowCredentials ?? false,
    allowMethods: cors.allowMethods ?? [],
    allowHeaders: cors.allowHeaders ?? [],
    exposeHeaders: cors.exposeHeaders ?? [],
    maxAgeS: cors.maxAge ?? CORS_MAX_AGE_S,
  };
}

function externalAuthOf(
  { externalAuth: given }: HTTPRouteFilter,
  path: FieldPath,
  context: RouteContext,
): RouteFilter | Refusal {
  if (given === undefined)
    return { reason: "UnsupportedValue", message: "externalAuth is missing" };
  const at = [...path, "backendRef"];
  const backend = translateBackend(given.backendRef, at, context, "nothing is let through");
  if (backend.service === undefined) {
    return { reason: backend.problem ?? "BackendNotFound", message: "nobody to ask" };
  }
  const { protocol } = given;
  const settings = protocol === "GRPC" ? given.grpc : given.http;
  const lower = (names: readonly string[] = []) => names.map((name) => name.toLowerCase());
  return {
    type: "ExternalAuth",
    protocol,
    backend,
    pathPrefix: protocol === "HTTP" ? (given.http?.path ?? "") : "",
    allowedRequestHeaders: lower(settings?.allowedHeaders),
    allowedResponseHeaders: protocol === "HTTP" ? lower(given.http?.allowedResponseHeaders) : [],
    bodyBytesMax: Math.max(0, given.forwardBody?.maxSize ?? 0),
  };
}
