/**
 * Rules at their edges: a spec of each kind that just keeps them, and what breaks one, with the
 * field that is named.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { KINDS, type Kind, type KindName } from "../kinds.ts";
import type { KubeObject } from "../object.ts";
import { loadSchemas } from "../schema.ts";
import { objectDiagnostics } from "./rules.ts";

const NOWHERE = { file: "", line: 1, column: 1 };
const positions = { position: NOWHERE, positionOf: () => NOWHERE, positionOfKey: () => NOWHERE };

async function findings(kind: KindName, spec: string, metadata: object = {}) {
  await loadSchemas([kind]);
  const { group, versions, spelling = kind }: Kind = KINDS[kind];
  const value: KubeObject = {
    apiVersion: `${group}/${versions[0]}`,
    kind: spelling,
    metadata: { name: "a", namespace: "shop", ...metadata },
    spec: parse(spec),
  };
  const found = objectDiagnostics(kind, { value, ...positions }, "a");
  return found.map(({ level, path }) => `${level === "error" ? "" : `${level} `}${path}`);
}

/** Specs with what is found in them: fields, or "warning" and a field. */
type Cases = readonly (readonly [spec: string, ...found: string[]])[];

const P = "parentRefs: [{ group: '', kind: Service, name: a }]";
const http = (rule: string) => `{ ${P}, rules: [${rule}] }`;
const PREFIX = "{ path: { type: PathPrefix, value: /x } }";
const TO_PREFIX = "{ path: { type: ReplacePrefixMatch, replacePrefixMatch: /y } }";
const REWRITE = `{ type: URLRewrite, urlRewrite: ${TO_PREFIX} }`;
const MIRROR = (more: string) =>
  `{ type: RequestMirror, requestMirror: { backendRef: { name: b, port: 1 }, ${more} } }`;
const F = "spec.rules[0].filters";

const RULES: Partial<Record<KindName, Cases>> = {
  HTTPRoute: [
    [http(`{ matches: [${PREFIX}], filters: [${REWRITE}], backendRefs: [{ name: b, port: 1 }] }`)],
    [http(`{ filters: [${REWRITE}] }, { matches: [{ method: GET }], filters: [${REWRITE}] }`)],
    [
      http(`{ matches: [${PREFIX}, ${PREFIX}], filters: [${REWRITE}] }`),
      `${F}[0].urlRewrite.path.replacePrefixMatch`,
    ],
    [
      http(`{ matches: [{ path: { type: Exact, value: /x } }], filters: [${REWRITE}] }`),
      `${F}[0].urlRewrite.path.replacePrefixMatch`,
    ],
    [
      http("{ backendRefs: [{ name: b }, { group: x.io, kind: Y, name: c }] }"),
      "spec.rules[0].backendRefs[0].port",
    ],
    [http(`{ filters: [${MIRROR("percent: 1")}, ${MIRROR("percent: 100")}] }`)],
    [
      http(`{ filters: [${MIRROR("percent: 1, fraction: { numerator: 1 }")}] }`),
      `${F}[0].requestMirror.fraction`,
    ],
    [http(`{ filters: [${MIRROR("fraction: { numerator: 100 }")}] }`)],
    [
      http(`{ filters: [${MIRROR("fraction: { numerator: 101 }")}] }`),
      `${F}[0].requestMirror.fraction.numerator`,
    ],
    [
      http("{ filters: [{ type: CORS, cors: { allowMethods: ['*', GET] } }] }"),
      `${F}[0].cors.allowMethods[0]`,
    ],
    [http("{ timeouts: { request: 0s, backendRequest: 9s } }")],
    [http("{ timeouts: { request: 1s, backendRequest: 1s } }")],
    [
      http("{ timeouts: { request: 1s, backendRequest: 1001ms } }"),
      "spec.rules[0].timeouts.backendRequest",
    ],
    [
      http("{ matches: [{ headers: [{ name: a, value: x }, { name: a, value: y }] }] }"),
      "spec.rules[0].matches[0].headers[1].name",
    ],
    [http("{ name: x }, { name: y }, {}")],
    [http("{ name: x }, { name: x }"), "spec.rules[1].name"],
    ["parentRefs: [{ name: a, port: 1 }, { name: a, port: 2 }]"],
    ["parentRefs: [{ name: a, port: 1 }, { name: a, port: 1 }]", "spec.parentRefs[1]"],
    ["parentRefs: [{ name: a, port: 1 }, { name: a, sectionName: b }]", "spec.parentRefs[1]"],
    ["parentRefs: [{ name: a }, { name: a, namespace: b }, { name: a, kind: Service }]"],
  ],
  GRPCRoute: [
    [http("{ matches: [{ method: { service: a.B, method: C } }] }")],
    [http("{ matches: [{ method: { type: RegularExpression, method: '.*' } }] }")],
    [
      http("{ matches: [{ method: { service: 'a.*' } }] }"),
      "spec.rules[0].matches[0].method.service",
    ],
    [http("{ filters: [{ type: ExtensionRef }] }"), `${F}[0].extensionRef`],
    [
      http(
        "{ filters: [{ type: ExtensionRef, requestMirror: { backendRef: { name: b, port: 1 } } }] }",
      ),
      `${F}[0].requestMirror`,
      `${F}[0].extensionRef`,
    ],
  ],
  Gateway: [
    [
      "{ gatewayClassName: c, listeners: [{ name: a, port: 1, protocol: HTTP }, { name: b, port: 1, protocol: HTTP, hostname: x.y }] }",
    ],
    [
      "{ gatewayClassName: c, listeners: [{ name: a, port: 1, protocol: HTTP }, { name: b, port: 1, protocol: HTTP }] }",
      "spec.listeners[1]",
    ],
    [
      "{ gatewayClassName: c, listeners: [{ name: a, port: 1, protocol: TCP, hostname: x.y, tls: { certificateRefs: [{ name: s }] } }] }",
      "spec.listeners[0].tls",
      "spec.listeners[0].hostname",
    ],
    [
      "{ gatewayClassName: c, listeners: [{ name: a, port: 1, protocol: HTTPS, tls: { mode: Passthrough } }, { name: b, port: 2, protocol: TLS }] }",
      "spec.listeners[0].tls.mode",
      "spec.listeners[1].tls",
    ],
  ],
  AuthorizationPolicy: [
    ["{ rules: [{ from: [{ source: { ipBlocks: [10.0.0.0/32, '::1/128', 1.2.3.4] } }] }] }"],
    [
      "{ rules: [{ from: [{ source: { ipBlocks: [10.0.0.0/33, x] } }] }] }",
      "spec.rules[0].from[0].source.ipBlocks[0]",
      "spec.rules[0].from[0].source.ipBlocks[1]",
    ],
    ["{ rules: [{ to: [{ operation: { ports: ['0', '65535'] } }] }] }"],
    [
      "{ rules: [{ to: [{ operation: { ports: ['65536', http] } }] }] }",
      "spec.rules[0].to[0].operation.ports[0]",
      "spec.rules[0].to[0].operation.ports[1]",
    ],
    ["{ rules: [{ to: [{ operation: { paths: ['/a/{*}/b/{**}', '/*'] } }] }] }"],
    [
      "{ rules: [{ to: [{ operation: { paths: ['/{**}/a/{*}', '/a{*}', '/{*}/a*'] } }] }] }",
      "spec.rules[0].to[0].operation.paths[0]",
      "spec.rules[0].to[0].operation.paths[1]",
      "spec.rules[0].to[0].operation.paths[2]",
    ],
    ["{ rules: [{ when: [{ key: 'request.headers[x]', values: [y] }] }] }"],
    [
      "{ rules: [{ when: [{ key: 'request.headers', values: [y] }, { key: a.b, values: [y] }, { key: source.ip, values: [y] }, { key: source.ip }] }] }",
      "spec.rules[0].when[0].key",
      "spec.rules[0].when[1].key",
      "spec.rules[0].when[2].values[0]",
      "spec.rules[0].when[3]",
    ],
    ["{ action: DENY }", "spec.rules"],
    ["{ action: CUSTOM, rules: [{}] }", "spec.provider.name"],
    [
      "{ action: CUSTOM, provider: { name: p }, rules: [{ from: [{ source: { principals: [x] } }] }] }",
      "spec.rules[0].from[0].source.principals",
    ],
    ["{ action: ALLOW, provider: { name: p } }", "spec.provider"],
    [
      "{ action: DENY, rules: [{ to: [{ operation: { methods: [GET] } }] }] }",
      "warning spec.rules[0]",
    ],
    ["{ action: DENY, rules: [{ to: [{ operation: { methods: [GET], ports: ['80'] } }] }] }"],
    [
      "{ action: DENY, targetRefs: [{ group: '', kind: Service, name: a }], rules: [{ to: [{ operation: { methods: [GET] } }] }] }",
    ],
    ["{ targetRefs: [{ group: apps, kind: Deployment, name: a }] }", "spec.targetRefs[0].kind"],
    ["{ rules: [{ from: [{ source: { serviceAccounts: [a/b, c], ipBlocks: [::1] } }] }] }"],
    [
      "{ rules: [{ from: [{ source: { serviceAccounts: ['a/*', a/b/c], namespaces: [a] } }] }] }",
      "spec.rules[0].from[0].source.serviceAccounts",
      "spec.rules[0].from[0].source.serviceAccounts[0]",
      "spec.rules[0].from[0].source.serviceAccounts[1]",
    ],
    ["{ selector: { matchLabels: { a: 'x*' } } }", "spec.selector.matchLabels.a"],
    ["{ selector: {} }", "warning spec.selector"],
    ["{ rules: [{ from: [], to: [{}] }] }", "spec.rules[0].from", "spec.rules[0].to[0].operation"],
  ],
  RequestAuthentication: [
    ["{ jwtRules: [{ issuer: a, jwksUri: 'https://a/keys', timeout: 1ms }] }"],
    [
      "{ jwtRules: [{ issuer: a, jwksUri: 'ftp://a', timeout: 1us }] }",
      "spec.jwtRules[0].timeout",
      "spec.jwtRules[0].jwksUri",
    ],
    ["{ jwtRules: [{ issuer: a, jwks: '{' }] }", "spec.jwtRules[0].jwks"],
    [
      `{ jwtRules: [{ issuer: a, jwks: '{"keys":[{"kty":"oct","k":"x"}]}' }] }`,
      "warning spec.jwtRules[0].jwks",
    ],
  ],
  PeerAuthentication: [
    ["{ selector: { matchLabels: { a: b } }, portLevelMtls: { '1': { mode: STRICT } } }"],
    ["{ portLevelMtls: { '1': { mode: STRICT } } }", "spec.portLevelMtls"],
  ],
  ServiceEntry: [
    [
      "{ hosts: [a.b], resolution: STATIC, ports: [{ number: 80, name: a, protocol: HTTP }], endpoints: [{ address: 1.2.3.4, ports: { a: 1 } }] }",
    ],
    [
      "{ hosts: [a.b], resolution: STATIC, ports: [{ number: 80, name: a, protocol: HTTP }], endpoints: [{ address: a.b, ports: { b: 1 } }] }",
      "spec.endpoints[0].address",
      "spec.endpoints[0].ports.b",
    ],
    [
      "{ hosts: [a.b, c.d], resolution: STATIC, addresses: [1.2.3.4], ports: [{ number: 80, name: a, protocol: TCP }] }",
      "spec.ports[0].protocol",
    ],
    ["{ hosts: [a.b], resolution: DNS, addresses: [10.0.0.0/8] }", "spec.addresses[0]"],
    ["{ hosts: ['*.a.b'], resolution: DNS }", "spec.hosts[0]"],
    ["{ hosts: ['*.a.b'], resolution: DNS, endpoints: [{ address: c.d }] }"],
    [
      "{ hosts: [a.b], resolution: DYNAMIC_DNS, location: MESH_EXTERNAL, ports: [{ number: 80, name: a, protocol: HTTP }] }",
      "spec.hosts[0]",
    ],
    [
      "{ hosts: [a.b], resolution: STATIC, exportTo: ['*', shop], ports: [{ number: 80, name: a, protocol: HTTP }, { number: 80, name: a, protocol: FTP }] }",
      "spec.ports[1].name",
      "spec.ports[1].number",
      "spec.ports[1].protocol",
      "spec.exportTo",
    ],
    [
      "{ hosts: [a.b], resolution: STATIC, endpoints: [{ address: 'unix:///a/' }, { address: 'unix://a' }, {}] }",
      "spec.endpoints[0].address",
      "spec.endpoints[0].address",
      "spec.endpoints[1].address",
      "spec.endpoints[1].address",
      "spec.endpoints[2].address",
    ],
  ],
  DestinationRule: [
    ["{ host: a.b, trafficPolicy: { connectionPool: { tcp: { idleTimeout: 0s } } } }"],
    [
      "{ host: a.b, trafficPolicy: { connectionPool: { tcp: { connectTimeout: 0s, maxConnections: -1 } } } }",
      "spec.trafficPolicy.connectionPool.tcp.maxConnections",
      "spec.trafficPolicy.connectionPool.tcp.connectTimeout",
    ],
    ["{ host: '', trafficPolicy: {} }", "spec.host", "spec.trafficPolicy"],
    [
      "{ host: a.b, subsets: [{ name: x }, { name: x }, { name: 'x y' }] }",
      "spec.subsets[1].name",
      "spec.subsets[2].name",
    ],
    [
      "{ host: a.b, trafficPolicy: { tls: { mode: MUTUAL, clientCertificate: a } } }",
      "spec.trafficPolicy.tls.privateKey",
    ],
    [
      "{ host: a.b, trafficPolicy: { loadBalancer: { consistentHash: { maglev: { tableSize: 65536 } } } } }",
      "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize",
    ],
    [
      "{ host: a.b, trafficPolicy: { loadBalancer: { localityLbSetting: { distribute: [{ from: a/b, to: { a/b: 99 } }] } } } }",
      "spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to",
    ],
    [
      "{ host: a.b, trafficPolicy: { loadBalancer: { localityLbSetting: { failover: [{ from: a, to: a }] } } } }",
      "warning spec.trafficPolicy.loadBalancer.localityLbSetting",
      "spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0].to",
    ],
  ],
  VirtualService: [
    ["{ hosts: [a.b], http: [{ route: [{ destination: { host: a } }] }] }"],
    ["{ hosts: ['*'], http: [{ route: [{ destination: { host: a } }] }] }", "spec.hosts[0]"],
    [
      "{ hosts: ['*.b.c', a.b.c], http: [{ route: [{ destination: { host: a } }] }] }",
      "spec.hosts[1]",
    ],
    ["{ hosts: [a.b] }", "spec.http"],
    ["{ hosts: [a.b], http: [{}] }", "spec.http[0].route"],
    [
      "{ hosts: [a.b], http: [{ redirect: { uri: /x }, route: [{ destination: { host: a } }] }] }",
      "spec.http[0].route",
    ],
    [
      "{ hosts: [a.b], http: [{ redirect: { redirectCode: 299, scheme: ftp } }] }",
      "spec.http[0].redirect.redirectCode",
      "spec.http[0].redirect.scheme",
    ],
    [
      "{ hosts: [a.b], http: [{ match: [{ uri: { regex: '(?!a)' } }, { headers: { 'a b': { exact: c } } }], route: [{ destination: { host: a } }] }] }",
      "spec.http[0].match[0].uri.regex",
      'spec.http[0].match[1].headers["a b"]',
    ],
    [
      "{ hosts: [a.b], http: [{ route: [{ destination: { host: a } }, { destination: { host: b } }] }] }",
      "spec.http[0].route",
    ],
    [
      "{ hosts: [a.b], http: [{ headers: { request: { set: { Host: a, x: '%Y', ':path': /z }, remove: [host] } }, rewrite: { authority: b }, route: [{ destination: { host: a } }] }] }",
      "spec.http[0].headers.request.set.x",
      'spec.http[0].headers.request.set[":path"]',
      "spec.http[0].headers.request.remove[0]",
      "spec.http[0].headers.request.set.Host",
    ],
    [
      "{ hosts: [a.b], http: [{ retries: { retryOn: '5xx,503,never', attempts: 1 }, route: [{ destination: { host: a } }] }] }",
      "spec.http[0].retries.retryOn",
    ],
    [
      "{ hosts: [a.b], http: [{ route: [{ destination: { host: a } }] }, { match: [{ uri: { prefix: /x } }], route: [{ destination: { host: a } }] }] }",
      "warning spec.http[1]",
    ],
    [
      "{ hosts: [a.b], http: [{ match: [{ uri: { prefix: /x } }, { uri: { prefix: /xy } }, { name: n, uri: { prefix: /x } }], route: [{ destination: { host: a } }] }] }",
      "warning spec.http[0].match[2]",
      "warning spec.http[0].match[1]",
    ],
    [
      "{ hosts: [a.b], tls: [{ match: [{ sniHosts: [c.d] }], route: [{ destination: { host: a } }] }], tcp: [{ match: [{ destinationSubnets: [x] }] }] }",
      "spec.tls[0].match[0].sniHosts[0]",
      "spec.tcp[0].match[0].destinationSubnets[0]",
      "spec.tcp[0].route",
    ],
    ["{ gateways: [a/b], http: [{ route: [{ destination: { host: a } }] }] }", "spec.gateways"],
  ],
  IstioGateway: [
    [
      "{ servers: [{ hosts: [a/b.c, 1.2.3.4, '*'], port: { number: 80, name: a, protocol: HTTP } }] }",
    ],
    [
      "{ servers: [{ hosts: ['*a.b', '/c'], port: { number: 0, name: a, protocol: SMTP }, bind: x }] }",
      "spec.servers[0].hosts[0]",
      "spec.servers[0].hosts[1]",
      "spec.servers[0].port.protocol",
      "spec.servers[0].port.number",
      "spec.servers[0].bind",
    ],
    [
      "{ servers: [{ hosts: [a.b], port: { number: 1, name: a, protocol: HTTPS }, tls: { mode: MUTUAL, credentialName: c } }] }",
    ],
    [
      "{ servers: [{ hosts: [a.b], port: { number: 1, name: a, protocol: HTTPS }, tls: { mode: SIMPLE, privateKey: p, cipherSuites: [X] } }] }",
      "warning spec.servers[0].tls.cipherSuites[0]",
      "spec.servers[0].tls.serverCertificate",
    ],
    [
      "{ servers: [{ hosts: [a.b], port: { number: 1, name: a, protocol: HTTP }, tls: { mode: SIMPLE, credentialName: c } }, { hosts: [a.b], port: { number: 2, name: a, protocol: TLS } }] }",
      "spec.servers[1].port.name",
      "spec.servers[0].tls",
      "spec.servers[1].tls",
    ],
  ],
  Telemetry: [
    ["{ tracing: [{ randomSamplingPercentage: 100 }, {}] }", "warning spec.tracing[1]"],
    [
      "{ tracing: [{ customTags: { a: { literal: { value: '' } } } }, {}] }",
      "spec.tracing[0].customTags.a.literal.value",
    ],
    [
      "{ tracing: [{ randomSamplingPercentage: 100.1 }] }",
      "spec.tracing[0].randomSamplingPercentage",
    ],
    [
      "{ metrics: [{ overrides: [{ tagOverrides: { a: { operation: REMOVE, value: b }, c: {} } }] }] }",
      "spec.metrics[0].overrides[0].tagOverrides.a.value",
      "spec.metrics[0].overrides[0].tagOverrides.c.value",
    ],
  ],
  TrafficExtension: [
    ["{ lua: { inlineCode: x } }"],
    ["{ wasm: { url: 'example.org/a:1' } }"],
    ["{}", "spec"],
    ["{ lua: { inlineCode: x }, wasm: { url: 'ftp://a' } }", "spec.wasm.url", "spec"],
  ],
  WorkloadGroup: [
    ["{ template: {}, probe: { tcpSocket: { port: 65535 } } }"],
    ["{ template: {}, probe: { tcpSocket: { port: 65536 } } }", "spec.probe.tcpSocket.port"],
    ["{ template: {}, probe: {} }", "spec.probe"],
  ],
  BackendTLSPolicy: [
    [
      "{ targetRefs: [{ group: '', kind: Service, name: a, sectionName: x }, { group: '', kind: Service, name: a, sectionName: y }], validation: { hostname: a.b, wellKnownCACertificates: System } }",
    ],
    [
      "{ targetRefs: [{ group: '', kind: Service, name: a, sectionName: x }, { group: '', kind: Service, name: a }], validation: { hostname: a.b } }",
      "spec.targetRefs[1].sectionName",
      "spec.validation",
    ],
  ],
};

for (const [kind, cases] of Object.entries(RULES)) {
  describe(kind, () => {
    test.each(cases.map(([spec, ...found]) => [spec, found] as const))(
      "%s",
      async (spec, found) => {
        expect(await findings(kind as KindName, spec)).toEqual(found);
      },
    );
  });
}

const DRY_RUN = "istio.io/dry-run";

test("annotations that only istiod writes, or that a kind does not have, are refused", async () => {
  const annotated = (name: string, value: string) => ({ annotations: { [name]: value } });
  const at = (name: string) => [`metadata.annotations["${name}"]`];
  const policy = (spec: string, value: string) =>
    findings("AuthorizationPolicy", spec, annotated(DRY_RUN, value));
  expect(await policy("{ action: DENY, rules: [{}] }", "true")).toEqual([]);
  expect(await policy("{}", "yes")).toEqual(at(DRY_RUN));
  expect(await policy("{ action: AUDIT }", "true")).toEqual(at(DRY_RUN));
  expect(await findings("PeerAuthentication", "{}", annotated(DRY_RUN, "true"))).toEqual(
    at(DRY_RUN),
  );
  const parents = "internal.istio.io/parents";
  expect(
    await findings(
      "VirtualService",
      "{ hosts: [a.b], http: [{ directResponse: { status: 200 } }] }",
      annotated(parents, "x"),
    ),
  ).toEqual(at(parents));
});

/** The value with one part of it, drawn by the numbers, replaced or taken away. */
function mutated(value: unknown, draw: readonly number[], put: unknown): unknown {
  const [first = 0, ...rest] = draw;
  const isInner = typeof value === "object" && value !== null && Object.keys(value).length > 0;
  if (!isInner || rest.length === 0) return put;
  const keys = Object.keys(value);
  const key = keys[first % keys.length]!;
  const inner = mutated((value as Record<string, unknown>)[key], rest, put);
  if (Array.isArray(value)) return value.map((item, i) => (String(i) === key ? inner : item));
  const { [key]: _, ...others } = value as Record<string, unknown>;
  return inner === undefined ? others : { ...others, [key]: inner };
}

test("whatever an object is, it is judged", async () => {
  const kinds = Object.keys(RULES) as KindName[];
  await loadSchemas(kinds);
  const specs = kinds.flatMap((kind) => RULES[kind]!.map(([spec]) => [kind, spec] as const));
  const odd = [undefined, null, "", "*", "a/b/c", "%", 0, -1, 1e9, true, [], {}, [null], [{}]];
  fc.assert(
    fc.property(
      fc.constantFrom(...specs),
      fc.array(fc.nat(20), { minLength: 1, maxLength: 7 }),
      fc.constantFrom(...odd),
      ([kind, text], draw, put) => {
        const { group, versions, spelling = kind }: Kind = KINDS[kind];
        const spec = mutated(parse(text), draw, put);
        const head = { apiVersion: `${group}/${versions[0]}`, kind: spelling };
        const value = { ...head, metadata: { name: "a", namespace: "shop" }, spec };
        for (const { path } of objectDiagnostics(kind, { value, ...positions }, "a")) {
          expect(path).toMatch(/^(spec|$)/);
        }
      },
    ),
    { numRuns: 5000 },
  );
});

test("an object is complained of at most so often", async () => {
  const bad = Array.from({ length: 500 }, () => "{ to: [{ operation: { ports: [x] } }] }");
  expect((await findings("AuthorizationPolicy", `{ rules: [${bad.join(", ")}] }`)).length).toBe(
    100,
  );
});
