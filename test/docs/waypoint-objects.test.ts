import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import type { Gateway } from "../../src/api/gateway.ts";
import { ADDRESS_TYPE_ANNOTATION } from "../../src/translate/gateway-status.ts";
import { MERGE_RULES, type MergeRules } from "../../src/translate/provision/strategic-merge.ts";
import { ANNOTATION } from "../../src/translate/provision/waypoint-annotations.ts";
import {
  OVERLAY_KEYS,
  type Overlay,
  waypointObjects,
} from "../../src/translate/provision/waypoint-objects.ts";
import { readWaypointSettings } from "../../src/translate/provision/waypoint-settings.ts";

const page = readFileSync(
  new URL("../../docs/reference/waypoint-objects.md", import.meta.url),
  "utf8",
);

/** The cells of the table under the head row that begins with `head`. */
function table(head: string): readonly (readonly string[])[] {
  const lines = page.split("\n");
  const start = lines.findIndex((line) => line.startsWith(`| ${head} |`));
  expect(start, head).toBeGreaterThanOrEqual(0);
  const rows = lines.slice(start + 2);
  const end = rows.findIndex((line) => !line.startsWith("|"));
  const body = end < 0 ? rows : rows.slice(0, end);
  return body.filter((row) => row !== "").map((row) => row.split("|").slice(1, -1));
}

/** What stands in backticks. */
const names = (text = "") => [...text.matchAll(/`([^`]+)`/g)].map(([, name]) => name!);
const firstNames = (head: string) => table(head).map(([cell]) => names(cell)[0]!);

const GATEWAY: Gateway = {
  apiVersion: "gateway.networking.k8s.io/v1",
  kind: "Gateway",
  metadata: { name: "waypoint", namespace: "shop", uid: "1" },
  spec: {
    gatewayClassName: "istio-waypoint",
    listeners: [{ name: "mesh", port: 15008, protocol: "HBONE" }],
  },
};
const OWNER = { className: "istio-waypoint", controllerName: "istio.io/mesh-controller" };
const SETTINGS = { image: "example.org/waystone:1", xdsAddress: "istiod.istio-system.svc:15012" };

/** The ConfigMap that the page shows. */
function shown(): Overlay {
  const block = /```yaml\n([\s\S]*?)```/.exec(page)?.[1] ?? "";
  const [document] = parseAllDocuments(block).map((one) => one.toJS());
  return { name: "shop/shop-waypoint", data: document.data };
}

test("waypoint-objects.md has the objects in the order of applying, and its overlay makes all", () => {
  const plan = waypointObjects(GATEWAY, OWNER, SETTINGS, [shown()]);
  expect("objects" in plan && plan.objects.map(({ kind }) => kind)).toEqual(firstNames("object"));
  const bare = waypointObjects(GATEWAY, OWNER, SETTINGS, []);
  const always = table("object").filter(([, , when]) => when?.trim() === "always");
  expect("objects" in bare && bare.objects).toHaveLength(always.length);
});

test("waypoint-objects.md has every annotation, key and setting", () => {
  expect(firstNames("annotation").toSorted()).toEqual(
    [...Object.values(ANNOTATION), ADDRESS_TYPE_ANNOTATION].toSorted(),
  );
  expect(firstNames("key")).toEqual(OVERLAY_KEYS);
  const refused = readWaypointSettings({ ...SETTINGS, unknown: 1 });
  const known = "problem" in refused ? refused.problem.split("there are ")[1] : "";
  expect(firstNames("setting")).toEqual(known?.split(", "));
});

test("waypoint-objects.md has every list that is merged by a key", () => {
  const found = new Set<string>();
  const walk = (rules: MergeRules) => {
    for (const [field, { key, fields = {} }] of Object.entries(rules)) {
      if (key !== undefined) found.add(`${field} by ${key}`);
      walk(fields);
    }
  };
  for (const rules of Object.values<MergeRules>(MERGE_RULES)) walk(rules);
  const listed = table("list").flatMap(([fields, key]) =>
    names(fields).map((field) => `${field} by ${names(key)[0]}`),
  );
  expect(new Set(listed)).toEqual(found);
});
