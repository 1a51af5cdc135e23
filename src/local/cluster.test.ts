import { expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import type { KubeObject, ObjectChange, ObjectKey, ParsedObject } from "../api/object.ts";
import { AddressPlan } from "./addresses.ts";
import { Cluster } from "./cluster.ts";

function parse(text: string, line = 1): ParsedObject[] {
  const position = { file: "test.yaml", line, column: 1 };
  return parseAllDocuments(text).map((document) => {
    const value = document.toJS() as KubeObject;
    return { value, position, positionOf: () => position, kind: value.kind } as ParsedObject;
  });
}

function makeCluster(): Cluster {
  const addresses = new AddressPlan("addresses");
  return new Cluster({ addresses, clusterDomain: "cluster.local" });
}

function upsert(text: string, line?: number): ObjectChange {
  return { upserted: parse(text, line), removed: [] };
}

function remove(...removed: ObjectKey[]): ObjectChange {
  return { upserted: [], removed };
}

function names(change: ObjectChange): string[] {
  return change.upserted
    .map(({ value }) => `${value.kind} ${value.metadata.namespace ?? ""}/${value.metadata.name}`)
    .sort();
}

// biome-ignore lint/suspicious/noExplicitAny: tests look into plain JSON
function find(change: ObjectChange, kind: string, name?: string): any {
  return change.upserted.find(
    ({ value }) => value.kind === kind && (name === undefined || value.metadata.name === name),
  )?.value;
}

const DEPLOYMENT = `
apiVersion: apps/v1
kind: Deployment
metadata: { name: reviews-v1, namespace: bookinfo }
spec:
  replicas: 2
  template:
    metadata: { labels: { app: reviews, version: v1 } }
    spec: { serviceAccountName: bookinfo-reviews, containers: [{ name: reviews }] }
`;
const SERVICE = `
apiVersion: v1
kind: Service
metadata: { name: reviews, namespace: bookinfo }
spec: { clusterIP: 10.0.0.1, selector: { app: reviews }, ports: [{ port: 9080 }] }
`;
const GATEWAY = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: bookinfo, labels: { istio.io/waypoint-for: all } }
spec:
  gatewayClassName: istio-waypoint
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
`;
const NAMESPACE = `
apiVersion: v1
kind: Namespace
metadata: { name: bookinfo }
`;

test("apply() adds the Pods of a Deployment, running, with address, owner and identity", () => {
  const change = makeCluster().apply(upsert(DEPLOYMENT));
  const pods = change.upserted.filter(({ kind }) => kind === "Pod").map(({ value }) => value);
  expect(pods).toHaveLength(2);
  expect(new Set(pods.map((pod) => pod.metadata.name)).size).toBe(2);
  for (const pod of pods) {
    const hash = pod.metadata.labels?.["pod-template-hash"];
    expect(pod.metadata.name).toMatch(new RegExp(`^reviews-v1-${hash}-[a-z0-9]{5}$`));
    expect(pod).toMatchObject({
      metadata: {
        namespace: "bookinfo",
        labels: { app: "reviews", version: "v1" },
        ownerReferences: [{ kind: "ReplicaSet", name: `reviews-v1-${hash}`, controller: true }],
      },
      spec: { serviceAccountName: "bookinfo-reviews" },
      status: { phase: "Running", conditions: [{ type: "Ready", status: "True" }] },
    });
  }
});

test("apply() gives everything the same names and addresses in every run", () => {
  const one = makeCluster().apply(upsert(`${DEPLOYMENT}---${SERVICE}---${GATEWAY}`));
  const other = makeCluster();
  other.apply(upsert(GATEWAY));
  other.apply(upsert(SERVICE));
  const late = other.apply(upsert(DEPLOYMENT));
  const pod = find(one, "Pod");
  expect(find(late, "Pod", pod.metadata.name)).toEqual(pod);
  expect(pod.status.podIP).toMatch(/^127\.(6[4-9]|[789]\d|1[01]\d|12[0-7])\./);
});

test("apply() knows how each kind of owner names its Pods", () => {
  const cluster = makeCluster();
  const owner = (kind: string, spec: string) =>
    cluster.apply(
      upsert(
        `{apiVersion: apps/v1, kind: ${kind}, metadata: {name: x, namespace: a}, spec: ${spec}}`,
      ),
    );
  const podNames = (change: ObjectChange) =>
    change.upserted.filter((o) => o.kind === "Pod").map((o) => o.value.metadata.name);
  expect(podNames(owner("StatefulSet", "{replicas: 2}"))).toEqual(["x-0", "x-1"]);
  expect(podNames(owner("DaemonSet", "{}"))).toEqual([expect.stringMatching(/^x-[a-z0-9]{5}$/)]);
  expect(podNames(owner("Deployment", "{replicas: 0}"))).toEqual([]);
  expect(find(owner("Job", "{}"), "Pod").metadata.labels["job-name"]).toBe("x");
});

test("apply() changes only the Pods that scaling changes", () => {
  const cluster = makeCluster();
  cluster.apply(upsert(DEPLOYMENT));
  const up = cluster.apply(upsert(DEPLOYMENT.replace("replicas: 2", "replicas: 3")));
  expect(names(up).filter((name) => name.startsWith("Pod"))).toHaveLength(1);
  const down = cluster.apply(upsert(DEPLOYMENT.replace("replicas: 2", "replicas: 1")));
  expect(down.removed.map((key) => key.kind)).toEqual(["Pod", "Pod"]);
});

test("apply() removes what it made with what it was made for", () => {
  const cluster = makeCluster();
  cluster.apply(upsert(`${DEPLOYMENT}---${GATEWAY}`));
  const change = cluster.apply(
    remove(
      { kind: "Gateway", namespace: "bookinfo", name: "wp" } as ObjectKey,
      { kind: "Deployment", namespace: "bookinfo", name: "reviews-v1" } as ObjectKey,
    ),
  );
  expect(change.upserted).toEqual([]);
  expect(change.removed.map((key) => key.kind).sort()).toEqual([
    "Deployment",
    "Gateway",
    "Namespace",
    "Pod",
    "Pod",
    "Pod",
    "Service",
    "ServiceAccount",
  ]);
});

test("apply() gives Services addresses of the mesh and keeps loopback ones of the file", () => {
  const service = (ip: string) =>
    find(makeCluster().apply(upsert(SERVICE.replace("10.0.0.1", ip))), "Service");
  const plain = service("10.0.0.1").spec;
  expect(plain.clusterIPs).toEqual([plain.clusterIP]);
  expect(plain.clusterIP).toMatch(/^127\./);
  expect(service("127.0.0.8").spec.clusterIPs).toEqual([plain.clusterIP, "127.0.0.8"]);
  expect(service("None").spec).toMatchObject({ clusterIP: "None" });
});

test("apply() makes a waypoint's Pod, Service and ServiceAccount, and its status", () => {
  const change = makeCluster().apply(upsert(GATEWAY));
  expect(names(change)).toEqual([
    "Gateway bookinfo/wp",
    "GatewayClass /istio-waypoint",
    "Namespace /bookinfo",
    expect.stringMatching(/^Pod bookinfo\/wp-/),
    "Service bookinfo/wp",
    "ServiceAccount bookinfo/wp",
  ]);
  const service = find(change, "Service");
  expect(service.metadata.labels).toEqual({
    "istio.io/waypoint-for": "all",
    "gateway.networking.k8s.io/gateway-name": "wp",
    "gateway.networking.k8s.io/gateway-class-name": "istio-waypoint",
    "gateway.istio.io/managed": "istio.io-mesh-controller",
  });
  expect(find(change, "Gateway").status.addresses).toEqual([
    { type: "Hostname", value: "wp.bookinfo.svc.cluster.local" },
    { type: "IPAddress", value: service.spec.clusterIP },
  ]);
  const pod = find(change, "Pod");
  expect(pod.metadata.labels).toMatchObject(service.spec.selector);
  expect(pod.spec.serviceAccountName).toBe("wp");
});

test("apply() leaves other Gateways alone, and learns of classes that are waypoints'", () => {
  const cluster = makeCluster();
  const other = GATEWAY.replace("istio-waypoint", "mine");
  expect(names(cluster.apply(upsert(other)))).not.toContain("Service bookinfo/wp");
  const change = cluster.apply(
    upsert(`
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: mine }
spec: { controllerName: istio.io/mesh-controller }
`),
  );
  expect(names(change)).toContain("Service bookinfo/wp");
});

test("a namespace that nobody declares is enrolled; a declared one is as declared", () => {
  const cluster = makeCluster();
  const undeclared = find(cluster.apply(upsert(SERVICE)), "Namespace");
  expect(undeclared.metadata.labels["istio.io/dataplane-mode"]).toBe("ambient");
  const declared = find(cluster.apply(upsert(NAMESPACE)), "Namespace");
  expect(declared.metadata.labels).toBeUndefined();
  const key = { kind: "Namespace", namespace: "", name: "bookinfo" } as ObjectKey;
  const again = find(cluster.apply(remove(key)), "Namespace");
  expect(again.metadata.labels["istio.io/dataplane-mode"]).toBe("ambient");
});

test("a declared object beats one that would be made", () => {
  const cluster = makeCluster();
  const declared = SERVICE.replace("name: reviews", "name: wp");
  cluster.apply(upsert(GATEWAY));
  const change = cluster.apply(upsert(declared));
  expect(find(change, "Service", "wp").spec.selector).toEqual({ app: "reviews" });
  const back = cluster.apply(
    remove({ kind: "Service", namespace: "bookinfo", name: "wp" } as ObjectKey),
  );
  expect(back.removed).toEqual([]);
  expect(find(back, "Service", "wp").metadata.labels["gateway.istio.io/managed"]).toBeDefined();
});

test("a Pod keeps the status it declares, but not its address", () => {
  const change = makeCluster().apply(
    upsert(`
apiVersion: v1
kind: Pod
metadata: { name: p, namespace: a }
spec: { containers: [] }
status: { phase: Pending, podIP: 10.1.1.1, conditions: [{ type: Ready, status: "False" }] }
`),
  );
  const pod = find(change, "Pod");
  expect(pod.status).toMatchObject({
    phase: "Pending",
    conditions: [{ type: "Ready", status: "False" }],
    podIP: expect.stringMatching(/^127\./),
  });
  expect(pod.spec.serviceAccountName).toBe("default");
});

test("an edit of one object tells of that object only", () => {
  const cluster = makeCluster();
  cluster.apply(upsert(`${NAMESPACE}---${DEPLOYMENT}---${SERVICE}---${GATEWAY}`));
  expect(names(cluster.apply(upsert(SERVICE.replace("9080", "9081"))))).toEqual([
    "Service bookinfo/reviews",
  ]);
  expect(names(cluster.apply(upsert(GATEWAY)))).toEqual(["Gateway bookinfo/wp"]);
});

test("an object that has only moved in its file keeps its values, and moves nothing else", () => {
  const cluster = makeCluster();
  const [deployment, service] = [parse(DEPLOYMENT)[0]!, parse(SERVICE)[0]!];
  const first = cluster.apply({ upserted: [deployment, service], removed: [] });
  const position = { file: "test.yaml", line: 9, column: 1 };
  const moved = [deployment, service].map((object) => ({ ...object, position }));
  const change = cluster.apply({ upserted: moved, removed: [] });
  expect(names(change)).toEqual(["Deployment bookinfo/reviews-v1", "Service bookinfo/reviews"]);
  expect(find(change, "Service")).toBe(find(first, "Service"));
  expect(change.upserted[0]!.position.line).toBe(9);
});
