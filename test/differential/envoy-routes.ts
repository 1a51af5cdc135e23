/**
 * Routes of the model as an Envoy route table, the way istiod writes one for a waypoint: regular
 * expressions as `safe_regex`, prefixes by element, one route for each match, in the order of
 * precedence that the Gateway API asks for.
 */
import type {
  CorsFilter,
  HeaderModifier,
  HttpBackend,
  HttpMatch,
  HttpRoute,
  HttpRouteRule,
  PathModifier,
  RedirectFilter,
  RewriteFilter,
  RouteFilter,
  ValueMatch,
} from "../../src/model/route.ts";

type Json = Record<string, unknown>;

interface Entry {
  readonly route: HttpRoute;
  readonly rule: HttpRouteRule;
  readonly match: HttpMatch;
  readonly index: number;
}

/** A virtual host of its own for the routes of one host name. */
export function virtualHost(host: string, routes: readonly HttpRoute[]): Json {
  const entries = routes
    .flatMap((route) =>
      route.rules.flatMap((rule) => {
        const matches = rule.matches.length > 0 ? rule.matches : [ANY];
        return matches.map((match, index): Entry => ({ route, rule, match, index }));
      }),
    )
    .sort(compare);
  return { name: host, domains: [host], routes: entries.map(routeOf) };
}

const ANY: HttpMatch = {
  path: { type: "PathPrefix", value: "/" },
  headers: [],
  queryParams: [],
  method: undefined,
};

/** Gateway API, HTTPRouteRule and GRPCRouteRule `matches`: what goes first. */
function compare(a: Entry, b: Entry): number {
  const rank = ({ path }: HttpMatch) =>
    ["Exact", "PathPrefix", "RegularExpression"].indexOf(path.type);
  const length = ({ path }: HttpMatch) =>
    path.type === "PathPrefix" ? path.value.replace(/\/$/, "").length : 0;
  const keys = ({ route, rule, match, index }: Entry): (number | string)[] => {
    const { grpc } = match;
    const path = grpc ? [-grpc.service.length, -grpc.method.length] : [rank(match), -length(match)];
    const method = match.method === undefined ? 1 : 0;
    const counts = [-match.headers.length, -match.queryParams.length];
    return [...path, method, ...counts, route.createdMs, route.key, rule.index, index];
  };
  const [first, second] = [keys(a), keys(b)];
  for (let i = 0; i < first.length; i++) {
    if (first[i]! < second[i]!) return -1;
    if (first[i]! > second[i]!) return 1;
  }
  return 0;
}

function routeOf({ rule, match }: Entry): Json {
  const redirect = rule.filters.find((f) => f.type === "RequestRedirect");
  const cors = rule.filters.find((f) => f.type === "CORS");
  const action = redirect
    ? { redirect: redirectOf(redirect, match) }
    : rule.backends.some(({ weight }) => weight > 0)
      ? { route: forward(rule, match) }
      : { direct_response: { status: 500 } };
  return {
    match: matchOf(match),
    ...action,
    ...headerFields(rule.filters),
    ...(cors && { typed_per_filter_config: { "envoy.filters.http.cors": corsOf(cors) } }),
  };
}

function matchOf({ path, headers, queryParams, method }: HttpMatch): Json {
  const headerMatches = headers.map((header) => ({
    name: header.name,
    string_match: stringMatch(header),
  }));
  if (method !== undefined)
    headerMatches.push({ name: ":method", string_match: { exact: method } });
  return {
    ...pathMatch(path),
    ...(headerMatches.length > 0 && { headers: headerMatches }),
    ...(queryParams.length > 0 && {
      query_parameters: queryParams.map((parameter) => ({
        name: parameter.name,
        string_match: stringMatch(parameter),
      })),
    }),
  };
}

function pathMatch({ type, value }: HttpMatch["path"]): Json {
  if (type === "Exact") return { path: value };
  if (type === "RegularExpression") return { safe_regex: { regex: value } };
  const prefix = value.replace(/\/$/, "");
  return prefix === "" ? { prefix: "/" } : { path_separated_prefix: prefix };
}

function stringMatch({ type, value }: ValueMatch): Json {
  return type === "Exact" ? { exact: value } : { safe_regex: { regex: value } };
}

/** The model's order (Envoy's own): what is removed, then what is set, then what is added. */
function headerFields(filters: readonly RouteFilter[]): Json {
  const request = filters.find((f) => f.type === "RequestHeaderModifier")?.headers;
  const response = filters.find((f) => f.type === "ResponseHeaderModifier")?.headers;
  return {
    ...(request && {
      request_headers_to_add: additions(request),
      request_headers_to_remove: request.remove,
    }),
    ...(response && {
      response_headers_to_add: additions(response),
      response_headers_to_remove: response.remove,
    }),
  };
}

function additions({ set, add }: HeaderModifier): Json[] {
  const option = (append_action: string) => (header: { name: string; value: string }) => ({
    // Envoy reads a format there.
    header: { key: header.name, value: header.value.replaceAll("%", "%%") },
    append_action,
    keep_empty_value: true,
  });
  return [
    ...set.map(option("OVERWRITE_IF_EXISTS_OR_ADD")),
    ...add.map(option("APPEND_IF_EXISTS_OR_ADD")),
  ];
}

function forward(rule: HttpRouteRule, match: HttpMatch): Json {
  const rewrite = rule.filters.find((f) => f.type === "URLRewrite");
  const mirrors = rule.filters.filter((f) => f.type === "RequestMirror");
  const { requestTimeoutMs, backendRequestTimeoutMs, retry } = rule;
  return {
    ...destination(rule.backends),
    cluster_not_found_response_code: "INTERNAL_SERVER_ERROR",
    ...(rewrite && rewriteOf(rewrite, match)),
    timeout: seconds(requestTimeoutMs),
    ...(mirrors.length > 0 && {
      request_mirror_policies: mirrors.map(({ backend }) => ({
        cluster: clusterOf(backend.service),
      })),
    }),
    ...((retry || backendRequestTimeoutMs > 0) && {
      retry_policy: {
        retry_on: retry ? "retriable-status-codes" : "",
        num_retries: retry?.attempts ?? 0,
        retriable_status_codes: retry?.codes ?? [],
        per_try_timeout: seconds(backendRequestTimeoutMs),
        retry_back_off: { base_interval: "0.001s", max_interval: "0.002s" },
      },
    }),
  };
}

function destination(backends: readonly HttpBackend[]): Json {
  const [only] = backends;
  if (backends.length === 1 && only!.filters.length === 0) {
    return { cluster: clusterOf(only!.service) };
  }
  return {
    weighted_clusters: {
      clusters: backends.map((backend) => ({
        name: clusterOf(backend.service),
        weight: backend.weight,
        ...headerFields(backend.filters),
      })),
    },
  };
}

/** A backend without a Service is a cluster that is not there: 500, as istiod asks for. */
export function clusterOf(service: string | undefined): string {
  return service === undefined ? "nowhere" : service.split("/")[1]!.split(".")[0]!;
}

function seconds(ms: number): string {
  return `${ms / 1000}s`;
}

function redirectOf(filter: RedirectFilter, match: HttpMatch): Json {
  const { scheme, hostname, port, path, statusCode } = filter;
  const code = { 301: "MOVED_PERMANENTLY", 302: "FOUND", 303: "SEE_OTHER" }[statusCode];
  const other = { 307: "TEMPORARY_REDIRECT", 308: "PERMANENT_REDIRECT" }[statusCode];
  return {
    response_code: code ?? other,
    ...(scheme && { scheme_redirect: scheme }),
    ...(hostname && { host_redirect: hostname }),
    ...(port && { port_redirect: port }),
    ...(path && redirectPath(path, match)),
  };
}

function redirectPath(path: PathModifier, match: HttpMatch): Json {
  if (path.type === "ReplaceFullPath") return { path_redirect: path.value };
  return prefixChange(path.value, match);
}

function rewriteOf({ hostname, path }: RewriteFilter, match: HttpMatch): Json {
  return {
    ...(hostname && { host_rewrite_literal: hostname }),
    ...(path?.type === "ReplaceFullPath" && {
      regex_rewrite: { pattern: { regex: "/.*" }, substitution: path.value },
    }),
    ...(path?.type === "ReplacePrefixMatch" && prefixChange(path.value, match)),
  };
}

/**
 * The table of examples at HTTPPathModifier `replacePrefixMatch`: a slash is never lost or doubled.
 * Envoy's plain `prefix_rewrite` does either when one of the two ends with a slash.
 */
function prefixChange(value: string, { path }: HttpMatch): Json {
  const prefix = path.value.replace(/\/$/, "");
  const replacement = value.replace(/\/$/, "");
  if (prefix !== "" && replacement !== "" && replacement === value) {
    return { prefix_rewrite: replacement };
  }
  const escaped = prefix.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  // What is left is empty or begins with a slash; then only the replacement may be empty.
  return {
    regex_rewrite:
      replacement === ""
        ? { pattern: { regex: `^${escaped}(?:/(.*))?$` }, substitution: "/\\1" }
        : { pattern: { regex: `^${escaped}/?(.*)$` }, substitution: `${replacement}/\\1` },
  };
}

function corsOf(cors: CorsFilter): Json {
  return {
    "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",
    allow_origin_string_match: cors.allowOrigins.map((origin) => {
      if (origin === "*") return { safe_regex: { regex: ".*" } };
      const parts = origin.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
      return { safe_regex: { regex: parts.join(".*") } };
    }),
    allow_methods: cors.allowMethods.join(","),
    allow_headers: cors.allowHeaders.join(","),
    expose_headers: cors.exposeHeaders.join(","),
    max_age: String(cors.maxAgeS),
    allow_credentials: cors.allowCredentials,
    forward_not_matching_preflights: false,
  };
}
