import { expect, test } from "vitest";
import { indexOf, makeWorkload, smallMesh } from "../../test/support/small-mesh.ts";
import type { Endpoint, Service } from "../model/service.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { WaypointBinding } from "../model/waypoint.ts";
import type { Workload } from "../model/workload.ts";
import { nextHop } from "./next-hop.ts";

const REVIEWS = "default/reviews.default.svc.cluster.local";
const FRONT = "default/wp.default.svc.cluster.local";
const VIP = "127.80.0.1";

interface Changes {
  readonly binding?: WaypointBinding | undefined;
  readonly endpoint?: Partial<Endpoint>;
  readonly healthPolicy?: "ALLOW_ALL";
  readonly reviews?: Partial<Workload>;
  readonly hasWaypointPod?: boolean;
}

/** The small mesh with its addresses, and what the test changes. */
function mesh(changes: Changes = {}): Snapshot {
  const small = smallMesh();
  const workloads = new Map(small.workloads.entries());
  const at = (name: string) => [...workloads.values()].find((w) => w.name === name)!;
  workloads.set(at("reviews-v1").uid, { ...at("reviews-v1"), ...changes.reviews });
  const reviews: Service = {
    ...small.services.get(REVIEWS)!,
    ...("binding" in changes ? { waypoint: changes.binding } : {}),
    loadBalancing: {
      mode: "UNSPECIFIED",
      routingPreference: [],
      healthPolicy: changes.healthPolicy ?? "ONLY_HEALTHY",
    },
  };
  const front: Endpoint = {
    workloadUid: at("wp").uid,
    address: "127.70.0.3",
    ports: new Map([[15008, 15018]]),
    isHealthy: true,
  };
  const owner = (w: Workload) => [w.addresses[0]!, { workloads: [w.uid], services: [] }] as const;
  return {
    ...small,
    workloads,
    services: indexOf({ [REVIEWS]: reviews, [FRONT]: small.services.get(FRONT)! }),
    endpoints: indexOf({
      [REVIEWS]: [{ ...small.endpoints.get(REVIEWS)![0]!, ...changes.endpoint }],
      [FRONT]: changes.hasWaypointPod === false ? [] : [front],
    }),
    addresses: indexOf({
      ...Object.fromEntries([...workloads.values()].map(owner)),
      [VIP]: { workloads: [], services: [REVIEWS] },
    }),
  };
}

const CLIENT = makeWorkload("client", "127.70.0.2");
const PLAIN = makeWorkload("vm", "192.0.2.7", { tunnelProtocol: "TCP" });

function hop(snapshot: Snapshot, address: string, port: number, source?: Workload) {
  return nextHop(snapshot, { source, address, port, draw: 0.5 });
}

test("a bound service's address leads to its waypoint's pod, for the address that was meant", () => {
  expect(hop(mesh(), VIP, 80, CLIENT)).toMatchObject({
    kind: "tunnel",
    address: "127.70.0.3",
    port: 15018,
    authorityAddress: VIP,
    authorityPort: 80,
    expected: ["spiffe://cluster.local/ns/default/sa/wp"],
    waypoint: "default/wp",
  });
});

test("a waypoint that cannot be used is a refusal, never a way round it", () => {
  const binding = {
    state: "unusable",
    waypoint: "default/gone",
    reason: "WaypointMissing",
  } as const;
  const refused = hop(mesh({ binding }), VIP, 80, CLIENT);
  expect(refused).toMatchObject({ kind: "refused" });
  expect(refused).toHaveProperty("because", expect.stringContaining("default/gone"));
  expect(hop(mesh({ hasWaypointPod: false }), VIP, 80, CLIENT)).toMatchObject({ kind: "refused" });
});

test("a client outside the mesh knows no waypoints and no tunnels", () => {
  for (const source of [undefined, PLAIN]) {
    expect(hop(mesh(), VIP, 80, source)).toMatchObject({
      kind: "direct",
      address: "127.70.0.1",
      port: 8080,
    });
  }
});

test("without a waypoint a service leads to an endpoint, by HBONE if that speaks it", () => {
  const unbound = { binding: undefined };
  expect(hop(mesh(unbound), VIP, 80, CLIENT)).toMatchObject({
    kind: "tunnel",
    address: "127.70.0.1",
    port: 15008,
    authorityAddress: "127.70.0.1",
    authorityPort: 8080,
    expected: ["spiffe://cluster.local/ns/default/sa/reviews-v1"],
  });
  const plain = { ...unbound, reviews: { tunnelProtocol: "TCP" } as const };
  expect(hop(mesh(plain), VIP, 80, CLIENT)).toMatchObject({ kind: "direct", port: 8080 });
});

test("a port that the service lacks, and a service without a healthy endpoint, are refused", () => {
  expect(hop(mesh(), VIP, 81, CLIENT)).toMatchObject({ kind: "refused" });
  const sick = { binding: undefined, endpoint: { isHealthy: false } };
  expect(hop(mesh(sick), VIP, 80, CLIENT)).toMatchObject({ kind: "refused" });
  const open = { ...sick, healthPolicy: "ALLOW_ALL" } as const;
  expect(hop(mesh(open), VIP, 80, CLIENT)).toMatchObject({ kind: "tunnel" });
});

test("a workload's own address uses the workload's waypoint, not its service's", () => {
  expect(hop(mesh(), "127.70.0.1", 8080, CLIENT)).toMatchObject({
    kind: "tunnel",
    waypoint: undefined,
    authorityAddress: "127.70.0.1",
  });
  const binding = {
    state: "bound",
    waypoint: "default/wp",
    service: FRONT,
    hbonePort: 15008,
  } as const;
  const bound = mesh({ reviews: { waypoint: binding } });
  expect(hop(bound, "127.70.0.1", 8080, CLIENT)).toMatchObject({
    waypoint: "default/wp",
    authorityAddress: "127.70.0.1",
    authorityPort: 8080,
  });
  const instance = makeWorkload("wp", "127.70.0.3", { waypointInstanceOf: "default/wp" });
  expect(hop(bound, "127.70.0.1", 8080, instance)).toMatchObject({ waypoint: undefined });
});

test("an address that is nobody's is passed through", () => {
  expect(hop(mesh(), "198.51.100.1", 443, CLIENT)).toEqual({
    kind: "passthrough",
    address: "198.51.100.1",
    port: 443,
  });
});

test("ports of the mesh itself are refused where a tunnel to them would come back", () => {
  for (const port of [15001, 15006, 15008]) {
    expect(hop(mesh(), "127.70.0.1", port, CLIENT), `${port}`).toMatchObject({ kind: "refused" });
    expect(hop(mesh(), "127.0.0.1", port, CLIENT), `${port}`).toMatchObject({ kind: "refused" });
    expect(hop(mesh(), "::1", port, CLIENT), `${port}`).toMatchObject({ kind: "refused" });
    expect(hop(mesh(), "198.51.100.1", port, CLIENT).kind, `${port}`).toBe("passthrough");
  }
});

test("a PASSTHROUGH service leads to the address that was meant", () => {
  const small = mesh({ binding: undefined });
  const reviews = small.services.get(REVIEWS)!;
  const loadBalancing = { ...reviews.loadBalancing, mode: "PASSTHROUGH" } as const;
  const through = {
    ...small,
    services: indexOf({ [REVIEWS]: { ...reviews, loadBalancing } }),
    endpoints: indexOf<readonly Endpoint[]>({}),
  };
  expect(hop(through, VIP, 80, CLIENT)).toEqual({ kind: "passthrough", address: VIP, port: 80 });
});

test("an instance that could not be reached is avoided, and a waypoint without another refused", () => {
  const small = mesh();
  const second = makeWorkload("wp2", "127.70.0.4", { waypointInstanceOf: "default/wp" });
  const front = small.endpoints.get(FRONT)![0]!;
  const two = {
    ...small,
    workloads: new Map([...small.workloads.entries(), [second.uid, second]]),
    endpoints: indexOf({
      [FRONT]: [front, { ...front, workloadUid: second.uid, address: "127.70.0.4" }],
    }),
  };
  const query = { source: CLIENT, address: VIP, port: 80, draw: 0 };
  expect(nextHop(two, query)).toMatchObject({ address: "127.70.0.3" });
  const avoid = new Set([front.workloadUid]);
  expect(nextHop(two, { ...query, avoid })).toMatchObject({ address: "127.70.0.4" });
  expect(nextHop(small, { ...query, avoid })).toMatchObject({ kind: "refused" });
});
