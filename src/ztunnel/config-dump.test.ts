import { expect, test } from "vitest";
import { l4Policy } from "../../test/support/l4-policies.ts";
import { smallMesh } from "../../test/support/small-mesh.ts";
import { withPolicies } from "../../test/support/ztunnel-mesh.ts";
import { ztunnelConfigDump } from "./config-dump.ts";

test("the dump has the keys and spellings that istioctl ztunnel-config reads", () => {
  const policy = l4Policy("only-client", "ALLOW", {
    principals: [{ type: "exact", value: "cluster.local/ns/default/sa/client" }],
    sourceIps: [{ bytes: "0a000000", prefixLength: 8, text: "10.0.0.0/8" }],
    destinationPorts: [8080],
  });
  const dump = JSON.parse(
    JSON.stringify(ztunnelConfigDump(withPolicies(smallMesh(), policy), "1.2.3")),
  );
  const reviews = dump.services.find((s: { name: string }) => s.name === "reviews");
  expect(reviews).toMatchObject({
    vips: ["/127.80.0.1"],
    ports: { "80": 8080, "9000": 9000 },
    waypoint: { destination: "default/wp.default.svc.cluster.local", hboneMtlsPort: 15008 },
    endpoints: {
      "Kubernetes//Pod/default/reviews-v1": {
        workloadUid: "Kubernetes//Pod/default/reviews-v1",
        port: { "80": 8080, "9000": 9000 },
        status: "Healthy",
      },
    },
    loadBalancer: { routingPreferences: [], mode: "Standard", healthPolicy: "OnlyHealthy" },
  });
  const vm = dump.workloads.find((w: { name: string }) => w.name === "vm");
  expect(vm).toMatchObject({ protocol: "TCP", workloadType: "deployment", status: "Healthy" });
  expect(dump.policies).toEqual([
    {
      name: "only-client",
      namespace: "default",
      scope: "Namespace",
      action: "Allow",
      rules: [
        [
          [
            {
              principals: [{ Exact: "cluster.local/ns/default/sa/client" }],
              sourceIps: ["10.0.0.0/8"],
              destinationPorts: [8080],
            },
          ],
        ],
      ],
      dryRun: false,
    },
  ]);
  expect(dump.version.version).toBe("1.2.3");
});
