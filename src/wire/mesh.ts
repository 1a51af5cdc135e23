/** Waystone's own resources: waypoints, routes, policies and settings, as JSON in a message. */
import { fromBinary } from "@bufbuild/protobuf";
import type { RequestAuthentication } from "../model/request-authentication.ts";
import type { AttachedRoute, HttpRouteRule } from "../model/route.ts";
import type { AuthorizationPolicy, FieldMatch, FieldSet, Rule } from "../model/rule.ts";
import type { MeshSettings } from "../model/settings.ts";
import type { Waypoint } from "../model/waypoint.ts";
import {
  AttachedRoutesSchema,
  MeshSettingsSchema,
  TargetAuthenticationsSchema,
  TargetPoliciesSchema,
  WaypointSchema,
} from "./gen/waystone/mesh_pb.ts";
import {
  count,
  flag,
  JsonReader,
  jsonMessage,
  list,
  number,
  objectRef,
  oneOf,
  port,
  position,
  record,
  type Shape,
  text,
  union,
} from "./shapes.ts";

/** There is one, and this is its name. */
export const SETTINGS_NAME = "mesh";

const stringMatch = union("type", {
  exact: record({ value: text }),
  prefix: record({ value: text }),
  suffix: record({ value: text }),
  presence: record({}),
  template: record({ value: text }),
});
const cidr = record({ bytes: text, prefixLength: count, text });
const fieldValue = union("type", {
  string: record({ match: stringMatch, text }),
  cidr: record({ cidr, text }),
  port: record({ port, text }),
});
const field = record(
  {
    field: text,
    values: list(fieldValue),
    notValues: list(fieldValue),
    hasValues: flag,
    hasNotValues: flag,
    path: text,
  },
  { position },
);
const rule = record(
  { index: count, from: list(list(field)), to: list(list(field)), when: list(field) },
  { position },
);
const policy = record(
  {
    key: text,
    action: oneOf("ALLOW", "DENY", "AUDIT", "CUSTOM"),
    rules: list(rule),
    isDryRun: flag,
    source: objectRef,
  },
  { position, provider: record({ name: text }, { service: text, problem: text }) },
);

const valueMatch = record({ type: oneOf("Exact", "RegularExpression"), name: text, value: text });
const httpMatch = record(
  {
    path: record({ type: oneOf("Exact", "PathPrefix", "RegularExpression"), value: text }),
    headers: list(valueMatch),
    queryParams: list(valueMatch),
  },
  {
    method: text,
    grpc: record({ type: oneOf("Exact", "RegularExpression"), service: text, method: text }),
  },
);
const backendFields = { weight: count, port };
const backendOptions = { service: text, problem: text, position };
const backend = record(backendFields, backendOptions);

const headerValues = list(record({ name: text, value: text }));
const headerModifier = record({ set: headerValues, add: headerValues, remove: list(text) });
const pathModifier = record({ type: oneOf("ReplaceFullPath", "ReplacePrefixMatch"), value: text });
const filter = union("type", {
  RequestHeaderModifier: record({ headers: headerModifier }),
  ResponseHeaderModifier: record({ headers: headerModifier }),
  RequestRedirect: record(
    { statusCode: count },
    { scheme: text, hostname: text, path: pathModifier, port },
  ),
  URLRewrite: record({}, { hostname: text, path: pathModifier }),
  RequestMirror: record({ backend, share: number }),
  CORS: record({
    allowOrigins: list(text),
    allowCredentials: flag,
    allowMethods: list(text),
    allowHeaders: list(text),
    exposeHeaders: list(text),
    maxAgeS: count,
  }),
  ExternalAuth: record({
    protocol: oneOf("HTTP", "GRPC"),
    backend,
    pathPrefix: text,
    allowedRequestHeaders: list(text),
    allowedResponseHeaders: list(text),
    bodyBytesMax: count,
  }),
});
const retry = record(
  { attempts: count, codes: list(count), grpcCodes: list(count) },
  { backoffMs: number },
);
const sessionPersistence = record({
  type: oneOf("Cookie", "Header"),
  name: text,
  absoluteTimeoutMs: number,
  idleTimeoutMs: number,
  isPermanent: flag,
});
const httpRule = record(
  {
    name: text,
    index: count,
    matches: list(httpMatch),
    filters: list(filter),
    backends: list(record({ ...backendFields, filters: list(filter) }, backendOptions)),
    requestTimeoutMs: number,
    backendRequestTimeoutMs: number,
  },
  { problem: text, retry, sessionPersistence, position },
);
const connectionRule = record({ name: text, index: count, backends: list(backend) }, { position });
const routeOf = (rule: Shape) =>
  record(
    { key: text, source: objectRef, createdMs: number, rules: list(rule), hostnames: list(text) },
    { position },
  );
const route = union("kind", {
  HTTPRoute: routeOf(httpRule),
  GRPCRoute: routeOf(httpRule),
  TLSRoute: routeOf(connectionRule),
  TCPRoute: routeOf(connectionRule),
});

const waypoint = record(
  {
    key: text,
    namespace: text,
    name: text,
    className: text,
    trafficType: oneOf("service", "workload", "all", "none"),
    service: text,
    hbonePort: port,
    identities: list(text),
    isReady: flag,
    source: objectRef,
  },
  { position },
);

const authentication = record(
  {
    key: text,
    rules: list(
      record(
        {
          issuer: text,
          audiences: list(text),
          fromHeaders: list(record({ name: text, prefix: text })),
          fromParams: list(text),
          fromCookies: list(text),
          forwardOriginalToken: flag,
          outputPayloadToHeader: text,
          outputClaimToHeaders: list(record({ header: text, claim: text })),
          spaceDelimitedClaims: list(text),
        },
        { jwks: text, keysFrom: text },
      ),
    ),
    source: objectRef,
  },
  { position },
);

const settings = record({
  trustDomain: text,
  trustDomainAliases: list(text),
  rootNamespace: text,
  clusterDomain: text,
  clusterId: text,
  network: text,
  accessLogFile: text,
  accessLogEncoding: oneOf("TEXT", "JSON"),
  accessLogFormat: text,
  connectTimeoutMs: count,
  hboneIdleTimeoutMs: count,
  protocolDetectionTimeoutMs: count,
  pathNormalization: oneOf("NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"),
  retryAttempts: count,
  numTrustedProxies: count,
  authorizationProviders: list(
    record(
      {
        name: text,
        protocol: oneOf("HTTP", "GRPC"),
        service: text,
        port,
        timeoutMs: count,
        isFailOpen: flag,
        statusOnError: count,
        pathPrefix: text,
        includeRequestHeadersInCheck: list(text),
        includeAdditionalHeadersInCheck: list(list(text)),
        headersToUpstreamOnAllow: list(text),
        headersToDownstreamOnAllow: list(text),
        headersToDownstreamOnDeny: list(text),
        bodyBytesMax: count,
        isPartialBodyShown: flag,
        isBodyPackedAsBytes: flag,
        isRouteCacheCleared: flag,
      },
      { problem: text },
    ),
  ),
  decisionHeader: flag,
  compatibility: oneOf("waystone", "istio"),
});

const WAYPOINT = new JsonReader<Waypoint>(waypoint);
const ROUTES = new JsonReader<readonly AttachedRoute[]>(
  list(record({ route, ports: list(port) }, { consumer: text })),
);
const POLICIES = new JsonReader<readonly AuthorizationPolicy[]>(list(policy));
const AUTHENTICATIONS = new JsonReader<readonly RequestAuthentication[]>(list(authentication));
const SETTINGS = new JsonReader<MeshSettings>(settings);

export function encodeWaypoint(value: Waypoint): Uint8Array {
  return jsonMessage(value);
}

export function decodeWaypoint(bytes: Uint8Array): Waypoint {
  return WAYPOINT.read(fromBinary(WaypointSchema, bytes).json);
}

export function encodeRoutes(value: readonly AttachedRoute[]): Uint8Array {
  return jsonMessage(value);
}

export function decodeRoutes(bytes: Uint8Array): readonly AttachedRoute[] {
  const routes = ROUTES.read(fromBinary(AttachedRoutesSchema, bytes).json);
  for (const { route } of routes) {
    checkMs(route.createdMs);
    if (route.kind === "HTTPRoute" || route.kind === "GRPCRoute") route.rules.forEach(checkTimes);
  }
  return routes;
}

function checkTimes(rule: HttpRouteRule): void {
  const { retry, sessionPersistence } = rule;
  checkMs(rule.requestTimeoutMs);
  checkMs(rule.backendRequestTimeoutMs);
  checkMs(retry?.backoffMs ?? 0);
  checkMs(sessionPersistence?.absoluteTimeoutMs ?? 0);
  checkMs(sessionPersistence?.idleTimeoutMs ?? 0);
}

/** JSON reads 1e999 as infinity. */
function checkMs(value: number): void {
  if (!Number.isSafeInteger(value)) throw new Error(`${value} is no time`);
}

export function encodePolicies(value: readonly AuthorizationPolicy[]): Uint8Array {
  return jsonMessage(value);
}

export function decodePolicies(bytes: Uint8Array): readonly AuthorizationPolicy[] {
  const policies = POLICIES.read(fromBinary(TargetPoliciesSchema, bytes).json);
  return policies.map((policy) => ({ ...policy, rules: policy.rules.map(checkRule) }));
}

function checkRule(rule: Rule): Rule {
  const { from, to, when } = rule;
  return { ...rule, from: from.map(checkFields), to: to.map(checkFields), when: checkFields(when) };
}

function checkFields(fields: FieldSet): FieldSet {
  return fields.map((field) => {
    for (const value of [...field.values, ...field.notValues]) {
      if (value.type === "cidr") checkRange(value.cidr.bytes, value.cidr.prefixLength);
    }
    return isKnown(field.field) ? field : { ...field, field: `unsupported:${field.field}` };
  });
}

const FIELDS: ReadonlySet<string> = new Set<FieldMatch["field"]>([
  ...(["principal", "trustDomain", "namespace", "serviceAccount", "sourceIp", "remoteIp"] as const),
  ...(["requestPrincipal", "host", "port", "method", "path", "destinationIp", "sni"] as const),
]);

/** One that only a newer control plane knows fails closed, as what nobody can evaluate does. */
function isKnown(field: string): boolean {
  return FIELDS.has(field) || /^(header|claim|unsupported):/.test(field);
}

function checkRange(bytes: string, prefixLength: number): void {
  if (!/^(?:[0-9a-f]{8}|[0-9a-f]{32})$/.test(bytes)) throw new Error(`no address: ${bytes}`);
  if (prefixLength > bytes.length * 4) throw new Error(`a prefix of ${prefixLength} bits`);
}

export function encodeAuthentications(value: readonly RequestAuthentication[]): Uint8Array {
  return jsonMessage(value);
}

export function decodeAuthentications(bytes: Uint8Array): readonly RequestAuthentication[] {
  return AUTHENTICATIONS.read(fromBinary(TargetAuthenticationsSchema, bytes).json);
}

export function encodeSettings(value: MeshSettings): Uint8Array {
  return jsonMessage(value);
}

export function decodeSettings(bytes: Uint8Array): MeshSettings {
  return SETTINGS.read(fromBinary(MeshSettingsSchema, bytes).json);
}
