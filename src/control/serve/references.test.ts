import { expect, test } from "vitest";
import { References } from "./references.ts";

test("References has a name as long as one refers to it", () => {
  const references = new References();
  references.set("a", ["x", "y"]);
  references.set("b", ["y"]);
  expect(references.takeTouched()).toEqual(new Set(["x", "y"]));
  references.set("a", ["z"]);
  expect(["x", "y", "z"].filter((name) => references.has(name))).toEqual(["y", "z"]);
  expect(references.takeTouched()).toEqual(new Set(["x", "z"]));
  references.set("b", []);
  expect(references.has("y")).toBe(false);
  expect(references.takeTouched()).toEqual(new Set(["y"]));
});

test("References counts a referrer that names one twice as one that does so", () => {
  const references = new References();
  references.set("a", ["x", "x"]);
  references.set("a", ["x"]);
  expect(references.has("x")).toBe(true);
  references.set("a", []);
  expect(references.has("x")).toBe(false);
});
