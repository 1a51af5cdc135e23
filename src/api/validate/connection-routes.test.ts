import { testRefusals } from "../../../test/support/refusals.ts";

const GROUP = "gateway.networking.k8s.io";
const TO = "backendRefs: [{ name: a, port: 1 }]";

for (const [version, kind] of [
  ["v1", "TCPRoute"],
  ["v1", "TLSRoute"],
  ["v1alpha3", "TLSRoute"],
] as const) {
  const more = kind === "TLSRoute" ? "hostnames: [a.b, '*.c'], " : "";
  testRefusals(`${GROUP}/${version} ${kind}`, [
    ["a rule", `{ ${more}rules: [{ ${TO} }] }`],
    ["no rule", `{ ${more}rules: [] }`, "rules"],
    ["two rules", `{ ${more}rules: [{ ${TO} }, { ${TO} }] }`, "rules"],
    [
      "a Service without a port",
      `{ ${more}rules: [{ backendRefs: [{ name: a }] }] }`,
      "rules[0].backendRefs[0].port",
    ],
    [
      "a parent twice",
      `{ ${more}parentRefs: [{ name: a }, { name: a }], rules: [{ ${TO} }] }`,
      "parentRefs[1]",
    ],
  ]);
}

for (const kind of ["TCPRoute", "TLSRoute"]) {
  testRefusals(`${GROUP}/v1alpha2 ${kind}`, [
    ["two rules", `{ rules: [{ name: a, ${TO} }, { name: b, ${TO} }] }`],
    ["rules of one name", `{ rules: [{ name: a, ${TO} }, { name: a, ${TO} }] }`, "rules[1].name"],
  ]);
}

testRefusals(`${GROUP}/v1 TLSRoute`, [
  ["no host", `{ rules: [{ ${TO} }] }`, "hostnames"],
  ["an empty list of hosts", `{ hostnames: [], rules: [{ ${TO} }] }`, "hostnames"],
  ["an address", `{ hostnames: [a.b, 1.2.3.4], rules: [{ ${TO} }] }`, "hostnames[1]"],
  ["a wildcard inside", `{ hostnames: ['a.*.b'], rules: [{ ${TO} }] }`, "hostnames[0]"],
]);
