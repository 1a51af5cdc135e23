import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { Issuer } from "../../../test/support/tokens.ts";
import { run } from "../program.ts";

const MLFLOW = new URL("../../../examples/mlflow", import.meta.url).pathname;
const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

function fileOf(name: string, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), "waystone-explain-"));
  folders.push(folder);
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}

/** Names of Pods and folders differ from run to run. */
function plain(text: string): string {
  return text.replaceAll(MLFLOW, "mlflow").replace(/-[a-z0-9]{10}-[a-z0-9]{5}\b/g, "-pod");
}

async function explain(...args: string[]) {
  const said: string[] = [];
  const printed: string[] = [];
  const output = {
    print: (text: string) => void printed.push(text),
    say: (text: string) => void said.push(text),
  };
  const code = await run(["explain", ...args], output);
  return { code, text: plain(printed.join("\n")), said: said.join("\n") };
}

const ASK = ["--from", "otel-collector", "--to", "mlflow:5000"];

describe("waystone explain", () => {
  test("tells every hop of what is allowed", async () => {
    const asked = [...ASK, "-X", "post", "--path", "/v1/traces"];
    const { code, text } = await explain(...asked, "-f", MLFLOW);
    expect(text.split("\n")).toEqual([
      "POST mlflow:5000/v1/traces from kagenti-system/otel-collector-pod " +
        "(spiffe://cluster.local/ns/kagenti-system/sa/otel-collector)",
      "",
      "client's ztunnel",
      "  by HBONE to waypoint kagenti-system/mlflow-waypoint",
      "",
      "waypoint kagenti-system/mlflow-waypoint",
      "  ALLOWED by kagenti-system/mlflow-api-access rule 0 (mlflow/policy.yaml:16:7)",
      "    principal: wanted cluster.local/ns/kagenti-system/sa/otel-collector, " +
        "saw cluster.local/ns/kagenti-system/sa/otel-collector (mlflow/policy.yaml:19:15)",
      "    method: wanted POST, saw POST (mlflow/policy.yaml:22:22)",
      "    path: wanted /v1/traces, saw /v1/traces (mlflow/policy.yaml:23:20)",
      "  ROUTE default → mlflow:5000",
      "",
      "ztunnel of kagenti-system/mlflow-pod",
      "  ALLOWED: no ALLOW policy applies, and no other denies",
      "",
      "ALLOWED, reaches kagenti-system/mlflow-pod",
    ]);
    expect(code).toBe(0);
  });

  test("says of what is denied what each rule wanted, and ends with 1", async () => {
    const { code, text } = await explain(...ASK, "-f", MLFLOW);
    expect(code).toBe(1);
    expect(text).toContain("DENIED 403 by default: no ALLOW policy matched");
    expect(text).toContain("(mlflow/policy.yaml:16:7): method: wanted POST, saw GET");
    expect(text.endsWith("\nDENIED 403")).toBe(true);
  });

  test("gives programs the whole trace", async () => {
    const { text } = await explain(...ASK, "-f", MLFLOW, "-o", "json");
    const report = JSON.parse(text);
    expect(report).toMatchObject({ isAllowed: false, status: 403 });
    expect(report.hops.map(({ proxy }: { proxy: string }) => proxy)).toEqual([
      "client's ztunnel",
      "waypoint",
    ]);
    expect(report.hops[1].trace.policies[0].rules).toHaveLength(2);
    const yaml = await explain(...ASK, "-f", MLFLOW, "-o", "yaml");
    expect(yaml.text).toMatch(/^isAllowed: false$/m);
  });

  test("follows connections by server name, and says where none leads", async () => {
    const manifests = fileOf("mesh.yaml", routedMesh);
    const asked = ["--from", "shop/client", "-f", manifests, "--to"];
    const named = await explain(...asked, "cart.shop:443", "--sni", "cart.example");
    expect(named.text).toContain("a connection cart.shop:443, server name cart.example, from");
    expect(named.text).toContain("ROUTE by TLSRoute shop/secure rule 0 (");
    expect(named.text).toContain(") → cart:80 (weight 1 of 1)");
    expect(named.text).toMatch(/\nALLOWED, reaches shop\/cart$/);
    const nameless = await explain(...asked, "cart.shop:443", "--tcp");
    expect(nameless.text).toContain("it is for server name cart.example, saw none");
    expect(nameless.text).toMatch(/\nALLOWED, and closed on the way: no route is for it$/);
    const broken = await explain(...asked, "cart.shop:90", "--tcp", "-o", "json");
    expect(JSON.parse(broken.text)).not.toHaveProperty("reached");
    expect(JSON.parse(broken.text)).toMatchObject({
      isAllowed: true,
      because: "TCPRoute shop/raw: BackendNotFound",
    });
  });

  test("says what a rule answers itself, and what comes before", async () => {
    const manifests = fileOf("mesh.yaml", routedMesh);
    const asked = ["--from", "shop/client", "--to", "cart.shop", "-f", manifests];
    const { code, text } = await explain(...asked, "--path", "/old/a");
    expect(text.replaceAll(manifests, "mesh.yaml").split("\n").slice(5, 12)).toEqual([
      "waypoint shop/waypoint",
      "  ALLOWED: no ALLOW policy applies, and no other denies",
      "  ROUTE by HTTPRoute shop/web rule 0 (mesh.yaml:37:5) → 301",
      "    RequestRedirect: 301, hostname new.example",
      "    passed over: HTTPRoute shop/web rule 1 (mesh.yaml:41:5): it matches, too, but " +
        "shop/web rule 0 has the longer path prefix",
      "    passed over: TCPRoute shop/raw (mesh.yaml:52:1): it is for port 90, not 80",
      "    passed over: TLSRoute shop/secure (mesh.yaml:44:1): it is for port 443, not 80",
    ]);
    expect(text).toMatch(/\nALLOWED, and answered 301 on the way$/);
    expect(code).toBe(0);
    const { text: data } = await explain(...asked, "--path", "/old", "-o", "json");
    const { status, hops } = JSON.parse(data);
    const { chosen } = hops[1].trace.routes;
    expect([status, chosen.status, chosen.service]).toEqual([301, 301, undefined]);
  });

  test("knows clients outside of the mesh", async () => {
    const { code, text } = await explain(
      "--from",
      "192.0.2.1",
      "--to",
      "mlflow.kagenti-system",
      "-f",
      MLFLOW,
    );
    expect(code).toBe(1);
    expect(text).toContain("192.0.2.1, which is no workload: it has no identity");
    expect(text).toContain("ztunnel of kagenti-system/mlflow-pod");
  });

  test("verifies a token, and asks whom a CUSTOM policy names", async () => {
    const issuer = new Issuer("ES256");
    const manifests = fileOf("mesh.yaml", customMesh(issuer.jwks()));
    const asked = ["--from", "shop/client", "--to", "cart.shop", "-f", manifests];
    const good = fileOf("token", issuer.token({ iss: "me", sub: "you" }));
    const allowed = await explain(...asked, "--jwt", good);
    expect(allowed.text).toContain("token of me/you");
    expect(allowed.text).toContain("provider opa would be asked; taken as if it let this pass");
    expect(allowed.code).toBe(0);
    const bad = fileOf("token", issuer.token({ iss: "me", sub: "you", exp: 1 }));
    const expired = await explain(...asked, "--jwt", bad);
    expect(expired.text).toContain("REFUSED 401: Jwt is expired");
    expect(expired.code).toBe(1);
    const refused = await explain(...asked, "--jwt", good, "--answer", "opa=deny");
    expect(refused.text).toContain("shop/ask: provider opa refuses");
    expect(refused.code).toBe(1);
  });

  test.each([
    [["--to", "x", "-f", MLFLOW], "who asks whom?"],
    [["--from", "otel-colector", "--to", "mlflow", "-f", MLFLOW], "Did you mean otel-collector?"],
    [["--from", "otel-collector", "--to", "mlfow", "-f", MLFLOW], "Did you mean mlflow?"],
    [[...ASK, "-f", MLFLOW, "--answer", "opa"], "Write PROVIDER=allow or PROVIDER=deny."],
    [[...ASK, "-f", MLFLOW, "--draw", "2"], "Expected a number from 0"],
  ])("%s is refused with a hint", async (args, hint) => {
    const { code, said } = await explain(...args);
    expect(code).toBe(64);
    expect(said).toContain(hint);
  });
});

const routedMesh = `apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels: { istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: shop }
spec:
  gatewayClassName: istio-waypoint
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
---
apiVersion: v1
kind: Pod
metadata: { name: client, namespace: shop }
spec: { serviceAccountName: client, containers: [{ name: c, image: i }] }
---
apiVersion: v1
kind: Pod
metadata: { name: cart, namespace: shop, labels: { app: cart } }
spec: { containers: [{ name: c, image: i }] }
---
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: shop }
spec:
  selector: { app: cart }
  ports: [{ name: http, port: 80 }, { name: tls, port: 443 }, { name: tcp, port: 90 }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: web, namespace: shop }
spec:
  parentRefs: [{ group: "", kind: Service, name: cart, port: 80 }]
  rules:
  - matches: [{ path: { value: /old } }]
    filters:
    - { type: RequestRedirect, requestRedirect: { hostname: new.example, statusCode: 301 } }
    - { type: RequestMirror, requestMirror: { backendRef: { name: cart, port: 80 } } }
  - matches: [{ path: { value: / } }]
    backendRefs: [{ name: cart, port: 80 }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: { name: secure, namespace: shop }
spec:
  parentRefs: [{ group: "", kind: Service, name: cart, port: 443 }]
  hostnames: [cart.example]
  rules: [{ backendRefs: [{ name: cart, port: 80 }] }]
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: { name: raw, namespace: shop }
spec:
  parentRefs: [{ group: "", kind: Service, name: cart, port: 90 }]
  rules: [{ backendRefs: [{ name: nobody, port: 90 }] }]
`;

function customMesh(jwks: string): string {
  return `
apiVersion: v1
kind: ConfigMap
metadata: { name: istio, namespace: istio-system }
data:
  mesh: |
    extensionProviders:
    - { name: opa, envoyExtAuthzGrpc: { service: opa.shop.svc.cluster.local, port: 9191 } }
---
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels: { istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: shop }
spec:
  gatewayClassName: istio-waypoint
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
${["cart", "client", "opa"].map((name) => workload(name)).join("")}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: jwt, namespace: shop }
spec:
  targetRefs: [{ kind: Service, group: "", name: cart }]
  jwtRules: [{ issuer: me, jwks: '${jwks}' }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ask, namespace: shop }
spec:
  targetRefs: [{ kind: Service, group: "", name: cart }]
  action: CUSTOM
  provider: { name: opa }
  rules: [{}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: people, namespace: shop }
spec:
  targetRefs: [{ kind: Service, group: "", name: cart }]
  rules: [{ from: [{ source: { requestPrincipals: ["me/*"] } }] }]
`;
}

function workload(name: string): string {
  const labels = `labels: { app: ${name} }`;
  return `---
apiVersion: v1
kind: ServiceAccount
metadata: { name: ${name}, namespace: shop }
---
apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: shop }
spec:
  selector: { app: ${name} }
  ports: [{ name: http, port: 80 }, { name: grpc, port: 9191 }]
---
apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: shop, ${labels} }
spec: { serviceAccountName: ${name}, containers: [{ name: main, image: i }] }
`;
}
