/**
 * Istio's own ztunnel under Waystone on a real API server: `WAYSTONE_ZTUNNEL` names the program.
 *
 *     leaf: client, real ztunnel ══> here: control plane, waypoint ══> leaf: real ztunnel, server
 *
 * Each runs for one Pod, in dedicated mode, with that Pod's token; its SOCKS5 port stands for the
 * capture of the Pod's traffic.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../support/child-process.ts";
import type { Pod } from "./kubelet.ts";
import { MeshUnderTest } from "./mesh-under-test.ts";
import { hasPodAddresses, OUTSIDE_IMAGE } from "./pod-runtime.ts";
import { isMissing } from "./toolchain.ts";

const ZTUNNEL = process.env.WAYSTONE_ZTUNNEL;
if (ZTUNNEL === undefined) console.log("real ztunnel: skipped, WAYSTONE_ZTUNNEL is not set");

const ADDRESSES = { client: "10.244.200.2", server: "10.244.201.2" } as const;
type Leaf = keyof typeof ADDRESSES;
const LEAVES = Object.keys(ADDRESSES) as Leaf[];

const workload = (name: Leaf) => `
apiVersion: v1
kind: ServiceAccount
metadata: { name: ${name}, namespace: shop }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: ${name}, namespace: shop }
spec:
  selector: { matchLabels: { app: ${name} } }
  template:
    metadata: { labels: { app: ${name} } }
    spec:
      serviceAccountName: ${name}
      containers: [{ name: app, image: "${OUTSIDE_IMAGE}", ports: [{ containerPort: 8080 }] }]
`;

const SHOP = `
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { istio.io/dataplane-mode: ambient } }
---
${workload("client")}
---
${workload("server")}
---
apiVersion: v1
kind: Service
metadata: { name: server, namespace: shop, labels: { istio.io/use-waypoint: waypoint } }
spec:
  selector: { app: server }
  ports: [{ name: http, port: 80, targetPort: 8080 }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: shop }
spec:
  gatewayClassName: istio-waypoint
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
`;

const DENIAL = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: no-secrets, namespace: shop }
spec:
  targetRefs: [{ kind: Service, group: "", name: server }]
  action: DENY
  rules: [{ to: [{ operation: { paths: [/secret] } }] }]
`;

const APP = `require("node:http").createServer((q, s) => s.end("served " + q.url)).listen(8080, "0.0.0.0")`;

const ip = (...args: readonly string[]) => execFileSync("ip", args, { stdio: "pipe" });

describe.skipIf(ZTUNNEL === undefined || !hasPodAddresses || isMissing("the real ztunnel"))(
  "the real ztunnel under Waystone",
  () => {
    const prefix = `wsk${process.pid.toString(36)}`;
    const children: ChildProcess[] = [];
    const texts: Record<string, string> = {};
    let mesh: MeshUnderTest;

    /** A network of its own behind a pair of interfaces, with the Pod's address. */
    function addLeaf(leaf: Leaf): void {
      const [name, here, there] = [
        `${prefix}${leaf}`,
        `${prefix}${leaf[0]}h`,
        `${prefix}${leaf[0]}t`,
      ];
      ip("netns", "add", name);
      ip("-n", name, "link", "set", "lo", "up");
      ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", name);
      ip("link", "set", here, "up");
      ip("addr", "add", ADDRESSES[leaf].replace(/\d+$/, "1/24"), "dev", here);
      ip("-n", name, "addr", "add", `${ADDRESSES[leaf]}/24`, "dev", there);
      ip("-n", name, "link", "set", there, "up");
      ip("-n", name, "route", "add", "default", "via", ADDRESSES[leaf].replace(/\d+$/, "1"));
    }

    function start(leaf: Leaf, command: string, args: readonly string[], env = {}): void {
      const all = ["netns", "exec", `${prefix}${leaf}`, command, ...args];
      const child = spawn("ip", all, { env: { ...process.env, ...env }, cwd: mesh.folder });
      children.push(child);
      for (const stream of [child.stdout, child.stderr]) {
        stream.on("data", (chunk: Buffer) => {
          texts[leaf] = (texts[leaf] ?? "") + chunk.toString();
        });
      }
    }

    async function startZtunnel(leaf: Leaf, pod: Pod): Promise<void> {
      let folder: string | undefined;
      await until("the namespace has the roots", async () => {
        folder = await mesh.runtime.volumes(pod);
        return folder !== undefined;
      });
      const roots = join(folder!, "root-cert.pem");
      start(leaf, ZTUNNEL!, ["proxy", "ztunnel"], {
        PROXY_MODE: "dedicated",
        PROXY_WORKLOAD_INFO: `shop/${pod.metadata.name}/${leaf}`,
        XDS_ADDRESS: `https://${mesh.outside}`,
        CA_ADDRESS: `https://${mesh.outside}`,
        XDS_ROOT_CA: roots,
        CA_ROOT_CA: roots,
        AUTH_TOKEN: join(folder!, "istio-token"),
        NODE_NAME: pod.spec.nodeName,
        POD_NAME: pod.metadata.name,
        POD_NAMESPACE: "shop",
        INSTANCE_IP: ADDRESSES[leaf],
        CLUSTER_ID: "Kubernetes",
        UNSTABLE_ENABLE_SOCKS5: "true",
        ENABLE_ORIG_SRC: "false",
        TERMINATION_GRACE_PERIOD_SECONDS: "1",
      });
    }

    function inLeaf(leaf: Leaf, ...args: readonly string[]): string {
      const all = ["netns", "exec", `${prefix}${leaf}`, "curl", "-sS", "-m", "5", ...args];
      try {
        return execFileSync("ip", all, { encoding: "utf8", stdio: "pipe" });
      } catch (caught) {
        return `curl ${(caught as { status?: number }).status}`;
      }
    }

    const isReady = (leaf: Leaf) =>
      inLeaf(leaf, "-w", "%{http_code}", "http://127.0.0.1:15021/healthz/ready").endsWith("200");

    beforeAll(async () => {
      mesh = await MeshUnderTest.start({
        addressOf: ({ metadata }) => {
          const leaf = LEAVES.find((name) => metadata.name.startsWith(`${name}-`));
          return metadata.namespace === "shop" && leaf ? ADDRESSES[leaf] : undefined;
        },
      });
      for (const leaf of LEAVES) addLeaf(leaf);
      await mesh.cluster.apply(SHOP);
      for (const leaf of LEAVES) {
        await until(`${leaf} has a Pod`, () => mesh.runtime.pods(leaf).length > 0, 30_000);
        await startZtunnel(leaf, mesh.runtime.pods(leaf)[0]!);
      }
      start("server", process.execPath, ["-e", APP]);
      await until(
        "the waypoint is programmed",
        () => mesh.isProgrammed("shop", "waypoint"),
        60_000,
      );
    }, 180_000);

    afterAll(async () => {
      for (const child of children) child.kill("SIGKILL");
      await mesh?.stop();
      for (const leaf of LEAVES) {
        try {
          ip("netns", "del", `${prefix}${leaf}`);
        } catch {
          // It was not made.
        }
      }
    }, 60_000);

    test("gets its configuration and becomes ready", async () => {
      for (const leaf of LEAVES) {
        await until(`${leaf} is ready`, () => isReady(leaf), 30_000).catch((caught: Error) => {
          throw new Error(`${caught.message}\n${texts[leaf]}\n${mesh.text}`);
        });
      }
    }, 90_000);

    test("sends through the waypoint, which sends to the other one", async () => {
      const { spec } = await mesh.cluster.get<{ spec: { clusterIP: string } }>(
        ...(["service", "server", "-n", "shop"] as const),
      );
      const ask = (path: string) =>
        inLeaf(
          "client",
          "--socks5",
          "127.0.0.1:15080",
          "-w",
          " %{http_code}",
          `http://${spec.clusterIP}${path}`,
        );
      await expect.poll(() => ask("/hello"), { timeout: 20_000 }).toBe("served /hello 200");
      await mesh.cluster.apply(DENIAL);
      await expect.poll(() => ask("/secret"), { timeout: 10_000 }).toMatch(/403$/);
      expect(ask("/hello")).toBe("served /hello 200");
      await mesh.cluster.kubectl(["delete", "authorizationpolicy", "no-secrets", "-n", "shop"]);
      await expect.poll(() => ask("/secret"), { timeout: 10_000 }).toBe("served /secret 200");
      const metrics = inLeaf("server", "http://127.0.0.1:15020/metrics");
      expect(metrics).toContain('source_principal="spiffe://cluster.local/ns/shop/sa/waypoint"');
    }, 90_000);
  },
);
