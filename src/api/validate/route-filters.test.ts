import { testRefusals } from "../../../test/support/refusals.ts";

const HTTP = "gateway.networking.k8s.io/v1 HTTPRoute";
const GRPC = "gateway.networking.k8s.io/v1 GRPCRoute";

const filters = (...list: string[]) => `{ rules: [{ filters: [${list.join(", ")}] }] }`;
const cors = (fields: string) => filters(`{ type: CORS, cors: { ${fields} } }`);
const headers = (fields: string) =>
  filters(`{ type: RequestHeaderModifier, requestHeaderModifier: { ${fields} } }`);
const mirror = (fields: string) =>
  filters(
    `{ type: RequestMirror, requestMirror: { backendRef: { name: a, port: 1 }, ${fields} } }`,
  );
const auth = (fields: string) =>
  filters(`{ type: ExternalAuth, externalAuth: { backendRef: { name: a, port: 1 }, ${fields} } }`);

const FILTER = "rules[0].filters[0]";
const SETTING = "{ type: RequestHeaderModifier, requestHeaderModifier: { remove: [a] } }";
const ANSWERING = "{ type: ResponseHeaderModifier, responseHeaderModifier: { remove: [a] } }";
const MIRRORING = "{ type: RequestMirror, requestMirror: { backendRef: { name: a, port: 1 } } }";
const EXTENSION = "{ type: ExtensionRef, extensionRef: { group: a.b, kind: C, name: d } }";

for (const kind of [HTTP, GRPC]) {
  testRefusals(kind, [
    ["filters of several types", filters(SETTING, ANSWERING, MIRRORING, EXTENSION)],
    ["mirrors and extensions", filters(MIRRORING, EXTENSION, MIRRORING, EXTENSION)],
    [
      "two of the request's headers",
      filters(SETTING, ANSWERING, SETTING),
      "rules[0].filters[2].type",
    ],
    ["two of the response's headers", filters(ANSWERING, ANSWERING), "rules[0].filters[1].type"],
    [
      "two of a backend",
      `{ rules: [{ backendRefs: [{ name: a, port: 1, filters: [${SETTING}, ${SETTING}] }] }] }`,
      "rules[0].backendRefs[0].filters[1].type",
    ],
    [
      "a header set and added",
      headers("set: [{ name: a, value: b }], add: [{ name: a, value: b }]"),
    ],
    [
      "a header set twice",
      headers("set: [{ name: a, value: b }, { name: a, value: c }]"),
      `${FILTER}.requestHeaderModifier.set[1].name`,
    ],
    [
      "a header added twice",
      headers("add: [{ name: a, value: b }, { name: a, value: b }]"),
      `${FILTER}.requestHeaderModifier.add[1].name`,
    ],
    [
      "a header removed twice",
      headers("remove: [a, b, a]"),
      `${FILTER}.requestHeaderModifier.remove[2]`,
    ],
    ["a value of words", headers('set: [{ name: a, value: "b c\\td" }]')],
    [
      "a value beyond ASCII",
      headers("set: [{ name: a, value: é }]"),
      `${FILTER}.requestHeaderModifier.set[0].value`,
    ],
    [
      "a value that ends with a space",
      headers("add: [{ name: a, value: 'b ' }]"),
      `${FILTER}.requestHeaderModifier.add[0].value`,
    ],
    ["all of it mirrored", mirror("fraction: { numerator: 100 }")],
    [
      "more than all",
      mirror("fraction: { numerator: 101 }"),
      `${FILTER}.requestMirror.fraction.numerator`,
    ],
    [
      "seven sixths",
      mirror("fraction: { numerator: 7, denominator: 6 }"),
      `${FILTER}.requestMirror.fraction.numerator`,
    ],
    [
      "a part of a hundred, and a fraction",
      mirror("percent: 1, fraction: { numerator: 1 }"),
      `${FILTER}.requestMirror.fraction`,
    ],
    [
      "a mirror without a port",
      filters("{ type: RequestMirror, requestMirror: { backendRef: { name: a } } }"),
      `${FILTER}.requestMirror.backendRef.port`,
    ],
  ]);
}

const REWRITE = "{ type: URLRewrite, urlRewrite: { hostname: a.b } }";
const REDIRECT = "{ type: RequestRedirect, requestRedirect: { hostname: a.b } }";
const CORS = "{ type: CORS, cors: { allowMethods: [GET] } }";
const AUTH = `${FILTER}.externalAuth`;

testRefusals(HTTP, [
  ["two rewrites", filters(REWRITE, REWRITE), "rules[0].filters[1].type"],
  ["two redirects", filters(REDIRECT, REDIRECT), "rules[0].filters[1].type"],
  ["two of CORS", filters(CORS, SETTING, CORS), "rules[0].filters[2].type"],
  ["a redirect and a rewrite", filters(REDIRECT, REWRITE), "rules[0].filters[0]"],
  ["* alone", cors("allowOrigins: ['*'], allowMethods: ['*'], allowHeaders: ['*']")],
  ["* among headers to show", cors("exposeHeaders: ['*', a]")],
  ["* among origins", cors("allowOrigins: ['http://a', '*']"), `${FILTER}.cors.allowOrigins[1]`],
  ["* among methods", cors("allowMethods: ['*', GET]"), `${FILTER}.cors.allowMethods[0]`],
  ["* among headers", cors("allowHeaders: [a, '*']"), `${FILTER}.cors.allowHeaders[1]`],
  [
    "an origin twice",
    cors("allowOrigins: ['http://a', 'http://a']"),
    `${FILTER}.cors.allowOrigins[1]`,
  ],
  ["a header to show twice", cors("exposeHeaders: [a, a]"), `${FILTER}.cors.exposeHeaders[1]`],
  ["an authorizer of gRPC", auth("protocol: GRPC, grpc: { allowedHeaders: [a, b] }")],
  [
    "an authorizer of HTTP",
    auth("protocol: HTTP, http: { allowedHeaders: [a], allowedResponseHeaders: [a] }"),
  ],
  [
    "an authorizer of HTTP with gRPC's field",
    auth("protocol: HTTP, http: {}, grpc: {}"),
    `${AUTH}.grpc`,
  ],
  [
    "an allowed header twice",
    auth("protocol: GRPC, grpc: { allowedHeaders: [a, a] }"),
    `${AUTH}.grpc.allowedHeaders[1]`,
  ],
  [
    "an allowed response header twice",
    auth("protocol: HTTP, http: { allowedResponseHeaders: [a, a] }"),
    `${AUTH}.http.allowedResponseHeaders[1]`,
  ],
  [
    "an authorizer without a port",
    filters(
      "{ type: ExternalAuth, externalAuth: { protocol: GRPC, grpc: {}, backendRef: { name: a } } }",
    ),
    `${AUTH}.backendRef.port`,
  ],
]);
