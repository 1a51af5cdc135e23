import { testRefusals } from "../../../test/support/refusals.ts";

const GROUP = "gateway.networking.k8s.io";
const PREFIX = "{ path: { type: ReplacePrefixMatch, replacePrefixMatch: /x } }";
const REWRITE = `{ type: URLRewrite, urlRewrite: ${PREFIX} }`;
const REDIRECT = `{ type: RequestRedirect, requestRedirect: ${PREFIX} }`;
const EXACT = "matches: [{ path: { type: Exact, value: /a } }]";

/** Rules of so many matches each. */
const matching = (...counts: number[]) =>
  `{ rules: [${counts
    .map((count) => `{ matches: [${new Array(count).fill("{ method: GET }").join(", ")}] }`)
    .join(", ")}] }`;

testRefusals(`${GROUP}/v1 HTTPRoute`, [
  ["nothing", "{}"],
  ["rule names that differ", "{ rules: [{ name: a }, { name: b }, {}, {}] }"],
  ["a rule name twice", "{ rules: [{ name: a }, {}, { name: a }] }", "rules[2].name"],
  ["128 matches", matching(64, 64)],
  ["129 matches", matching(64, 64, 1), "rules"],
  ["128 matches and a rule that matches all", `${matching(64, 64).slice(0, -3)}, {}] }`, "rules"],
  ["128 matches and a rule without", `${matching(64, 64).slice(0, -3)}, { matches: [] }] }`],
  [
    "a header and a parameter of one name",
    "{ rules: [{ matches: [{ headers: [{ name: a, value: b }], queryParams: [{ name: a, value: b }] }] }] }",
  ],
  [
    "headers of one name",
    "{ rules: [{ matches: [{ headers: [{ name: a, value: b }, { name: a, value: c }] }] }] }",
    "rules[0].matches[0].headers[1].name",
  ],
  [
    "parameters of one name",
    "{ rules: [{ matches: [{ queryParams: [{ name: a, value: b }, { name: a, value: c }] }] }] }",
    "rules[0].matches[0].queryParams[1].name",
  ],
  [
    "a header value with two spaces",
    "{ rules: [{ matches: [{ headers: [{ name: a, value: 'b  c' }] }] }] }",
    "rules[0].matches[0].headers[0].value",
  ],
  ["a prefix replaced of all paths", `{ rules: [{ filters: [${REWRITE}] }] }`],
  [
    "a prefix replaced of a method",
    `{ rules: [{ matches: [{ method: GET }], filters: [${REDIRECT}] }] }`,
  ],
  [
    "a prefix replaced of an exact path",
    `{ rules: [{ ${EXACT}, filters: [${REWRITE}] }] }`,
    "rules[0].filters[0].urlRewrite.path.replacePrefixMatch",
  ],
  [
    "a prefix replaced of two",
    `{ rules: [{ matches: [{ path: { value: /a } }, { path: { value: /b } }], filters: [${REDIRECT}] }] }`,
    "rules[0].filters[0].requestRedirect.path.replacePrefixMatch",
  ],
  [
    "a prefix replaced of no match",
    `{ rules: [{ matches: [], filters: [${REWRITE}] }] }`,
    "rules[0].filters[0].urlRewrite.path.replacePrefixMatch",
  ],
  [
    "a prefix replaced of an exact path, by one backend",
    `{ rules: [{ ${EXACT}, backendRefs: [{ name: a, port: 1 }, { name: b, port: 1, filters: [${REWRITE}] }] }] }`,
    "rules[0].backendRefs[1].filters[0].urlRewrite.path.replacePrefixMatch",
  ],
  [
    "a prefix replaced of an exact path, by two backends",
    `{ rules: [{ ${EXACT}, backendRefs: [{ name: a, port: 1, filters: [${REWRITE}] }, { name: b, port: 1, filters: [${REWRITE}] }] }] }`,
  ],
  [
    "a Service without a port",
    "{ rules: [{ backendRefs: [{ name: a }] }] }",
    "rules[0].backendRefs[0].port",
  ],
  [
    "something else without a port",
    "{ rules: [{ backendRefs: [{ group: a.b, kind: C, name: a }] }] }",
  ],
  [
    "a redirect and a backend",
    "{ rules: [{ filters: [{ type: RequestRedirect, requestRedirect: {} }], backendRefs: [{ name: a, port: 1 }] }] }",
    "rules[0]",
  ],
  ["time-outs of one length", "{ rules: [{ timeouts: { request: 1m, backendRequest: 60s } }] }"],
  [
    "a longer time-out for a part",
    "{ rules: [{ timeouts: { request: 1s, backendRequest: 1001ms } }] }",
    "rules[0].timeouts.backendRequest",
  ],
  [
    "no limit, and one for a part",
    "{ rules: [{ timeouts: { request: 0s, backendRequest: 1h } }] }",
  ],
  ["one attempt", "{ rules: [{ retry: { codes: [500, 503], attempts: 1 } }] }"],
  ["no attempt", "{ rules: [{ retry: { attempts: 0 } }] }", "rules[0].retry.attempts"],
  ["a code twice", "{ rules: [{ retry: { codes: [500, 500] } }] }", "rules[0].retry.codes[1]"],
  [
    "a cookie that stays, without an end",
    "{ rules: [{ sessionPersistence: { cookieConfig: { lifetimeType: Permanent } } }] }",
    "rules[0].sessionPersistence.absoluteTimeout",
  ],
  [
    "a cookie that stays for an hour",
    "{ rules: [{ sessionPersistence: { absoluteTimeout: 1h, cookieConfig: { lifetimeType: Permanent } } }] }",
  ],
  [
    "a cookie for sessions by header",
    "{ rules: [{ sessionPersistence: { type: Header, cookieConfig: {} } }] }",
    "rules[0].sessionPersistence.cookieConfig",
  ],
]);

const path = (type: string, value: string) =>
  `{ rules: [{ matches: [{ path: { type: ${type}, value: '${value}' } }] }] }`;
const PATH_VALUE = "rules[0].matches[0].path.value";

testRefusals(`${GROUP}/v1beta1 HTTPRoute`, [
  ["an empty path", path("Exact", ""), PATH_VALUE],
  ["a relative path", path("Exact", "a"), PATH_VALUE],
  ["a path with dots in names", path("Exact", "/..a/.b/c..")],
  ["a path with %0A", path("PathPrefix", "/%0A")],
  ["a pattern with all of it", path("RegularExpression", "a//./../%2f#")],
  ...["//", "/./a", "/../a", "/a/.", "/a/..", "/%2fa", "/a%2F", "/a#b", "/a?b", "/a%2"].map(
    (value) => [value, path("PathPrefix", value), PATH_VALUE] as const,
  ),
]);

const parents = (...refs: string[]) => `{ parentRefs: [${refs.join(", ")}] }`;

testRefusals(`${GROUP}/v1 HTTPRoute`, [
  ["two parents", parents("{ name: a }", "{ name: b }")],
  ["one name in two kinds", parents("{ name: a }", "{ group: '', kind: Service, name: a }")],
  ["one name in two namespaces", parents("{ name: a }", "{ name: a, namespace: n }")],
  ["a parent twice", parents("{ name: a }", "{ name: a, kind: Gateway }"), "parentRefs[1]"],
  ["two sections", parents("{ name: a, sectionName: s }", "{ name: a, sectionName: t }")],
  [
    "a section twice",
    parents("{ name: a, sectionName: s }", "{ name: a, sectionName: s }"),
    "parentRefs[1]",
  ],
  ["two ports", parents("{ name: a, port: 1 }", "{ name: a, port: 2 }")],
  [
    "one section, two ports",
    parents("{ name: a, sectionName: s, port: 1 }", "{ name: a, sectionName: s, port: 2 }"),
  ],
  ["all and a section", parents("{ name: a }", "{ name: a, sectionName: s }"), "parentRefs[1]"],
  [
    "a section and a port",
    parents("{ name: a, sectionName: s }", "{ name: a, port: 1 }"),
    "parentRefs[1]",
  ],
  [
    "a section, and it with a port",
    parents("{ name: a, sectionName: s }", "{ name: a, sectionName: s, port: 1 }"),
    "parentRefs[1]",
  ],
]);
