import { readdirSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { chartFiles } from "../../tools/chart.ts";

const CHART = fileURLToPath(new URL("../../deploy/chart/waystone", import.meta.url));
const BY_HAND = ["templates/NOTES.txt"];

test.each([...chartFiles()])("the chart's %s is what tools/chart.ts writes", async (name, text) => {
  await expect(text).toMatchFileSnapshot(`../../deploy/chart/waystone/${name}`);
});

test("the chart has no other file", () => {
  const found = readdirSync(CHART, { recursive: true, withFileTypes: true, encoding: "utf8" })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(CHART, join(entry.parentPath, entry.name)));
  expect(found.sort()).toEqual([...chartFiles().keys(), ...BY_HAND].sort());
});
