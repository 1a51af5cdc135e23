import { testRefusals } from "../../../test/support/refusals.ts";

const method = (fields: string) => `{ rules: [{ matches: [{ method: { ${fields} } }] }] }`;
const METHOD = "rules[0].matches[0].method";

testRefusals("gateway.networking.k8s.io/v1 GRPCRoute", [
  ["a service", method("service: a.B_1.C")],
  ["a method", method("method: _Get1")],
  ["both, of a type", method("type: Exact, service: .a.B, method: Get")],
  ["nothing", method(""), METHOD],
  ["a type alone", method("type: RegularExpression"), METHOD],
  ["a service with a slash", method("service: a/B"), `${METHOD}.service`],
  ["a method with a dot", method("method: a.B"), `${METHOD}.method`],
  ["patterns", method("type: RegularExpression, service: 'a.*', method: '[GS]et'")],
  [
    "patterns that are said to be names",
    method("type: Exact, service: 'a.*', method: '[GS]et'"),
    `${METHOD}.service`,
    `${METHOD}.method`,
  ],
  ["rules of one name", "{ rules: [{ name: a }, { name: a }] }", "rules[1].name"],
  ["a parent twice", "{ parentRefs: [{ name: a }, { name: a }] }", "parentRefs[1]"],
  [
    "headers of one name",
    "{ rules: [{ matches: [{ headers: [{ name: a, value: b }, { name: a, value: b }] }] }] }",
    "rules[0].matches[0].headers[1].name",
  ],
  [
    "a Service without a port",
    "{ rules: [{ backendRefs: [{ name: a }] }] }",
    "rules[0].backendRefs[0].port",
  ],
  [
    "a cookie for sessions by header",
    "{ rules: [{ sessionPersistence: { type: Header, cookieConfig: {} } }] }",
    "rules[0].sessionPersistence.cookieConfig",
  ],
]);
