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
