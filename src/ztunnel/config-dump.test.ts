import { X509Certificate } from "node:crypto";
import { expect, test } from "vitest";
import { idOf, TestMesh } from "../../test/support/identities.ts";
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
    JSON.stringify(ztunnelConfigDump(withPolicies(smallMesh(), policy), [], "1.2.3")),
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

test("certificates are shown with their state and times, and without their keys", async () => {
  const mesh = await TestMesh.make();
  const identity = await mesh.identity("a");
  const states = [
    { spiffeId: idOf("a"), identity, problem: undefined },
    { spiffeId: idOf("b"), identity: undefined, problem: "the CA is down" },
    { spiffeId: idOf("c"), identity: undefined, problem: undefined },
  ];
  const text = JSON.stringify(ztunnelConfigDump(smallMesh(), states, "1.2.3"));
  const [a, b, c] = JSON.parse(text).certificates;
  expect(a).toMatchObject({ identity: idOf("a"), state: "Available" });
  const leaf = new X509Certificate(Buffer.from(a.certChain[0].pem, "base64"));
  expect(a.certChain[0].serialNumber).toBe(BigInt(`0x${leaf.serialNumber}`).toString());
  expect(Date.parse(a.certChain[0].expirationTime)).toBe(identity.notAfterMs);
  expect(a.certChain[0].validFrom).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  expect(a.rootCerts).toHaveLength(1);
  expect(b).toMatchObject({ state: "Unavailable: the CA is down", certChain: [], rootCerts: [] });
  expect(c.state).toBe("Initializing");
  expect(text).not.toContain("PRIVATE");
  expect(text).not.toContain(Buffer.from("PRIVATE").toString("base64").slice(0, 8));
});
