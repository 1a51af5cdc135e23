/**
 * A waypoint beside a scripted istiod: its certificate from istiod's CA, its workloads from
 * istiod's WDS, everything else from our control plane, which is known by its SPIFFE id. The
 * exchanges are those of protocols.md §1.5 and §2; test/kubernetes has the same with a real istiod.
 */
import http from "node:http";
import type { AddressInfo } from "node:net";
import { create, toBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { CaClient } from "../../src/agent/ca-client.ts";
import { Certificates } from "../../src/agent/certificates.ts";
import { GrpcChannel } from "../../src/agent/grpc-channel.ts";
import { readObjects } from "../../src/api/read-objects.ts";
import { ControlPlane } from "../../src/control/control-plane.ts";
import { AdsServer } from "../../src/control/serve/ads-server.ts";
import { GrpcServer } from "../../src/control/serve/grpc-server.ts";
import { MeshResources } from "../../src/control/serve/mesh-resources.ts";
import { log } from "../../src/kit/log.ts";
import { connectControlPlane } from "../../src/process/control-plane-link.ts";
import { WaypointProcess } from "../../src/process/waypoint-process.ts";
import { MetricRegistry } from "../../src/telemetry/metrics.ts";
import {
  AddressSchema,
  TunnelProtocol,
  WorkloadSchema,
} from "../../src/wire/gen/istio/workload_pb.ts";
import { RESOURCE_TYPES } from "../../src/wire/resource.ts";
import { ControlPlanePort } from "../support/control-plane-port.ts";
import { askThrough } from "../support/hbone-client.ts";
import { meshAddresses } from "../support/process-mesh.ts";
import { ScriptedControlPlane, type ScriptedStream } from "../support/raw-ads-server.ts";

const at = meshAddresses();
const CONTROL_PLANE = "spiffe://cluster.local/ns/waystone-system/sa/waystone";
const CLIENT = "spiffe://cluster.local/ns/shop/sa/client";
const SERVER_UID = "Kubernetes//Pod/shop/server";
const VIP = "10.96.0.10";

const mesh = (denied: string) => `
apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: shop }
spec:
  gatewayClassName: waystone-waypoint
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
status: { addresses: [{ type: Hostname, value: waypoint.shop.svc.cluster.local }] }
---
apiVersion: v1
kind: Service
metadata: { name: waypoint, namespace: shop }
spec:
  clusterIP: 10.96.0.9
  selector: { gateway.networking.k8s.io/gateway-name: waypoint }
  ports: [{ name: mesh, port: 15008 }]
---
apiVersion: v1
kind: Pod
metadata:
  name: waypoint-0
  namespace: shop
  labels: { gateway.networking.k8s.io/gateway-name: waypoint }
spec: { serviceAccountName: waypoint, nodeName: node-1, containers: [{ name: proxy }] }
status:
  phase: Running
  podIP: ${at.waypoints[0]}
  conditions: [{ type: Ready, status: "True" }]
---
apiVersion: v1
kind: Service
metadata: { name: server, namespace: shop, labels: { istio.io/use-waypoint: waypoint } }
spec:
  clusterIP: ${VIP}
  selector: { app: server }
  ports: [{ name: http, port: 80, targetPort: 8080 }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: denied, namespace: shop }
spec:
  targetRefs: [{ kind: Service, group: "", name: server }]
  action: DENY
  rules: [{ to: [{ operation: { paths: [${denied}] } }] }]
`;

let istiodCa: ControlPlanePort;
let istiod: ScriptedControlPlane;
let control: ControlPlane;
let controlPort: GrpcServer;
let waypoint: WaypointProcess;
let app: http.Server;
let certificates: Certificates;
let asked = 0;

/** A workload as istiod sends it, with a field that nobody here knows. */
function serverResource(address: string, status: "HEALTHY" | "UNHEALTHY" = "HEALTHY") {
  const workload = create(WorkloadSchema, {
    uid: SERVER_UID,
    name: "server",
    namespace: "shop",
    addresses: [Uint8Array.from(address.split(".").map(Number))],
    serviceAccount: "server",
    tunnelProtocol: TunnelProtocol.NONE,
    status: status === "HEALTHY" ? 0 : 1,
    services: {
      "shop/server.shop.svc.cluster.local": { ports: [{ servicePort: 80, targetPort: asked }] },
    },
  });
  const bytes = toBinary(
    AddressSchema,
    create(AddressSchema, { type: { case: "workload", value: workload } }),
  );
  // Field 999 of the outer message, a varint.
  const unknown = Uint8Array.from([0xb8, 0x3e, 0x01]);
  return {
    name: SERVER_UID,
    version: `${address} ${status}`,
    resource: { typeUrl: RESOURCE_TYPES.address, value: Buffer.concat([bytes, unknown]) },
  };
}

async function wdsStream(n: number): Promise<ScriptedStream> {
  await expect.poll(() => istiod.streams.length, { timeout: 20_000 }).toBeGreaterThan(n);
  return istiod.streams[n]!;
}

const tunnel = (path: string) =>
  certificates
    .get(CLIENT)
    .then((identity) =>
      askThrough(
        identity,
        at.waypoints[0],
        `${VIP}:80`,
        path,
        "spiffe://cluster.local/ns/shop/sa/waypoint",
      ),
    );

const statusOf = async (path: string) =>
  /^HTTP\/1.1 (\d+)/.exec(await tunnel(path).catch(({ message }: Error) => message))?.[1];

beforeAll(async () => {
  app = http.createServer((request, response) => response.end(`served ${request.url}`));
  await new Promise<void>((resolve) => app.listen(0, at.echo, resolve));
  asked = (app.address() as AddressInfo).port;
  istiodCa = await ControlPlanePort.open();
  control = new ControlPlane({ enrolment: "annotation" });
  const { objects } = await readObjects(mesh("/secret"), "mesh.yaml");
  control.apply({ upserted: objects, removed: [] });
  await istiodCa.serve(new MeshResources(new ControlPlane({ enrolment: "annotation" })), control);
  const named = await istiodCa.authority.issueServer({ names: ["127.0.0.1"], ttlMs: 3_600_000 });
  istiod = await ScriptedControlPlane.start({
    certPem: named.certificatePem,
    keyPem: named.keyPem,
  });
  const channelOf = (subject: { namespace: string; serviceAccount: string }) =>
    new GrpcChannel({
      host: "localhost",
      port: istiodCa.port,
      roots: async () => istiodCa.authority.rootsPem,
      token: async () => (await istiodCa.headers(subject)).authorization!.slice("Bearer ".length),
      clusterId: "Kubernetes",
    });
  const certificatesOf = (namespace: string, serviceAccount: string) =>
    new Certificates(
      new CaClient({ channel: channelOf({ namespace, serviceAccount }), impersonates: false }),
      { ttlMs: 3_600_000, log: log("test") },
    );
  certificates = certificatesOf("shop", "client");
  const own = await certificatesOf("waystone-system", "waystone").get(CONTROL_PLANE);
  const registry = new MetricRegistry();
  const authenticator = {
    authenticate: async () => ({
      namespace: "shop",
      serviceAccount: "waypoint",
      podName: undefined,
      node: undefined,
    }),
  };
  const ads = new AdsServer({ source: new MeshResources(control), authenticator, registry });
  controlPort = new GrpcServer({
    host: "127.0.0.1",
    port: 0,
    tls: () => ({ certPem: own.certificatePem, keyPem: own.keyPem }),
    routes: (router) => ads.routes(router),
  });
  await controlPort.listen();
  const anyPort = { host: "127.0.0.1", port: 0 };
  waypoint = await WaypointProcess.start({
    version: "test",
    admin: anyPort,
    metrics: anyPort,
    readiness: anyPort,
    drainTimeoutMs: 500,
    onQuit: () => {},
    waypoint: {
      namespace: "shop",
      name: "waypoint",
      serviceAccount: "waypoint",
      instanceIp: at.waypoints[0],
      drainGraceMs: 0,
    },
    at: { host: at.waypoints[0], port: 15008 },
    certificateTtlMs: 3_600_000,
    link: connectControlPlane({
      xds: { host: "127.0.0.1", port: controlPort.port },
      ca: { host: "localhost", port: istiodCa.port },
      istiod: { host: "127.0.0.1", port: istiod.port },
      controlPlaneIdentity: CONTROL_PLANE,
      roots: async () => istiodCa.authority.rootsPem,
      token: async () => {
        const subject = { namespace: "shop", serviceAccount: "waypoint" };
        return (await istiodCa.headers(subject)).authorization!.slice("Bearer ".length);
      },
      lastConfiguration: undefined,
      node: {
        kind: "waypoint",
        instanceIp: at.waypoints[0],
        podName: "waypoint-0",
        namespace: "shop",
        nodeName: "node-1",
        clusterId: "Kubernetes",
        version: "test",
      },
    }),
  });
}, 60_000);

afterAll(async () => {
  waypoint?.cut();
  await waypoint?.stop();
  controlPort?.destroy();
  await istiod?.close();
  certificates?.close();
  await istiodCa?.close();
  app?.close();
});

test("it asks istiod as a waypoint does, with its token, for every address", async () => {
  const stream = await wdsStream(0);
  await expect.poll(() => stream.requests.length).toBe(1);
  expect(stream.headers).toMatchObject({
    ":path": "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
    clusterid: "Kubernetes",
    authorization: expect.stringMatching(/^Bearer /),
  });
  expect(stream.requests[0]).toMatchObject({
    typeUrl: RESOURCE_TYPES.address,
    resourceNamesSubscribe: [],
    node: {
      id: `waypoint~${at.waypoints[0]}~waypoint-0.shop~shop.svc.cluster.local`,
      metadata: { NAMESPACE: "shop" },
    },
  });
});

test("until istiod knows a workload there is none; then its requests are judged and served", async () => {
  await expect.poll(() => statusOf("/hello"), { timeout: 20_000 }).toBe("503");
  const stream = await wdsStream(0);
  const nonce = stream.send({
    typeUrl: RESOURCE_TYPES.address,
    resources: [serverResource(at.echo)],
  });
  expect((await stream.answerTo(nonce)).errorDetail).toBeUndefined();
  await expect.poll(() => statusOf("/hello"), { timeout: 10_000 }).toBe("200");
  expect(await statusOf("/secret")).toBe("403");
});

test("what cannot be used is refused by name, and nothing else changes", async () => {
  const stream = await wdsStream(0);
  const bad = {
    name: "Kubernetes//Pod/shop/bad",
    version: "1",
    resource: { typeUrl: RESOURCE_TYPES.address, value: Uint8Array.from([0xff]) },
  };
  const nonce = stream.send({ typeUrl: RESOURCE_TYPES.address, resources: [bad] });
  const answer = await stream.answerTo(nonce);
  expect(answer.errorDetail?.message).toMatch(/^Kubernetes\/\/Pod\/shop\/bad: /);
  expect(await statusOf("/hello")).toBe("200");
});

test("policy is our control plane's, whatever istiod does", async () => {
  const { objects } = await readObjects(mesh("/hello"), "mesh.yaml");
  control.apply({ upserted: objects, removed: [] });
  await expect.poll(() => statusOf("/hello"), { timeout: 10_000 }).toBe("403");
  expect(await statusOf("/secret")).toBe("200");
});

test("an istiod that goes and comes back is told what is held, and believed again", async () => {
  const before = await wdsStream(0);
  before.end();
  // Meanwhile the last word stands.
  expect(await statusOf("/secret")).toBe("200");
  const next = await wdsStream(1);
  await expect.poll(() => next.requests.length).toBe(1);
  expect(next.requests[0]?.initialResourceVersions).toEqual({ [SERVER_UID]: `${at.echo} HEALTHY` });
  next.send({
    typeUrl: RESOURCE_TYPES.address,
    resources: [serverResource(at.echo, "UNHEALTHY")],
  });
  await expect.poll(() => statusOf("/secret"), { timeout: 10_000 }).toBe("503");
  next.send({ typeUrl: RESOURCE_TYPES.address, resources: [serverResource(at.echo)] });
  await expect.poll(() => statusOf("/secret"), { timeout: 10_000 }).toBe("200");
  next.send({ typeUrl: RESOURCE_TYPES.address, removedResources: [SERVER_UID] });
  await expect.poll(() => statusOf("/secret"), { timeout: 10_000 }).toBe("503");
});
