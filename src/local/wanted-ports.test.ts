import { expect, test } from "vitest";
import { smallMesh } from "../../test/support/small-mesh.ts";
import { wantedPorts } from "./wanted-ports.ts";

test("wantedPorts() has every way into the mesh, and nothing for what is elsewhere", () => {
  const uid = (name: string) => `Kubernetes//Pod/default/${name}`;
  const rows = wantedPorts(smallMesh()).map(({ address, port, entry }) => [
    `${address}:${port}`,
    entry,
  ]);
  expect(Object.fromEntries(rows)).toEqual({
    "127.70.0.1:15008": { kind: "tunnel", workload: uid("reviews-v1") },
    "127.70.0.1:8080": { kind: "captured" },
    "127.70.0.1:9000": { kind: "captured" },
    "127.70.0.2:15008": { kind: "tunnel", workload: uid("client") },
    "127.70.0.3:15008": { kind: "waypoint", waypoint: "default/wp" },
    "127.80.0.1:80": { kind: "captured" },
    "127.80.0.1:9000": { kind: "captured" },
    "127.80.0.2:15008": { kind: "waypoint", waypoint: "default/wp" },
  });
});
