/**
 * Istio's own ztunnel under Waystone on a real API server: `WAYSTONE_ZTUNNEL` names the program.
 *
 *     leaf: client, real ztunnel ══> here: control plane, waypoint ══> leaf: real ztunnel, server
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../support/child-process.ts";
import { Leaf } from "./leaf.ts";
import { MeshUnderTest } from "./mesh-under-test.ts";
import { hasPodAddresses, OUTSIDE_IMAGE } from "./pod-runtime.ts";
import { isMissing } from "./toolchain.ts";

const ZTUNNEL = process.env.WAYSTONE_ZTUNNEL;
if (ZTUNNEL === undefined) console.log("real ztunnel: skipped, WAYSTONE_ZTUNNEL is not set");

const ADDRESSES = { client: "10.244.200.2", server: "10.244.201.2" } as const;
type Place = keyof typeof ADDRESSES;
const PLACES = Object.keys(ADDRESSES) as Place[];

const workload = (name: Place) => `
apiVersion: v1
kind: ServiceAccount
metadata: { name: ${name}, namespace: shop }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: ${name}, namespace: shop }
spec:
  selector: { matchLabels: { app: ${name} } }
  template:
    metadata: { labels: { app: ${name} } }
    spec:
      serviceAccountName: ${name}
      containers: [{ name: app, image: "${OUTSIDE_IMAGE}", ports: [{ containerPort: 8080 }] }]
`;

const SHOP = `
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { istio.io/dataplane-mode: ambient } }
---
${workload("client")}
---
${workload("server")}
---
apiVersion: v1
kind: Service
metadata: { name: server, namespace: shop, labels: { istio.io/use-waypoint: waypoint } }
spec:
  selector: { app: server }
  ports: [{ name: http, port: 80, targetPort: 8080 }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: shop }
spec:
  gatewayClassName: istio-waypoint
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
`;

const DENIAL = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: no-secrets, namespace: shop }
spec:
  targetRefs: [{ kind: Service, group: "", name: server }]
  action: DENY
  rules: [{ to: [{ operation: { paths: [/secret] } }] }]
`;

const APP = `require("node:http").createServer((q, s) => s.end("served " + q.url)).listen(8080, "0.0.0.0")`;

describe.skipIf(ZTUNNEL === undefined || !hasPodAddresses || isMissing("the real ztunnel"))(
  "the real ztunnel under Waystone",
  () => {
    const leaves = new Map<Place, Leaf>();
    const leaf = (name: Place) => leaves.get(name)!;
    let mesh: MeshUnderTest;

    beforeAll(async () => {
      mesh = await MeshUnderTest.start({
        addressOf: ({ metadata }) => {
          const place = PLACES.find((name) => metadata.name.startsWith(`${name}-`));
          return metadata.namespace === "shop" && place ? ADDRESSES[place] : undefined;
        },
      });
      for (const name of PLACES) leaves.set(name, new Leaf(name, ADDRESSES[name]));
      await mesh.cluster.apply(SHOP);
      for (const name of PLACES) {
        await until(`${name} has a Pod`, () => mesh.runtime.pods(name).length > 0, 30_000);
        const [pod] = mesh.runtime.pods(name);
        await leaf(name).startZtunnel(ZTUNNEL!, mesh, pod!, mesh.outside);
      }
      leaf("server").start(process.execPath, ["-e", APP]);
      await until(
        "the waypoint is programmed",
        () => mesh.isProgrammed("shop", "waypoint"),
        60_000,
      );
    }, 180_000);

    afterAll(async () => {
      for (const each of leaves.values()) each.stop();
      await mesh?.stop();
    }, 60_000);

    test("gets its configuration and becomes ready", async () => {
      for (const each of leaves.values()) {
        const isReady = () => each.isReady();
        await until(`${each.name} is ready`, isReady, 30_000).catch((caught: Error) => {
          throw new Error(`${caught.message}\n${each.text}\n${mesh.text}`);
        });
      }
    }, 90_000);

    test("sends through the waypoint, which sends to the other one", async () => {
      const { spec } = await mesh.cluster.get<{ spec: { clusterIP: string } }>(
        ...(["service", "server", "-n", "shop"] as const),
      );
      const ask = (path: string) => leaf("client").ask(`http://${spec.clusterIP}${path}`);
      await expect.poll(() => ask("/hello"), { timeout: 20_000 }).toBe("served /hello 200");
      await mesh.cluster.apply(DENIAL);
      await expect.poll(() => ask("/secret"), { timeout: 10_000 }).toMatch(/403$/);
      expect(await ask("/hello")).toBe("served /hello 200");
      await mesh.cluster.kubectl(["delete", "authorizationpolicy", "no-secrets", "-n", "shop"]);
      await expect.poll(() => ask("/secret"), { timeout: 10_000 }).toBe("served /secret 200");
      const metrics = await leaf("server").curl("http://127.0.0.1:15020/metrics");
      expect(metrics).toContain('source_principal="spiffe://cluster.local/ns/shop/sa/waypoint"');
    }, 90_000);
  },
);
