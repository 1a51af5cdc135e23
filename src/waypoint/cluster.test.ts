/** Which endpoints requests are spread over, as the mesh changes and for clients at many places. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { indexOf, makeWorkload, smallMesh } from "../../test/support/small-mesh.ts";
import { denyingAll } from "../../test/support/waypoint-session.ts";
import type { Endpoint, LoadBalancing } from "../model/service.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { Workload } from "../model/workload.ts";
import { type Cluster, Clusters, type UpstreamEndpoint } from "./cluster.ts";
import { EndpointSet } from "./endpoint-set.ts";
import { Targets } from "./target.ts";

const HOST = "reviews.default.svc.cluster.local";
const KEY = `default/${HOST}`;
const at = (region: string, zone: string) => ({ region, zone, subzone: "" });
const CLIENT = makeWorkload("client", "127.70.0.2", { locality: at("r1", "z1"), node: "n1" });

const CLOSE: Partial<LoadBalancing> = {
  mode: "FAILOVER",
  routingPreference: ["NETWORK", "REGION", "ZONE"],
};
const LOCAL: Partial<LoadBalancing> = { mode: "STRICT", routingPreference: ["NODE"] };

let revision = 1;

/** Endpoints `a`, `b`, … with what makes each different. */
function meshOf(
  more: readonly (Partial<Workload> & { readonly isHealthy?: boolean })[],
  loadBalancing: Partial<LoadBalancing> = {},
): Snapshot {
  const small = smallMesh();
  const workloads = more.map((fields, i) =>
    makeWorkload(String.fromCharCode(97 + i), `127.71.0.${i + 1}`, fields),
  );
  const endpoints = workloads.map(
    (w, i): Endpoint => ({
      workloadUid: w.uid,
      address: w.addresses[0]!,
      ports: new Map([[80, 8080]]),
      isHealthy: more[i]!.isHealthy ?? true,
    }),
  );
  const service = small.services.get(KEY)!;
  const changed = { ...service, loadBalancing: { ...service.loadBalancing, ...loadBalancing } };
  return {
    ...small,
    revision: revision++,
    workloads: indexOf(Object.fromEntries(workloads.map((w) => [w.uid, w]))),
    services: indexOf({ [KEY]: changed }),
    endpoints: indexOf({ [KEY]: endpoints }),
  };
}

function clusterOf(snapshot: Snapshot): Cluster {
  return new Clusters().ofService(KEY, 80, snapshot);
}

/** How often each is chosen in `count` times. */
function chosen(cluster: Cluster, source: Workload | undefined, count = 600) {
  const counts: Record<string, number> = {};
  for (let i = 0; i < count; i++) {
    const name = cluster.pick([], source)?.workload.name ?? "none";
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

const names = (counts: Record<string, number>) => Object.keys(counts).sort();

test("trafficDistribution: the client's zone, and the others when nobody is there", () => {
  const near = { locality: at("r1", "z1") };
  const far = { locality: at("r1", "z2") };
  expect(names(chosen(clusterOf(meshOf([near, far, near], CLOSE)), CLIENT))).toEqual(["a", "c"]);
  expect(names(chosen(clusterOf(meshOf([far, far], CLOSE)), CLIENT))).toEqual(["a", "b"]);
  const sick = { ...near, isHealthy: false };
  expect(names(chosen(clusterOf(meshOf([sick, far], CLOSE)), CLIENT))).toEqual(["b"]);
});

test("another state is seen, also under the number of the one before", () => {
  const before = meshOf([{}, {}]);
  const now = { ...meshOf([{}]), revision: before.revision };
  const cluster = clusterOf(before);
  expect(cluster.endpoints.length).toBe(2);
  cluster.refresh(now);
  expect(cluster.endpoints.length).toBe(1);
  // So are policies and routes, which a target has beside its endpoints.
  const target = new Targets("default/wp", new Clusters()).find(before, HOST, 80);
  const decider = target?.decider;
  const closed = denyingAll(before);
  expect(closed.revision).toBe(before.revision);
  target?.refresh(closed);
  expect(target?.decider).not.toBe(decider);
});

test("what failed is avoided, for farther endpoints too", () => {
  const cluster = clusterOf(
    meshOf([{ locality: at("r1", "z1") }, { locality: at("r2", "z") }], CLOSE),
  );
  const first = cluster.pick([], CLIENT)!;
  expect(first.workload.name).toBe("a");
  expect(cluster.pick([first], CLIENT)!.workload.name).toBe("b");
  expect(cluster.pick([...cluster.endpoints], CLIENT)).toBeDefined();
});

test("internalTrafficPolicy Local: the client's node or nobody", () => {
  const cluster = clusterOf(meshOf([{ node: "n1" }, { node: "n2" }], LOCAL));
  expect(names(chosen(cluster, CLIENT))).toEqual(["a"]);
  expect(names(chosen(cluster, { ...CLIENT, node: "n3" }))).toEqual(["none"]);
  expect(names(chosen(cluster, undefined))).toEqual(["none"]);
  const failed = cluster.pick([], CLIENT)!;
  expect(cluster.pick([failed], CLIENT)).toBe(failed);
});

test("places are looked at anew when endpoints or the preference change", () => {
  const clusters = new Clusters();
  const zones = [{ locality: at("r1", "z1") }, { locality: at("r1", "z2") }];
  const at1 = clusters.ofService(KEY, 80, meshOf(zones, CLOSE));
  expect(names(chosen(at1, CLIENT))).toEqual(["a"]);
  const at2 = clusters.ofService(KEY, 80, meshOf([...zones].reverse(), CLOSE));
  expect(names(chosen(at2, CLIENT))).toEqual(["b"]);
  const at3 = clusters.ofService(KEY, 80, meshOf(zones));
  expect(names(chosen(at3, CLIENT))).toEqual(["a", "b"]);
});

test("capacity: its share; none, nothing", () => {
  const cluster = clusterOf(meshOf([{ capacity: 3 }, { capacity: 0 }, {}]));
  const counts = chosen(cluster, CLIENT, 4000);
  expect(names(counts)).toEqual(["a", "c"]);
  const { a = 0 } = counts;
  expect(a / 4000).toBeGreaterThan(0.7);
  expect(a / 4000).toBeLessThan(0.8);
  expect(names(chosen(clusterOf(meshOf([{ capacity: 0 }])), CLIENT))).toEqual(["none"]);
});

test("load counts in proportion to capacity", () => {
  const cluster = clusterOf(meshOf([{ capacity: 4 }, { capacity: 1 }]));
  const counts: Record<string, number> = {};
  for (let i = 0; i < 1000; i++) {
    const endpoint = cluster.pick([], CLIENT)!;
    endpoint.active++;
    counts[endpoint.workload.name] = (counts[endpoint.workload.name] ?? 0) + 1;
  }
  const { a = 0, b = 0 } = counts;
  expect(a / b).toBeGreaterThan(3.5);
  expect(a / b).toBeLessThan(4.5);
});

test("requests in flight even out", () => {
  const cluster = clusterOf(meshOf([{}, {}, {}, {}]));
  for (let i = 0; i < 1000; i++) cluster.pick([], CLIENT)!.active++;
  for (const { active } of cluster.endpoints) expect(Math.abs(active - 250)).toBeLessThan(10);
});

test("choosing looks at two, whatever the number", () => {
  let looks = 0;
  const endpoints = Array.from({ length: 5000 }, (_, i) => ({
    capacity: 1 + (i % 3),
    get active() {
      looks++;
      return 0;
    },
  })) as unknown as UpstreamEndpoint[];
  const set = new EndpointSet(endpoints);
  looks = 0;
  const failed = set.pick([])!;
  for (let i = 0; i < 100; i++) set.pick(i % 2 === 0 ? [] : [failed]);
  expect(looks).toBeLessThan(220);
});

test("whatever changes, the endpoints are those of the mesh, and who stays keeps its count", () => {
  const pods = fc.array(
    fc.record({
      isThere: fc.boolean(),
      isHealthy: fc.boolean(),
      address: fc.constantFrom("127.71.1.1", "127.71.1.2"),
      node: fc.constantFrom("n1", "n2"),
    }),
    { minLength: 8, maxLength: 8 },
  );
  fc.assert(
    fc.property(fc.array(pods, { minLength: 2, maxLength: 8 }), (steps) => {
      const clusters = new Clusters();
      const workloads = new Map<string, Workload>();
      const sources = new Map<string, Endpoint>();
      let before = new Map<string, UpstreamEndpoint>();
      for (const step of steps) {
        const now: Endpoint[] = [];
        step.forEach(({ isThere, isHealthy, address, node }, i) => {
          const name = `pod-${i}`;
          if (!isThere) return;
          // What does not change keeps its identity, mostly; what is equal may be new, too.
          const workload = remember(workloads, `${name} ${node}`, () =>
            makeWorkload(name, "127.71.0.1", { node }),
          );
          const of = {
            workloadUid: workload.uid,
            address,
            ports: new Map([[80, 8080]]),
            isHealthy,
          };
          now.push(remember(sources, `${name} ${node} ${address} ${isHealthy}`, () => of));
          workloads.set(name, workload);
        });
        if (steps.length % 2 === 0) sources.clear();
        const cluster = clusters.ofService(KEY, 80, {
          ...meshOf([]),
          workloads: { get: (uid: string) => workloads.get(uid.split("/").at(-1)!) } as never,
          endpoints: indexOf({ [KEY]: now }),
        });
        const healthy = now.filter(({ isHealthy }) => isHealthy);
        const seen = cluster.endpoints;
        expect(seen.map((e) => [e.workload.uid, e.address])).toEqual(
          healthy.map(({ workloadUid, address }) => [workloadUid, address]),
        );
        const after = new Map(seen.map((endpoint) => [endpoint.workload.uid, endpoint]));
        for (const [uid, old] of before) {
          const is = after.get(uid);
          const isKept = is?.workload === old.workload && is.address === old.address;
          expect(is === old).toBe(isKept);
          expect(old.isGone).toBe(!isKept);
        }
        for (const endpoint of seen) expect(cluster.byTag(endpoint.tag)).toBe(endpoint);
        before = after;
      }
    }),
  );
});

function remember<V>(known: Map<string, V>, key: string, make: () => V): V {
  let value = known.get(key);
  if (value === undefined) {
    value = make();
    known.set(key, value);
  }
  return value;
}
