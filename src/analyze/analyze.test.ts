import { describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { loadManifests } from "../../test/support/loaded-manifests.ts";
import { applyEdits, readRemedy } from "../../test/support/printed-remedy.ts";
import { simulate } from "../../test/support/simulated-request.ts";
import { formatDiagnostic } from "../kit/diagnostic.ts";
import { remedyText } from "./remedy-text.ts";

const MESH = `
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { istio.io/dataplane-mode: ambient } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: shop }
spec:
  gatewayClassName: istio-waypoint
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
---
apiVersion: v1
kind: Service
metadata: { name: reviews, namespace: shop, labels: { istio.io/use-waypoint: waypoint } }
spec:
  selector: { app: reviews }
  ports: [{ name: http, port: 80, targetPort: 9080 }]
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: reviews, namespace: shop }
spec:
  selector: { matchLabels: { app: reviews } }
  template:
    metadata: { labels: { app: reviews } }
    spec: { serviceAccountName: reviews, containers: [{ name: app, image: example/app }] }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: client, namespace: shop }
spec:
  selector: { matchLabels: { app: client } }
  template:
    metadata: { labels: { app: client } }
    spec: { serviceAccountName: client, containers: [{ name: app, image: example/app }] }
`;

/** `spec` is one line of YAML. */
function policy(spec: string, name = "p"): string {
  return `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: shop }
spec: ${spec}
`;
}

const TARGET = 'targetRefs: [{ kind: Service, group: "", name: reviews }]';

async function found(...policies: readonly string[]): Promise<readonly string[]> {
  const { diagnostics } = await loadManifests([MESH, ...policies].join(""));
  return diagnostics.map(({ code, message }) => `${code} ${message}`);
}

describe("analyze() finds nothing in", () => {
  const right: Record<string, readonly string[]> = {
    "every kind of principal": [
      `{ ${TARGET}, rules: [{ from: [{ source: { principals: ["*", cluster.local/ns/shop/sa/client, "*/ns/shop/sa/client", "cluster.local/ns/shop/*", "cluster.local/*"] } }] }] }`,
    ],
    "every form of path": [
      `{ ${TARGET}, rules: [{ to: [{ operation: { paths: ["*", "/a", "/a/*", "*/z", "*.js", "/a/{*}/b", "/a/{**}"] } }] }] }`,
    ],
    "methods, also of one's own": [
      `{ ${TARGET}, rules: [{ to: [{ operation: { methods: [GET, PURGE, purge, "*"] } }] }] }`,
    ],
    "hosts with and without a port": [
      `{ ${TARGET}, rules: [{ to: [{ operation: { hosts: [reviews, "reviews:80", "*.example.com", "reviews.*"] } }] }] }`,
    ],
    "lists with exceptions that leave something": [
      `{ ${TARGET}, rules: [{ to: [{ operation: { paths: ["/a*"], notPaths: ["/ab*", "/b"] } }] }] }`,
    ],
    "a lockdown": [`{}`],
    "an ALLOW at layer 4 that lets the waypoint in beside a policy of the waypoint's": [
      "{ selector: { matchLabels: { app: reviews } }, rules: [{ from: [{ source: { serviceAccounts: [waypoint] } }] }] }",
      `{ ${TARGET}, rules: [{ from: [{ source: { serviceAccounts: [client] } }] }] }`,
    ],
    "an ALLOW at layer 4 of workloads behind no waypoint": [
      "{ selector: { matchLabels: { app: client } }, rules: [{ from: [{ source: { serviceAccounts: [reviews] } }] }] }",
    ],
    "a DENY that is said at the waypoint as well": [
      "{ selector: { matchLabels: { app: reviews } }, action: DENY, rules: [{ from: [{ source: { serviceAccounts: [client] } }] }] }",
      `{ ${TARGET}, action: DENY, rules: [{ from: [{ source: { serviceAccounts: [client] } }] }] }`,
    ],
    "conditions on lists, of which any element may match": [
      "{ selector: { matchLabels: { app: nobody } }, action: DENY, rules: [{ when: [{ key: source.ip, values: [10.0.0.0/8] }, { key: source.ip, values: [10.1.0.0/16] }] }] }",
    ],
    "rules with empty parts": [
      `{ ${TARGET}, rules: [{}, { when: [{ key: source.namespace, notValues: [web] }] }] }`,
    ],
    "a DENY of everybody": [
      "{ selector: { matchLabels: { app: reviews } }, action: DENY, rules: [{}] }",
    ],
  };
  test.each(Object.entries(right))("%s", async (_, specs) => {
    expect(await found(...specs.map((spec, i) => policy(spec, `p${i}`)))).toEqual([]);
  });
});

describe("analyze() leaves the remedy to the author of", () => {
  const unclear: readonly (readonly [string, string, string])[] = [
    [
      "a list that its twin empties",
      "to: [{ operation: { methods: [GET, HEAD], notMethods: ['*'] } }]",
      "all that methods asks for is kept out by notMethods",
    ],
    [
      "principals of other namespaces than the rule's",
      "from: [{ source: { principals: [cluster.local/ns/shop/sa/client], namespaces: [web] } }]",
      "none of principals is of one of namespaces",
    ],
    [
      "conditions that contradict one another",
      "when: [{ key: 'request.headers[x]', values: [a] }, { key: 'request.headers[x]', values: [b] }]",
      "the conditions on request.headers[x] contradict one another",
    ],
    [
      "a condition that contradicts a source",
      "from: [{ source: { namespaces: [shop] } }], when: [{ key: source.namespace, values: [web] }]",
      "the condition on source.namespace and namespaces contradict one another",
    ],
    ["a port that nobody has", "to: [{ operation: { ports: ['7777'] } }]", "port 7777 is none of"],
    [
      "a principal of one word",
      "from: [{ source: { principals: [client] } }]",
      "is not of the form",
    ],
  ];
  test.each(unclear)("%s", async (_, rule, message) => {
    const { diagnostics } = await loadManifests(
      `${MESH}${policy(`{ ${TARGET}, rules: [{ ${rule} }] }`)}`,
    );
    expect(diagnostics.map(formatDiagnostic)).toHaveLength(1);
    expect(diagnostics[0]!.message).toContain(message);
    expect(diagnostics[0]!.remedy).toBeUndefined();
  });
});

test("a policy that must leave one of several targets' namespaces is not moved", async () => {
  const text = `${MESH}${policy(`{ targetRefs: [{ kind: Service, group: "", name: client }, { kind: Service, group: "", name: far }] }`)}---
apiVersion: v1
kind: Service
metadata: { name: far, namespace: web, labels: { istio.io/use-waypoint: none } }
spec: { selector: { app: far }, ports: [{ name: http, port: 80 }] }
`;
  const { diagnostics } = await loadManifests(text);
  const far = diagnostics.find(({ path }) => path === "spec.targetRefs[1]");
  expect(far?.code).toBe("WS0110");
  expect(far?.remedy).toBeUndefined();
});

test("a namespace that no file declares gets no label: its services do", async () => {
  const undeclared = MESH.slice(MESH.indexOf("---\n")).replace(
    "labels: { istio.io/use-waypoint: waypoint }",
    "labels: {}",
  );
  const text = `${undeclared}${policy("{ rules: [{ to: [{ operation: { paths: [/a] } }] }] }")}`;
  const { diagnostics } = await loadManifests(text);
  expect(diagnostics.map(({ code }) => code)).toEqual(["WS0111"]);
  const mended = applyEdits(text, readRemedy(diagnostics[0]!.message, diagnostics[0]!.object!));
  const { snapshot, diagnostics: left } = await loadManifests(mended);
  expect(left.map(formatDiagnostic)).toEqual([]);
  const request = { from: "shop/client", to: "reviews.shop:80", method: "GET" };
  expect(simulate(snapshot, { ...request, path: "/a" }).isAllowed).toBe(true);
  expect(simulate(snapshot, { ...request, path: "/b" }).isAllowed).toBe(false);
});

test("tokens of an issuer that the rule names are verified by its keys", async () => {
  const rule = "from: [{ source: { requestPrincipals: ['https://issuer.example/alice'] } }]";
  const { diagnostics } = await loadManifests(
    `${MESH}${policy(`{ ${TARGET}, rules: [{ ${rule} }] }`)}`,
  );
  expect(diagnostics.map(({ code, remedy }) => [code, remedy])).toEqual([
    [
      "WS0117",
      [
        {
          op: "create",
          object: "RequestAuthentication shop/p-tokens",
          value: {
            apiVersion: "security.istio.io/v1",
            kind: "RequestAuthentication",
            metadata: { name: "p-tokens", namespace: "shop" },
            spec: {
              targetRefs: [{ kind: "Service", group: "", name: "reviews" }],
              jwtRules: [{ issuer: "https://issuer.example" }],
            },
          },
        },
      ],
    ],
  ]);
});

test("new objects have names that nobody has", async () => {
  const allow = (name: string) =>
    policy(
      "{ selector: { matchLabels: { app: reviews } }, rules: [{ from: [{ source: { serviceAccounts: [client] } }] }] }",
      name,
    );
  const taken = policy("{ selector: { matchLabels: { app: nobody } } }", "p-at-waypoint");
  const text = `${MESH}${allow("p")}${taken}`;
  const { diagnostics } = await loadManifests(text);
  const [only] = diagnostics;
  expect(diagnostics).toHaveLength(1);
  const mended = applyEdits(text, readRemedy(only!.message, only!.object!));
  const names = parseAllDocuments(mended).map((d) => String(d.getIn(["metadata", "name"])));
  expect(names).toContain("p-at-waypoint-2");
  const { snapshot, diagnostics: left } = await loadManifests(mended);
  expect(left.map(formatDiagnostic)).toEqual([]);
  const request = { from: "shop/client", to: "reviews.shop:80", method: "GET", path: "/" };
  expect(simulate(snapshot, request).isAllowed).toBe(true);
});

test("remedies are read as they were meant, whatever their values hold", () => {
  const object = "AuthorizationPolicy shop/p";
  const hostile = ', and remove spec of Service a/b, and add "x" to y';
  const remedy = [
    { op: "set", object, path: ["spec", "rules", 0, "to"], value: [hostile, { a: " to " }] },
    { op: "set", object: "Service a/b", path: ["metadata", "labels", "a.b/c"], value: "d" },
    { op: "append", object: "Gateway a/b", path: ["spec", "x"], value: hostile },
    { op: "remove", object: "Gateway a/b", path: ["metadata", "annotations", "a.b/c"] },
    { op: "remove", object, path: ["spec", "selector"] },
  ] as const;
  const message = `it is wrong; remedy: ${remedyText(remedy, object)}`;
  expect(readRemedy(message, object)).toEqual(remedy);
});
