import { expect, test } from "vitest";
import { smallMesh } from "../../test/support/small-mesh.ts";
import type { Snapshot } from "../model/snapshot.ts";
import { meshReport } from "./mesh-report.ts";

function report(snapshot: Snapshot) {
  return meshReport({
    snapshot,
    addressMode: "addresses",
    where: (host, port) => (port === 9000 ? undefined : { host, port }),
    playedBy: () => "echo",
    statuses: [
      {
        object: { kind: "HTTPRoute", namespace: "default", name: "r" },
        conditions: [],
        parents: [
          {
            parent: {
              group: "",
              kind: "Service",
              namespace: "default",
              name: "reviews",
              sectionName: undefined,
              port: 80,
            },
            conditions: [{ type: "Accepted", status: "True", reason: "Accepted", message: "" }],
          },
        ],
        diagnostics: [],
      },
    ],
    diagnostics: [],
  });
}

test("meshReport() tells services with ports, waypoint and endpoints", () => {
  const { services } = report(smallMesh());
  expect(services.map((s) => s.name)).toEqual(["reviews", "wp"]);
  expect(services[0]).toMatchObject({
    address: "127.80.0.1",
    waypoint: "default/wp",
    endpoints: 1,
    healthyEndpoints: 1,
    ports: [
      { port: 80, dial: { host: "127.80.0.1", port: 80 } },
      { port: 9000, dial: undefined },
    ],
  });
});

test("meshReport() tells workloads by identity, waypoints, and conditions by object", () => {
  const { workloads, waypoints, conditions } = report(smallMesh());
  expect(workloads.find((w) => w.name === "client")?.identity).toBe(
    "spiffe://cluster.local/ns/default/sa/client",
  );
  expect(waypoints).toEqual([
    { key: "default/wp", trafficType: "service", address: "127.80.0.2", isReady: true },
  ]);
  expect(conditions).toEqual([
    {
      object: "HTTPRoute default/r → Service default/reviews",
      type: "Accepted",
      status: "True",
      reason: "Accepted",
      message: "",
    },
  ]);
});

test("meshReport() says why a waypoint cannot be used", () => {
  const snapshot = smallMesh();
  const [[key, service]] = [...snapshot.services.entries()] as [[string, never]];
  const broken = { state: "unusable", waypoint: "default/wp", reason: "WaypointMissing" };
  const services = new Map([[key, { ...(service as object), waypoint: broken } as never]]);
  const { services: rows } = report({ ...snapshot, services });
  expect(rows[0]?.waypoint).toBe("default/wp (WaypointMissing)");
});
