import fc from "fast-check";
import { expect, test } from "vitest";
import { mergedStatus, type WantedStatus } from "./status-merge.ts";

const THEN = "2026-01-01T00:00:00Z";
const NOW = "2026-02-02T00:00:00Z";

const foreign = { type: "Custom", status: "True", reason: "R", message: "", extra: 1 };
const stood = {
  type: "Ours",
  status: "True",
  reason: "Fine",
  message: "it is",
  lastTransitionTime: THEN,
  observedGeneration: 3,
};
const wanting = (over: Partial<WantedStatus> = {}): WantedStatus => ({
  generation: 3,
  ownTypes: new Set(["Ours", "AlsoOurs"]),
  conditions: [{ type: "Ours", status: "True", reason: "Fine", message: "it is" }],
  ...over,
});

test("what stands there already is not written", () => {
  expect(mergedStatus({ conditions: [foreign, stood] }, wanting(), NOW)).toBeUndefined();
  expect(mergedStatus(undefined, wanting({ conditions: [] }), NOW)).toBeUndefined();
});

test("a condition keeps the time of its turn until it turns", () => {
  const [message, status] = (["it was", "False"] as const).map((value, i) => {
    const change = i === 0 ? { message: value } : { status: value as "False" };
    const conditions = [{ ...wanting().conditions[0]!, ...change }];
    return mergedStatus({ conditions: [stood] }, wanting({ conditions }), NOW)?.conditions;
  });
  expect(message).toEqual([{ ...stood, message: "it was" }]);
  expect(status).toEqual([{ ...stood, status: "False", lastTransitionTime: NOW }]);
});

test("conditions of others stay as they are; ours that are not wanted go", () => {
  const gone = { ...stood, type: "AlsoOurs" };
  const merged = mergedStatus({ conditions: [gone, foreign, stood] }, wanting(), NOW);
  expect(merged).toEqual({ conditions: [foreign, stood] });
});

test("entries of other controllers stay; ours follow the route's parents", () => {
  const parentRef = { name: "cart", kind: "Service", group: "" };
  const condition = { type: "Accepted", status: "True", reason: "Accepted", message: "" } as const;
  const theirs = { parentRef, controllerName: "istio.io/other", conditions: [] };
  const old = { parentRef: { ...parentRef, name: "old" }, controllerName: "us", conditions: [] };
  const wanted = wanting({
    conditions: [],
    parents: { controllerName: "us", entries: [{ parentRef, conditions: [condition] }] },
  });
  const merged = mergedStatus({ parents: [old, theirs] }, wanted, NOW);
  const ours = {
    parentRef,
    controllerName: "us",
    conditions: [{ ...condition, lastTransitionTime: NOW, observedGeneration: 3 }],
  };
  expect(merged).toEqual({ parents: [theirs, ours] });
  expect(mergedStatus({ parents: [theirs, ours] }, wanted, NOW)).toBeUndefined();
  const none = wanting({ conditions: [], parents: { controllerName: "us", entries: [] } });
  expect(mergedStatus({ parents: [ours] }, none, NOW)).toEqual({ parents: [] });
});

test("a status that no server should give is no reason to fail, and merging once is enough", () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (status, conditions) => {
      for (const observed of [status, { conditions, parents: conditions, listeners: conditions }]) {
        const wanted = wanting({
          parents: { controllerName: "us", entries: [] },
          listeners: [{ name: "mesh", attachedRoutes: 0, supportedKinds: [], conditions: [] }],
          fields: { addresses: [{ type: "IPAddress", value: "10.0.0.1" }] },
        });
        const parts = mergedStatus(observed, wanted, NOW);
        const after = { ...(observed as object), ...parts };
        expect(mergedStatus(after, wanted, NOW)).toBeUndefined();
      }
    }),
    { numRuns: 500 },
  );
});
