/**
 * The same decisions, written as plainly as can be and slowly: regular expressions, big integers,
 * sorting. It shares no code with `src/policy`, so that the two can only agree by being right.
 */
import type { HttpMatch } from "../../src/model/route.ts";
import type {
  AuthorizationPolicy,
  Cidr,
  FieldMatch,
  FieldValue,
  L4Match,
  L4Policy,
  Rule,
  StringMatch,
} from "../../src/model/rule.ts";
import type { MeshSettings } from "../../src/model/settings.ts";
import type { ConnectionFacts, HttpFacts } from "../../src/policy/facts.ts";

export interface NaiveVerdict {
  isAllowed: boolean;
  because: string;
  policy: string | undefined;
  rule: number | undefined;
}

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

function pattern(match: StringMatch): RegExp {
  switch (match.type) {
    case "exact":
      return new RegExp(`^${escaped(match.value)}$`, "s");
    case "prefix":
      return new RegExp(`^${escaped(match.value)}.*$`, "s");
    case "suffix":
      return new RegExp(`^.*${escaped(match.value)}$`, "s");
    case "presence":
      return /./s;
    case "template": {
      const parts = match.value.split(/(\{\*\*?\})/).map((part) => {
        if (part === "{*}") return "[^/]+";
        return part === "{**}" ? ".*" : escaped(part);
      });
      return new RegExp(`^${parts.join("")}$`, "s");
    }
  }
}

function ipBits(text: string): string {
  const v4 = /(?:^|:ffff:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  if (v4)
    return v4
      .slice(1)
      .map((n) => Number(n).toString(2).padStart(8, "0"))
      .join("");
  const url = new URL(`http://[${text}]/`);
  const [head = "", tail] = url.hostname.slice(1, -1).split("::");
  const before = head ? head.split(":") : [];
  const after = tail ? tail.split(":") : [];
  const zeros = Array(8 - before.length - after.length).fill("0");
  const groups = [...before, ...zeros, ...after];
  return groups.map((g) => Number.parseInt(g, 16).toString(2).padStart(16, "0")).join("");
}

function inCidr(cidr: Cidr, text: string): boolean {
  const bits = [...cidr.bytes].map((d) => Number.parseInt(d, 16).toString(2).padStart(4, "0"));
  const own = bits.join("");
  const seen = ipBits(text);
  return (
    own.length === seen.length &&
    own.slice(0, cidr.prefixLength) === seen.slice(0, cidr.prefixLength)
  );
}

function identity(facts: ConnectionFacts) {
  const found = /^spiffe:\/\/(([^/]+)\/ns\/([^/]+)\/sa\/([^/]+))$/.exec(facts.sourceIdentity ?? "");
  if (!found) return undefined;
  return {
    principal: found[1]!,
    trustDomain: found[2]!,
    namespace: found[3]!,
    account: `${found[3]}/${found[4]}`,
  };
}

const HTTP_FIELDS =
  /^(host|method|path|header:.*|claim:.*|requestPrincipal|unsupported:request.*)$/;
const UNKNOWN_FIELDS = /^unsupported:.*$/;

function principalVariants(match: StringMatch, settings: MeshSettings): StringMatch[] {
  if (match.type === "presence" || match.type === "template") return [match];
  const names = [settings.trustDomain, ...settings.trustDomainAliases];
  const own = [...names, "cluster.local"].find((name) => match.value.startsWith(`${name}/`));
  const isWhole = match.value.split("/").length === 5 && match.type !== "suffix";
  if (own === undefined || !isWhole) return [match];
  return names.map((name) => ({ ...match, value: name + match.value.slice(own.length) }));
}

/** Texts, and the texts of a list; `claim:a][b` is claim `b` of claim `a`. */
function claims(facts: Partial<HttpFacts>, name: string): string[] {
  let at: unknown = facts.jwt?.claims;
  for (const part of name.slice("claim:".length).split("][")) {
    at = (at as Record<string, unknown> | undefined)?.[part];
  }
  return [at].flat().filter((value) => typeof value === "string");
}

function valueHolds(
  field: FieldMatch,
  value: FieldValue,
  facts: ConnectionFacts & Partial<HttpFacts>,
  policy: AuthorizationPolicy,
  settings: MeshSettings,
): boolean {
  const id = identity(facts);
  const name = field.field;
  if (value.type === "port") return value.port === facts.destinationPort;
  if (value.type === "cidr") {
    const { sourceAddress, destinationAddress, remoteAddress = sourceAddress } = facts;
    const seen = { sourceIp: sourceAddress, remoteIp: remoteAddress }[name as string];
    return inCidr(value.cidr, seen ?? destinationAddress);
  }
  const { match } = value;
  const test = (seen: string | undefined) => seen !== undefined && pattern(match).test(seen);
  if (name === "principal") {
    return !!id && principalVariants(match, settings).some((m) => pattern(m).test(id.principal));
  }
  if (name === "trustDomain") return test(id?.trustDomain);
  if (name === "sni") return test(facts.serverName);
  if (name === "requestPrincipal") return test(facts.jwt?.principal);
  if (name.startsWith("claim:")) return claims(facts, name).some(test);
  if (name === "namespace") return test(id?.namespace);
  if (name === "serviceAccount") {
    const full =
      match.type === "exact" && !match.value.includes("/")
        ? `${policy.source.namespace}/${match.value}`
        : (match as { value: string }).value;
    return id?.account === full;
  }
  if (name === "host") return new RegExp(pattern(match).source, "si").test(facts.authority!);
  if (name === "method") return test(facts.method);
  if (name === "path") return test(facts.path);
  const seen = facts.header!(name.slice("header:".length));
  return match.type === "presence" ? seen !== undefined : test(seen);
}

function fieldHolds(
  field: FieldMatch,
  facts: ConnectionFacts & Partial<HttpFacts>,
  policy: AuthorizationPolicy,
  settings: MeshSettings,
): boolean {
  const isClosed = policy.action === "DENY" || policy.action === "CUSTOM";
  if (facts.method === undefined && HTTP_FIELDS.test(field.field)) return true;
  if (UNKNOWN_FIELDS.test(field.field)) return isClosed;
  const holds = (value: FieldValue) => valueHolds(field, value, facts, policy, settings);
  if (field.hasValues && field.values.length === 0 && !isClosed) return false;
  if (field.hasNotValues && field.notValues.length === 0 && !isClosed) return false;
  if (field.values.length > 0 && !field.values.some(holds)) return false;
  return !field.notValues.some(holds);
}

function ruleHolds(
  rule: Rule,
  facts: ConnectionFacts & Partial<HttpFacts>,
  policy: AuthorizationPolicy,
  settings: MeshSettings,
): boolean {
  const isTcp = facts.method === undefined;
  const all = [...rule.from.flat(), ...rule.to.flat(), ...rule.when];
  if (isTcp && policy.action === "ALLOW" && all.some((f) => HTTP_FIELDS.test(f.field)))
    return false;
  const every = (set: readonly FieldMatch[]) =>
    set.every((field) => fieldHolds(field, facts, policy, settings));
  const some = (sets: readonly (readonly FieldMatch[])[]) => sets.length === 0 || sets.some(every);
  return some(rule.from) && some(rule.to) && every(rule.when);
}

export function naiveAuthorize(
  policies: readonly AuthorizationPolicy[],
  facts: ConnectionFacts | HttpFacts,
  settings: MeshSettings,
): NaiveVerdict {
  const active = policies.filter((policy) => !policy.isDryRun);
  const custom = active.filter(({ action }) => action === "CUSTOM");
  const providers = new Set(custom.map(({ provider: p }) => `${p!.name} ${p!.service ?? ""}`));
  for (const provider of [...providers].sort()) {
    // One question for all of its policies: the first rule that matches is the one that asks.
    for (const policy of custom) {
      const { name, service } = policy.provider!;
      if (`${name} ${service ?? ""}` !== provider) continue;
      const rule = policy.rules.find((r) => ruleHolds(r, facts, policy, settings));
      if (!rule) continue;
      if (service !== undefined && facts.providerAnswers?.[name] !== false) break;
      return { isAllowed: false, because: "denied", policy: policy.key, rule: rule.index };
    }
  }
  for (const action of ["DENY", "ALLOW"]) {
    for (const policy of active.filter((p) => p.action === action)) {
      const rule = policy.rules.find((r) => ruleHolds(r, facts, policy, settings));
      if (!rule) continue;
      const isAllowed = action === "ALLOW";
      const because = isAllowed ? "allowed" : "denied";
      return { isAllowed, because, policy: policy.key, rule: rule.index };
    }
  }
  return otherwise(active.some((policy) => policy.action === "ALLOW"));
}

function otherwise(hasAllow: boolean): NaiveVerdict {
  const because = hasAllow ? "noAllowMatched" : "noAllowPolicies";
  return { isAllowed: !hasAllow, because, policy: undefined, rule: undefined };
}

function l4MatchHolds(match: L4Match, facts: ConnectionFacts): boolean {
  const id = identity(facts);
  const criteria: (boolean | undefined)[] = [];
  const add = <T>(values: readonly T[], holds: (value: T) => boolean, isPositive: boolean) => {
    if (values.length > 0) criteria.push(values.some(holds) === isPositive);
  };
  const on = (seen?: string) => (m: StringMatch) => seen !== undefined && pattern(m).test(seen);
  const account = (a: { namespace: string; serviceAccount: string }) =>
    id?.account === `${a.namespace}/${a.serviceAccount}`;
  const source = (c: Cidr) => inCidr(c, facts.sourceAddress);
  const target = (c: Cidr) => inCidr(c, facts.destinationAddress);
  const port = (p: number) => p === facts.destinationPort;
  add(match.principals, on(id?.principal), true);
  add(match.notPrincipals, on(id?.principal), false);
  add(match.namespaces, on(id?.namespace), true);
  add(match.notNamespaces, on(id?.namespace), false);
  add(match.serviceAccounts, account, true);
  add(match.notServiceAccounts, account, false);
  add(match.sourceIps, source, true);
  add(match.notSourceIps, source, false);
  add(match.destinationIps, target, true);
  add(match.notDestinationIps, target, false);
  add(match.destinationPorts, port, true);
  add(match.notDestinationPorts, port, false);
  return criteria.length > 0 && criteria.every(Boolean);
}

export function naiveL4(policies: readonly L4Policy[], facts: ConnectionFacts): NaiveVerdict {
  const active = policies.filter((policy) => !policy.isDryRun);
  for (const action of ["DENY", "ALLOW"]) {
    for (const policy of active.filter((p) => p.action === action)) {
      const rule = policy.rules.findIndex(({ clauses }) =>
        clauses.every((c) => c.length === 0 || c.some((match) => l4MatchHolds(match, facts))),
      );
      if (rule < 0) continue;
      const isAllowed = action === "ALLOW";
      return { isAllowed, because: isAllowed ? "allowed" : "denied", policy: policy.key, rule };
    }
  }
  return otherwise(active.some((policy) => policy.action === "ALLOW"));
}

function _routeMatchHolds(match: HttpMatch, facts: HttpFacts): boolean {
  const { type, value } = match.path;
  const prefix = value.replace(/\/$/, "");
  const isPath = {
    Exact: facts.path === value,
    PathPrefix: facts.path === prefix || facts.path.startsWith(`${prefix}/`),
    RegularExpression:
      type === "RegularExpression" && new RegExp(`^(?:${value})$`).test(facts.path),
  }[type];
  const query = new URLSearchParams(facts.query);
  const test = (seen: string | null | undefined, m: { type: string; value: string }) => {
    if (seen === null || seen === undefined) return false;
    return m.type === "Exact" ? seen === m.value : new RegExp(`^(?:${m.value})$`).test(seen);
  };
  return (
    isPath &&
    (match.method === undefined || match.method === facts.method) &&
    match.headers.every((m) => test(facts.header(m.name), m)) &&
    match.queryParams.every((m) => test(query.get(m.name), m))
  );
}
