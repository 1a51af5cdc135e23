/**
 * What the packages do not know: rules that API servers check beside the schema (CEL), as far as
 * they look at one part of an object alone.
 *
 * A `description` says in words what is allowed; diagnostics end with it.
 */
import type { Schema } from "./validators.ts";

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
    allOf: [
      oneAtMost("targetRef", "targetRefs"),
      oneAtMost("targetRef", "selector"),
      oneAtMost("targetRefs", "selector"),
    ],
  },
};

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

const HTTP_FILTER = fieldOfType({
  RequestHeaderModifier: "requestHeaderModifier",
  ResponseHeaderModifier: "responseHeaderModifier",
  RequestMirror: "requestMirror",
  RequestRedirect: "requestRedirect",
  URLRewrite: "urlRewrite",
  ExtensionRef: "extensionRef",
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

const FILTERS_OF_HTTP: Refinements = Object.fromEntries(
  ["spec.rules[].filters[]", "spec.rules[].backendRefs[].filters[]"].flatMap((filter) => [
    [filter, HTTP_FILTER],
    [`${filter}.type`, FILTER_TYPES],
    // Absent is the core group, as it is for other references.
    [`${filter}.extensionRef`, { required: ["kind", "name"] }],
    [`${filter}.requestRedirect.path`, PATH_MODIFIER],
    [`${filter}.urlRewrite.path`, PATH_MODIFIER],
  ]),
);

const NAMED_PORTS: Schema = {
  additionalProperties: { type: "integer", minimum: 1, maximum: 65535 },
};

export const REFINEMENTS: Readonly<Record<string, Refinements>> = {
  AuthorizationPolicy: TARGETS,
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
  },
  PeerAuthentication: { "spec.portLevelMtls": PORT_NAMES },
  RequestAuthentication: TARGETS,
  Service: {
    "spec.ports[].port": { minimum: 1, maximum: 65535 },
    "spec.ports[].nodePort": { minimum: 0, maximum: 65535 },
    "spec.ports[].targetPort": { minimum: 1, maximum: 65535 },
  },
  ServiceEntry: {
    "spec.hosts[]": {
      pattern: "^(?!\\*$)[-A-Za-z0-9_.*]{1,255}$",
      description: 'a host name (letters, digits, "-" and "."; a wildcard needs a domain)',
    },
    "spec.ports[].number": { minimum: 1, maximum: 65535 },
    "spec.ports[].targetPort": { minimum: 0, maximum: 65535 },
    "spec.endpoints[].ports": NAMED_PORTS,
  },
  WorkloadEntry: {
    spec: {
      anyOf: [{ required: ["address"] }, { required: ["network"] }],
      description: "address is required (without network)",
    },
    "spec.ports": NAMED_PORTS,
  },
};

/** Patterns of the packages, in words. */
const LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const NAME = `${LABEL}(\\.${LABEL})*`;
const WORDS: Readonly<Record<string, string>> = {
  [`^${LABEL}$`]: 'lower-case letters, digits and "-"',
  [`^${NAME}$`]: 'lower-case letters, digits, "-" and "."',
  [`^$|^${NAME}$`]: 'an API group (lower-case letters, digits, "-" and ".")',
  [`^(\\*\\.)?${NAME}$`]: 'a host name (lower-case letters, digits, "-" and "."; "*." before it)',
  "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$": 'a kind (letters, digits and "-")',
  "^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$": "an HTTP token (no space, no colon)",
  "^([0-9]{1,5}(h|m|s|ms)){1,4}$": 'a duration such as "10s" or "1m30s"',
};

/** Adds the kind's refinements; fails on a path that the packages no longer have. */
export function refine(kind: string, schema: Schema): Schema {
  for (const [path, keywords] of Object.entries(REFINEMENTS[kind] ?? {})) {
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
  return describe(schema) as Schema;
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
