/**
 * Policies of a mesh for the benchmark, of which none matches its requests, and what verifies the
 * tokens of those that carry one.
 */

const RULES = 10;

/** YAML of `count` DENY policies on the service, each of ten rules of all kinds of fields. */
export function otherPolicies(count) {
  return Array.from({ length: count }, (_, i) =>
    [
      "apiVersion: security.istio.io/v1",
      "kind: AuthorizationPolicy",
      `metadata: { name: other-${i}, namespace: default }`,
      "spec:",
      '  targetRefs: [{ group: "", kind: Service, name: reviews }]',
      "  action: DENY",
      "  rules:",
      ...Array.from({ length: RULES }, (_, j) => rule(i * RULES + j)),
    ].join("\n"),
  ).join("\n---\n");
}

/** One that asks for the path alone stands among those that ask for more. */
function rule(n) {
  const sources = [
    `principals: ["cluster.local/ns/other-${n}/sa/a", "*/sa/b-${n}"]`,
    `namespaces: ["other-${n % 97}", "team-*"]`,
    `ipBlocks: ["10.${n % 250}.0.0/16", "2001:db8:${(n % 9000) + 1}::/48"]`,
    `remoteIpBlocks: ["172.16.${n % 250}.0/24"]`,
    `notNamespaces: ["default"]`,
  ];
  const operations = [
    `paths: ["/other-${n}/*", "/items/{*}/of-${n}", "*/end-${n}"]`,
    `methods: ["DELETE", "PATCH"]`,
    `hosts: ["other-${n}.example.com", "*.internal-${n % 50}"]`,
    `ports: ["${(n % 60_000) + 1_000}"]`,
    `notMethods: ["GET", "POST"]`,
  ];
  const conditions = [
    `{ key: "request.headers[x-tenant]", values: ["t-${n}", "u*"] }`,
    `{ key: "request.auth.claims[group]", values: ["g-${n % 300}"] }`,
    `{ key: source.ip, values: ["192.0.2.${n % 250}"] }`,
  ];
  const parts = [`to: [{ operation: { ${operations[n % operations.length]} } }]`];
  if (n % 3 !== 0) parts.push(`from: [{ source: { ${sources[n % sources.length]} } }]`);
  if (n % 2 === 0) parts.push(`when: [${conditions[n % conditions.length]}]`);
  return `    - { ${parts.join(", ")} }`;
}

/** YAML of a RequestAuthentication; run.py splits arguments at spaces, so there is no `Bearer`. */
export function authentication(jwks) {
  return [
    "apiVersion: security.istio.io/v1",
    "kind: RequestAuthentication",
    "metadata: { name: tokens, namespace: default }",
    "spec:",
    '  targetRefs: [{ group: "", kind: Service, name: reviews }]',
    "  jwtRules:",
    "    - issuer: bench",
    `      jwks: '${jwks.trim()}'`,
    '      fromHeaders: [{ name: authorization, prefix: "" }]',
    "      forwardOriginalToken: true",
  ].join("\n");
}
