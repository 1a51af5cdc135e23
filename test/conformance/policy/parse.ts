/**
 * AuthorizationPolicies and ztunnel's Authorizations of the conformance sets as model values, only
 * for judging `src/policy` by itself: it knows no diagnostics, positions or selectors.
 */
import { parseAllDocuments } from "yaml";
import type { AuthorizationProvider } from "../../../src/model/authorization-provider.ts";
import type {
  AuthorizationPolicy,
  Cidr,
  FieldMatch,
  FieldValue,
  L4Match,
  L4Policy,
  PolicyAction,
  RuleField,
  StringMatch,
} from "../../../src/model/rule.ts";
import { parseAddress } from "../../../src/policy/match/cidr.ts";
import { isPathTemplate } from "../../../src/policy/match/path-template.ts";
import { EMPTY_L4_MATCH, l4PolicyOf, policyOf } from "../../policy/mesh.ts";

type Lists = Record<string, readonly string[]>;

/** As if each provider that can be used had its service. */
export function asking(
  policy: AuthorizationPolicy,
  providers: readonly AuthorizationProvider[],
): AuthorizationPolicy {
  const { provider } = policy;
  if (provider === undefined) return policy;
  const known = providers.find(({ name }) => name === provider.name);
  const service = known?.problem === undefined ? known?.service : undefined;
  return { ...policy, provider: { ...provider, service } };
}

interface PolicyDocument {
  metadata: { name: string; namespace: string; annotations?: Record<string, string> };
  spec?: {
    action?: PolicyAction;
    provider?: { name: string };
    rules?: readonly {
      from?: readonly { source: Lists }[];
      to?: readonly { operation: Lists }[];
      when?: readonly { key: string; values?: string[]; notValues?: string[] }[];
    }[];
  };
}

const FIELDS: Record<string, RuleField> = {
  principals: "principal",
  namespaces: "namespace",
  serviceAccounts: "serviceAccount",
  ipBlocks: "sourceIp",
  remoteIpBlocks: "remoteIp",
  trustDomains: "trustDomain",
  requestPrincipals: "requestPrincipal",
  hosts: "host",
  ports: "port",
  methods: "method",
  paths: "path",
  "source.ip": "sourceIp",
  "source.namespace": "namespace",
  "source.principal": "principal",
  "source.trustDomain": "trustDomain",
  "source.serviceAccount": "serviceAccount",
  "remote.ip": "remoteIp",
  "request.auth.principal": "requestPrincipal",
  "request.auth.audiences": "claim:aud",
  "request.auth.presenter": "claim:azp",
  "destination.ip": "destinationIp",
  "destination.port": "port",
  "connection.sni": "sni",
};

export function parsePolicies(yaml: string): readonly AuthorizationPolicy[] {
  return parseAllDocuments(yaml).map((document) => parsePolicy(document.toJS() as PolicyDocument));
}

function parsePolicy({ metadata, spec }: PolicyDocument): AuthorizationPolicy {
  const rules = (spec?.rules ?? []).map((rule, index) => ({
    index,
    from: (rule.from ?? []).map(({ source }) => fieldsOf(source)),
    to: (rule.to ?? []).map(({ operation }) => fieldsOf(operation)),
    when: (rule.when ?? []).map((c) => fieldOf(fieldName(c.key), c.values, c.notValues)),
    position: undefined,
  }));
  return policyOf({
    key: `${metadata.namespace}/${metadata.name}`,
    action: spec?.action ?? "ALLOW",
    provider: spec?.provider && { ...spec.provider, service: undefined, problem: undefined },
    isDryRun: metadata.annotations?.["istio.io/dry-run"] === "true",
    rules,
  });
}

function fieldName(key: string): RuleField {
  const claim = /^request\.auth\.claims\[(.*)\]$/.exec(key);
  if (claim) return `claim:${claim[1]!}`;
  const header = /^request\.headers\[(.*)\]$/.exec(key);
  return header ? `header:${header[1]!.toLowerCase()}` : (FIELDS[key] ?? `unsupported:${key}`);
}

/** `principals` and `notPrincipals` together are one field. */
function fieldsOf(lists: Lists): readonly FieldMatch[] {
  const names = Object.keys(lists).map((name) =>
    name.startsWith("not") ? name[3]!.toLowerCase() + name.slice(4) : name,
  );
  return [...new Set(names)].map((name) => {
    const negative = `not${name[0]!.toUpperCase()}${name.slice(1)}`;
    return fieldOf(fieldName(name), lists[name], lists[negative]);
  });
}

function fieldOf(
  field: RuleField,
  values: readonly string[] = [],
  notValues: readonly string[] = [],
): FieldMatch {
  return {
    field,
    values: values.flatMap((text) => fieldValueOf(field, text)),
    notValues: notValues.flatMap((text) => fieldValueOf(field, text)),
    hasValues: values.length > 0,
    hasNotValues: notValues.length > 0,
    path: field,
    position: undefined,
  };
}

function fieldValueOf(field: RuleField, text: string): FieldValue[] {
  if (field === "port") return [{ type: "port", port: Number(text), text }];
  if (/Ip$/.test(field)) return [{ type: "cidr", cidr: parseCidr(text), text }];
  return [{ type: "string", match: stringMatchOf(field, text), text }];
}

function stringMatchOf(field: RuleField, text: string): StringMatch {
  if (field === "path" && isPathTemplate(text)) return { type: "template", value: text };
  if (text === "*") return { type: "presence" };
  if (text.startsWith("*")) return { type: "suffix", value: text.slice(1) };
  if (text.endsWith("*")) return { type: "prefix", value: text.slice(0, -1) };
  return { type: "exact", value: text };
}

function parseCidr(text: string): Cidr {
  const [address = "", length] = text.split("/");
  const { isV4, words } = parseAddress(address)!;
  const bytes = (isV4 ? [words[3]] : words).map((w) => w.toString(16).padStart(8, "0")).join("");
  return { bytes, prefixLength: length ? Number(length) : bytes.length * 4, text };
}

type JsonMatcher = { exact?: string; prefix?: string; suffix?: string; presence?: object };

export function parseStringMatch(json: JsonMatcher): StringMatch {
  if (json.presence) return { type: "presence" };
  if (json.prefix !== undefined) return { type: "prefix", value: json.prefix };
  if (json.suffix !== undefined) return { type: "suffix", value: json.suffix };
  return { type: "exact", value: json.exact ?? "" };
}

export interface JsonAuthorization {
  name: string;
  namespace: string;
  scope: L4Policy["scope"];
  action: L4Policy["action"];
  dryRun?: boolean;
  rules?: readonly { clauses?: readonly { matches?: readonly Record<string, unknown[]>[] }[] }[];
}

export function parseAuthorization(json: JsonAuthorization): L4Policy {
  const rules = (json.rules ?? []).map((rule) => ({
    clauses: (rule.clauses ?? []).map((clause) => (clause.matches ?? []).map(parseL4Match)),
    position: undefined,
  }));
  const { name, namespace, scope, action } = json;
  const key = `${namespace}/${name}`;
  return l4PolicyOf({ name, namespace, scope, action, rules, key, isDryRun: json.dryRun === true });
}

function parseL4Match(json: Record<string, unknown[]>): L4Match {
  const match: Record<string, unknown[]> = { ...EMPTY_L4_MATCH } as never;
  for (const [name, list] of Object.entries(json)) {
    if (!(name in match)) throw new Error(`no such list in a match: ${name}`);
    match[name] = list.map((value) => parseL4Value(name, value));
  }
  return match as unknown as L4Match;
}

function parseL4Value(name: string, value: unknown): unknown {
  if (/principals|namespaces/i.test(name)) return parseStringMatch(value as JsonMatcher);
  if (!/Ips$/i.test(name)) return value;
  const { address, length } = value as { address: string; length: number };
  const bytes = Buffer.from(address, "base64").toString("hex");
  return { bytes, prefixLength: length, text: `${bytes}/${length}` };
}
