/**
 * What the packages do not know: rules that API servers check beside the schema (CEL), as far as
 * they look at one part of an object alone.
 *
 * A `description` says in words what is allowed; diagnostics end with it.
 */
import { mapParts } from "./additions.ts";
import type { Schema } from "./validators.ts";

const LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const NAME = `${LABEL}(\\.${LABEL})*`;
const PATH = "[A-Za-z0-9\\/\\-._~%!$&'()*+,;=:]";

/** Path → keywords that are added there. */
type Refinements = Readonly<Record<string, Schema>>;

const PORT_NAMES: Schema = {
  propertyNames: {
    pattern: "^([1-9]\\d{0,3}|[1-5]\\d{4}|6[0-4]\\d{3}|65[0-4]\\d\\d|655[0-2]\\d|6553[0-5])$",
    description: "ports, 1 to 65535",
  },
};

const SAME_NAMESPACE: Schema = {
  maxLength: 0,
  description: "a policy targets what stands in its own namespace",
};

const TARGETS: Refinements = {
  "spec.targetRef.namespace": SAME_NAMESPACE,
  "spec.targetRefs[].namespace": SAME_NAMESPACE,
  spec: {
    allOf: exclusive("targetRef", "targetRefs", "selector"),
  },
};

/** Of these at most one is given. */
function exclusive(...names: readonly string[]): Schema[] {
  return names.flatMap((one, i) => names.slice(i + 1).map((other) => oneAtMost(one, other)));
}

function oneAtMost(one: string, other: string): Schema {
  return { not: { required: [one, other] }, description: `${one} and ${other} exclude each other` };
}

/** Where `type` says which of the fields is there. */
function fieldOfType(fields: Readonly<Record<string, string>>): Schema {
  const conditions = Object.entries(fields).map(([type, field]) => {
    const others = Object.values(fields).filter((other) => other !== field);
    return {
      if: { required: ["type"], properties: { type: { const: type } } },
      // biome-ignore lint/suspicious/noThenProperty: JSON schema's keyword
      then: {
        required: [field],
        not: { anyOf: others.map((other) => ({ required: [other] })) },
        description: `${type} has the field ${field} and no other`,
      },
    };
  });
  return { allOf: conditions };
}

const ROUTE_FILTER_FIELDS = {
  RequestHeaderModifier: "requestHeaderModifier",
  ResponseHeaderModifier: "responseHeaderModifier",
  RequestMirror: "requestMirror",
  ExtensionRef: "extensionRef",
};

const HTTP_FILTER = fieldOfType({
  ...ROUTE_FILTER_FIELDS,
  RequestRedirect: "requestRedirect",
  URLRewrite: "urlRewrite",
  CORS: "cors",
  ExternalAuth: "externalAuth",
});

const FILTER_TYPES: Schema = {
  enum: [
    "RequestHeaderModifier",
    "ResponseHeaderModifier",
    "RequestMirror",
    "RequestRedirect",
    "URLRewrite",
    "ExtensionRef",
    "CORS",
    "ExternalAuth",
  ],
};

const PATH_MODIFIER = fieldOfType({
  ReplaceFullPath: "replaceFullPath",
  ReplacePrefixMatch: "replacePrefixMatch",
});

/** A path as HTTPPathMatch has it: absolute, normalised, without query and fragment. */
const PLAIN_PATH: Schema = {
  pattern:
    "^(?!.*(//|/\\.{1,2}(/|$)|%2[fF]|#))/(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})*$",
  description: "an absolute path without //, /./, /../, %2f and #",
};

/** The types of Kubernetes' clients write an empty group for who leaves it out. */
const LOCAL_REFERENCE: Schema = { required: ["kind", "name"] };

const FILTERS = ["spec.rules[].filters[]", "spec.rules[].backendRefs[].filters[]"];

const FILTERS_OF_GRPC: Refinements = Object.fromEntries(
  FILTERS.flatMap((filter) => [[`${filter}.extensionRef`, LOCAL_REFERENCE]]),
);

const FILTERS_OF_HTTP: Refinements = Object.fromEntries(
  FILTERS.flatMap((filter) => [
    [filter, HTTP_FILTER],
    [`${filter}.type`, FILTER_TYPES],
    [`${filter}.extensionRef`, LOCAL_REFERENCE],
    [`${filter}.externalAuth.forwardBody.maxSize`, { minimum: 0 }],
    [`${filter}.requestRedirect.path`, PATH_MODIFIER],
    [`${filter}.urlRewrite.path`, PATH_MODIFIER],
  ]),
);

const PORT: Schema = { minimum: 1, maximum: 65535 };
const NAMED_PORTS: Schema = { additionalProperties: { type: "integer", ...PORT } };

const ADDRESS_OR_NETWORK: Schema = {
  anyOf: [{ required: ["address"] }, { required: ["network"] }],
  description: "address is required (without network)",
};

/** What a definition's newest version asks is for rules to say: the others are valid without. */
const CONNECTION_ROUTE: Refinements = { "spec.rules": { maxItems: 16 } };

const LOAD_BALANCERS = [
  "spec.trafficPolicy",
  "spec.trafficPolicy.portLevelSettings[]",
  "spec.subsets[].trafficPolicy",
  "spec.subsets[].trafficPolicy.portLevelSettings[]",
];

const LOAD_BALANCING: Refinements = Object.fromEntries(
  LOAD_BALANCERS.flatMap((policy) => [
    [
      `${policy}.loadBalancer`,
      { allOf: exclusive("simple", "consistentHash", "backendUtilization"), oneOf: undefined },
    ],
    [`${policy}.loadBalancer.consistentHash`, { allOf: exclusive("ringHash", "maglev") }],
  ]),
);

const SERVER_TLS: Schema = {
  allOf: [
    oneAtMost("credentialNames", "tlsCertificates"),
    oneAtMost("credentialNames", "credentialName"),
  ],
};

export const REFINEMENTS: Readonly<Record<string, Refinements>> = {
  AuthorizationPolicy: TARGETS,
  DestinationRule: LOAD_BALANCING,
  EnvoyFilter: {
    spec: { allOf: [oneAtMost("workloadSelector", "targetRefs")] },
    "spec.targetRefs[].namespace": SAME_NAMESPACE,
    "spec.configPatches[].match.waypoint.portNumber": PORT,
    "spec.configPatches[].patch.operation": {
      enum: [
        "INVALID",
        "MERGE",
        "ADD",
        "REMOVE",
        "INSERT_BEFORE",
        "INSERT_AFTER",
        "INSERT_FIRST",
        "REPLACE",
        "MERGE_AND_REPLACE_LIST",
      ],
    },
  },
  GRPCRoute: FILTERS_OF_GRPC,
  Gateway: {
    // The definition's patterns may begin anywhere, and in a long text take their time.
    "spec.addresses[].type": {
      pattern: `^(?![^]{254})(?:Hostname|[^]*(?:IPAddress|NamedAddress|${NAME}/${PATH}+$))`,
      description: 'IPAddress, Hostname, or a domain and a path, as in "example.com/type"',
    },
    "spec.listeners[].protocol": {
      pattern: `^(?![^]{256})(?:[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?|[^]*${NAME}/[A-Za-z0-9]+)$`,
      description: 'a protocol, or a domain and a name, as in "example.com/protocol"',
    },
    "spec.infrastructure.annotations": { maxProperties: 16 },
    "spec.tls.frontend.default.validation.caCertificateRefs": { maxItems: 16 },
    "spec.tls.frontend.perPort[].tls.validation.caCertificateRefs": { maxItems: 16 },
  },
  GatewayClass: { "spec.description": { type: "string", maxLength: 64 } },
  HTTPRoute: {
    ...FILTERS_OF_HTTP,
    "spec.rules[]": {
      not: {
        required: ["filters", "backendRefs"],
        properties: {
          filters: { contains: { properties: { type: { const: "RequestRedirect" } } } },
          backendRefs: { minItems: 1 },
        },
      },
      description: "RequestRedirect and backendRefs exclude each other",
    },
    "spec.rules[].matches[].path": {
      if: { required: ["type"], properties: { type: { const: "RegularExpression" } } },
      else: { properties: { value: PLAIN_PATH } },
    },
    "spec.rules[].retry.attempts": { minimum: 1 },
  },
  PeerAuthentication: { "spec.portLevelMtls": PORT_NAMES },
  ReferenceGrant: { "": { required: ["apiVersion", "kind", "metadata", "spec"] } },
  RequestAuthentication: {
    ...TARGETS,
    "spec.jwtRules[]": { allOf: exclusive("jwks", "jwksUri", "jwks_uri") },
  },
  Service: {
    "spec.ports[].port": PORT,
    "spec.ports[].nodePort": { minimum: 0, maximum: 65535 },
    "spec.ports[].targetPort": PORT,
  },
  ServiceEntry: {
    "spec.hosts[]": {
      pattern: "^(?!\\*$)[-A-Za-z0-9_.*]{1,255}$",
      description: 'a host name (letters, digits, "-" and "."; a wildcard needs a domain)',
    },
    "spec.ports[].number": PORT,
    "spec.ports[].targetPort": PORT,
    "spec.endpoints[].ports": NAMED_PORTS,
  },
  VirtualService: {
    "spec.http[].directResponse.body.bytes": {
      pattern: "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
      description: "base64",
    },
  },
  Sidecar: { "spec.ingress[].tls": SERVER_TLS },
  TCPRoute: CONNECTION_ROUTE,
  TLSRoute: {
    ...CONNECTION_ROUTE,
    spec: { required: ["rules"] },
    "spec.hostnames": { minItems: 0, maxItems: 1024 },
  },
  Telemetry: TARGETS,
  WasmPlugin: TARGETS,
  WorkloadEntry: { spec: ADDRESS_OR_NETWORK, "spec.ports": NAMED_PORTS },
  WorkloadGroup: {
    "spec.probe.grpc.port": PORT,
    "spec.probe.httpGet.port": PORT,
    "spec.probe.httpGet.scheme": { enum: ["", "HTTP", "HTTPS"] },
    "spec.probe.tcpSocket.port": PORT,
    "spec.template.ports": NAMED_PORTS,
  },
};

/** Fields that may stand there with nothing (null), wherever the kind has them. */
const NULLABLE: Readonly<Record<string, readonly string[]>> = {
  DestinationRule: [
    "aggression",
    "consecutive5xxErrors",
    "consecutiveGatewayErrors",
    "consecutiveLocalOriginFailures",
    "enabled",
    "insecureSkipVerify",
    "minClusterSize",
    "minimumPercent",
    "percent",
  ],
  ProxyConfig: ["concurrency"],
  Sidecar: ["insecureSkipVerify"],
  Telemetry: [
    "disabled",
    "disableContextPropagation",
    "disableSpanReporting",
    "enableIstioTags",
    "randomSamplingPercentage",
    "useRequestIdForTraceSampling",
  ],
  VirtualService: [
    "allowCredentials",
    "mirror_percent",
    "mirrorPercent",
    "retryIgnorePreviousHosts",
    "retryRemoteLocalities",
  ],
  WasmPlugin: ["priority"],
};

/** Patterns of the packages, in words. */
const WORDS: Readonly<Record<string, string>> = {
  [`^${LABEL}$`]: 'lower-case letters, digits and "-"',
  [`^${NAME}$`]: 'lower-case letters, digits, "-" and "."',
  [`^$|^${NAME}$`]: 'an API group (lower-case letters, digits, "-" and ".")',
  [`^(\\*\\.)?${NAME}$`]: 'a host name (lower-case letters, digits, "-" and "."; "*." before it)',
  "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$": 'a kind (letters, digits and "-")',
  "^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$": "an HTTP token (no space, no colon)",
  "^([0-9]{1,5}(h|m|s|ms)){1,4}$": 'a duration such as "10s" or "1m30s"',
  "(^$|^[a-f0-9]{64}$)": "64 hexadecimal digits in lower case",
  "^[-_A-Za-z0-9]+$": 'letters, digits, "-" and "_"',
  "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$": 'letters, digits, "-", "_" and "."',
  [`^${NAME}\\/${PATH}+$`]: 'a domain and a path, as in "example.com/controller"',
  [`^(System|(${NAME}/([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]))$`]:
    'System, or a domain and a name, as in "example.com/roots"',
  "^(([^:/?#]+):)(//([^/?#]*))([^?#]*)(\\?([^#]*))?(#(.*))?": 'a URI, as in "spiffe://domain/name"',
  "^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+$": "characters of a path",
  "(^\\*$)|(^(http(s)?):\\/\\/(((\\*\\.)?([a-zA-Z0-9\\-]+\\.)*[a-zA-Z0-9-]+|\\*)(:([0-9]{1,5}))?)$)":
    '"*", or an origin, as in "https://example.com:8443" or "https://*.example.com"',
};

/** Adds the kind's refinements; fails on a path that the packages no longer have. */
export function refine(kind: string, schema: Schema): Schema {
  for (const [path, keywords] of Object.entries(REFINEMENTS[kind] ?? {})) {
    if (path === "") {
      Object.assign(schema, keywords);
      continue;
    }
    const steps = path.match(/\w+|\[\]/g)!;
    const last = steps.pop()!;
    let at: Schema | undefined = schema;
    for (const step of steps) at = child(at, step);
    const known = child(at, last);
    if (at === undefined || known === undefined) throw new Error(`${kind} has no ${path}`);
    const refined = { ...known, ...keywords };
    if (last === "[]") at.items = refined;
    else (at.properties as Schema)[last] = refined;
  }
  return describe(withNulls(schema, NULLABLE[kind] ?? [])) as Schema;
}

function withNulls(schema: Schema, names: readonly string[]): Schema {
  return mapParts(schema, (part, name) => {
    const inner = withNulls(part, names);
    if (name === undefined || !names.includes(name)) return inner;
    return { ...inner, type: [inner.type, "null"] };
  });
}

const INT32_MAX = 2147483647;
/** The fields of more than 32 bits. */
const INT64: ReadonlySet<string> = new Set(["tableSize", "minimumRingSize"]);

/** In definitions, what is an integer and nothing more has 32 bits. */
export function boundIntegers(schema: Schema): Schema {
  return mapParts(schema, (part, name) => {
    const inner = boundIntegers(part);
    const isBounded = inner.maximum !== undefined || inner.enum !== undefined;
    if (inner.type !== "integer" || isBounded || INT64.has(name ?? "")) return inner;
    return { minimum: -INT32_MAX - 1, ...inner, maximum: INT32_MAX };
  });
}

function child(schema: Schema | undefined, step: string): Schema | undefined {
  const found = step === "[]" ? schema?.items : (schema?.properties as Schema)?.[step];
  return found as Schema | undefined;
}

/** Patterns with a name get it, wherever they stand. */
function describe(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(describe);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([key, inner]) => [key, describe(inner)] as const);
  const { pattern } = value as Schema;
  const words = typeof pattern === "string" ? WORDS[pattern] : undefined;
  const isNew = words !== undefined && !Object.hasOwn(value, "description");
  return Object.fromEntries(isNew ? [...entries, ["description", words]] : entries);
}
