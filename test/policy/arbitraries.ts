/**
 * Generators of policies, routes and facts over a small world, so that what is asked for and what
 * is there meet often: most fields hold about as often as not.
 */
import fc from "fast-check";
import type { AttachedRoute, HttpBackend, HttpMatch, HttpRoute } from "../../src/model/route.ts";
import type {
  AuthorizationPolicy,
  Cidr,
  FieldMatch,
  FieldValue,
  L4Match,
  L4Policy,
  RuleField,
  StringMatch,
} from "../../src/model/rule.ts";
import type { ConnectionFacts, HttpFacts } from "../../src/policy/facts.ts";
import { EMPTY_L4_MATCH, l4PolicyOf, policyOf, request, routeOf } from "./mesh.ts";

export const SETTINGS = { trustDomain: "td", trustDomainAliases: ["old"] };

const exact = (value: string): StringMatch => ({ type: "exact", value });
const prefix = (value: string): StringMatch => ({ type: "prefix", value });
const suffix = (value: string): StringMatch => ({ type: "suffix", value });
const template = (value: string): StringMatch => ({ type: "template", value });
const presence: StringMatch = { type: "presence" };
const cidr = (text: string, bytes: string, prefixLength: number): Cidr => ({
  text,
  bytes,
  prefixLength,
});

const identities = ["td", "old", "far"].flatMap((td) =>
  ["a/sa/x", "a/sa/y", "b/sa/x"].map((rest) => `spiffe://${td}/ns/${rest}`),
);
const PRINCIPALS = [
  exact("td/ns/a/sa/x"),
  exact("old/ns/b/sa/x"),
  exact("cluster.local/ns/a/sa/y"),
  exact("far/ns/a/sa/x"),
  prefix("td/ns/a/sa/"),
  prefix("far/"),
  suffix("/ns/b/sa/x"),
  presence,
];
const NAMESPACES = [exact("a"), exact("b"), prefix("a"), suffix("b"), presence];
const CIDRS = [
  cidr("10.0.0.0/24", "0a000000", 24),
  cidr("10.0.1.1", "0a000101", 32),
  cidr("10.0.0.0/15", "0a000000", 15),
  cidr("2001:db8::/32", "20010db8000000000000000000000000", 32),
];
const ADDRESSES = ["10.0.0.1", "::ffff:10.0.0.2", "10.0.1.1", "10.1.0.1", "2001:db8::7"];
const HOSTS = [
  exact("A.example.com"),
  exact("b.test"),
  suffix(".example.com"),
  prefix("b."),
  presence,
];
const METHODS = [exact("GET"), exact("POST"), prefix("P"), suffix("T"), presence];
const PATHS = [
  exact("/a"),
  exact("/a/b"),
  prefix("/a"),
  suffix("/c"),
  template("/a/{*}"),
  template("/{*}/{*}"),
  template("/a/{**}"),
  template("/{**}/c"),
  presence,
];
const HEADERS = [exact("one"), exact("two"), prefix("o"), suffix("o"), presence];

/** What each field may ask for. Those that cannot be evaluated stand at the end. */
const FIELDS: Record<string, readonly FieldValue[]> = {
  principal: strings(PRINCIPALS),
  namespace: strings(NAMESPACES),
  serviceAccount: strings([exact("a/x"), exact("a/y"), exact("b/x"), exact("x")]),
  sourceIp: CIDRS.map((value) => ({ type: "cidr", cidr: value, text: value.text })),
  destinationIp: CIDRS.map((value) => ({ type: "cidr", cidr: value, text: value.text })),
  port: [80, 8080].map((port) => ({ type: "port", port, text: String(port) })),
  host: strings(HOSTS),
  method: strings(METHODS),
  path: strings(PATHS),
  "header:x-user": strings(HEADERS),
  trustDomain: strings([exact("td"), exact("old"), prefix("f"), suffix("d"), presence]),
  remoteIp: CIDRS.map((value) => ({ type: "cidr", cidr: value, text: value.text })),
  requestPrincipal: strings([exact("me/you"), prefix("me/"), suffix("/x"), presence]),
  "claim:group": strings([exact("a"), exact("b"), prefix("a"), presence]),
  "claim:at][group": strings([exact("a"), suffix("b"), presence]),
  sni: strings([exact("a.example.com"), suffix(".example.com"), presence]),
  "unsupported:request.moon": strings([presence]),
  "unsupported:source.moon": strings([presence]),
};
export const EVALUABLE_FIELDS = Object.keys(FIELDS).slice(0, 15);

function strings(matches: readonly StringMatch[]): readonly FieldValue[] {
  return matches.map((match) => ({ type: "string", match, text: JSON.stringify(match) }));
}

const rarely = fc.integer({ min: 0, max: 15 }).map((n) => n === 0);

const fieldNames = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom(...EVALUABLE_FIELDS) },
  { weight: 1, arbitrary: fc.constantFrom(...Object.keys(FIELDS)) },
);

/** What a rule may ask of this field; rarely nothing that can be used is left of it. */
export function fieldMatchOf(name: string): fc.Arbitrary<FieldMatch> {
  const value = fc.constantFrom(...FIELDS[name]!);
  return fc
    .record({
      isNegative: fc.boolean(),
      hasBoth: fc.integer({ max: 3 }).map((n) => n === 0),
      values: fc.array(value, { minLength: 1, maxLength: 3 }),
      notValues: fc.array(value, { minLength: 1, maxLength: 2 }),
      isUnusable: rarely,
    })
    .map(({ isNegative, hasBoth, values, notValues, isUnusable }) => ({
      field: name as RuleField,
      values: isUnusable || (isNegative && !hasBoth) ? [] : values,
      notValues: isUnusable || !(isNegative || hasBoth) ? [] : notValues,
      hasValues: !isNegative || hasBoth,
      hasNotValues: isNegative || hasBoth,
      path: name,
      position: undefined,
    }));
}

const fieldMatch = fieldNames.chain(fieldMatchOf);

/** Mostly one, so that it decides; sometimes none or several, which is where mistakes hide. */
export const mostlyOne = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T[]> =>
  fc.oneof(
    { weight: 2, arbitrary: fc.constant<T[]>([]) },
    { weight: 5, arbitrary: arbitrary.map((value) => [value]) },
    { weight: 2, arbitrary: fc.array(arbitrary, { minLength: 2, maxLength: 2 }) },
  );

const fieldSet = mostlyOne(fieldMatch);
const fieldSets = mostlyOne(fieldSet);
const none: fc.Arbitrary<never[]> = fc.constant([]);

const rule = fc.record({
  index: fc.constant(0),
  from: fc.oneof(none, fieldSets),
  to: fc.oneof(none, fieldSets),
  when: fc.oneof(none, none, fieldSet),
  position: fc.constant(undefined),
});

const policy = fc.record({
  action: fc.oneof(
    { weight: 6, arbitrary: fc.constant("ALLOW" as const) },
    { weight: 4, arbitrary: fc.constant("DENY" as const) },
    { weight: 2, arbitrary: fc.constant("CUSTOM" as const) },
    { weight: 1, arbitrary: fc.constant("AUDIT" as const) },
  ),
  provider: fc.record({
    name: fc.constantFrom("ask-a", "ask-b"),
    service: fc.constantFrom("default/ask.default.svc.cluster.local", undefined),
    problem: fc.constant(undefined),
  }),
  rules: mostlyOne(rule),
  isDryRun: rarely,
});

/** What the providers have said. */
const providerAnswers = fc.dictionary(fc.constantFrom("ask-a", "ask-b"), fc.boolean());

export const policies: fc.Arbitrary<readonly AuthorizationPolicy[]> = fc
  .array(policy, { minLength: 1, maxLength: 3 })
  .map((all) =>
    all.map((parts, i) =>
      policyOf({
        ...parts,
        key: `${i % 2 ? "a" : "b"}/p${i}`,
        rules: parts.rules.map((r, index) => ({ ...r, index })),
      }),
    ),
  );

const source = fc.option(fc.constantFrom(...identities), { nil: undefined, freq: 6 });
const connectionParts = {
  sourceIdentity: source,
  sourceAddress: fc.constantFrom(...ADDRESSES),
  destinationAddress: fc.constantFrom(...ADDRESSES),
  destinationPort: fc.constantFrom(80, 8080, 9090),
  serverName: fc.constantFrom(undefined, "a.example.com", "b.example.com", "c"),
  providerAnswers,
};

const claim = fc.constantFrom("a", "b", "ab", ["a", "b"], ["c"], [], 7, { group: "a" });
const jwt = fc.option(
  fc.record({
    principal: fc.constantFrom("me/you", "me/x", "other/x", undefined),
    claims: fc.record({ group: claim, at: fc.record({ group: claim }) }, { requiredKeys: [] }),
  }),
  { nil: undefined, freq: 3 },
);

export const connections: fc.Arbitrary<ConnectionFacts> = fc.record(connectionParts);

const QUERIES = ["", "v=1", "v=2&v=1", "w=x%20y", "v=1&w=x+y", "V=1", "%76=2"];

export const requests: fc.Arbitrary<HttpFacts> = fc
  .record({
    ...connectionParts,
    jwt,
    remoteAddress: fc.constantFrom(undefined, ...ADDRESSES),
    method: fc.constantFrom("GET", "POST", "PUT"),
    path: fc.constantFrom("/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/d/c", "/ab/c", "/a/bc"),
    query: fc.constantFrom(...QUERIES),
    authority: fc.constantFrom(
      "a.example.com",
      "A.Example.com:80",
      "b.test",
      "x.a.example.com",
      "c",
    ),
    user: fc.constantFrom(undefined, "", "one", "two"),
    version: fc.constantFrom(undefined, "v1", "v2"),
  })
  .map(({ user, version, ...rest }) =>
    request({
      ...rest,
      headers: {
        ...(user === undefined ? {} : { "x-user": user }),
        ...(version === undefined ? {} : { "x-version": version }),
      },
    }),
  );

const few = <T>(values: readonly T[]) =>
  fc.oneof(
    { weight: 10, arbitrary: fc.constant<T[]>([]) },
    { weight: 1, arbitrary: fc.array(fc.constantFrom(...values), { minLength: 1, maxLength: 2 }) },
  );
const ACCOUNTS = ["a/x", "a/y", "b/x"].map((name) => {
  const [namespace = "", serviceAccount = ""] = name.split("/");
  return { namespace, serviceAccount };
});

const l4Match: fc.Arbitrary<L4Match> = fc
  .record({
    namespaces: few(NAMESPACES),
    notNamespaces: few(NAMESPACES),
    principals: few(PRINCIPALS),
    notPrincipals: few(PRINCIPALS),
    serviceAccounts: few(ACCOUNTS),
    notServiceAccounts: few(ACCOUNTS),
    sourceIps: few(CIDRS),
    notSourceIps: few(CIDRS),
    destinationIps: few(CIDRS),
    notDestinationIps: few(CIDRS),
    destinationPorts: few([80, 8080]),
    notDestinationPorts: few([80, 8080]),
  })
  .map((match) => ({ ...EMPTY_L4_MATCH, ...match }));

const l4Rule = fc.record({
  clauses: fc.array(fc.array(l4Match, { maxLength: 2 }), { maxLength: 2 }),
  position: fc.constant(undefined),
});

export const l4Policies: fc.Arbitrary<readonly L4Policy[]> = fc
  .array(
    fc.record({
      action: fc.constantFrom("ALLOW" as const, "DENY" as const),
      scope: fc.constantFrom("GLOBAL" as const, "NAMESPACE" as const, "WORKLOAD_SELECTOR" as const),
      isDryRun: rarely,
      rules: fc.array(l4Rule, { maxLength: 2 }),
    }),
    { minLength: 1, maxLength: 3 },
  )
  .map((all) => all.map((parts, i) => l4PolicyOf({ ...parts, name: `p${i}` })));

const path = fc.oneof(
  fc.constantFrom("/", "/a", "/a/", "/a/b", "/ab", "/d").map((value) => ({
    type: "PathPrefix" as const,
    value,
  })),
  fc.constantFrom("/", "/a", "/a/b", "/a/b/c", "/d/c").map((value) => ({
    type: "Exact" as const,
    value,
  })),
  fc.constantFrom("/a.*", "/[ad]/.+", ".*c", "/a/b", "/a|/ab").map((value) => ({
    type: "RegularExpression" as const,
    value,
  })),
);
const valueMatch = (name: string, exactValues: string[], expressions: string[]) =>
  fc.oneof(
    fc.constantFrom(...exactValues).map((value) => ({ type: "Exact" as const, name, value })),
    fc.constantFrom(...expressions).map((value) => ({
      type: "RegularExpression" as const,
      name,
      value,
    })),
  );
const sometimes = <T>(arbitrary: fc.Arbitrary<T>) =>
  fc.option(arbitrary, { nil: undefined, freq: 2 }).map((value) => (value ? [value] : []));

const httpMatch: fc.Arbitrary<HttpMatch> = fc
  .record({
    path,
    method: fc.option(fc.constantFrom("GET", "POST"), { nil: undefined, freq: 2 }),
    version: sometimes(valueMatch("x-version", ["v1", "v2"], ["v.*", "v[12]", ".+"])),
    user: sometimes(valueMatch("x-user", ["one", "two"], [".*o", "o.*e", "(one|two)"])),
    v: sometimes(valueMatch("v", ["1", "2"], ["[12]", ".+"])),
    w: sometimes(valueMatch("w", ["x y"], ["x.*"])),
    isPlain: fc.boolean(),
  })
  .map(({ path, method, version, user, v, w, isPlain }) => ({
    path,
    method,
    headers: isPlain ? version : [...version, ...user],
    queryParams: isPlain ? [] : [...v, ...w],
  }));

const backend: fc.Arbitrary<HttpBackend> = fc
  .record({
    weight: fc.integer({ min: 0, max: 3 }),
    service: fc.constantFrom("n/v1", "n/v2", undefined),
  })
  .map((parts) => ({ ...parts, port: 80, problem: undefined, position: undefined, filters: [] }));

const HOSTNAMES = ["a.example.com", "*.example.com", "*.a.example.com", "b.test", "*"];

const route: fc.Arbitrary<HttpRoute> = fc
  .record({
    rules: fc.array(
      fc.record({
        matches: fc.array(httpMatch, { minLength: 1, maxLength: 3 }),
        backends: fc.array(backend, { maxLength: 3 }),
      }),
      { minLength: 1, maxLength: 3 },
    ),
    createdMs: fc.integer({ min: 0, max: 2 }),
    hostnames: fc.oneof(
      fc.constant<string[]>([]),
      fc.uniqueArray(fc.constantFrom(...HOSTNAMES), { minLength: 1, maxLength: 2 }),
    ),
  })
  .map(({ rules, ...rest }) => routeOf("r", rules, rest));

export const attachedRoutes: fc.Arbitrary<readonly AttachedRoute<HttpRoute>[]> = fc
  .array(fc.record({ route, ports: fc.constantFrom([], [], [80], [8080]) }), {
    minLength: 1,
    maxLength: 4,
  })
  .map((all) =>
    all.map(({ route, ports }, i) => ({
      route: { ...route, key: `default/r${(i * 7) % 4}` },
      ports,
    })),
  );
