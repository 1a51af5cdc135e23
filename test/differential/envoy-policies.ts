/**
 * AuthorizationPolicies of the model as Envoy's RBAC filters, the way istiod writes them: one RBAC
 * policy for each rule, its operations as permissions and its sources as principals.
 */
import type {
  AuthorizationPolicy,
  FieldMatch,
  FieldSet,
  FieldValue,
  Rule,
  RuleField,
  StringMatch,
} from "../../src/model/rule.ts";

export type Json = Record<string, unknown>;

export interface Target {
  readonly isTcp: boolean;
  readonly trustDomain: string;
  readonly trustDomainAliases: readonly string[];
}

const CUSTOM_PREFIX = "istio-ext-authz-";

/** `rules` of policies of one action, by the name of each rule; undefined: there are no policies. */
export function rbacRules(
  policies: readonly AuthorizationPolicy[],
  action: "ALLOW" | "DENY" | "LOG",
  target: Target,
): Json | undefined {
  if (policies.length === 0) return undefined;
  const named = policies.flatMap((policy) => namedRules(policy, target));
  return {
    ...(action !== "ALLOW" && { action }),
    ...(named.length > 0 && { policies: Object.fromEntries(named) }),
  };
}

function namedRules(policy: AuthorizationPolicy, target: Target): [string, Json][] {
  const { action, key, provider, rules } = policy;
  const [namespace, name] = key.split("/");
  const isClosed = provider !== undefined && provider.service === undefined;
  const nameOf = (index: number) =>
    (action === "CUSTOM" ? `${CUSTOM_PREFIX}${provider!.name}-` : "") +
    `ns[${namespace}]-policy[${name}]-rule[${index}]` +
    (isClosed ? "-deny-due-to-bad-CUSTOM-action" : "");
  if (rules.length === 0) return [[nameOf(0), NEVER]];
  return rules
    .filter((rule) => !(target.isTcp && action === "ALLOW" && asksOfHttp(rule)))
    .map((rule) => [nameOf(rule.index), ruleOf(rule, policy, target)]);
}

const NEVER = { permissions: [{ notRule: { any: true } }], principals: [{ notId: { any: true } }] };

const HTTP_FIELDS = /^(host|method|path|requestPrincipal|header:.*|claim:.*)$/;
const PERMISSIONS = /^(host|method|path|port|destinationIp|sni|unsupported:experimental\..*)$/;

function asksOfHttp({ from, to, when }: Rule): boolean {
  return [...from.flat(), ...to.flat(), ...when].some(({ field }) => HTTP_FIELDS.test(field));
}

function ruleOf(rule: Rule, policy: AuthorizationPolicy, target: Target): Json {
  const isSeen = ({ field }: FieldMatch) => !(target.isTcp && HTTP_FIELDS.test(field));
  const isPermission = ({ field }: FieldMatch) => PERMISSIONS.test(field);
  const when = rule.when.filter(isSeen);
  const [asked, of] = [when.filter(isPermission), when.filter((field) => !isPermission(field))];
  const alternatives = (sets: readonly FieldSet[], more: FieldSet) =>
    (sets.length === 0 ? [[]] : sets).map((set) => [...set.filter(isSeen), ...more]);
  return {
    permissions: alternatives(rule.to, asked).map((set) => {
      const rules = set.flatMap((field) =>
        either(field, policy, target, (values) => ({ orRules: { rules: values } }), "notRule"),
      );
      return { andRules: { rules: rules.length > 0 ? rules : [{ any: true }] } };
    }),
    principals: alternatives(rule.from, of).map((set) => {
      const ids = set.flatMap((field) =>
        either(field, policy, target, (values) => ({ orIds: { ids: values } }), "notId"),
      );
      return { andIds: { ids: ids.length > 0 ? ids : [{ any: true }] } };
    }),
  };
}

/** Any of the values, and none of the others. */
function either(
  { field, values, notValues }: FieldMatch,
  policy: AuthorizationPolicy,
  target: Target,
  anyOf: (values: readonly Json[]) => Json,
  not: "notRule" | "notId",
): Json[] {
  const one = (all: readonly FieldValue[]) => {
    const metadata = metadataOf(field, all);
    return metadata ?? anyOf(all.flatMap((value) => matcherOf(field, value, policy, target)));
  };
  return [
    ...(values.length > 0 ? [one(values)] : []),
    ...(notValues.length > 0 ? [{ [not]: one(notValues) }] : []),
  ];
}

const JWT_FILTER = "envoy.filters.http.jwt_authn";

/** Claims, and `experimental.envoy.filters.<name>[<key>]`: one matcher for all values. */
function metadataOf(field: RuleField, all: readonly FieldValue[]): Json | undefined {
  const valueMatchers = all.flatMap((value) =>
    value.type === "string" ? [{ stringMatch: stringMatch(value.match) }] : [],
  );
  const any = valueMatchers.length === 1 ? valueMatchers[0]! : { orMatch: { valueMatchers } };
  const experimental = /^unsupported:experimental\.(.*)\[(.*)\]$/.exec(field);
  if (experimental) {
    const [, filter, key] = experimental;
    return { metadata: { filter, path: [{ key }], value: any } };
  }
  if (!field.startsWith("claim:")) return undefined;
  const names = field.slice("claim:".length).split("][");
  return jwtMetadata(names, { orMatch: { valueMatchers: [{ listMatch: { oneOf: any } }, any] } });
}

function jwtMetadata(names: readonly string[], value: Json): Json {
  const path = ["payload", ...names].map((key) => ({ key }));
  return { metadata: { filter: JWT_FILTER, path, value } };
}

const ANYTHING: Json = { safeRegex: { regex: ".+" } };

function stringMatch(match: StringMatch): Json {
  return match.type === "presence" ? ANYTHING : { [match.type]: match.value };
}

function matcherOf(
  field: RuleField,
  value: FieldValue,
  policy: AuthorizationPolicy,
  target: Target,
): Json[] {
  if (value.type === "port") return [{ destinationPort: value.port }];
  if (value.type === "cidr") {
    const name = { sourceIp: "directRemoteIp", remoteIp: "remoteIp" }[field as string];
    const [addressPrefix] = value.cidr.text.split("/");
    return [{ [name ?? field]: { addressPrefix, prefixLen: value.cidr.prefixLength } }];
  }
  const { match } = value;
  switch (field) {
    case "principal":
      return principalNames(match, target).map(authenticated);
    case "trustDomain":
      return [authenticated(trustDomainName(match))];
    case "namespace":
      return [authenticated(expression(`.*/ns/${wild(match)}/.*`))];
    case "serviceAccount":
      return [authenticated(accountName(match, policy))];
    case "requestPrincipal":
      return [requestPrincipal(match)];
    case "host":
      return [header(":authority", match, { ignoreCase: true })];
    case "method":
      return [header(":method", match)];
    case "path":
      return [pathOf(match)];
    case "sni":
      return [{ requestedServerName: stringMatch(match) }];
    default:
      return [header(field.slice("header:".length), match)];
  }
}

function header(name: string, match: StringMatch, more: Json = {}): Json {
  if (match.type === "presence") return { header: { name, presentMatch: true } };
  return { header: { name, stringMatch: { ...stringMatch(match), ...more } } };
}

const TEMPLATE = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3";

function pathOf(match: StringMatch): Json {
  if (match.type !== "template") return { urlPath: { path: stringMatch(match) } };
  const pathTemplate = match.value.replaceAll("{**}", "**").replaceAll("{*}", "*");
  return {
    uriTemplate: {
      name: "uri-template",
      typedConfig: { "@type": `${TEMPLATE}.UriTemplateMatchConfig`, pathTemplate },
    },
  };
}

const expression = (regex: string): Json => ({ safeRegex: { regex } });
const authenticated = (principalName: Json): Json => ({ authenticated: { principalName } });
const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

function wild(match: StringMatch, any = ".*"): string {
  if (match.type === "presence") return any;
  const [before, after] = [match.type === "suffix" ? any : "", match.type === "prefix" ? any : ""];
  return `${before}${escaped(match.value)}${after}`;
}

function trustDomainName(match: StringMatch): Json {
  if (match.type === "exact") return { prefix: `spiffe://${match.value}/` };
  return expression(`spiffe://${wild(match, "[^/]*")}/.*`);
}

function accountName(match: StringMatch, policy: AuthorizationPolicy): Json {
  const { value } = match as { value: string };
  const [first = "", second] = value.split("/");
  const [namespace, name] =
    second === undefined ? [policy.source.namespace, first] : [first, second];
  return expression(`spiffe://.+/ns/${escaped(namespace)}/(.+/|)sa/${escaped(name)}(/.+)?`);
}

/** One for each name of the mesh's trust domain that the written one stands for. */
function principalNames(match: StringMatch, { trustDomain, trustDomainAliases }: Target): Json[] {
  if (match.type === "presence" || match.type === "template") return [ANYTHING];
  const text = wild(match, "*").replaceAll("\\", "");
  const [written = "", ...rest] = text.split("/");
  const own = [trustDomain, ...trustDomainAliases];
  const isMeant = (name: string) =>
    new RegExp(`^${escaped(written).replace("\\*", ".*")}$`).test(name);
  const isOwn = written !== "*" && (written === "cluster.local" || own.some(isMeant));
  if (!isOwn || rest.length !== 4) return [principalName(match)];
  const named = own.map((name) => (isMeant(name) ? text : [name, ...rest].join("/")));
  return [...new Set(named)].map((name) => {
    if (name === text) return principalName(match);
    const type = name.endsWith("*") ? "prefix" : "exact";
    return principalName({ type, value: type === "prefix" ? name.slice(0, -1) : name });
  });
}

function principalName(match: StringMatch): Json {
  if (match.type === "suffix") return expression(`spiffe://.*${escaped(match.value)}`);
  return { [match.type]: `spiffe://${(match as { value: string }).value}` };
}

/** `<issuer>/<subject>`, where the subject is what follows the last slash. */
function requestPrincipal(match: StringMatch): Json {
  const both = (iss: Json, sub: Json) => ({
    andIds: {
      ids: [jwtMetadata(["iss"], { stringMatch: iss }), jwtMetadata(["sub"], { stringMatch: sub })],
    },
  });
  if (match.type === "presence" || match.type === "template") return both(ANYTHING, ANYTHING);
  const { type, value } = match;
  const slash = value.lastIndexOf("/");
  const [iss, sub] = [value.slice(0, slash), value.slice(slash + 1)];
  const open = (text: string): Json => (text === "" ? ANYTHING : { [type]: text });
  if (type === "exact") {
    return slash < 0 ? both({ exact: value }, { exact: "" }) : both({ exact: iss }, { exact: sub });
  }
  if (type === "prefix") {
    return slash < 0 ? both({ prefix: value }, ANYTHING) : both({ exact: iss }, open(sub));
  }
  return slash < 0 ? both(ANYTHING, { suffix: value }) : both(open(iss), { exact: sub });
}
