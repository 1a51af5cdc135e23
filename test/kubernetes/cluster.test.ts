/** The cluster that the other tests of this folder stand on: it does what a real one does. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../support/child-process.ts";
import { Cluster } from "./cluster.ts";
import { Kubelet, type Pod } from "./kubelet.ts";
import { isMissing } from "./toolchain.ts";

const SHOP = `
apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: cart, namespace: shop }
---
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: shop }
spec:
  selector: { app: cart }
  ports: [{ name: http, port: 80, targetPort: 8080 }]
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: cart, namespace: shop }
spec:
  replicas: 3
  selector: { matchLabels: { app: cart } }
  template:
    metadata: { labels: { app: cart } }
    spec:
      serviceAccountName: cart
      terminationGracePeriodSeconds: 1
      initContainers: [{ name: prepare, image: example/prepare }]
      containers: [{ name: cart, image: example/cart }]
`;

interface List<T> {
  readonly items: readonly T[];
}

interface Slice {
  readonly endpoints?: readonly {
    readonly addresses: readonly string[];
    readonly conditions: { readonly ready: boolean };
    readonly nodeName: string;
  }[];
}

interface Review {
  readonly status: {
    readonly authenticated?: boolean;
    readonly audiences?: readonly string[];
    readonly user: {
      readonly username?: string;
      readonly groups?: readonly string[];
      readonly extra?: Readonly<Record<string, readonly string[]>>;
    };
  };
}

describe.skipIf(isMissing("cluster"))("a cluster", () => {
  let cluster: Cluster;
  let kubelet: Kubelet;

  beforeAll(async () => {
    const startMs = performance.now();
    cluster = await Cluster.start({ crds: ["gateway-api-experimental", "istio"] });
    kubelet = await Kubelet.start(cluster.api);
    const seconds = ((performance.now() - startMs) / 1_000).toFixed(1);
    process.stderr.write(`kubernetes: ready after ${seconds} s\n`);
  });

  afterAll(async () => {
    await kubelet?.stop();
    await cluster?.stop();
  });

  async function endpoints(): Promise<Map<string, boolean>> {
    const label = "kubernetes.io/service-name=cart";
    const { items } = await cluster.get<List<Slice>>("endpointslices", "-n", "shop", "-l", label);
    const all = items.flatMap((slice) => slice.endpoints ?? []);
    return new Map(all.map((one) => [one.addresses[0]!, one.conditions.ready]));
  }

  async function pods(): Promise<readonly Pod[]> {
    return (await cluster.get<List<Pod>>("pods", "-n", "shop", "-l", "app=cart")).items;
  }

  /** What the API server says of a token. */
  async function review(token: string, audience: string): Promise<Review["status"]> {
    const [apiVersion, kind] = ["authentication.k8s.io/v1", "TokenReview"];
    const asked = { apiVersion, kind, spec: { token, audiences: [audience] } };
    const args = ["create", "-f", "-", "-o", "json"];
    return (JSON.parse(await cluster.kubectl(args, JSON.stringify(asked))) as Review).status;
  }

  test("has the kinds of Gateway API, experimental ones too, and of Istio", async () => {
    const kinds = await cluster.kubectl(["api-resources", "--no-headers", "-o", "name"]);
    expect(kinds.split("\n")).toEqual(
      expect.arrayContaining([
        "httproutes.gateway.networking.k8s.io",
        "gateways.gateway.networking.k8s.io",
        "xbackendtrafficpolicies.gateway.networking.x-k8s.io",
        "authorizationpolicies.security.istio.io",
        "serviceentries.networking.istio.io",
      ]),
    );
  });

  test("a Deployment's Pods get addresses, and its Service endpoints", async () => {
    await cluster.apply(SHOP);
    const rollout = ["rollout", "status", "deployment/cart", "-n", "shop", "--timeout=20s"];
    await cluster.kubectl(rollout);
    const addresses = (await pods()).map((pod) => pod.status?.podIP);
    expect(new Set(addresses).size).toBe(3);
    const wanted = new Map(addresses.map((address) => [address, true]));
    await until("each has an endpoint", async () => (await endpoints()).size === 3);
    expect(await endpoints()).toEqual(wanted);
  });

  test("a Pod that is not ready is an endpoint that is not ready", async () => {
    const [first] = await pods();
    const address = first!.status!.podIP!;
    await kubelet.setReady("shop", first!.metadata.name, false);
    await until("it is not", async () => (await endpoints()).get(address) === false);
    await kubelet.setReady("shop", first!.metadata.name, true);
    await until("it is again", async () => (await endpoints()).get(address) === true);
  });

  test("a Pod that is deleted goes, and another comes", async () => {
    const before = (await pods()).map((pod) => pod.metadata.uid);
    await cluster.kubectl(["delete", "pod", "-n", "shop", (await pods())[0]!.metadata.name]);
    await until("three endpoints", async () => (await endpoints()).size === 3);
    const after = (await pods()).map((pod) => pod.metadata.uid);
    expect(after.filter((uid) => before.includes(uid))).toHaveLength(2);
  });

  test("a token of a service account is reviewed", async () => {
    const create = ["create", "token", "cart", "-n", "shop", "--audience", "istio-ca"];
    const token = (await cluster.kubectl(create)).trim();
    expect(await review(token, "istio-ca")).toMatchObject({
      authenticated: true,
      audiences: ["istio-ca"],
      user: {
        username: "system:serviceaccount:shop:cart",
        groups: expect.arrayContaining(["system:serviceaccounts:shop"]),
      },
    });
    expect((await review(token, "others")).authenticated).toBeUndefined();
    expect((await review(`${token}x`, "istio-ca")).authenticated).toBeUndefined();
  });

  test("a Pod's token names the Pod", async () => {
    const [first] = await pods();
    const { name, uid } = first!.metadata;
    const token = await kubelet.token("shop", name, "istio-ca");
    const { user } = await review(token, "istio-ca");
    expect(user).toMatchObject({
      username: "system:serviceaccount:shop:cart",
      extra: {
        "authentication.kubernetes.io/pod-name": [name],
        "authentication.kubernetes.io/pod-uid": [uid],
      },
    });
  });

  test("RBAC: who was given nothing may do nothing", async () => {
    const user = { name: "somebody", groups: ["some-group"] };
    const { kubeconfig } = await cluster.access.ofUser(user);
    const get = ["get", "pods", "-n", "shop", "-o", "name"];
    await expect(cluster.kubectl(get, "", kubeconfig)).rejects.toThrow(/"somebody" cannot list/);
    const role = ["view-pods", "--clusterrole=view", "--group=some-group", "-n", "shop"];
    await cluster.kubectl(["create", "rolebinding", ...role]);
    expect((await cluster.kubectl(get, "", kubeconfig)).trim().split("\n")).toHaveLength(3);
    const token = (await cluster.kubectl(["create", "token", "cart", "-n", "shop"])).trim();
    const account = cluster.access.withToken(token);
    await expect(cluster.kubectl(get, "", account)).rejects.toThrow(/serviceaccount:shop:cart/);
  });

  test("after a restart of the API server everything goes on", async () => {
    await cluster.apiServer.stop();
    cluster.apiServer.start();
    await cluster.ready();
    await cluster.kubectl(["scale", "deployment/cart", "-n", "shop", "--replicas=4"]);
    await until("a fourth endpoint", async () => (await endpoints()).size === 4);
  });

  test("a namespace goes with everything in it", async () => {
    await cluster.kubectl(["delete", "namespace", "shop", "--timeout=30s"]);
    expect(await pods()).toEqual([]);
    await expect(cluster.get("namespace", "shop")).rejects.toThrow(/not found/);
  });
});
