import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { RESOURCE_TYPES } from "./resource.ts";

test("the reference page lists the types, in order", () => {
  const page = readFileSync(new URL("../../docs/reference/wire.md", import.meta.url), "utf8");
  const listed = [...page.matchAll(/^\| `(type\.googleapis\.com\/[^`]+)` \|/gm)].map(([, t]) => t);
  expect(listed).toEqual(Object.values(RESOURCE_TYPES));
});
