/**
 * Under Waystone: from `kubectl apply` of a Gateway to its waypoint's objects and everybody's
 * conditions, on a real API server, and back.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Cluster } from "./cluster.ts";
import { type RunningControlPlane, startControlPlane } from "./control-planes.ts";
import { Kubelet } from "./kubelet.ts";
import { isMissing } from "./toolchain.ts";

const SHOP = `
apiVersion: v1
kind: Namespace
metadata: { name: istio-system }
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: istio-waypoint }
spec: { controllerName: istio.io/mesh-controller }
---
apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: shop, labels: { istio.io/use-waypoint: waypoint } }
spec:
  selector: { app: cart }
  ports: [{ name: http, port: 80, targetPort: 8080 }]
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: cart, namespace: shop }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: cart, namespace: shop }
spec:
  selector: { matchLabels: { app: cart } }
  template:
    metadata: { labels: { app: cart } }
    spec: { serviceAccountName: cart, containers: [{ name: cart, image: example/cart }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: cart, namespace: shop }
spec:
  parentRefs: [{ group: "", kind: Service, name: cart }, { group: "", kind: Service, name: none }]
  rules: [{ backendRefs: [{ name: cart, port: 80 }] }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: readers, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: cart }]
  rules: [{ to: [{ operation: { methods: [GET] } }] }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: l4, namespace: shop }
spec:
  rules: [{ from: [{ source: { namespaces: [shop] } }] }]
`;

const GATEWAY = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: shop, labels: { istio.io/waypoint-for: service } }
spec:
  gatewayClassName: istio-waypoint
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
`;

interface Conditioned {
  readonly metadata: { readonly generation?: number; readonly uid: string };
  readonly spec?: { readonly clusterIPs?: readonly string[] };
  readonly status?: {
    readonly conditions?: readonly Condition[];
    readonly addresses?: readonly { readonly type: string; readonly value: string }[];
    readonly listeners?: readonly { readonly conditions: readonly Condition[] }[];
    readonly parents?: readonly {
      readonly controllerName: string;
      readonly parentRef: { readonly name: string };
      readonly conditions: readonly Condition[];
    }[];
  };
}

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly observedGeneration?: number;
}

const short = (conditions: readonly Condition[] | undefined) =>
  Object.fromEntries(
    (conditions ?? []).map(({ type, status, reason }) => [type, [status, reason]]),
  );

const LIMIT = { timeout: 20_000, interval: 200 };

describe.skipIf(isMissing("waypoints"))("waypoints", () => {
  let cluster: Cluster;
  let kubelet: Kubelet;
  let first: RunningControlPlane;
  const conditionsOf = async (kind: string, name: string) =>
    short((await cluster.get<Conditioned>(kind, name, "-n", "shop")).status?.conditions);
  const objects = async () =>
    (await cluster.kubectl(["get", "sa,deploy,svc,hpa,pdb", "-n", "shop", "-o", "name"]))
      .trim()
      .split("\n")
      .filter((name) => name.includes("waypoint"))
      .sort();

  beforeAll(async () => {
    cluster = await Cluster.start();
    kubelet = await Kubelet.start(cluster.api);
    await cluster.apply(SHOP);
    first = await startControlPlane(cluster, "first");
  });

  afterAll(async () => {
    await first?.stop();
    await kubelet?.stop();
    await cluster?.stop();
  });

  test("without the Gateway, conditions say what is missing", async () => {
    await expect
      .poll(() => conditionsOf("service", "cart"), LIMIT)
      .toMatchObject({ "istio.io/WaypointBound": ["False", "WaypointIsNotReady"] });
    await expect
      .poll(() => conditionsOf("authorizationpolicy", "readers"), LIMIT)
      .toEqual({ WaypointAccepted: ["False", "AncestorNotBound"] });
    await expect
      .poll(() => conditionsOf("authorizationpolicy", "l4"), LIMIT)
      .toEqual({ ZtunnelAccepted: ["True", "Accepted"] });
    const { status, metadata } = await cluster.get<Conditioned>("gatewayclass", "istio-waypoint");
    expect(short(status?.conditions)).toMatchObject({ Accepted: ["True", "Accepted"] });
    expect(status?.conditions?.[0]?.observedGeneration).toBe(metadata.generation);
  });

  test("a Gateway gets its objects, and all that hangs on it is told", async () => {
    await cluster.apply(GATEWAY);
    await expect
      .poll(objects, LIMIT)
      .toEqual(["deployment.apps/waypoint", "service/waypoint", "serviceaccount/waypoint"]);
    await expect
      .poll(() => conditionsOf("gateway", "waypoint"), LIMIT)
      .toEqual({
        Accepted: ["True", "Accepted"],
        Programmed: ["True", "Programmed"],
        ResolvedRefs: ["True", "ResolvedRefs"],
      });
    const service = await cluster.get<Conditioned>("service", "waypoint", "-n", "shop");
    const gateway = await cluster.get<Conditioned>("gateway", "waypoint", "-n", "shop");
    expect(gateway.status?.addresses).toEqual([
      ...(service.spec?.clusterIPs ?? []).map((value) => ({ type: "IPAddress", value })),
      { type: "Hostname", value: "waypoint.shop.svc.cluster.local" },
    ]);
    expect(short(gateway.status?.listeners?.[0]?.conditions)).toMatchObject({
      Programmed: ["True", "Programmed"],
    });
    await expect
      .poll(() => conditionsOf("service", "cart"), LIMIT)
      .toMatchObject({ "istio.io/WaypointBound": ["True", "WaypointAccepted"] });
    await expect
      .poll(() => conditionsOf("authorizationpolicy", "readers"), LIMIT)
      .toEqual({ WaypointAccepted: ["True", "Accepted"] });
    const route = await cluster.get<Conditioned>("httproute", "cart", "-n", "shop");
    const parents = route.status?.parents?.map(({ controllerName, parentRef, conditions }) => [
      controllerName,
      parentRef.name,
      short(conditions).Accepted,
    ]);
    expect(parents).toEqual([
      ["istio.io/gateway-controller", "cart", ["True", "Accepted"]],
      ["istio.io/gateway-controller", "none", ["False", "NoMatchingParent"]],
    ]);
  });

  test("what another removes or changes comes back; what another wrote into statuses stays", async () => {
    await cluster.kubectl(["delete", "deployment", "waypoint", "-n", "shop"]);
    await expect.poll(objects, { ...LIMIT, timeout: 40_000 }).toContain("deployment.apps/waypoint");
    const foreign = { type: "Theirs", status: "True", reason: "R", message: "m" };
    const time = "2026-01-01T00:00:00Z";
    const at = "/api/v1/namespaces/shop/services/cart/status";
    const body = { status: { conditions: [{ ...foreign, lastTransitionTime: time }] } };
    await cluster.api.send("PATCH", at, body, "application/merge-patch+json");
    await expect
      .poll(() => conditionsOf("service", "cart"), LIMIT)
      .toEqual({
        Theirs: ["True", "R"],
        "istio.io/WaypointBound": ["True", "WaypointAccepted"],
      });
  });

  test("overlays are laid on, and one that cannot be used is told on the Gateway", async () => {
    const options = (data: string) =>
      cluster.apply(
        `apiVersion: v1\nkind: ConfigMap\nmetadata: { name: options, namespace: shop }\ndata:\n  ${data}`,
      );
    await options('podDisruptionBudget: "spec: { minAvailable: 1 }"');
    const infrastructure = { parametersRef: { group: "", kind: "ConfigMap", name: "options" } };
    await cluster.kubectl([
      ...["patch", "gateway", "waypoint", "-n", "shop", "--type=merge"],
      ...["-p", JSON.stringify({ spec: { infrastructure } })],
    ]);
    await expect.poll(objects, LIMIT).toContain("poddisruptionbudget.policy/waypoint");
    await options('deploymnt: "spec: {}"\n  podDisruptionBudget: null');
    await expect
      .poll(() => conditionsOf("gateway", "waypoint"), { ...LIMIT, timeout: 40_000 })
      .toMatchObject({ Accepted: ["False", "InvalidParameters"] });
    // What only the server knows to be wrong.
    await options('deploymnt: null\n  deployment: "spec: { replicas: -1 }"');
    await expect
      .poll(() => cluster.kubectl(["get", "gateway", "waypoint", "-n", "shop", "-o", "yaml"]), {
        ...LIMIT,
        timeout: 40_000,
      })
      .toMatch(/Deployment waypoint: .*replicas[\s\S]*InvalidParameters/);
    await options("deployment: null");
    await expect
      .poll(() => conditionsOf("gateway", "waypoint"), { ...LIMIT, timeout: 40_000 })
      .toMatchObject({ Accepted: ["True", "Accepted"] });
    await expect
      .poll(objects, { ...LIMIT, timeout: 40_000 })
      .not.toContain("poddisruptionbudget.policy/waypoint");
  }, 120_000);

  test("a second one takes over when the first ends, and does what the first did", async () => {
    const second = await startControlPlane(cluster, "second");
    await first.stop();
    const startMs = performance.now();
    await expect
      .poll(async () => {
        const lease = await cluster.get<{ spec: { holderIdentity: string } }>(
          ...(["lease", "waystone-leader", "-n", "istio-system"] as const),
        );
        return lease.spec.holderIdentity;
      }, LIMIT)
      .toBe("second");
    expect(performance.now() - startMs).toBeLessThan(15_000);
    await cluster.kubectl(["label", "service", "cart", "-n", "shop", "istio.io/use-waypoint-"]);
    await expect
      .poll(() => conditionsOf("service", "cart"), LIMIT)
      .toEqual({ Theirs: ["True", "R"] });
    first = second;
  });

  test("with the Gateway its objects go", async () => {
    await cluster.kubectl(["delete", "gateway", "waypoint", "-n", "shop"]);
    await expect.poll(objects, { ...LIMIT, timeout: 30_000 }).toEqual([]);
  });
});
