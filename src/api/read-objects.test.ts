import { expect, test } from "vitest";
import { type Diagnostic, formatDiagnostic } from "../kit/diagnostic.ts";
import { readObjects } from "./read-objects.ts";

const read = (text: string) => readObjects(text, "mesh.yaml");

async function diagnosticsOf(text: string): Promise<readonly Diagnostic[]> {
  return (await read(text)).diagnostics;
}

/** Code, place and message of what is wrong. */
async function complaints(text: string): Promise<string[]> {
  const found = await diagnosticsOf(text);
  return found.map((d) => `${d.code} ${d.line}:${d.column} ${d.message}`);
}

const ROUTE = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: reviews, namespace: shop }
spec:
  parentRefs:
    - { kind: Service, group: "", name: reviews }
`;

const routeWith = (rule: string) => `${ROUTE}  rules:\n    - ${rule}\n`;

const POLICY = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: deny, namespace: shop }
spec:
`;

const SERVICE = `apiVersion: v1
kind: Service
metadata:
  name: reviews
spec:
  ports:
    - port: 80
`;

test("readObjects() tells where the parts of an object stand", async () => {
  const { objects, diagnostics } = await read(`# first\n---\n${SERVICE}---\n${ROUTE}`);
  expect(diagnostics).toEqual([]);
  const [service, route] = objects;
  expect(service!.position).toEqual({ file: "mesh.yaml", line: 3, column: 1 });
  expect(service!.positionOf(["spec", "ports", 0, "port"])).toMatchObject({ line: 9, column: 13 });
  expect(route!.position).toMatchObject({ line: 11, column: 1 });
  expect(route!.positionOf(["spec", "parentRefs", 0, "name"])).toMatchObject({
    line: 16,
    column: 41,
  });
});

test("positionOf() what is not there is the place of its nearest ancestor", async () => {
  const { objects } = await read(SERVICE);
  expect(objects[0]!.positionOf(["spec", "ports", 0, "name"])).toMatchObject({
    line: 7,
    column: 7,
  });
  expect(objects[0]!.positionOf(["spec", "ports", 4])).toMatchObject({ line: 7, column: 5 });
  expect(objects[0]!.positionOf(["status"])).toMatchObject({ line: 1, column: 1 });
});

test("readObjects() takes Lists apart, and knows where their items stand", async () => {
  const list = `apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Namespace
    metadata: { name: shop }
  - apiVersion: v1
    kind: List
    items:
      - apiVersion: v1
        kind: ServiceAccount
        metadata: { name: sa, namespace: shop, colour: red }
`;
  const { objects, diagnostics } = await read(list);
  expect(objects.map((o) => o.kind)).toEqual(["Namespace"]);
  expect(objects[0]!.position).toMatchObject({ line: 4, column: 5 });
  expect(diagnostics).toEqual([
    expect.objectContaining({ code: "WS0002", line: 12, column: 48, path: "metadata.colour" }),
  ]);
});

test("readObjects() reads JSON, with positions", async () => {
  const text = `{\n  "apiVersion": "v1",\n  "kind": "Namespace",\n  "metadata": {"name": "shop"}\n}\n`;
  const { objects } = await read(text);
  expect(objects[0]!.value.metadata.name).toBe("shop");
  expect(objects[0]!.positionOf(["metadata", "name"])).toMatchObject({ line: 4, column: 24 });
});

test("an unknown field is an error at its name, with the name that was meant", async () => {
  expect(await complaints(routeWith("machtes: []"))).toEqual([
    'WS0002 8:7 unknown field "spec.rules[0].machtes", did you mean "matches"?',
  ]);
  const policy = `${POLICY}  rules:\n    - from:\n        - source:\n            principal: [x]\n`;
  expect(await complaints(policy)).toEqual([
    'WS0002 8:13 unknown field "spec.rules[0].from[0].source.principal", did you mean "principals"?',
  ]);
});

test("an unknown field of the second document is told at its place there", async () => {
  expect(await complaints(`${SERVICE}---\n${POLICY}  acton: DENY\n`)).toEqual([
    'WS0002 13:3 unknown field "spec.acton", did you mean "action"?',
  ]);
});

test("a wrong type, a wrong word and a missing field are told where they stand", async () => {
  expect(await complaints(`${POLICY}  action: [DENY]\n`)).toEqual([
    "WS0002 5:11 spec.action: expected string, got array",
  ]);
  expect(await complaints(`${POLICY}  action: Deny\n`)).toEqual([
    'WS0002 5:11 spec.action: "Deny" is not one of ALLOW, DENY, AUDIT, CUSTOM, did you mean "DENY"?',
  ]);
  expect(await complaints(routeWith("backendRefs: [{ port: 80 }]"))).toEqual([
    "WS0002 8:21 spec.rules[0].backendRefs[0].name is required",
  ]);
});

const limits: [what: string, rule: string, path: string][] = [
  ["a port", "backendRefs: [{ name: a, port: 70000 }]", "spec.rules[0].backendRefs[0].port"],
  [
    "a weight",
    "backendRefs: [{ name: a, port: 80, weight: 1000001 }]",
    "spec.rules[0].backendRefs[0].weight",
  ],
  [
    "a header's name",
    'matches: [{ headers: [{ name: "a b", value: c }] }]',
    "spec.rules[0].matches[0].headers[0].name",
  ],
  ["a path", "matches: [{ path: { value: api } }]", "spec.rules[0].matches[0].path.value"],
  [
    "a path's dot segment",
    "matches: [{ path: { type: Exact, value: /a/../b } }]",
    "spec.rules[0].matches[0].path.value",
  ],
  ["a duration", "timeouts: { request: 1.5s }", "spec.rules[0].timeouts.request"],
  ["too many matches", `matches: [${"{}, ".repeat(64)}{}]`, "spec.rules[0].matches"],
  ["a filter without its field", "filters: [{ type: RequestMirror }]", "spec.rules[0].filters[0]"],
];

for (const [what, rule, path] of limits) {
  test(`readObjects() refuses ${what} outside its limits`, async () => {
    const found = await diagnosticsOf(routeWith(rule));
    expect(found.map(({ code, path: where }) => [code, where])).toEqual([["WS0002", path]]);
  });
}

test("a regular expression is a path of its own rules", async () => {
  const rule = 'matches: [{ path: { type: RegularExpression, value: "(a|b)//.*" } }]';
  expect(await diagnosticsOf(routeWith(rule))).toEqual([]);
});

test("names are DNS names", async () => {
  expect(await complaints(SERVICE.replace("reviews", "Reviews_1"))).toEqual([
    'WS0002 4:9 metadata.name: "Reviews_1" is not allowed: lower-case letters, digits, "-" and "." only',
  ]);
  const inShop = SERVICE.replace("name: reviews", "name: reviews\n  namespace: a.b");
  expect((await diagnosticsOf(inShop)).map((d) => d.path)).toEqual(["metadata.namespace"]);
});

test("trustDomains of the extended channel are no unknown field", async () => {
  const source = "{ trustDomains: [a], notTrustDomains: [b] }";
  expect(await diagnosticsOf(`${POLICY}  rules: [{ from: [{ source: ${source} }] }]\n`)).toEqual(
    [],
  );
});

test("a ServiceEntry's ports are what ports are", async () => {
  const entry = (port: number) => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: a }
spec: { hosts: [a.example], ports: [{ number: ${port}, name: http, protocol: HTTP }] }
`;
  expect(await diagnosticsOf(entry(65535))).toEqual([]);
  expect((await diagnosticsOf(entry(65536))).map((d) => d.path)).toEqual(["spec.ports[0].number"]);
  expect((await diagnosticsOf(entry(0))).map((d) => d.path)).toEqual(["spec.ports[0].number"]);
});

test("a PeerAuthentication's ports are told at their names", async () => {
  const text = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: a }
spec:
  selector: { matchLabels: { app: a } }
  portLevelMtls:
    "8080": { mode: STRICT }
    http: { mode: STRICT }
`;
  expect(await complaints(text)).toEqual([
    'WS0002 8:5 spec.portLevelMtls.http: "http" is not allowed: ports, 1 to 65535 only',
  ]);
});

test("one mistake is one complaint", async () => {
  for (const spec of [
    "  rules: yes\n",
    "  targetRefs: [{ kind: Service, name: a, namespace: b }]\n",
  ])
    expect(await complaints(POLICY + spec)).toHaveLength(1);
});

test("a kind that a mesh does not read is ignored, and a near one is named", async () => {
  const of = (apiVersion: string, kind: string) =>
    complaints(`apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: { name: a }\n`);
  expect(await of("example.com/v1", "Widget")).toEqual([
    "WS0003 1:1 example.com/v1 Widget is not a kind that a mesh reads; it is ignored",
  ]);
  expect((await of("gateway.networking.k8s.io/v1", "HTTPRout"))[0]).toContain(
    "did you mean HTTPRoute?",
  );
  expect((await of("gateway.networking.k8s.io/v7", "HTTPRoute"))[0]).toContain(
    "known as gateway.networking.k8s.io/v1",
  );
});

test("an inherited name is no kind", async () => {
  const text = "apiVersion: v1\nkind: constructor\nmetadata: { name: a }\n";
  expect((await diagnosticsOf(text)).map((d) => d.code)).toEqual(["WS0003"]);
});

const notObjects: [text: string, missing: string][] = [
  ["just text", "apiVersion, kind, metadata.name"],
  ["[1, 2]", "apiVersion, kind, metadata.name"],
  ["kind: Service\nmetadata: { name: a }", "apiVersion"],
  ["apiVersion: v1\nkind: Service", "metadata.name"],
  ["apiVersion: v1\nkind: Service\nmetadata: { name: 7 }", "metadata.name"],
  ['apiVersion: v1\nkind: Service\nmetadata: { name: "" }', "metadata.name"],
];

for (const [text, missing] of notObjects) {
  test(`${JSON.stringify(text)} is no Kubernetes object`, async () => {
    expect(await complaints(text)).toEqual([
      `WS0005 1:1 not a Kubernetes object: ${missing} missing`,
    ]);
  });
}

test("what names no namespace stands in default, if its kind stands in one", async () => {
  const { objects } = await read(
    `${SERVICE}---\napiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n`,
  );
  expect(objects.map((o) => o.value.metadata.namespace)).toEqual(["default", undefined]);
});

test("diagnostics read as istioctl's do", async () => {
  const [found] = await diagnosticsOf(`${POLICY}  action: Deny\n`);
  expect(formatDiagnostic(found!)).toMatch(
    /^Error \[WS0002\] \(AuthorizationPolicy shop\/deny mesh\.yaml:5:11\) spec\.action: "Deny"/,
  );
});

test("Istio's own Gateway is known as such, and is not the Gateway API's", async () => {
  const { objects, diagnostics } = await read(
    "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: { name: a }\nspec: {}\n",
  );
  // The rules that it breaks are its own.
  expect(diagnostics.map((d) => d.path)).toEqual(["spec.servers"]);
  expect(objects.map((o) => o.kind)).toEqual(["IstioGateway"]);
  const text = "apiVersion: v1\nkind: IstioGateway\nmetadata: { name: a }\n";
  expect((await diagnosticsOf(text)).map((d) => d.code)).toEqual(["WS0003"]);
});

test("files of Istio's installer are told where settings come from", async () => {
  const text = "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nspec: {}\n";
  const [found] = await diagnosticsOf(text);
  expect(found).toMatchObject({ code: "WS0105", level: "warning", line: 1 });
  expect(found!.message).toContain("ConfigMap istio");
});

test("a null is a field that is absent, in Kubernetes' own kinds and in metadata", async () => {
  const nulls = `${SERVICE}  selector:\n---\n${ROUTE.replace("namespace: shop", "labels: null")}`;
  const { objects, diagnostics } = await read(nulls);
  expect(diagnostics).toEqual([]);
  expect(objects.map((o) => o.value.spec)).not.toHaveProperty("0.selector");
  expect(objects[1]!.value.metadata).toEqual({ name: "reviews", namespace: "default" });
  expect((await diagnosticsOf(`${POLICY}  rules: null\n`)).map((d) => d.path)).toEqual([
    "spec.rules",
  ]);
});

test("a document that contains itself is refused", async () => {
  const text = "apiVersion: v1\nkind: Pod\nmetadata: { name: a }\nspec: &s\n  more: *s\n";
  expect((await diagnosticsOf(text)).map((d) => [d.code, d.line])).toEqual([["WS0001", 5]]);
});
