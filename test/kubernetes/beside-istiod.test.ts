/**
 * Beside a real istiod (`WAYSTONE_ISTIOD` names the program): our waypoint has its certificate from
 * istiod's CA, reads istiod's WDS, and is the waypoint that istiod tells its ztunnels of. With
 * `WAYSTONE_ZTUNNEL` one of them is real, too.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CaClient } from "../../src/agent/ca-client.ts";
import { Certificates } from "../../src/agent/certificates.ts";
import { GrpcChannel } from "../../src/agent/grpc-channel.ts";
import { log } from "../../src/kit/log.ts";
import { decodeAddress } from "../../src/wire/address.ts";
import { RESOURCE_TYPES } from "../../src/wire/resource.ts";
import { until } from "../support/child-process.ts";
import { freePorts } from "../support/free-ports.ts";
import { askThrough } from "../support/hbone-client.ts";
import { ScriptedZtunnel } from "../support/scripted-ztunnel.ts";
import { Daemon } from "./daemon.ts";
import { Leaf } from "./leaf.ts";
import { MeshUnderTest, OUTSIDE } from "./mesh-under-test.ts";
import { hasPodAddresses, OUTSIDE_IMAGE } from "./pod-runtime.ts";
import { isMissing } from "./toolchain.ts";

const ISTIOD = process.env.WAYSTONE_ISTIOD;
if (ISTIOD === undefined) console.log("beside istiod: skipped, WAYSTONE_ISTIOD is not set");

const ZTUNNEL = process.env.WAYSTONE_ZTUNNEL;

/** Of `hidden` istiod knows nothing, and our control plane does. */
const MESH = `
apiVersion: v1
kind: ConfigMap
metadata: { name: istio, namespace: istio-system }
data:
  mesh: |
    discoverySelectors:
      - matchExpressions:
          - { key: kubernetes.io/metadata.name, operator: NotIn, values: [hidden] }
---
apiVersion: v1
kind: Namespace
metadata: { name: hidden }
`;

const server = (name: string) => `
apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: shop, labels: { app: server, istio.io/dataplane-mode: none } }
spec:
  containers: [{ name: app, image: example/server, ports: [{ containerPort: 8080 }] }]
`;

const SHOP = `
apiVersion: v1
kind: Pod
metadata: { name: unseen, namespace: hidden }
spec:
  containers: [{ name: app, image: example/server }]
---
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { istio.io/dataplane-mode: ambient } }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: client, namespace: shop }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: ztunnel, namespace: istio-system }
---
apiVersion: v1
kind: Pod
metadata: { name: ztunnel-7, namespace: istio-system }
spec:
  serviceAccountName: ztunnel
  containers: [{ name: istio-proxy, image: example/ztunnel }]
---
apiVersion: v1
kind: Service
metadata: { name: server, namespace: shop, labels: { istio.io/use-waypoint: waypoint } }
spec:
  selector: { app: server }
  ports: [{ name: http, port: 80, targetPort: 8080 }]
---
${server("server")}
---
apiVersion: v1
kind: Pod
metadata: { name: client, namespace: shop, labels: { app: client } }
spec:
  serviceAccountName: client
  containers: [{ name: app, image: "${OUTSIDE_IMAGE}" }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: shop }
spec:
  gatewayClassName: waystone-waypoint
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: no-secrets, namespace: shop }
spec:
  targetRefs: [{ kind: Service, group: "", name: server }]
  action: DENY
  rules: [{ to: [{ operation: { paths: [/secret] } }] }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: server, namespace: shop }
spec:
  parentRefs: [{ group: "", kind: Service, name: server }]
  rules: [{ backendRefs: [{ name: server, port: 80 }] }]
`;

const CLIENT_ADDRESS = "10.244.202.2";
const HOUR_MS = 3_600_000;
const WAYPOINT = "spiffe://cluster.local/ns/shop/sa/waypoint";
const CLIENT = "spiffe://cluster.local/ns/shop/sa/client";

describe.skipIf(ISTIOD === undefined || !hasPodAddresses || isMissing("beside istiod"))(
  "beside istiod",
  () => {
    let mesh: MeshUnderTest;
    let istiod: Daemon;
    let istiodPort: number;
    let leaf: Leaf | undefined;
    const channels: GrpcChannel[] = [];

    async function startIstiod(kubeconfig: string, folder: string): Promise<string> {
      const [https, http, grpc, secure, monitoring, debug] = (await freePorts(6)) as [
        number,
        ...number[],
      ];
      istiodPort = secure!;
      istiod = new Daemon(folder, "istiod", "/usr/bin/env", [
        ...["PILOT_ENABLE_AMBIENT=true", "POD_NAMESPACE=istio-system", "POD_NAME=istiod-0"],
        ...[`ISTIOD_CUSTOM_HOST=${OUTSIDE}`, "CLUSTER_ID=Kubernetes", "REVISION=default"],
        ...["CA_TRUSTED_NODE_ACCOUNTS=istio-system/ztunnel", "VALIDATION_WEBHOOK_CONFIG_NAME="],
        ...["INJECTION_WEBHOOK_CONFIG_NAME="],
        ...[ISTIOD!, "discovery", "--kubeconfig", kubeconfig],
        ...["--httpsAddr", `127.0.0.1:${https}`, "--httpAddr", `127.0.0.1:${http}`],
        ...["--grpcAddr", `127.0.0.1:${grpc}`, "--secureGRPCAddr", `${OUTSIDE}:${secure}`],
        ...["--monitoringAddr", `127.0.0.1:${monitoring}`, "--ctrlz_port", String(debug)],
      ]);
      istiod.start();
      await whenReady(http!);
      return `${OUTSIDE}:${istiodPort}`;
    }

    async function whenReady(http: number): Promise<void> {
      const isReady = () =>
        fetch(`http://127.0.0.1:${http}/ready`).then(
          ({ ok }) => ok,
          () => {
            if (!istiod.isRunning) throw new Error(`istiod has ended:\n${istiod.log}`);
            return false;
          },
        );
      await until("istiod is ready", isReady, 60_000).catch((caught: Error) => {
        throw new Error(`${caught.message}\n${istiod.log}`);
      });
    }

    beforeAll(async () => {
      mesh = await MeshUnderTest.start({
        addressOf: ({ metadata: { name, namespace } }) =>
          namespace === "shop" && name === "client" ? CLIENT_ADDRESS : undefined,
        istiod: async (cluster, folder) => {
          await cluster.apply(MESH);
          return await startIstiod(cluster.kubeconfig, folder);
        },
      });
      await mesh.cluster.apply(SHOP);
      const isProgrammed = () => mesh.isProgrammed("shop", "waypoint");
      await until("the waypoint is programmed", isProgrammed, 60_000).catch((caught: Error) => {
        throw new Error(`${caught.message}\n${mesh.text}\n${istiod.log}`);
      });
    }, 240_000);

    afterAll(async () => {
      for (const channel of channels) channel.close();
      leaf?.stop();
      await istiod?.stop();
      await mesh?.stop();
    }, 60_000);

    /** With the token of a Pod. */
    async function channelOf(namespace: string, pod: string): Promise<GrpcChannel> {
      const roots = await mesh.cluster.get<{ data: Record<string, string> }>(
        ...(["configmap", "istio-ca-root-cert", "-n", "shop"] as const),
      );
      const channel = new GrpcChannel({
        host: OUTSIDE,
        port: istiodPort,
        roots: async () => roots.data["root-cert.pem"]!,
        token: () => mesh.kubelet.token(namespace, pod, "istio-ca"),
        clusterId: "Kubernetes",
      });
      channels.push(channel);
      return channel;
    }

    test("istiod tells ztunnels that our waypoint is the Service's", async () => {
      const from = await channelOf("istio-system", "ztunnel-7");
      const waypointOf = async () => {
        const ztunnel = new ScriptedZtunnel(await from.transport(), await from.headers());
        ztunnel.begin();
        for (;;) {
          const { typeUrl, resources } = await ztunnel.take();
          if (typeUrl !== RESOURCE_TYPES.address) continue;
          ztunnel.abort();
          const found = resources.find(({ name }) => name === "shop/server.shop.svc.cluster.local");
          const decoded = found?.resource && decodeAddress(found.resource.value);
          return decoded?.kind === "service" ? decoded.service.waypoint : undefined;
        }
      };
      await expect
        .poll(waypointOf, { timeout: 20_000, interval: 500 })
        .toMatchObject({ service: "shop/waypoint.shop.svc.cluster.local", hbonePort: 15008 });
    }, 60_000);

    async function service(): Promise<{ readonly at: string }> {
      const { spec } = await mesh.cluster.get<{ spec: { clusterIP: string } }>(
        ...(["service", "server", "-n", "shop"] as const),
      );
      return { at: `${spec.clusterIP}:80` };
    }

    /** A ztunnel's way to the Service, with the client's certificate. */
    async function asClient() {
      const from = await channelOf("shop", "client");
      const authority = new CaClient({ channel: from, impersonates: false });
      const certificates = new Certificates(authority, { ttlMs: HOUR_MS, log: log("test") });
      const identity = await certificates.get(CLIENT);
      const [pod] = mesh.runtime.pods("waypoint");
      const target = { host: pod!.status!.podIP!, expected: WAYPOINT };
      const { at } = await service();
      const ask = (path: string) => askThrough(identity, target, at, path);
      return { ask, close: () => certificates.close() };
    }

    test("it takes what a ztunnel sends, judges it, and answers", async () => {
      const { ask, close } = await asClient();
      await expect.poll(() => ask("/hello"), { timeout: 20_000 }).toMatch(/^HTTP\/1.1 200 /);
      expect(await ask("/hello")).toContain('{"pod":"server","path":"/hello"}');
      expect(await ask("/secret")).toMatch(/^HTTP\/1.1 403 /);
      close();
    }, 60_000);

    /** Names of Pods, as the waypoint has them. */
    async function seen(): Promise<readonly string[]> {
      const [pod] = mesh.runtime.pods("waypoint");
      const response = await fetch(`http://${pod!.status!.podIP}:15000/config_dump`);
      const { workloads } = (await response.json()) as { workloads: Record<string, object> };
      const uids = Object.keys(workloads).filter((uid) => uid.includes("//Pod/"));
      return uids.map((uid) => uid.split("//Pod/")[1]!).sort();
    }

    const gone = (name: string) => mesh.cluster.kubectl(["delete", "pod", name, "-n", "shop"]);

    test("its workloads are istiod's, also those that come and go", async () => {
      await expect.poll(seen, { timeout: 20_000 }).toContain("shop/client");
      const ours = async () => {
        const { workloads } = (await mesh.dumpOf("first")) as { workloads: object };
        return Object.keys(workloads);
      };
      await expect.poll(ours, { timeout: 20_000 }).toContain("Kubernetes//Pod/hidden/unseen");
      expect(await seen()).not.toContain("hidden/unseen");
      const { ask, close } = await asClient();
      const answering = async () => {
        const texts = await Promise.all(Array.from({ length: 12 }, () => ask("/")));
        return [...new Set(texts.map((text) => /"pod":"([^"]+)"/.exec(text)?.[1] ?? text))].sort();
      };
      await mesh.cluster.apply(server("server-2"));
      await expect.poll(answering, { timeout: 20_000 }).toEqual(["server", "server-2"]);
      await gone("server");
      await expect.poll(answering, { timeout: 20_000 }).toEqual(["server-2"]);
      // Without istiod the last word stands, and traffic goes on; what happened is learnt later.
      await istiod.stop();
      await mesh.cluster.apply(server("server-3"));
      expect(await answering()).toEqual(["server-2"]);
      expect(await seen()).not.toContain("shop/server-3");
      istiod.start();
      await expect.poll(answering, { timeout: 60_000 }).toEqual(["server-2", "server-3"]);
      await gone("server-2");
      await expect.poll(seen, { timeout: 20_000 }).not.toContain("shop/server-2");
      expect(await answering()).toEqual(["server-3"]);
      close();
    }, 180_000);

    test.skipIf(ZTUNNEL === undefined)(
      "a real ztunnel of istiod's comes to it",
      async () => {
        const [pod] = mesh.runtime.pods("client");
        leaf = new Leaf("client", CLIENT_ADDRESS);
        await leaf.startZtunnel(ZTUNNEL!, mesh, pod!, `${OUTSIDE}:${istiodPort}`);
        const client = leaf;
        await until("ztunnel is ready", () => client.isReady(), 30_000).catch((caught: Error) => {
          throw new Error(`${caught.message}\n${client.text}`);
        });
        const { at } = await service();
        const ask = (path: string) => client.ask(`http://${at}${path}`);
        await expect.poll(() => ask("/hello"), { timeout: 20_000 }).toMatch(/"\/hello"} 200$/);
        expect(await ask("/secret")).toMatch(/ 403$/);
        // It came by the waypoint, and its identity with it.
        const [waypoint] = mesh.runtime.pods("waypoint");
        const metrics = `http://${waypoint!.status!.podIP}:15020/stats/prometheus`;
        const text = await (await fetch(metrics)).text();
        const denied = text.split("\n").find((line) => line.includes('response_code="403"'));
        expect(denied).toContain(`source_principal="${CLIENT}"`);
      },
      90_000,
    );

    test("only our own entries and Gateways carry our statuses", async () => {
      const { status } = await mesh.cluster.get<{
        status: { parents: readonly { controllerName: string }[] };
      }>(...(["httproute", "server", "-n", "shop"] as const));
      expect(status.parents.map(({ controllerName }) => controllerName)).toContain(
        "waystone.io/mesh-controller",
      );
      const gateway = await mesh.cluster.get<{ status: { addresses: readonly object[] } }>(
        ...(["gateway", "waypoint", "-n", "shop"] as const),
      );
      expect(gateway.status.addresses).toEqual([
        { type: "Hostname", value: "waypoint.shop.svc.cluster.local" },
      ]);
    }, 30_000);
  },
);
