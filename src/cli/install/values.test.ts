import { expect, test } from "vitest";
import { VALUE_TABLE } from "./value-table.ts";
import { checkValues, overlaid, parseValues, usualValues } from "./values.ts";

function check(own: object): void {
  checkValues(overlaid(usualValues(), own as never));
}

test("the usual values are valid, and every entry of the table is among them", () => {
  check({});
  for (const { path, usual } of VALUE_TABLE) {
    let at: unknown = usualValues();
    for (const key of path.split(".")) at = (at as Record<string, unknown>)[key];
    expect(at, path).toEqual(usual);
  }
});

test("every description is a sentence", () => {
  for (const { path, description } of VALUE_TABLE) {
    expect(description, path).toMatch(/^[A-Z`].*\.$/);
  }
});

test("overlaid() merges mappings, replaces the rest, and takes away by null", () => {
  const below = { a: { b: 1, c: 2 }, list: [1, 2], gone: 1 };
  const above = { a: { c: 3 }, list: [3], gone: null, new: { null: null } };
  expect(overlaid(below, above)).toEqual({ a: { b: 1, c: 3 }, list: [3], new: {} });
  expect(overlaid(below, above, true)).toMatchObject({ gone: null });
  expect(below).toEqual({ a: { b: 1, c: 2 }, list: [1, 2], gone: 1 });
});

test.each<[own: object, message: string]>([
  [{ replcas: 3 }, "there is no value replcas"],
  [{ image: { tga: "x" } }, "there is no value image.tga"],
  [{ mode: "over" }, "must be under or beside"],
  [{ replicas: 0 }, "the value replicas must be >= 1"],
  [{ replicas: "2" }, "the value replicas must be integer"],
  [{ replicas: 1e9 }, "the value replicas must be <= 100000"],
  [{ image: { tag: 1 } }, "the value image.tag must be string"],
  [{ image: { tag: "a b" } }, "the value image.tag must match"],
  [{ image: null }, "the value image may not be taken away"],
  [{ image: { tag: null } }, "the value image.tag may not be taken away"],
  [{ trustedNodeAccounts: ["ztunnel"] }, "the value trustedNodeAccounts.0 must match"],
  [{ istiod: { address: "istiod" } }, "the value istiod.address must match"],
  [{ bindHost: "::" }, "the value bindHost must match"],
  [{ tolerations: ["x"] }, "the value tolerations.0 must be object"],
])("checkValues() refuses %j", (own, message) => {
  expect(() => check(own)).toThrow(message);
});

test("checkValues() lets the mesh's settings be left to others", () => {
  check({ meshConfig: null });
  check({ meshConfig: { anything: { below: 1 } } });
});

test("checkValues() knows what was meant", () => {
  const own = { waypoint: { resource: {} } };
  expect(() => check(own)).toThrow(
    expect.objectContaining({
      exitCode: 64,
      hint: expect.stringContaining("waypoint.resources"),
    }),
  );
});

test("parseValues() refuses what is no mapping, and reads an empty file", () => {
  expect(parseValues("", "f")).toEqual({});
  expect(parseValues("a: {b: on}", "f")).toEqual({ a: { b: true } });
  expect(() => parseValues("- a", "f")).toThrow("f: values are a mapping");
  expect(() => parseValues("a: [", "f")).toThrow("f: ");
});
