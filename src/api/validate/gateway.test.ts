import { testRefusals } from "../../../test/support/refusals.ts";

const GATEWAY = "gateway.networking.k8s.io/v1 Gateway";
const LISTENER = "{ name: l, port: 80, protocol: HTTP }";

const listeners = (...list: string[]) =>
  `{ gatewayClassName: c, listeners: [${list.map((fields) => `{ ${fields} }`).join(", ")}] }`;
const addresses = (...list: string[]) =>
  `{ gatewayClassName: c, listeners: [${LISTENER}], addresses: [${list.join(", ")}] }`;
const infrastructure = (fields: string) =>
  `{ gatewayClassName: c, listeners: [${LISTENER}], infrastructure: { ${fields} } }`;

const REFS = "certificateRefs: [{ name: s }]";

testRefusals(GATEWAY, [
  [
    "listeners of two names",
    listeners("name: a, port: 80, protocol: HTTP", "name: b, port: 81, protocol: HTTP"),
  ],
  [
    "listeners of one name",
    listeners("name: a, port: 80, protocol: HTTP", "name: a, port: 81, protocol: HTTP"),
    "listeners[1].name",
  ],
  [
    "one port of two protocols, and of two hosts",
    listeners(
      "name: a, port: 80, protocol: HTTP",
      "name: b, port: 80, protocol: TCP",
      "name: c, port: 80, protocol: HTTP, hostname: a.b",
      "name: d, port: 80, protocol: HTTP, hostname: c.d",
    ),
  ],
  [
    "one port, protocol and host",
    listeners(
      "name: a, port: 80, protocol: HTTP, hostname: a.b",
      "name: b, port: 80, protocol: HTTP, hostname: a.b",
    ),
    "listeners[1]",
  ],
  [
    "TCP for a host",
    listeners("name: a, port: 80, protocol: TCP, hostname: a.b"),
    "listeners[0].hostname",
  ],
  [
    "UDP for a host",
    listeners("name: a, port: 80, protocol: UDP, hostname: a.b"),
    "listeners[0].hostname",
  ],
  ...["HTTP", "TCP", "UDP"].map(
    (protocol) =>
      [
        `${protocol} with TLS`,
        listeners(`name: a, port: 80, protocol: ${protocol}, tls: { ${REFS} }`),
        "listeners[0].tls",
      ] as const,
  ),
  [
    "a protocol of one's own, with TLS",
    listeners(`name: a, port: 80, protocol: a.b/c, tls: { ${REFS} }`),
  ],
  ["TLS", listeners(`name: a, port: 80, protocol: TLS, tls: { ${REFS} }`)],
  ["TLS that passes", listeners("name: a, port: 80, protocol: TLS, tls: { mode: Passthrough }")],
  ["TLS without tls", listeners("name: a, port: 80, protocol: TLS"), "listeners[0].tls"],
  ["HTTPS without tls", listeners("name: a, port: 80, protocol: HTTPS")],
  [
    "HTTPS with options",
    listeners("name: a, port: 80, protocol: HTTPS, tls: { options: { a.b/c: d } }"),
  ],
  [
    "HTTPS that passes",
    listeners("name: a, port: 80, protocol: HTTPS, tls: { mode: Passthrough }"),
    "listeners[0].tls.mode",
  ],
  [
    "HTTPS without a certificate",
    listeners("name: a, port: 80, protocol: HTTPS, tls: {}"),
    "listeners[0].tls.certificateRefs",
  ],
  [
    "addresses",
    addresses(
      "{}",
      "{}",
      "{ value: 1.2.3.4 }",
      "{ value: '::1' }",
      "{ type: Hostname, value: '*.a.b' }",
      "{ type: a.b/c, value: X }",
      "{ type: a.b/c, value: X }",
    ),
  ],
  ["a name for an address", addresses("{ value: a.b }"), "addresses[0].value"],
  ["an address with a zone", addresses("{ value: 'fe80::1%eth0' }"), "addresses[0].value"],
  ["a port after a name", addresses("{ type: Hostname, value: 'a.b:80' }"), "addresses[0].value"],
  [
    "an address twice",
    addresses("{ value: 1.2.3.4 }", "{ type: IPAddress, value: 1.2.3.4 }"),
    "addresses[1].value",
  ],
  [
    "a name twice",
    addresses("{ type: Hostname, value: a.b }", "{ type: Hostname, value: a.b }"),
    "addresses[1].value",
  ],
  ["labels", infrastructure(`labels: { a: b, A.b_c-d: e, ${"x".repeat(63)}: f, a.b/C: d }`)],
  ["a label with a space", infrastructure("labels: { a b: c }"), 'infrastructure.labels["a b"]'],
  [
    "a label after an upper-case domain",
    infrastructure("labels: { A.b/c: d }"),
    'infrastructure.labels["A.b/c"]',
  ],
  [
    "an annotation of 64 characters",
    infrastructure(`annotations: { ${"x".repeat(64)}: c }`),
    `infrastructure.annotations.${"x".repeat(64)}`,
  ],
  ["a domain of 252 characters", infrastructure(`annotations: { ${"x".repeat(252)}/a: c }`)],
  [
    "a domain of 253 characters",
    infrastructure(`annotations: { ${"x".repeat(253)}/a: c }`),
    `infrastructure.annotations["${"x".repeat(253)}/a"]`,
  ],
]);

const FRONT =
  "tls: { validation: { caCertificateRefs: [{ group: '', kind: ConfigMap, name: c }] } }";
const front = (...ports: number[]) =>
  `{ gatewayClassName: c, listeners: [${LISTENER}], tls: { frontend: { default: {}, perPort: [${ports
    .map((port) => `{ port: ${port}, ${FRONT} }`)
    .join(", ")}] } } }`;

testRefusals(GATEWAY, [
  ["TLS of two ports", front(1, 2)],
  ["TLS of one port twice", front(1, 2, 1), "tls.frontend.perPort[2].port"],
]);
