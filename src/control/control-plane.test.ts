import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { generateMesh } from "../../test/support/generated-mesh.mjs";
import type { ObjectKey, ParsedObject } from "../api/object.ts";
import { readObjects } from "../api/read-objects.ts";
import type { Snapshot } from "../model/snapshot.ts";
import { ControlPlane } from "./control-plane.ts";

const FIXTURES = new URL("../../test/fixtures/translate/", import.meta.url);

const mesh = (services: number) => generateMesh({ services, podsPerService: () => 1 }).objects;

function state(controlPlane: ControlPlane): unknown {
  const { revision: _revision, settings, ...indexes } = controlPlane.current;
  const parts = Object.entries(indexes).map(([name, index]) => {
    const entries: Iterable<[string, unknown]> = index.entries();
    return [name, new Map(entries)];
  });
  return [settings, parts, new Map(controlPlane.conditions.entries()), controlPlane.diagnostics];
}

function keyOf({ kind, value }: ParsedObject): ObjectKey {
  return { kind, namespace: value.metadata.namespace ?? "", name: value.metadata.name };
}

test("any sequence of changes ends where a fresh start from the same objects does", async () => {
  const files = readdirSync(FIXTURES).filter((f) => /^[^.]+\.yaml$/.test(f));
  const texts = files.map((file) => [readFileSync(new URL(file, FIXTURES), "utf8"), file] as const);
  const read = await Promise.all(texts.map(([text, file]) => readObjects(text, file)));
  const objects = read.flatMap((r) => r.objects);
  const change = fc.record({
    object: fc.constantFrom(...objects),
    isRemoval: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(fc.array(change, { maxLength: 8 }), { maxLength: 12 }), (batches) => {
      const incremental = new ControlPlane({ enrolment: "label" });
      const present = new Map<string, ParsedObject>();
      for (const object of objects) {
        if (read[files.indexOf("base.yaml")]!.objects.includes(object)) {
          present.set(JSON.stringify(keyOf(object)), object);
        }
      }
      incremental.apply({ upserted: [...present.values()], removed: [] });
      for (const batch of batches) {
        const upserted = new Map<string, ParsedObject>();
        const removed = new Map<string, ObjectKey>();
        for (const { object, isRemoval } of batch) {
          const key = JSON.stringify(keyOf(object));
          upserted.delete(key);
          removed.delete(key);
          if (isRemoval) removed.set(key, keyOf(object));
          else upserted.set(key, object);
        }
        incremental.apply({ upserted: [...upserted.values()], removed: [...removed.values()] });
        for (const [key, object] of upserted) present.set(key, object);
        for (const key of removed.keys()) present.delete(key);
      }
      const fresh = new ControlPlane({ enrolment: "label" });
      fresh.apply({ upserted: [...present.values()], removed: [] });
      expect(state(incremental)).toEqual(state(fresh));
    }),
    { numRuns: 40 },
  );
});

test("apply() makes a new snapshot only when something in it is different", () => {
  const controlPlane = new ControlPlane({ enrolment: "label" });
  const seen: Snapshot[] = [];
  const stop = controlPlane.subscribe((snapshot) => seen.push(snapshot));
  controlPlane.apply({ upserted: mesh(2), removed: [] });
  expect(controlPlane.current.revision).toBe(1);
  controlPlane.apply({ upserted: mesh(2), removed: [] });
  expect(controlPlane.current.revision).toBe(1);
  controlPlane.apply({
    upserted: [],
    removed: [{ kind: "HTTPRoute", namespace: "ns-0", name: "svc-0" }],
  });
  expect(controlPlane.current.revision).toBe(2);
  stop();
  controlPlane.apply({ upserted: mesh(1), removed: [] });
  expect(seen.map(({ revision }) => revision)).toEqual([1, 2]);
});

test("changing one weight in a mesh of 2,000 services recomputes at most 10 objects", () => {
  const controlPlane = new ControlPlane({ enrolment: "label" });
  const generated = generateMesh({ services: 2000, podsPerService: (i) => 1 + (i % 2) });
  const startMs = performance.now();
  controlPlane.apply({ upserted: generated.objects, removed: [] });
  const builtMs = performance.now() - startMs;
  const before = controlPlane.current;
  const recomputed = controlPlane.recomputedObjects;

  const changeMs = performance.now();
  controlPlane.apply({ upserted: [generated.route(1234, { weights: [9, 1] })], removed: [] });
  const tookMs = performance.now() - changeMs;

  expect(controlPlane.recomputedObjects - recomputed).toBeLessThanOrEqual(10);
  const { current } = controlPlane;
  expect(current.revision).toBe(before.revision + 1);
  const key = `Service/${generated.serviceKey(1234)}`;
  expect(current.routes.get(key)?.[0]?.route.rules[0]?.backends[0]?.weight).toBe(9);
  expect(current.routes.get(`Service/${generated.serviceKey(7)}`)).toBe(
    before.routes.get(`Service/${generated.serviceKey(7)}`),
  );
  for (const name of ["services", "workloads", "endpoints", "policies", "l4Policies"] as const) {
    expect(current[name]).toBe(before[name]);
  }
  process.stdout.write(
    `built in ${builtMs.toFixed(0)} ms, one weight in ${tookMs.toFixed(2)} ms\n`,
  );
});
