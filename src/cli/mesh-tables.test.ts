import { expect, test } from "vitest";
import { smallMesh } from "../../test/support/small-mesh.ts";
import { meshReport } from "../local/mesh-report.ts";
import { meshTables, requestHint } from "./mesh-tables.ts";

const REPORT = meshReport({
  snapshot: smallMesh(),
  addressMode: "addresses",
  where: (host, port) => (port === 9000 ? undefined : { host, port }),
  playedBy: (workload) => (workload.waypointInstanceOf ? "waypoint" : "echo"),
  statuses: [],
  diagnostics: [{ code: "WS0106", level: "warning", message: "applies to nothing" }],
});

test("meshTables() prints what is there, and what is wrong with it", () => {
  const text = meshTables(REPORT);
  expect(text).toContain(
    "SERVICE           ADDRESS      PORTS                  WAYPOINT     ENDPOINTS",
  );
  expect(text).toContain("default/reviews   127.80.0.1   80,9000 (not served)   default/wp   1/1");
  expect(text).toContain("spiffe://cluster.local/ns/default/sa/client");
  expect(text).toContain("Warning [WS0106] applies to nothing");
  expect(text).not.toContain("ROUTE");
  expect(text).not.toMatch(/ $/m);
});

test("requestHint() writes a request that this mesh can answer", () => {
  expect(requestHint(REPORT)).toBe("Ask it: waystone request --from client GET http://reviews:80/");
  expect(requestHint(REPORT, "/var/mesh")).toContain("request --state /var/mesh --from client");
  expect(requestHint({ ...REPORT, services: [] })).toBe("");
});
