/** Who is to enforce a policy, and who says to. */
import { expect, test } from "vitest";
import { readObjects } from "../../api/read-objects.ts";
import { ControlPlane } from "../control-plane.ts";
import type { AdsClientStatus } from "./ads-stream.ts";
import { enforcementReport } from "./enforcement.ts";

const pod = (name: string, node: string, labels = "app: cart", more = "") => `
---
apiVersion: v1
kind: Pod
metadata:
  name: ${name}
  namespace: shop
  labels: { ${labels} }
  annotations: { ambient.istio.io/redirection: enabled }
spec: { nodeName: ${node}, serviceAccountName: ${name} }
status:
  podIP: 10.0.0.${name.length}
  podIPs: [{ ip: 10.0.0.${name.length} }]
  phase: Running
  conditions: [{ type: Ready, status: "True" }]
${more}`;

const MESH = `
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { istio.io/dataplane-mode: ambient } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: istio-waypoint }
spec: { controllerName: istio.io/mesh-controller }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: shop }
spec:
  gatewayClassName: istio-waypoint
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
status:
  addresses: [{ type: IPAddress, value: 10.96.0.9 }]
---
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: shop, labels: { istio.io/use-waypoint: wp } }
spec: { clusterIP: 10.96.0.1, selector: { app: cart }, ports: [{ name: http, port: 80 }] }
${pod("a", "node-1")}
${pod("bb", "node-2", "app: other")}
${pod("ccc", "node-2", "gateway.networking.k8s.io/gateway-name: wp, gateway.networking.k8s.io/gateway-class-name: istio-waypoint")}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: at-service, namespace: shop, uid: u-1, generation: 4 }
spec:
  targetRefs: [{ group: "", kind: Service, name: cart }]
  rules: [{}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: at-pods, namespace: shop }
spec:
  selector: { matchLabels: { app: cart } }
  rules: [{}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: everywhere, namespace: shop }
spec: { rules: [{}] }
`;

const client = (more: Partial<AdsClientStatus>): AdsClientStatus => ({
  node: "ztunnel~10.0.0.9~ztunnel-1.istio-system~x",
  ...{ namespace: "istio-system", clusterId: "", istioVersion: "", connectedMs: 0 },
  ...{ gateway: "", nodeName: "node-1", types: [], enforcedRevision: undefined },
  ...more,
});

async function mesh(): Promise<ControlPlane> {
  const control = new ControlPlane({ enrolment: "annotation" });
  const { objects, diagnostics } = await readObjects(MESH, "mesh.yaml");
  expect(diagnostics).toEqual([]);
  control.apply({ upserted: objects, removed: [] });
  return control;
}

const CLIENTS = [
  client({ enforcedRevision: 5 }),
  client({ node: "waypoint~10.0.0.3~ccc.shop~x", gateway: "shop/wp", enforcedRevision: 3 }),
];

test("a service's policy is its waypoint's Pods' to enforce, a selector's the nodes' ztunnels'", async () => {
  const control = await mesh();
  const { revision, policies } = enforcementReport(control, CLIENTS, { namespace: "shop" });
  expect(revision).toBe(control.current.revision);
  const proxies = Object.fromEntries(policies.map((one) => [one.name, one.proxies]));
  expect(proxies["at-service"]).toEqual([{ proxy: "waypoint ccc.shop", revision: 3 }]);
  expect(proxies["at-pods"]).toEqual([{ proxy: "ztunnel on node-1", revision: 5 }]);
  expect(proxies.everywhere).toEqual([
    { proxy: "ztunnel on node-1", revision: 5 },
    { proxy: "ztunnel on node-2", revision: null },
  ]);
});

test("one policy may be asked for; the object's version is told where there is one", async () => {
  const control = await mesh();
  const query = { kind: "AuthorizationPolicy", namespace: "shop", name: "at-service" };
  const { policies } = enforcementReport(control, [], query);
  expect(policies).toEqual([
    {
      ...query,
      uid: "u-1",
      generation: 4,
      proxies: [{ proxy: "waypoint ccc.shop", revision: null }],
    },
  ]);
  expect(enforcementReport(control, [], { ...query, name: "no" }).policies).toEqual([]);
});

test("of an old and a new proxy of one name the slower counts; a new Pod counts once it connects", async () => {
  const control = await mesh();
  const clients = [
    client({ enforcedRevision: 7 }),
    client({ enforcedRevision: 6 }),
    client({ node: "waypoint~10.0.0.8~new.shop~x", gateway: "shop/wp" }),
  ];
  const { policies } = enforcementReport(control, clients, {});
  const proxies = Object.fromEntries(policies.map((one) => [one.name, one.proxies]));
  expect(proxies["at-pods"]).toEqual([{ proxy: "ztunnel on node-1", revision: 6 }]);
  expect(proxies["at-service"]).toEqual([
    { proxy: "waypoint ccc.shop", revision: null },
    { proxy: "waypoint new.shop", revision: null },
  ]);
});
