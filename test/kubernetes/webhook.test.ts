/**
 * The validating webhook before a real API server, as it is installed: what the mesh could not use
 * is not stored, and kubectl tells why.
 *
 * The Service that the configuration names is one of type ExternalName here, since nothing brings
 * the API server to a Pod.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseAllDocuments, stringify } from "yaml";
import { run } from "../../src/cli/program.ts";
import { until } from "../support/child-process.ts";
import { freePort } from "../support/free-ports.ts";
import { Cluster } from "./cluster.ts";
import { type RunningControlPlane, startControlPlane } from "./control-planes.ts";
import { isMissing } from "./toolchain.ts";

interface Webhooks {
  readonly kind: string;
  readonly webhooks: { clientConfig: { caBundle?: string; service: { port: number } } }[];
}

const SHOP = `
apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: shop }
spec: { ports: [{ port: 80 }] }
`;

const policy = (name: string, spec: object) =>
  stringify({
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata: { name, namespace: "shop" },
    spec,
  });

const route = (filters: readonly object[]) =>
  stringify({
    apiVersion: "gateway.networking.k8s.io/v1",
    kind: "HTTPRoute",
    metadata: { name: "cart", namespace: "shop" },
    spec: {
      parentRefs: [{ group: "", kind: "Service", name: "cart" }],
      rules: [{ filters, backendRefs: [{ name: "cart", port: 80 }] }],
    },
  });

const TO_CART = [{ group: "", kind: "Service", name: "cart" }];

/** The configuration that `waystone install` makes, led to another port. */
async function installed(port: number): Promise<Webhooks> {
  const out: string[] = [];
  const output = { print: (text: string) => void out.push(text), say: () => {} };
  const chosen = ["--mode", "under", "--set", "webhook.failurePolicy=Fail"];
  await run(["install", "--dry-run", ...chosen], output);
  const all = parseAllDocuments(out.join("\n")).map((one) => one.toJS() as Webhooks);
  const found = all.find(({ kind }) => kind === "ValidatingWebhookConfiguration")!;
  for (const { clientConfig } of found.webhooks) clientConfig.service.port = port;
  return found;
}

describe.skipIf(isMissing("webhook"))("the validating webhook", () => {
  let cluster: Cluster;
  let running: RunningControlPlane | undefined;

  beforeAll(async () => {
    cluster = await Cluster.start();
    const port = await freePort();
    await cluster.apply(`
apiVersion: v1
kind: Namespace
metadata: { name: istio-system }
---
apiVersion: v1
kind: Service
metadata: { name: istiod, namespace: istio-system }
spec: { type: ExternalName, externalName: localhost, ports: [{ port: ${port} }] }
`);
    await cluster.apply(stringify(await installed(port)));
    running = await startControlPlane(cluster, "first", "under", { host: "127.0.0.1", port });
    const name = "waystone-validator";
    await until("the webhook's roots are told", async () => {
      const { webhooks } = await cluster.get<Webhooks>("validatingwebhookconfiguration", name);
      return webhooks[0]?.clientConfig.caBundle !== undefined;
    });
    await cluster.apply(SHOP);
    // It takes the API server a moment to know the roots.
    const allowed = policy("first", { targetRefs: TO_CART, rules: [{}] });
    await until("it is asked", async () => {
      const said = await cluster.apply(allowed).catch(String);
      return /created|unchanged/.test(said);
    });
  }, 120_000);

  afterAll(async () => {
    await running?.stop();
    await cluster?.stop();
  });

  test("what the mesh could not use is not stored, and kubectl tells why", async () => {
    const rules = [{ from: [{ source: { ipBlocks: ["10.0.0.0/99"] } }] }];
    const refused = cluster.apply(policy("bad", { targetRefs: TO_CART, rules }));
    await expect(refused).rejects.toThrow(/validation\.waystone\.io.*denied.*ipBlocks/s);
    const stored = await cluster.get<{ items: unknown[] }>("authorizationpolicies", "-n", "shop");
    expect(stored.items.length).toBe(1);
  });

  test("what is good is stored", async () => {
    expect(await cluster.apply(route([]))).toMatch(/created/);
  });

  test("with Fail nothing is stored while nobody answers; what is not of the mesh is", async () => {
    await running?.stop();
    running = undefined;
    const edit = policy("later", { targetRefs: TO_CART, rules: [{}] });
    await expect(cluster.apply(edit)).rejects.toThrow(/failed calling webhook/);
    expect(await cluster.kubectl(["create", "configmap", "x", "-n", "shop"])).toMatch(/created/);
  });
});
