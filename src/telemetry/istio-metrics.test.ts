import { expect, test } from "vitest";
import type { Service } from "../model/service.ts";
import type { Workload } from "../model/workload.ts";
import {
  destinationLabels,
  HTTP_LABELS,
  peerLabels,
  RequestMetrics,
  recordBuild,
  TCP_LABELS,
  TcpMetrics,
} from "./istio-metrics.ts";
import { MetricRegistry } from "./metrics.ts";

function workload(name: string, extra: Partial<Workload> = {}): Workload {
  return {
    uid: `Kubernetes//Pod/shop/${name}-1`,
    name: `${name}-1`,
    namespace: "shop",
    addresses: ["10.0.0.1"],
    network: "",
    tunnelProtocol: "HBONE",
    trustDomain: "cluster.local",
    serviceAccount: name,
    waypoint: undefined,
    node: "n1",
    canonicalName: `${name}-app`,
    canonicalRevision: "v2",
    workloadType: "DEPLOYMENT",
    workloadName: name,
    clusterId: "c1",
    locality: undefined,
    status: "HEALTHY",
    services: new Map(),
    authorizationPolicies: [],
    waypointInstanceOf: undefined,
    source: { kind: "Pod", namespace: "shop", name: `${name}-1` },
    ...extra,
  };
}

const CART: Service = {
  key: "shop/cart.shop.svc.cluster.local",
  name: "cart",
  namespace: "shop",
  hostname: "cart.shop.svc.cluster.local",
  addresses: [],
  ports: [],
  subjectAltNames: [],
  waypoint: undefined,
  ingressUseWaypoint: false,
  loadBalancing: { mode: "UNSPECIFIED", routingPreference: [], healthPolicy: "ONLY_HEALTHY" },
  canonical: true,
  source: { kind: "Service", namespace: "shop", name: "cart" },
  position: undefined,
};

const WEB = "spiffe://cluster.local/ns/shop/sa/web";
const CART_ID = "spiffe://cluster.local/ns/shop/sa/cart";

function linesOf(registry: MetricRegistry, name: string): string[] {
  return registry
    .expose()
    .split("\n")
    .filter((line) => line.startsWith(name));
}

test("RequestMetrics writes Istio's labels in Istio's order", () => {
  const registry = new MetricRegistry();
  const metrics = new RequestMetrics(registry, "waypoint");
  const source = peerLabels(workload("web"), WEB);
  const destination = destinationLabels(workload("cart"), CART, CART_ID);
  metrics.series(source, destination, "http", 200, "", "mutual_tls").record(12, 300, 70_000);
  expect(linesOf(registry, "istio_requests_total")).toEqual([
    'istio_requests_total{reporter="waypoint",source_workload="web",' +
      'source_canonical_service="web-app",source_canonical_revision="v2",' +
      `source_workload_namespace="shop",source_principal="${WEB}",` +
      'source_app="web-app",source_version="v2",source_cluster="c1",' +
      'destination_workload="cart",destination_workload_namespace="shop",' +
      `destination_principal="${CART_ID}",destination_app="cart-app",` +
      'destination_version="v2",destination_service="cart.shop.svc.cluster.local",' +
      'destination_canonical_service="cart-app",destination_canonical_revision="v2",' +
      'destination_service_name="cart",destination_service_namespace="shop",' +
      'destination_cluster="c1",request_protocol="http",response_code="200",' +
      'grpc_response_status="",response_flags="-",connection_security_policy="mutual_tls"} 1',
  ]);
  const below = (name: string, le: string) =>
    linesOf(registry, `${name}_bucket`)
      .find((line) => line.includes(`le="${le}"`))
      ?.split(" ")
      .at(-1);
  expect(below("istio_request_duration_milliseconds", "10")).toBe("0");
  expect(below("istio_request_duration_milliseconds", "25")).toBe("1");
  expect(below("istio_request_bytes", "250")).toBe("0");
  expect(below("istio_request_bytes", "500")).toBe("1");
  expect(below("istio_response_bytes", "60000")).toBe("0");
  expect(below("istio_response_bytes", "300000")).toBe("1");
  expect(linesOf(registry, "istio_response_bytes_sum")[0]).toMatch(/ 70000$/);
});

test("what is not known reads unknown, in every label", () => {
  const registry = new MetricRegistry();
  const source = peerLabels(undefined, undefined);
  const destination = destinationLabels(undefined, undefined, undefined);
  new RequestMetrics(registry, "waypoint")
    .series(source, destination, "grpc", 200, "UH", "unknown", "14")
    .record(1, 1, 1);
  const [line] = linesOf(registry, "istio_requests_total");
  const values = [...line!.matchAll(/(\w+)="([^"]*)"/g)].map(([, name, value]) => [name, value]);
  const known = new Map([
    ["reporter", "waypoint"],
    ["request_protocol", "grpc"],
    ["response_code", "200"],
    ["grpc_response_status", "14"],
    ["response_flags", "UH"],
  ]);
  expect(values).toEqual(HTTP_LABELS.map((name) => [name, known.get(name) ?? "unknown"]));
});

test("series() gives the same series for the same outcome and another for another", () => {
  const registry = new MetricRegistry();
  const metrics = new RequestMetrics(registry, "waypoint");
  const web = workload("web");
  const cart = workload("cart");
  const get = (code: number, flags: string, grpc?: string) =>
    metrics.series(
      peerLabels(web, WEB),
      destinationLabels(cart, CART, CART_ID),
      grpc === undefined ? "http" : "grpc",
      code,
      flags,
      "mutual_tls",
      grpc,
    );
  expect(get(200, "")).toBe(get(200, ""));
  const all = [get(200, ""), get(503, ""), get(503, "UH"), get(200, "", "0"), get(200, "", "5")];
  expect(new Set(all).size).toBe(all.length);
});

test("series() takes no gRPC status that could not be one as a label", () => {
  const registry = new MetricRegistry();
  const metrics = new RequestMetrics(registry, "waypoint");
  const source = peerLabels(undefined, undefined);
  const destination = destinationLabels(undefined, undefined, undefined);
  const get = (status: string) =>
    metrics.series(source, destination, "grpc", 200, "", "unknown", status);
  expect(get("17")).toBe(get("hostile"));
  expect(get("16")).not.toBe(get("17"));
  get("x1").record(1, 1, 1);
  expect(linesOf(registry, "istio_requests_total")[0]).toContain('grpc_response_status="unknown"');
});

test("a workload that changed has labels of its own", () => {
  const before = workload("web");
  const after = workload("web", { canonicalRevision: "v3" });
  expect(peerLabels(before, WEB)).toBe(peerLabels(before, WEB));
  expect(peerLabels(before, WEB).canonicalRevision).toBe("v2");
  expect(peerLabels(after, WEB).canonicalRevision).toBe("v3");
  expect(peerLabels(before, CART_ID).principal).toBe(CART_ID);
});

test("TcpMetrics counts connections and bytes per reporter", () => {
  const registry = new MetricRegistry();
  const metrics = new TcpMetrics(registry);
  const source = peerLabels(workload("web"), WEB);
  const destination = destinationLabels(workload("cart"), CART, CART_ID);
  const open = metrics.series("destination", source, destination, "", "mutual_tls");
  open.opened();
  open.opened();
  open.closed();
  open.sent(1000);
  open.received(10);
  metrics.series("destination", source, destination, "DENY", "mutual_tls").failed();
  metrics.series("source", source, destination, "", "mutual_tls").opened();
  const sampleOf = (name: string, ...parts: string[]) =>
    linesOf(registry, `istio_tcp_${name}_total`)
      .find((line) => parts.every((part) => line.includes(part)))
      ?.split(" ")
      .at(-1);
  expect(sampleOf("connections_opened", 'reporter="destination"', 'flags="-"')).toBe("2");
  expect(sampleOf("connections_opened", 'reporter="source"')).toBe("1");
  expect(sampleOf("connections_closed", 'reporter="destination"', 'flags="-"')).toBe("1");
  expect(sampleOf("connections_failed", 'response_flags="DENY"')).toBe("1");
  expect(sampleOf("sent_bytes", 'reporter="destination"', 'flags="-"')).toBe("1000");
  expect(sampleOf("received_bytes", 'reporter="destination"', 'flags="-"')).toBe("10");
  const [line] = linesOf(registry, "istio_tcp_sent_bytes_total");
  expect([...line!.matchAll(/(\w+)="/g)].map(([, name]) => name)).toEqual(TCP_LABELS);
  expect(line).toContain('request_protocol="tcp"');
});

test("recordBuild() names component and version", () => {
  const registry = new MetricRegistry();
  recordBuild(registry, "ztunnel", "1.2.3");
  expect(linesOf(registry, "istio_build")).toEqual([
    'istio_build{component="ztunnel",tag="1.2.3"} 1',
  ]);
});
