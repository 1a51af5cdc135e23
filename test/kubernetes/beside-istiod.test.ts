/**
 * Beside a real istiod (`WAYSTONE_ISTIOD` names the program): our waypoint has its certificate from
 * istiod's CA, reads istiod's WDS, and is the waypoint that istiod tells its ztunnels of.
 */
import http2 from "node:http2";
import tls from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CaClient } from "../../src/agent/ca-client.ts";
import { Certificates } from "../../src/agent/certificates.ts";
import { GrpcChannel } from "../../src/agent/grpc-channel.ts";
import { log } from "../../src/kit/log.ts";
import type { TlsIdentity } from "../../src/net/tls.ts";
import { decodeAddress } from "../../src/wire/address.ts";
import { RESOURCE_TYPES } from "../../src/wire/resource.ts";
import { until } from "../support/child-process.ts";
import { freePorts } from "../support/free-ports.ts";
import { ScriptedZtunnel } from "../support/scripted-ztunnel.ts";
import { Daemon } from "./daemon.ts";
import { MeshUnderTest } from "./mesh-under-test.ts";
import { hasPodAddresses } from "./pod-runtime.ts";
import { isMissing } from "./toolchain.ts";

const ISTIOD = process.env.WAYSTONE_ISTIOD;
if (ISTIOD === undefined) console.log("beside istiod: skipped, WAYSTONE_ISTIOD is not set");

const SHOP = `
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
apiVersion: v1
kind: Pod
metadata: { name: server, namespace: shop, labels: { app: server, istio.io/dataplane-mode: none } }
spec:
  containers: [{ name: app, image: example/server, ports: [{ containerPort: 8080 }] }]
---
apiVersion: v1
kind: Pod
metadata: { name: client, namespace: shop, labels: { app: client } }
spec:
  serviceAccountName: client
  containers: [{ name: app, image: example/client }]
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

const CLIENT = "spiffe://cluster.local/ns/shop/sa/client";

describe.skipIf(ISTIOD === undefined || !hasPodAddresses || isMissing("beside istiod"))(
  "beside istiod",
  () => {
    let mesh: MeshUnderTest;
    let istiod: Daemon;
    let istiodPort: number;
    const channels: GrpcChannel[] = [];

    async function startIstiod(kubeconfig: string, folder: string): Promise<string> {
      const [https, http, grpc, secure, monitoring, debug] = (await freePorts(6)) as [
        number,
        ...number[],
      ];
      istiodPort = secure!;
      istiod = new Daemon(folder, "istiod", "/usr/bin/env", [
        ...["PILOT_ENABLE_AMBIENT=true", "POD_NAMESPACE=istio-system", "POD_NAME=istiod-0"],
        ...["ISTIOD_CUSTOM_HOST=127.0.0.1", "CLUSTER_ID=Kubernetes", "REVISION=default"],
        ...["CA_TRUSTED_NODE_ACCOUNTS=istio-system/ztunnel", "VALIDATION_WEBHOOK_CONFIG_NAME="],
        ...["INJECTION_WEBHOOK_CONFIG_NAME="],
        ...[ISTIOD!, "discovery", "--kubeconfig", kubeconfig],
        ...["--httpsAddr", `127.0.0.1:${https}`, "--httpAddr", `127.0.0.1:${http}`],
        ...["--grpcAddr", `127.0.0.1:${grpc}`, "--secureGRPCAddr", `127.0.0.1:${secure}`],
        ...["--monitoringAddr", `127.0.0.1:${monitoring}`, "--ctrlz_port", String(debug)],
      ]);
      istiod.start();
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
      return `127.0.0.1:${istiodPort}`;
    }

    beforeAll(async () => {
      mesh = await MeshUnderTest.start({
        istiod: (cluster, folder) => startIstiod(cluster.kubeconfig, folder),
      });
      await mesh.cluster.apply(SHOP);
      const isProgrammed = () => mesh.isProgrammed("shop", "waypoint");
      await until("the waypoint is programmed", isProgrammed, 60_000).catch((caught: Error) => {
        throw new Error(`${caught.message}\n${mesh.text}\n${istiod.log}`);
      });
    }, 240_000);

    afterAll(async () => {
      for (const channel of channels) channel.close();
      await istiod?.stop();
      await mesh?.stop();
    }, 60_000);

    /** With the token of a Pod. */
    async function channelOf(namespace: string, pod: string): Promise<GrpcChannel> {
      const roots = await mesh.cluster.get<{ data: Record<string, string> }>(
        ...(["configmap", "istio-ca-root-cert", "-n", "shop"] as const),
      );
      const channel = new GrpcChannel({
        host: "127.0.0.1",
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

    test("it takes what a ztunnel sends, judges it, and answers", async () => {
      const from = await channelOf("shop", "client");
      const certificates = new Certificates(new CaClient({ channel: from, impersonates: false }), {
        ttlMs: 3_600_000,
        log: log("test"),
      });
      const identity = await certificates.get(CLIENT);
      const [pod] = mesh.runtime.pods("waypoint");
      const { spec } = await mesh.cluster.get<{ spec: { clusterIP: string } }>(
        ...(["service", "server", "-n", "shop"] as const),
      );
      const ask = (path: string) =>
        askThrough(identity, pod!.status!.podIP!, `${spec.clusterIP}:80`, path);
      await expect.poll(() => ask("/hello"), { timeout: 20_000 }).toMatch(/^HTTP\/1.1 200 /);
      expect(await ask("/hello")).toContain('{"pod":"server","path":"/hello"}');
      expect(await ask("/secret")).toMatch(/^HTTP\/1.1 403 /);
      certificates.close();
    }, 60_000);

    test("its view of workloads is istiod's", async () => {
      const [pod] = mesh.runtime.pods("waypoint");
      const dump = async () => {
        const response = await fetch(`http://${pod!.status!.podIP}:15000/config_dump`);
        const { workloads } = (await response.json()) as { workloads: Record<string, object> };
        return workloads["Kubernetes//Pod/shop/client"];
      };
      await expect
        .poll(dump, { timeout: 20_000 })
        .toMatchObject({ tunnelProtocol: "HBONE", serviceAccount: "client" });
      // Without istiod the last word stands, and traffic goes on.
      await istiod.stop();
      expect(await dump()).toMatchObject({ tunnelProtocol: "HBONE" });
      istiod.start();
    }, 60_000);

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

/** What comes back for a request in a tunnel as ztunnel opens it. */
function askThrough(
  { certificatePem, keyPem, rootsPem }: TlsIdentity,
  host: string,
  authority: string,
  path: string,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({
      host,
      port: 15008,
      cert: certificatePem,
      key: keyPem,
      ca: rootsPem,
      minVersion: "TLSv1.3",
      ALPNProtocols: ["h2"],
      checkServerIdentity: (_name, { subjectaltname = "" }) =>
        subjectaltname === "URI:spiffe://cluster.local/ns/shop/sa/waypoint"
          ? undefined
          : new Error(`it is ${subjectaltname}`),
    });
    const session = http2.connect("https://waypoint", { createConnection: () => socket });
    session.once("error", reject);
    const stream = session.request({
      ":method": "CONNECT",
      ":authority": authority,
      baggage: "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.pod.name=client",
      forwarded: 'for="10.244.0.9:40000";host=server.shop.svc.cluster.local',
      traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
    });
    let text = "";
    stream.setEncoding("utf8");
    stream.on("response", ({ ":status": status }) => {
      if (status !== 200) resolve(`CONNECT ${status}`);
      stream.write(`GET ${path} HTTP/1.1\r\nhost: server\r\nconnection: close\r\n\r\n`);
    });
    stream.on("data", (chunk: string) => {
      text += chunk;
    });
    stream.on("end", () => stream.end());
    stream.once("error", reject);
    stream.once("close", () => {
      session.close();
      resolve(text);
    });
  });
}
