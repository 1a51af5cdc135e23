import fc from "fast-check";
import { expect, test } from "vitest";
import { indexOf, makeWorkload, smallMesh } from "../../test/support/small-mesh.ts";
import type { Endpoint, LoadBalancing } from "../model/service.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { Workload } from "../model/workload.ts";
import { pickEndpoint } from "./pick-endpoint.ts";

const KEY = "default/reviews.default.svc.cluster.local";
const at = (region: string, zone: string) => ({ region, zone, subzone: "" });
const CLIENT = makeWorkload("client", "127.70.0.2", { locality: at("r1", "z1"), node: "n1" });

/** Endpoints `a`, `b`, … with what makes each different. */
function meshOf(
  more: readonly (Partial<Workload> & { readonly isHealthy?: boolean })[],
  loadBalancing: Partial<LoadBalancing>,
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
    workloads: new Map(workloads.map((w) => [w.uid, w])),
    services: indexOf({ [KEY]: changed }),
    endpoints: indexOf({ [KEY]: endpoints }),
  };
}

/** Names of the endpoints that any draw can give, and how often of 1,000 even draws. */
function drawn(snapshot: Snapshot, source: Workload | undefined, avoid?: ReadonlySet<string>) {
  const counts: Record<string, number> = {};
  for (let i = 0; i < 1000; i++) {
    const query = { source, port: 80, draw: i / 1000, avoid };
    const endpoint = pickEndpoint(snapshot, snapshot.services.get(KEY)!, query);
    const name =
      endpoint === undefined ? "none" : snapshot.workloads.get(endpoint.workloadUid)!.name;
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

test("connections are shared by capacity, and who has none takes nothing", () => {
  const shared = meshOf([{}, { capacity: 3 }, { capacity: 0 }], {});
  expect(drawn(shared, CLIENT)).toEqual({ a: 250, b: 750 });
  expect(drawn(meshOf([{ capacity: 0 }], {}), CLIENT)).toEqual({ none: 1000 });
});

test("FAILOVER takes the nearest there are, and the next when those cannot take it", () => {
  const places = [
    { locality: at("r1", "z2") },
    { locality: at("r1", "z1") },
    // The same zone name in another region is no nearer.
    { locality: at("r2", "z1") },
    { locality: at("r1", "z1") },
  ];
  const preference = { mode: "FAILOVER", routingPreference: ["REGION", "ZONE"] } as const;
  const near = meshOf(places, preference);
  expect(drawn(near, CLIENT)).toEqual({ b: 500, d: 500 });
  const sick = places.map((place, i) => ({ ...place, isHealthy: i % 2 === 0 }));
  expect(drawn(meshOf(sick, preference), CLIENT)).toEqual({ a: 1000 });
  const [, b, , d] = [...near.workloads.values()].map((w) => w.uid);
  expect(drawn(near, CLIENT, new Set([b!, d!]))).toEqual({ a: 1000 });
});

test("FAILOVER without a preference, and with no endpoint near, takes any", () => {
  const empty = meshOf([{ node: "n1" }, { node: "n2" }], { mode: "FAILOVER" });
  expect(drawn(empty, CLIENT)).toEqual({ a: 500, b: 500 });
  const far = meshOf([{ node: "n3" }, { node: "n2" }], {
    mode: "FAILOVER",
    routingPreference: ["NODE"],
  });
  expect(drawn(far, CLIENT)).toEqual({ a: 500, b: 500 });
});

test("STRICT takes only what matches in every scope, and else nothing", () => {
  const preference = { mode: "STRICT", routingPreference: ["NODE"] } as const;
  expect(drawn(meshOf([{ node: "n2" }, { node: "n1" }], preference), CLIENT)).toEqual({ b: 1000 });
  expect(drawn(meshOf([{ node: "n2" }], preference), CLIENT)).toEqual({ none: 1000 });
});

test("any draw gives an endpoint if there is one that may be chosen", () => {
  const draws = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  const capacities = fc.array(fc.integer({ min: 1, max: 4_294_967_295 }), { minLength: 1 });
  fc.assert(
    fc.property(draws, capacities, (draw, all) => {
      const snapshot = meshOf(
        all.map((capacity) => ({ capacity })),
        {},
      );
      const query = { source: CLIENT, port: 80, draw };
      return pickEndpoint(snapshot, snapshot.services.get(KEY)!, query) !== undefined;
    }),
  );
});
