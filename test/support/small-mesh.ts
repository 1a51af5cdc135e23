/** A hand-made snapshot: one service behind a waypoint, one client, for tests of what reads it. */

import type { AppProtocol, Endpoint, Service } from "../../src/model/service.ts";
import { serviceKey } from "../../src/model/service.ts";
import { DEFAULT_SETTINGS } from "../../src/model/settings.ts";
import type { Index, Snapshot } from "../../src/model/snapshot.ts";
import type { Waypoint } from "../../src/model/waypoint.ts";
import type { Workload } from "../../src/model/workload.ts";

export function indexOf<V>(entries: Record<string, V>): Index<V> {
  return new Map(Object.entries(entries));
}

const REVIEWS = serviceKey("default", "reviews", "cluster.local");
const FRONT = serviceKey("default", "wp", "cluster.local");

export function makeWorkload(
  name: string,
  address: string,
  more: Partial<Workload> = {},
): Workload {
  return {
    uid: `Kubernetes//Pod/default/${name}`,
    name,
    namespace: "default",
    addresses: [address],
    network: "",
    tunnelProtocol: "HBONE",
    trustDomain: "cluster.local",
    serviceAccount: name,
    waypoint: undefined,
    node: "",
    canonicalName: name,
    canonicalRevision: "latest",
    workloadType: "DEPLOYMENT",
    workloadName: name,
    clusterId: "Kubernetes",
    locality: undefined,
    status: "HEALTHY",
    services: new Map(),
    authorizationPolicies: [],
    waypointInstanceOf: undefined,
    source: { kind: "Pod", namespace: "default", name },
    ...more,
  };
}

function makeService(
  name: string,
  address: string,
  ports: readonly (readonly [port: number, targetPort: number, protocol: AppProtocol])[],
  more: Partial<Service> = {},
): Service {
  return {
    key: serviceKey("default", name, "cluster.local"),
    name,
    namespace: "default",
    hostname: `${name}.default.svc.cluster.local`,
    addresses: [address],
    ports: ports.map(([port, targetPort, protocol]) => ({ port, targetPort, name: "", protocol })),
    subjectAltNames: [],
    waypoint: undefined,
    ingressUseWaypoint: false,
    loadBalancing: { mode: "UNSPECIFIED", routingPreference: [], healthPolicy: "ONLY_HEALTHY" },
    canonical: true,
    source: { kind: "Service", namespace: "default", name },
    position: undefined,
    ...more,
  };
}

/** `client` → `reviews:80` (HTTP, pod port 8080) and `:9000` (TCP), behind waypoint `wp`. */
export function smallMesh(): Snapshot {
  const binding = {
    state: "bound",
    waypoint: "default/wp",
    service: FRONT,
    hbonePort: 15008,
  } as const;
  const ports = new Map([
    [80, 8080],
    [9000, 9000],
  ]);
  const reviews = makeWorkload("reviews-v1", "127.70.0.1", {
    canonicalRevision: "v1",
    services: new Map([[REVIEWS, ports]]),
  });
  const client = makeWorkload("client", "127.70.0.2");
  const instance = makeWorkload("wp", "127.70.0.3", {
    waypointInstanceOf: "default/wp",
    services: new Map([[FRONT, new Map([[15008, 15008]])]]),
  });
  const outside = makeWorkload("vm", "192.0.2.7", { tunnelProtocol: "TCP" });
  const endpoint: Endpoint = {
    workloadUid: reviews.uid,
    address: "127.70.0.1",
    ports,
    isHealthy: true,
  };
  const waypoint: Waypoint = {
    key: "default/wp",
    namespace: "default",
    name: "wp",
    className: "istio-waypoint",
    trafficType: "service",
    service: FRONT,
    hbonePort: 15008,
    identities: ["spiffe://cluster.local/ns/default/sa/wp"],
    isReady: true,
    source: { kind: "Gateway", namespace: "default", name: "wp" },
    position: undefined,
  };
  const workloads = [reviews, client, instance, outside];
  return {
    revision: 1,
    settings: DEFAULT_SETTINGS,
    workloads: indexOf(Object.fromEntries(workloads.map((w) => [w.uid, w]))),
    services: indexOf({
      [REVIEWS]: makeService(
        "reviews",
        "127.80.0.1",
        [
          [80, 8080, "HTTP11"],
          [9000, 9000, "TCP"],
        ],
        { waypoint: binding },
      ),
      [FRONT]: makeService("wp", "127.80.0.2", [[15008, 15008, "UNKNOWN"]]),
    }),
    endpoints: indexOf({ [REVIEWS]: [endpoint] }),
    addresses: indexOf({}),
    waypoints: indexOf({ "default/wp": waypoint }),
    policies: indexOf({}),
    authentications: indexOf({}),
    l4Policies: indexOf({}),
    l4PoliciesByNamespace: indexOf({}),
    routes: indexOf({}),
  };
}
