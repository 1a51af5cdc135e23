/**
 * A waypoint that is sent only what it serves acts as one that holds the whole mesh, after every
 * change: what it serves, where it sends, what it decides, and whom it takes a client for.
 */
import { readdirSync, readFileSync } from "node:fs";
import { createRouterTransport } from "@connectrpc/connect";
import fc from "fast-check";
import { expect, test } from "vitest";
import { AdsClient } from "../../src/agent/ads-client.ts";
import { MeshState } from "../../src/agent/mesh-state.ts";
import type { ObjectChange, ParsedObject } from "../../src/api/object.ts";
import { readObjects } from "../../src/api/read-objects.ts";
import { ControlPlane } from "../../src/control/control-plane.ts";
import { AdsServer } from "../../src/control/serve/ads-server.ts";
import { MeshResources } from "../../src/control/serve/mesh-resources.ts";
import { WaypointScopes } from "../../src/control/serve/waypoint-scopes.ts";
import { setLogLevel } from "../../src/kit/log.ts";
import type { Service } from "../../src/model/service.ts";
import type { Snapshot } from "../../src/model/snapshot.ts";
import type { Workload } from "../../src/model/workload.ts";
import { decide } from "../../src/policy/decide.ts";
import type { Hop } from "../../src/policy/facts.ts";
import { peerLabels } from "../../src/telemetry/istio-metrics.ts";
import { MetricRegistry } from "../../src/telemetry/metrics.ts";
import { RESOURCE_TYPES, type ResourceBatch } from "../../src/wire/resource.ts";
import { requests } from "../policy/arbitraries.ts";
import { goodTokens, until } from "../support/ads.ts";
import { generateMesh } from "../support/generated-mesh.mjs";
import { contents, feed, whole } from "../support/over-the-wire.ts";

setLogLevel(process.env.WAYSTONE_LOG_LEVEL ?? "silent");

const FIXTURES = new URL("../fixtures/translate/", import.meta.url);
const PLACES = ["network", "clusterId", "node", "locality"] as const;

async function fixtureObjects(): Promise<readonly ParsedObject[]> {
  const files = readdirSync(FIXTURES).filter((f) => f.endsWith(".yaml") && !f.includes(".out."));
  const read = await Promise.all(
    files.map(async (file) => {
      const text = readFileSync(new URL(file, FIXTURES), "utf8");
      return (await readObjects(text, file)).objects;
    }),
  );
  return read.flat();
}

const isServed = (key: string, { waypoint }: Service | Workload) =>
  waypoint?.state === "bound" && waypoint.waypoint === key;

interface Served {
  readonly services: readonly string[];
  readonly workloads: readonly string[];
  readonly targets: readonly string[];
  /** With those that are named by what is attached to targets. */
  readonly reached: readonly string[];
}

/** What a waypoint has to do with, told from all there is. */
function served(snapshot: Snapshot, key: string): Served {
  const services = [...snapshot.services.values()].filter((one) => isServed(key, one));
  const workloads = [...snapshot.workloads.values()].filter((one) => isServed(key, one));
  const own = snapshot.waypoints.get(key);
  const targets = [
    `Gateway/${key}`,
    ...(own === undefined ? [] : [`GatewayClass/${own.className}`]),
    ...services.map((service) => `Service/${service.key}`),
  ];
  const attached = targets.map((target) => [
    snapshot.routes.get(target),
    snapshot.policies.get(target),
  ]);
  // Wherever in them a service is named, and by whatever.
  const named = JSON.stringify(attached).matchAll(/"service":"([^"]+)"/g);
  const reached = new Set([
    ...services.map((service) => service.key),
    ...workloads.flatMap((workload) => [...workload.services.keys()]),
    ...[...named].map(([, service]) => service!),
    ...(own === undefined ? [] : [own.service]),
  ]);
  return {
    services: services.map((service) => service.key).sort(),
    workloads: workloads.map(({ uid }) => uid).sort(),
    targets,
    reached: [...reached].sort(),
  };
}

/** All that it reads of a snapshot; `of` says which names, `clients` which addresses. */
function view(snapshot: Snapshot, key: string, of: Served, clients: Iterable<string>): unknown {
  const byUid = (uid: string) => snapshot.workloads.get(uid);
  return {
    settings: snapshot.settings,
    waypoint: snapshot.waypoints.get(key),
    served: served(snapshot, key),
    targets: of.targets.map((target) => [
      ...[snapshot.routes.get(target), snapshot.policies.get(target)],
      snapshot.authentications.get(target),
    ]),
    services: of.reached.map((name) => {
      const endpoints = snapshot.endpoints.get(name) ?? [];
      const value = snapshot.services.get(name);
      const addresses = value?.addresses.map((ip) =>
        // Which of the services on an address are its own; others may be missing.
        snapshot.addresses.get(ip)?.services.filter((one) => of.services.includes(one)),
      );
      // Without a service nobody asks for its endpoints.
      return value && [value, addresses, endpoints.map((e) => [e, byUid(e.workloadUid)])];
    }),
    workloads: of.workloads.map(byUid),
    clients: [...clients].map((ip) => {
      const [uid] = snapshot.addresses.get(ip)?.workloads ?? [];
      const source = uid === undefined ? undefined : byUid(uid);
      return [uid, peerLabels(source, undefined), PLACES.map((place) => source?.[place])];
    }),
  };
}

/** Every waypoint of a mesh, each with its own state. */
class Waypoints {
  readonly #control: ControlPlane;
  readonly #scopes: WaypointScopes;
  readonly #states = new Map<string, { state: MeshState; batches: ResourceBatch[] }>();
  compared = 0;

  constructor(control: ControlPlane, keys: readonly string[]) {
    this.#control = control;
    const mesh = new MeshResources(control);
    this.#scopes = new WaypointScopes(mesh);
    for (const key of keys) {
      const source = this.source(key);
      const [state, batches] = [new MeshState(), [] as ResourceBatch[]];
      expect(feed(state, whole(source))).toEqual([]);
      source.subscribe((batch) => {
        batches.push(batch);
        expect(feed(state, batch)).toEqual([]);
      });
      this.#states.set(key, { state, batches });
    }
  }

  source(key: string) {
    return this.#scopes.of({ id: "waypoint~10.0.0.1~a.b~c", metadata: { GATEWAY: key } })!;
  }

  /** Batches of a waypoint since the last call. */
  batches(key: string): ResourceBatch[] {
    return this.#states.get(key)!.batches.splice(0);
  }

  state(key: string): Snapshot {
    return this.#states.get(key)!.state.current;
  }

  compare(): void {
    const full = this.#control.current;
    const clients = [...full.addresses.entries()].map(([ip]) => ip);
    for (const [key, { state }] of this.#states) {
      const of = served(full, key);
      const scoped = state.current;
      expect(view(scoped, key, of, clients)).toEqual(view(full, key, of, clients));
      // And nothing else.
      expect([...scoped.services.values()].map((one) => one.key).sort()).toEqual(
        of.reached.filter((name) => full.services.get(name) !== undefined),
      );
      expect(scoped.l4Policies.size).toBe(0);
      this.compared++;
    }
  }

  /** That following all changes comes to what begins now. */
  compareWithFresh(): void {
    const scopes = new WaypointScopes(new MeshResources(this.#control));
    for (const [key, { state }] of this.#states) {
      const fresh = new MeshState();
      const metadata = { GATEWAY: key };
      feed(fresh, whole(scopes.of({ id: "waypoint~", metadata })!));
      const { revision } = fresh.current;
      expect(contents({ ...state.current, revision })).toEqual(contents(fresh.current));
    }
  }
}

function waypointsOf(objects: readonly ParsedObject[]): string[] {
  const gateways = objects.filter(({ kind }) => kind === "Gateway");
  const keys = gateways.map(({ value: { metadata } }) => `${metadata.namespace}/${metadata.name}`);
  return [...new Set([...keys, "nowhere/none"])];
}

const removal = ({ kind, value: { metadata } }: ParsedObject) => ({
  kind,
  namespace: metadata.namespace ?? "",
  name: metadata.name,
});

test("a scoped waypoint acts as one that holds the mesh, however objects come and go", async () => {
  const objects = await fixtureObjects();
  const keys = waypointsOf(objects);
  const step = fc.record({
    isRemoval: fc.boolean(),
    picks: fc.array(fc.nat(objects.length - 1), { minLength: 1, maxLength: 12 }),
  });
  let compared = 0;
  fc.assert(
    fc.property(fc.array(step, { minLength: 5, maxLength: 25 }), (steps) => {
      const control = new ControlPlane({ enrolment: "label" });
      control.apply({ upserted: objects, removed: [] });
      const waypoints = new Waypoints(control, keys);
      waypoints.compare();
      for (const { isRemoval, picks } of steps) {
        const picked = picks.map((index) => objects[index]!);
        control.apply(
          isRemoval
            ? { upserted: [], removed: picked.map(removal) }
            : { upserted: picked, removed: [] },
        );
        waypoints.compare();
      }
      waypoints.compareWithFresh();
      compared += waypoints.compared;
    }),
    { numRuns: Number(process.env.WAYSTONE_RUNS ?? 15) },
  );
  expect(compared).toBeGreaterThan(500);
});

const SERVICES = 8;
const mesh = generateMesh({ services: SERVICES, podsPerService: () => 2 });

/** Namespaces change hands, backends and pods come and go. */
const edit: fc.Arbitrary<ObjectChange> = fc
  .tuple(fc.nat(SERVICES - 1), fc.nat(3), fc.boolean(), fc.nat(4))
  .map(([service, pod, flag, what]) => {
    const changed = [
      mesh.namespace(service, { usesWaypoint: flag }),
      mesh.pod(service, pod, { isReady: flag }),
      mesh.route(service, { weights: flag ? [1, 1] : [1, 0] }),
      mesh.policy(service, { path: flag ? "/a/*" : "/b/*" }),
      mesh.service(service, { copy: 1 }),
    ][what]!;
    const isRemoved = !flag && (what === 1 || what === 4) && pod > 1;
    return isRemoved
      ? { upserted: [], removed: [removal(changed)] }
      : { upserted: [changed], removed: [] };
  });

test("it decides every request alike", () => {
  const facts = fc.array(fc.tuple(requests, fc.double({ min: 0, max: 0.999, noNaN: true })), {
    minLength: 5,
    maxLength: 10,
  });
  let decided = 0;
  fc.assert(
    fc.property(fc.array(edit, { maxLength: 12 }), facts, (edits, asked) => {
      const control = new ControlPlane({ enrolment: "label" });
      control.apply({ upserted: mesh.objects, removed: [] });
      const [key] = [mesh.gateway(0)];
      const waypoints = new Waypoints(control, [key]);
      for (const change of edits) {
        control.apply(change);
        waypoints.compare();
        const full = control.current;
        for (const service of served(full, key).services) {
          const hop: Hop = { proxy: "waypoint", waypoint: key, service, port: 80 };
          for (const [request, draw] of asked) {
            const [mine, theirs] = [waypoints.state(key), full].map((snapshot) => {
              const { verdict, route, backend, status } = decide(snapshot, hop, request, draw);
              return { verdict, backend, status, rule: route?.rule };
            });
            expect(mine).toEqual(theirs);
            decided++;
          }
        }
      }
      waypoints.compareWithFresh();
    }),
    { numRuns: 20 },
  );
  expect(decided).toBeGreaterThan(100);
});

test("what does not concern a waypoint is not sent to it", () => {
  const large = generateMesh({ services: 150, podsPerService: () => 2 });
  const control = new ControlPlane({ enrolment: "label" });
  control.apply({ upserted: large.objects, removed: [] });
  const [near, far] = [large.gateway(0), large.gateway(120)];
  const waypoints = new Waypoints(control, [near, far]);
  const apply = (object: ParsedObject) => control.apply({ upserted: [object], removed: [] });
  apply(large.route(120, { weights: [3, 4] }));
  apply(large.policy(120, { path: "/other/*" }));
  apply(large.pod(120, 0, { isReady: false }));
  expect(waypoints.batches(near)).toEqual([]);
  expect(waypoints.batches(far)).toHaveLength(3);
  // Anybody may be a client: so much is told of it.
  apply(large.pod(120, 2));
  const [told, ...others] = waypoints.batches(near);
  expect(others).toEqual([]);
  expect(told!.upserted.map(({ type }) => type)).toEqual([RESOURCE_TYPES.address]);
  const [of] = waypoints.batches(far);
  expect(told!.upserted[0]!.bytes.length).toBeLessThan(of!.upserted[0]!.bytes.length / 2);
  // When it matters again, it is all there.
  waypoints.compare();
});

/** Services that are not bound to the waypoint, each referred to from another place. */
const REFERRED = ["backend", "filtered", "mirror", "check", "tcp", "asked", "shared", "pods"];

const NAMES = `
apiVersion: v1
kind: ConfigMap
metadata: { name: istio, namespace: istio-system }
data:
  mesh: |
    extensionProviders:
    - name: opa
      envoyExtAuthzGrpc: { service: asked.shop.svc.cluster.local, port: 80 }
---
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { istio.io/dataplane-mode: ambient } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: shop, labels: { istio.io/waypoint-for: all } }
spec:
  gatewayClassName: istio-waypoint
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
status:
  addresses:
    - { type: Hostname, value: waypoint.shop.svc.cluster.local }
    - { type: IPAddress, value: 10.1.0.1 }
---
apiVersion: v1
kind: Pod
metadata:
  name: waypoint-0
  namespace: shop
  labels: { gateway.networking.k8s.io/gateway-name: waypoint, istio.io/dataplane-mode: none }
spec: { serviceAccountName: waypoint, containers: [{ name: app }] }
status: { phase: Running, podIP: 10.2.0.9, conditions: [{ type: Ready, status: "True" }] }
---
apiVersion: v1
kind: Service
metadata: { name: waypoint, namespace: shop }
spec:
  clusterIP: 10.1.0.1
  selector: { gateway.networking.k8s.io/gateway-name: waypoint }
  ports: [{ name: mesh, port: 15008 }]
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop, labels: { istio.io/use-waypoint: waypoint } }
spec: { clusterIP: 10.1.0.2, ports: [{ name: http, port: 80 }, { name: tcp, port: 90 }] }
---
apiVersion: v1
kind: Pod
metadata:
  name: own
  namespace: shop
  labels: { app: pods, istio.io/use-waypoint: waypoint, istio.io/dataplane-mode: ambient }
spec: { containers: [{ name: app }] }
status: { phase: Running, podIP: 10.2.0.1, conditions: [{ type: Ready, status: "True" }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: web, namespace: shop }
spec:
  parentRefs: [{ group: "", kind: Service, name: web, port: 80 }]
  rules:
    - filters:
        - type: ExternalAuth
          externalAuth: { protocol: HTTP, http: {}, backendRef: { name: check, port: 80 } }
      backendRefs:
        - name: backend
          port: 80
          filters:
            - type: RequestMirror
              requestMirror: { backendRef: { name: filtered, port: 80 } }
    - filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: mirror, port: 80 } } }]
      backendRefs: [{ name: web, port: 80 }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: { name: web, namespace: shop }
spec:
  parentRefs: [{ group: "", kind: Service, name: web, port: 90 }]
  rules: [{ backendRefs: [{ name: tcp, port: 80 }] }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: all, namespace: shop }
spec:
  parentRefs: [{ group: gateway.networking.k8s.io, kind: Gateway, name: waypoint }]
  rules: [{ backendRefs: [{ name: shared, port: 80 }] }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ask, namespace: shop }
spec:
  targetRefs: [{ kind: Gateway, group: gateway.networking.k8s.io, name: waypoint }]
  action: CUSTOM
  provider: { name: opa }
  rules: [{}]
`;

const referred = (name: string) => `
apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: shop }
spec:
  clusterIP: 10.3.0.${name.length}
  selector: { app: ${name} }
  ports: [{ name: http, port: 80, targetPort: 8080 }]
---
apiVersion: v1
kind: Pod
metadata: { name: ${name}-0, namespace: shop, labels: { app: ${name} } }
spec: { containers: [{ name: app }] }
status: { phase: Running, podIP: 10.4.0.${name.length}, conditions: [{ type: Ready, status: "True" }] }
`;

test("services come with whatever names them, and their workloads with them", async () => {
  const text = [NAMES, ...[...REFERRED, "unrelated"].map(referred)].join("---");
  const { objects, diagnostics } = await readObjects(text, "mesh.yaml");
  expect(diagnostics).toEqual([]);
  const control = new ControlPlane({ enrolment: "label" });
  control.apply({ upserted: objects, removed: [] });
  const key = "shop/waypoint";
  const waypoints = new Waypoints(control, [key]);
  const names = () => [...waypoints.state(key).services.values()].map(({ name }) => name).sort();
  waypoints.compare();
  expect(names()).toEqual([...REFERRED, "waypoint", "web"].sort());
  const endpoints = waypoints.state(key).endpoints.get("shop/check.shop.svc.cluster.local");
  expect(endpoints).toHaveLength(1);
  // Each goes with what named it, and all are back with it.
  for (const object of objects.filter(({ kind }) => /Route|Policy|Gateway|Pod/.test(kind))) {
    control.apply({ upserted: [], removed: [removal(object)] });
    waypoints.compare();
    control.apply({ upserted: [object], removed: [] });
    waypoints.compare();
  }
  waypoints.compareWithFresh();
  expect(names()).toEqual([...REFERRED, "waypoint", "web"].sort());
});

test("over a stream: its own state, and the mesh's revision while that stands", async () => {
  const large = generateMesh({ services: 150, podsPerService: () => 2 });
  const control = new ControlPlane({ enrolment: "label" });
  control.apply({ upserted: large.objects, removed: [] });
  const source = new MeshResources(control);
  const scopes = new WaypointScopes(source);
  const registry = new MetricRegistry();
  const ads = new AdsServer({ source, scopes, authenticator: goodTokens, registry });
  const transport = createRouterTransport((router) => ads.routes(router));
  const state = new MeshState();
  const client = new AdsClient({
    channel: {
      transport: async () => transport,
      headers: async () => ({ authorization: "Bearer good" }),
      failed: () => {},
    },
    node: { id: "waypoint~10.0.0.1~a.b~c", metadata: { GATEWAY: large.gateway(0) } },
    sink: state,
  });
  client.start();
  const enforced = () => ads.clients[0]?.enforcedRevision;
  const isInForce = () => enforced() === control.current.revision;
  await until(isInForce, "the first state");
  expect(state.current.services.size).toBe(101);
  const first = state.current;

  control.apply({ upserted: [large.route(120, { weights: [5, 6] })], removed: [] });
  expect(enforced()).toBe(control.current.revision);
  control.apply({ upserted: [large.route(3, { weights: [5, 6] })], removed: [] });
  expect(enforced()).toBe(first.revision);
  await until(isInForce, "the change");
  expect(state.current).not.toBe(first);
  expect(state.current.workloads).toBe(first.workloads);
  client.close();
});

test("a scope is shared by replicas, and given up with the last of them", () => {
  const control = new ControlPlane({ enrolment: "label" });
  control.apply({ upserted: mesh.objects, removed: [] });
  const scopes = new WaypointScopes(new MeshResources(control));
  const metadata = { GATEWAY: mesh.gateway(0) };
  const of = () => scopes.of({ id: "waypoint~", metadata });
  const first = of()!;
  const leave = [first.subscribe(() => {}), first.subscribe(() => {})];
  expect(of()).toBe(first);
  leave[0]!();
  expect(of()).toBe(first);
  leave[1]!();
  expect(of()).not.toBe(first);
});

test.each([
  ["a ztunnel", { id: "ztunnel~10.0.0.1~a.b~c", metadata: { GATEWAY: "ns-0/waypoint" } }],
  ["a waypoint of other make", { id: "waypoint~10.0.0.1~a.b~c", metadata: {} }],
  ["one without metadata", { id: "waypoint~10.0.0.1~a.b~c" }],
  ["one whose Gateway is no name", { id: "waypoint~", metadata: { GATEWAY: "a/b/c" } }],
  ["one whose Gateway is no text", { id: "waypoint~", metadata: { GATEWAY: 7 } }],
])("%s is sent the whole mesh", (_who, node) => {
  const control = new ControlPlane({ enrolment: "label" });
  expect(new WaypointScopes(new MeshResources(control)).of(node)).toBeUndefined();
});
