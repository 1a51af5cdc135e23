/**
 * `waystone install` on a real API server: accepted under the Pod security standard `restricted`,
 * idempotent, and gone after `uninstall`; and a control plane with no other rights than those that
 * were installed does its work and is forbidden nothing.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "../../src/cli/program.ts";
import { BESIDE_ISTIOD, UNDER_WAYSTONE } from "../../src/control/cluster/cluster-mode.ts";
import { rulesOf } from "../../src/control/cluster/permissions.ts";
import { Child } from "../support/child-process.ts";
import { freePort } from "../support/free-ports.ts";
import { Cluster } from "./cluster.ts";
import { type RunningControlPlane, startControlPlane } from "./control-planes.ts";
import { findHelm, helm } from "./helm.ts";
import { Kubelet } from "./kubelet.ts";
import { RecordingProxy } from "./recording-proxy.ts";
import { isMissing } from "./toolchain.ts";

const CHART = fileURLToPath(new URL("../../deploy/chart/waystone", import.meta.url));
const LIMIT = { timeout: 40_000, interval: 250 };

/** Options of the installed Deployment that mean something in its Pod alone. */
const ADDRESSES = ["--address", "--metrics-address", "--readiness-address"];
const OF_THE_POD = [
  ...["--webhook-address", "--state", "--waypoint-settings"],
  ...["--ca-address", "--token", "--roots"],
];

const NAMESPACES = { under: "istio-system", beside: "waystone-system" } as const;
type Mode = keyof typeof NAMESPACES;
const MODES: readonly Mode[] = ["under", "beside"];

const RESTRICTED = "pod-security.kubernetes.io/enforce=restricted";

const shop = (className: string) => `
apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: overlay, namespace: shop }
data:
  deployment: "spec: { replicas: 2 }"
  horizontalPodAutoscaler: "spec: { minReplicas: 1, maxReplicas: 3 }"
  podDisruptionBudget: "spec: { minAvailable: 1 }"
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: shop }
spec:
  gatewayClassName: ${className}
  infrastructure: { parametersRef: { group: "", kind: ConfigMap, name: overlay } }
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
---
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: shop, labels: { istio.io/use-waypoint: waypoint } }
spec:
  selector: { app: cart }
  ports: [{ name: http, port: 80, targetPort: 8080 }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: cart, namespace: shop }
spec:
  parentRefs: [{ group: "", kind: Service, name: cart }]
  rules: [{ backendRefs: [{ name: cart, port: 80 }] }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: readers, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: cart }]
  rules: [{ to: [{ operation: { methods: [GET] } }] }]
`;

const ISTIODS_CLASS = `---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: { name: istio-waypoint }
spec: { controllerName: istio.io/mesh-controller }
`;

interface Item {
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly resourceVersion: string;
  };
}

interface Labelled {
  readonly metadata: { readonly labels?: Readonly<Record<string, string>> };
}

interface Deployment {
  readonly spec: {
    readonly template: { readonly spec: { readonly containers: readonly [{ args: string[] }] } };
  };
}

interface Statused {
  readonly status?: {
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly parents?: readonly { readonly controllerName: string }[];
  };
}

describe.skipIf(isMissing("install"))("install", () => {
  let cluster: Cluster;
  let kubelet: Kubelet;
  let folder = "";
  let proxy: RecordingProxy;
  let child: Child | undefined;
  let istiod: RunningControlPlane | undefined;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "waystone-install-"));
    cluster = await Cluster.start();
    kubelet = await Kubelet.start(cluster.api);
    proxy = await RecordingProxy.start(cluster.access.server, cluster.access.rootPem);
    await cluster.kubectl(["create", "namespace", "istio-system"]);
  });
  afterAll(async () => {
    await child?.kill();
    await istiod?.stop();
    await proxy?.close();
    await kubelet?.stop();
    await cluster?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function call(...args: string[]): Promise<{ code: number; out: string[]; err: string }> {
    const out: string[] = [];
    const err: string[] = [];
    const output = {
      print: (text: string) => void out.push(text),
      say: (text: string) => void err.push(text),
    };
    const code = await run([...args, "--kubeconfig", cluster.kubeconfig], output);
    return { code, out, err: err.join("\n") };
  }

  /** Objects of the installation, whatever their kind. */
  async function installed(): Promise<readonly string[]> {
    const kinds = [
      ...["serviceaccounts", "clusterroles", "clusterrolebindings", "roles", "rolebindings"],
      ...["configmaps", "services", "deployments", "poddisruptionbudgets", "networkpolicies"],
      ...["gatewayclasses", "validatingwebhookconfigurations"],
    ];
    const { items } = await cluster.get<{ items: readonly Item[] }>(
      kinds.join(","),
      ...["--all-namespaces", "--selector", "waystone.io/installed-in"],
    );
    return items.map(({ kind, metadata: { namespace = "", name, resourceVersion } }) =>
      [kind, namespace, name, resourceVersion].join(" "),
    );
  }

  /** The installed command line, for a process of this machine with the account's rights alone. */
  async function startInstalled(mode: Mode): Promise<Child> {
    const namespace = NAMESPACES[mode];
    const found = await cluster.get<Deployment>("deployment", "waystone", "-n", namespace);
    const [{ args }] = found.spec.template.spec.containers;
    const { data } = await cluster.get<{ data: Readonly<Record<string, string>> }>(
      ...(["configmap", "waystone-waypoints", "-n", namespace] as const),
    );
    const settings = join(folder, `${mode}.yaml`);
    await writeFile(settings, data["settings.yaml"]!);
    const here: string[] = [];
    for (let at = 0; at < args.length; at++) {
      const arg = args[at]!;
      if (OF_THE_POD.includes(arg)) at++;
      else if (ADDRESSES.includes(arg)) {
        here.push(arg, `127.0.0.1:${await freePort()}`);
        at++;
      } else if (arg !== "--kubernetes") here.push(arg);
    }
    const token = await cluster.kubectl(["create", "token", "waystone", "-n", namespace]);
    const own = [
      ...(mode === "beside" ? await besideIstiod(namespace) : []),
      ...["--kubeconfig", proxy.kubeconfig(folder, token.trim())],
      ...["--admin-address", `127.0.0.1:${await freePort()}`, "--waypoint-settings", settings],
      ...["--state", await mkdtemp(join(folder, "state-"))],
    ];
    const environment = { POD_NAMESPACE: namespace, POD_NAME: mode, WAYSTONE_LOG_LEVEL: "info" };
    return new Child([...here, ...own], environment);
  }

  /** Its CA is all that is needed of istiod here: another control plane plays it. */
  async function besideIstiod(namespace: string): Promise<readonly string[]> {
    istiod = await startControlPlane(cluster, "istiod");
    const roots = ["configmap/istio-ca-root-cert", "-o", "jsonpath={.data.root-cert\\.pem}"];
    const read = () => cluster.kubectl(["get", "-n", namespace, ...roots]).catch(String);
    await expect.poll(read, LIMIT).toContain("BEGIN CERTIFICATE");
    const [rootsFile, tokenFile] = [join(folder, "root-cert.pem"), join(folder, "istio-token")];
    await writeFile(rootsFile, await read());
    const audience = ["--audience", "istio-ca"];
    await writeFile(
      tokenFile,
      await cluster.kubectl(["create", "token", "waystone", "-n", namespace, ...audience]),
    );
    const at = `127.0.0.1:${istiod.process.at.port}`;
    return ["--ca-address", at, "--roots", rootsFile, "--token", tokenFile];
  }

  for (const mode of MODES) {
    const namespace = NAMESPACES[mode];
    const className = mode === "under" ? "istio-waypoint" : "waystone-waypoint";

    test(`${mode}: what is installed is accepted, and once more changes nothing`, async () => {
      const options = ["install", "--mode", mode, "--set", "networkPolicy.enabled=true"];
      const first = await call(...options);
      expect(first).toMatchObject({ code: 0, err: "" });
      expect(first.out.filter((line) => !line.endsWith(" created"))).toEqual([]);
      const before = await installed();
      const again = await call(...options);
      expect(again).toMatchObject({ code: 0, err: "" });
      expect(again.out.filter((line) => !line.endsWith(" unchanged"))).toEqual([]);
      // Of these controllers write statuses, and a GatewayClass gets a version for each apply.
      const spec = (lines: readonly string[]) =>
        lines.filter((line) => !/^(Deployment|PodDis|GatewayClass)/.test(line));
      expect(spec(await installed())).toEqual(spec(before));
    });

    test(`${mode}: its Pods are let in where Pod security is restricted`, async () => {
      await cluster.kubectl(["label", "namespace", namespace, RESTRICTED]);
      const { template } = (
        await cluster.get<Deployment>("deployment", "waystone", "-n", namespace)
      ).spec;
      const path = `/api/v1/namespaces/${namespace}/pods?dryRun=All`;
      const letIn = (spec: object) => {
        const pod = { apiVersion: "v1", kind: "Pod", metadata: { name: "p" }, spec };
        return cluster.api.send("POST", path, pod);
      };
      await letIn(template.spec);
      const lax = { ...template.spec, securityContext: {} };
      await expect(letIn(lax)).rejects.toThrow("violates PodSecurity");
    });

    test(`${mode}: with the installed rights all is done, and nothing is forbidden`, async () => {
      await cluster.apply(shop(className));
      child = await startInstalled(mode);
      const started = child;
      const names = ["deployment", "service", "serviceaccount", "hpa", "pdb"];
      for (const kind of names) {
        await expect
          .poll(
            () =>
              cluster.kubectl(["get", kind, "waypoint", "-n", "shop", "-o", "name"]).catch(String),
            { ...LIMIT, message: started.text },
          )
          .toMatch(/\/waypoint\n$/);
      }
      const status = async (kind: string, name: string) =>
        (await cluster.get<Statused>(kind, name, "-n", "shop")).status;
      await expect
        .poll(async () => (await status("gateway", "waypoint"))?.conditions?.length, LIMIT)
        .toBeGreaterThan(0);
      const parents = async () =>
        (await status("httproute", "cart"))?.parents?.map((one) => one.controllerName);
      const controller = mode === "under" ? UNDER_WAYSTONE : BESIDE_ISTIOD;
      await expect.poll(parents, LIMIT).toContain(controller.routeControllerName);
      if (mode === "under") {
        const types = async (kind: string, name: string) =>
          (await status(kind, name))?.conditions?.map(({ type }) => type);
        await expect
          .poll(() => types("service", "cart"), LIMIT)
          .toContain("istio.io/WaypointBound");
        await expect
          .poll(() => types("authorizationpolicy", "readers"), LIMIT)
          .toContain("WaypointAccepted");
        await expect
          .poll(
            () =>
              cluster
                .kubectl(["get", "configmap", "istio-ca-root-cert", "-n", "shop", "-o", "name"])
                .catch(String),
            LIMIT,
          )
          .toBe("configmap/istio-ca-root-cert\n");
      }
      // Without the overlay's parts, they are removed again.
      await cluster.apply(
        'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: overlay, namespace: shop }\ndata: { deployment: "spec: {}" }\n',
      );
      await expect
        .poll(() => cluster.kubectl(["get", "hpa,pdb", "-n", "shop", "-o", "name"]).catch(String), {
          ...LIMIT,
          timeout: 60_000,
        })
        .toBe("");
      child.signal("SIGTERM");
      await child.ended;
      expect(child.text).not.toMatch(/forbidden|cannot|may not/);
      // Nor has it asked in silence for what it may not have.
      expect(proxy.forbidden).toEqual([]);
      child = undefined;
      await istiod?.stop();
      istiod = undefined;
    }, 180_000);

    test(`${mode}: every permission is granted, and none of the others that matter`, async () => {
      const account = `system:serviceaccount:${namespace}:waystone`;
      const can = async (verb: string, resource: string, ...rest: string[]) => {
        const args = ["auth", "can-i", verb, resource, `--as=${account}`, ...rest];
        const answer = await cluster.kubectl([...args, "-q"]).catch(() => "no");
        return answer === "";
      };
      for (const { resources, apiGroups, verbs, resourceNames } of rulesOf(mode, "cluster")) {
        const group = apiGroups[0] ? `.${apiGroups[0]}` : "";
        const name = resourceNames === undefined ? "" : `/${resourceNames[0]}`;
        const [resource, sub] = resources.at(-1)!.split("/");
        const more = sub === undefined ? [] : [`--subresource=${sub}`];
        for (const verb of verbs) {
          const what = `${resource}${group}${name}`;
          expect(await can(verb, what, "-n", "shop", ...more), `${verb} ${what}`).toBe(true);
        }
      }
      const denied: readonly (readonly string[])[] = [
        ["list", "secrets", "-n", "istio-system"],
        ["list", "secrets", "-n", "shop"],
        ["get", "secrets/cacerts", "-n", "shop"],
        ["get", "secrets/other", "-n", "istio-system"],
        ["list", "configmaps", "-n", "shop"],
        ["patch", "configmaps/other", "-n", "istio-system"],
        ["create", "configmaps/other", "-n", "shop"],
        ["delete", "services", "-n", "shop"],
        ["create", "pods", "-n", "shop"],
        ["update", "leases/other", "-n", namespace],
        ["patch", "clusterroles"],
        ["patch", "validatingwebhookconfigurations/other"],
        ["patch", "gateways.gateway.networking.k8s.io", "-n", "shop"],
        ["impersonate", "serviceaccounts", "-n", "shop"],
        ["create", "serviceaccounts", "--subresource=token", "-n", "shop"],
      ];
      for (const [verb = "", resource = "", ...rest] of denied) {
        expect(await can(verb, resource, ...rest), `${verb} ${resource}`).toBe(false);
      }
      const hasSecret = await can("get", "secrets/istio-ca-secret", "-n", "istio-system");
      expect(hasSecret).toBe(mode === "under");
    }, 120_000);

    test(`${mode}: other values take away what they do not have`, async () => {
      const { code, out } = await call("install", "--mode", mode);
      expect(code).toBe(0);
      expect(out.filter((line) => !line.endsWith(" unchanged"))).toEqual([
        `NetworkPolicy ${namespace}/waystone removed`,
      ]);
    });

    test(`${mode}: uninstall removes all of it, and says what stays`, async () => {
      const { code, out, err } = await call("uninstall");
      expect(code).toBe(0);
      expect(out.length).toBeGreaterThan(10);
      expect(err).toContain("Left as they are");
      await expect.poll(installed, LIMIT).toEqual([]);
      expect(await cluster.kubectl(["get", "namespace", namespace, "-o", "name"])).toContain(
        namespace,
      );
      if (mode === "under") {
        const secret = ["get", "secret", "istio-ca-secret", "-n", namespace, "-o", "name"];
        expect(await cluster.kubectl(secret)).toBe("secret/istio-ca-secret\n");
      }
      expect(await call("uninstall")).toMatchObject({
        code: 0,
        out: [],
        err: expect.stringContaining("Nothing is here"),
      });
      await cluster.kubectl(["delete", "namespace", "shop", "--wait=true"]);
    }, 120_000);
  }

  test("a conflict with another's fields is said, and won only when that is asked for", async () => {
    await cluster.apply(`
apiVersion: v1
kind: Service
metadata: { name: istiod, namespace: istio-system }
spec: { selector: { app: istiod }, ports: [{ name: https-dns, port: 15012 }] }
`);
    const { code, err } = await call("install");
    expect(code).toBe(1);
    expect(err).toContain("cannot apply Service istio-system/istiod");
    expect(err).toContain("--force-conflicts");
    const forced = await call("install", "--force-conflicts");
    expect(forced).toMatchObject({ code: 0, err: "" });
    expect(forced.out).toContain("Service istio-system/istiod configured");
  });

  test("the mesh settings and the class of somebody else are left as they are", async () => {
    expect((await call("uninstall")).code).toBe(0);
    await cluster.apply(`
apiVersion: v1
kind: ConfigMap
metadata: { name: istio, namespace: istio-system }
data: { mesh: "trustDomain: theirs" }
${ISTIODS_CLASS}`);
    const { code, out } = await call("install");
    expect(code).toBe(0);
    expect(out.filter((line) => line.includes("left as it is"))).toEqual([
      "ConfigMap istio-system/istio left as it is: somebody else has made it",
      "GatewayClass istio-waypoint left as it is: somebody else has made it",
    ]);
    expect((await call("uninstall")).code).toBe(0);
    const kept = ["get", "configmap/istio", "-n", "istio-system", "-o", "jsonpath={.data.mesh}"];
    expect(await cluster.kubectl(kept)).toBe("trustDomain: theirs");
  });

  test.skipIf(typeof findHelm() !== "string")(
    "helm installs, upgrades and uninstalls",
    async () => {
      // What the test before has left is somebody else's.
      await cluster.kubectl(["delete", "configmap", "istio", "-n", "istio-system"]);
      const release = (...args: string[]) =>
        helm([...args, "--namespace", "istio-system", "--kubeconfig", cluster.kubeconfig]);
      const chart = ["waystone", CHART];
      await release("install", ...chart);
      const mesh = ["get", "configmap/istio", "-n", "istio-system", "-o", "jsonpath={.data.mesh}"];
      expect(await cluster.kubectl(mesh)).toContain("trustDomain: cluster.local");
      // Its own settings are still there, and others by then.
      await release("upgrade", ...chart, "--set", "meshConfig.trustDomain=example.org");
      expect(await cluster.kubectl(mesh)).toContain("trustDomain: example.org");
      const { metadata } = await cluster.get<Labelled>("gatewayclass", "istio-waypoint");
      expect(metadata.labels ?? {}).not.toHaveProperty("app.kubernetes.io/name");
      // What helm looks after is not taken for what install has applied.
      expect(await call("uninstall")).toMatchObject({ code: 0, out: [] });
      await release("uninstall", "waystone", "--wait");
      expect(await installed()).toEqual([]);
      expect(await cluster.kubectl(["get", "gatewayclass", "-o", "name"])).toContain(
        "istio-waypoint",
      );
    },
    120_000,
  );
});
