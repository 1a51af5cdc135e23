/**
 * The mesh over the wire: what a proxy makes of the control plane's resources is the control
 * plane's own Snapshot, after every change, in whatever order objects come and go.
 */
import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { MeshState } from "../../src/agent/mesh-state.ts";
import type { ParsedObject } from "../../src/api/object.ts";
import { readObjects } from "../../src/api/read-objects.ts";
import { ControlPlane } from "../../src/control/control-plane.ts";
import { MeshResources } from "../../src/control/serve/mesh-resources.ts";
import {
  type EncodedResource,
  RESOURCE_TYPES,
  type ResourceBatch,
  type ResourceType,
} from "../../src/wire/resource.ts";
import { generateMesh } from "../support/generated-mesh.mjs";
import { contents, feed, whole } from "../support/over-the-wire.ts";

const FIXTURES = new URL("../fixtures/translate/", import.meta.url);

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

test("a proxy holds what the control plane does, however objects come and go", async () => {
  const objects = await fixtureObjects();
  const step = fc.record({
    isRemoval: fc.boolean(),
    picks: fc.array(fc.nat(objects.length - 1), { minLength: 1, maxLength: 12 }),
  });
  let compared = 0;
  fc.assert(
    fc.property(fc.array(step, { minLength: 5, maxLength: 25 }), (steps) => {
      const control = new ControlPlane({ enrolment: "label" });
      control.apply({ upserted: objects, removed: [] });
      const source = new MeshResources(control);
      const state = new MeshState();
      expect(feed(state, whole(source))).toEqual([]);
      expect(contents(state.current)).toEqual(contents(control.current));
      source.subscribe((batch) => {
        expect(feed(state, batch)).toEqual([]);
        expect(contents(state.current)).toEqual(contents(control.current));
        compared++;
      });
      for (const { isRemoval, picks } of steps) {
        const picked = picks.map((index) => objects[index]!);
        const refs = picked.map(({ kind, value: { metadata } }) => ({
          kind,
          namespace: metadata.namespace ?? "",
          name: metadata.name,
        }));
        control.apply(
          isRemoval ? { upserted: [], removed: refs } : { upserted: picked, removed: [] },
        );
      }
    }),
    { numRuns: 25 },
  );
  expect(compared).toBeGreaterThan(100);
});

test("values that did not change keep their identity over a swap", () => {
  const generated = generateMesh({ services: 20, podsPerService: () => 2 });
  const control = new ControlPlane({ enrolment: "label" });
  control.apply({ upserted: generated.objects, removed: [] });
  const source = new MeshResources(control);
  const state = new MeshState();
  feed(state, whole(source));
  const before = state.current;
  const batches: ResourceBatch[] = [];
  source.subscribe((batch) => batches.push(batch));
  control.apply({ upserted: [generated.route(3, { weights: [3, 7] })], removed: [] });
  expect(batches).toHaveLength(1);
  expect(batches[0]!.upserted.map(({ type }) => type)).toEqual([RESOURCE_TYPES.routes]);
  feed(state, batches[0]!);
  expect(state.current.services).toBe(before.services);
  expect(state.current.workloads).toBe(before.workloads);
  const changed = [...state.current.routes.entries()].filter(
    ([key, routes]) => before.routes.get(key) !== routes,
  );
  expect(changed).toHaveLength(1);
});

test("a service that comes back brings its workloads with it", () => {
  const generated = generateMesh({ services: 3, podsPerService: () => 2 });
  const control = new ControlPlane({ enrolment: "label" });
  control.apply({ upserted: generated.objects, removed: [] });
  const service = generated.objects.find(
    ({ kind, value }) => kind === "Service" && value.metadata.name === "svc-1",
  )!;
  const source = new MeshResources(control);
  const { namespace = "", name } = service.value.metadata;
  control.apply({ upserted: [], removed: [{ kind: "Service", namespace, name }] });
  const batches: ResourceBatch[] = [];
  source.subscribe((batch) => batches.push(batch));
  control.apply({ upserted: [service], removed: [] });
  const names = batches[0]!.upserted.map((resource) => resource.name);
  expect(names.filter((one) => one.includes("//Pod/ns-0/svc-1-"))).toHaveLength(2);
});

test("edits of single objects arrive, each in a batch of its own", () => {
  const generated = generateMesh({ services: 12, podsPerService: () => 3 });
  const edits = fc.array(
    fc.oneof(
      fc.record({ service: fc.nat(11), pod: fc.nat(4), isReady: fc.boolean() }),
      fc.record({ service: fc.nat(11), weights: fc.tuple(fc.nat(5), fc.nat(5)) }),
      fc.record({ isIstio: fc.boolean() }),
    ),
    { minLength: 1, maxLength: 8 },
  );
  fc.assert(
    fc.property(edits, (all) => {
      const control = new ControlPlane({ enrolment: "label" });
      control.apply({ upserted: generated.objects, removed: [] });
      const source = new MeshResources(control);
      const state = new MeshState();
      feed(state, whole(source));
      source.subscribe((batch) => expect(feed(state, batch)).toEqual([]));
      for (const edit of all) {
        if ("pod" in edit) {
          const { service, pod, isReady } = edit;
          control.apply({ upserted: [generated.pod(service, pod, { isReady })], removed: [] });
        } else if ("weights" in edit) {
          const { service, weights } = edit;
          control.apply({ upserted: [generated.route(service, { weights })], removed: [] });
        } else {
          const config = `compatibility: ${edit.isIstio ? "istio" : "waystone"}\n`;
          control.apply({ upserted: [configMap("waystone", "config", config)], removed: [] });
        }
        expect(contents(state.current)).toEqual(contents(control.current));
      }
      expect(state.current.revision).toBe(source.revision.id);
      // One who comes now is told the same as one who was there from the start.
      const late = new MeshState();
      expect(feed(late, whole(source))).toEqual([]);
      expect(contents(late.current)).toEqual(contents(state.current));
    }),
    { numRuns: 30 },
  );
});

function configMap(name: string, key: string, text: string): ParsedObject {
  const position = { file: "settings.yaml", line: 1, column: 1 };
  const metadata = { name, namespace: "istio-system" };
  const value = { apiVersion: "v1", kind: "ConfigMap", metadata, data: { [key]: text } };
  return { kind: "ConfigMap", value, position, positionOf: () => position } as ParsedObject;
}

test("what is sent again as it was keeps its identity", () => {
  const generated = generateMesh({ services: 2, podsPerService: () => 1 });
  const control = new ControlPlane({ enrolment: "label" });
  control.apply({ upserted: generated.objects, removed: [] });
  const source = new MeshResources(control);
  const state = new MeshState();
  feed(state, whole(source));
  const before = state.current;
  expect(feed(state, whole(source))).toEqual([]);
  expect(state.current.workloads).toBe(before.workloads);
  expect(state.current.policies).toBe(before.policies);
});

test("a service that begins to take unhealthy instances has them sent again", () => {
  const generated = generateMesh({ services: 2, podsPerService: () => 2 });
  const control = new ControlPlane({ enrolment: "label" });
  control.apply({ upserted: generated.objects, removed: [] });
  const source = new MeshResources(control);
  const batches: ResourceBatch[] = [];
  source.subscribe((batch) => batches.push(batch));
  const service = generated.objects.find(
    ({ kind, value }) => kind === "Service" && value.metadata.name === "svc-1",
  )!;
  const value = { ...service.value, spec: { ...specOf(service), publishNotReadyAddresses: true } };
  control.apply({ upserted: [{ ...service, value }], removed: [] });
  const names = batches[0]!.upserted.map((resource) => resource.name);
  expect(names.filter((one) => one.includes("//Pod/ns-0/svc-1-"))).toHaveLength(2);
  expect(names).toHaveLength(3);
});

function specOf(object: ParsedObject): object {
  return (object.value as unknown as { spec: object }).spec;
}

test("settings, routes and policies are taken under their own names alone", () => {
  const generated = generateMesh({ services: 1, podsPerService: () => 1 });
  const control = new ControlPlane({ enrolment: "label" });
  control.apply({ upserted: generated.objects, removed: [] });
  const source = new MeshResources(control);
  const state = new MeshState();
  for (const type of [RESOURCE_TYPES.settings, RESOURCE_TYPES.routes, RESOURCE_TYPES.policies]) {
    const [resource] = source.resources(type).values();
    const problems = state.stage(type, [{ ...resource!, name: "elsewhere" }], []);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(/^elsewhere: (it calls itself mesh|that is no name of a target)$/);
  }
});

function oneService(bytes: Uint8Array, name = "a/b"): EncodedResource {
  return { type: RESOURCE_TYPES.address, name, version: "1", bytes };
}

test("what cannot be decoded is refused by name, and the rest is staged", () => {
  const generated = generateMesh({ services: 2, podsPerService: () => 1 });
  const control = new ControlPlane({ enrolment: "label" });
  control.apply({ upserted: generated.objects, removed: [] });
  const source = new MeshResources(control);
  const state = new MeshState();
  const batch = whole(source);
  const good = batch.upserted.find(({ name }) => name.includes("svc-0."))!;
  const cases: readonly [EncodedResource, RegExp][] = [
    [oneService(good.bytes.subarray(0, good.bytes.length - 3)), /^a\/b: /],
    [oneService(good.bytes), /^a\/b: it calls itself ns-0\/svc-0\.ns-0\.svc\.cluster\.local$/],
    [oneService(new Uint8Array()), /^a\/b: neither a workload nor a service$/],
    [oneService(new Uint8Array([0xff, 0xff, 0xff])), /^a\/b: /],
  ];
  for (const [resource, problem] of cases) {
    const problems = state.stage(RESOURCE_TYPES.address, [resource, good], []);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(problem);
    expect(state.versions(RESOURCE_TYPES.address).has(good.name)).toBe(true);
  }
  expect(state.commit(batch.revision)).toContain("a/b");
  expect(state.current.revision).toBe(0);
  expect(feed(state, batch)).toEqual([]);
  expect(contents(state.current)).toEqual(contents(control.current));
});

test("JSON of another shape is refused with the place", () => {
  const generated = generateMesh({ services: 1, podsPerService: () => 1 });
  const control = new ControlPlane({ enrolment: "label" });
  control.apply({ upserted: generated.objects, removed: [] });
  const source = new MeshResources(control);
  const state = new MeshState();
  for (const type of [RESOURCE_TYPES.routes, RESOURCE_TYPES.policies, RESOURCE_TYPES.waypoint]) {
    const [resource] = source.resources(type as ResourceType).values();
    const text = Buffer.from(resource!.bytes).toString("latin1");
    const broken = Buffer.from(text.replace('"key"', '"kez"'), "latin1");
    const [problem] = state.stage(type, [{ ...resource!, bytes: broken }], []);
    expect(problem).toMatch(/must have property 'key'/);
  }
});

test("a digest that does not match is refused, and all is asked for again", () => {
  const generated = generateMesh({ services: 2, podsPerService: () => 1 });
  const control = new ControlPlane({ enrolment: "label" });
  control.apply({ upserted: generated.objects, removed: [] });
  const source = new MeshResources(control);
  const state = new MeshState();
  expect(feed(state, whole(source))).toEqual([]);
  const before = state.current;
  const lost = { id: 99, digest: "00000000000000000000000000000000" };
  expect(state.commit(lost)).toMatch(/does not amount/);
  expect(state.current).toBe(before);
  expect(state.versions(RESOURCE_TYPES.address).size).toBe(0);
  control.apply({ upserted: [generated.pod(0, 5)], removed: [] });
  expect(feed(state, whole(source))).toEqual([]);
  expect(contents(state.current)).toEqual(contents(control.current));
});
