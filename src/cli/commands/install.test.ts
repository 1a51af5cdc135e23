import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import type { KubeObject } from "../../api/object.ts";
import { rulesOf } from "../../control/cluster/permissions.ts";
import { readWaypointSettings } from "../../translate/provision/waypoint-settings.ts";
import { buildProgram, run } from "../program.ts";

const MODES = ["under", "beside"] as const;

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "waystone-install-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function call(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const out: string[] = [];
  const err: string[] = [];
  const output = {
    print: (text: string) => void out.push(text),
    say: (text: string) => void err.push(text),
  };
  const code = await run(args, output);
  return { code, out: out.join("\n"), err: err.join("\n") };
}

async function objectsOf(...options: string[]): Promise<readonly KubeObject[]> {
  const { code, out, err } = await call("install", "--dry-run", ...options);
  expect({ code, err }).toEqual({ code: 0, err: "" });
  return parseAllDocuments(out, { version: "1.1" }).map((one) => one.toJS() as KubeObject);
}

function find<T>(objects: readonly KubeObject[], kind: string, name?: string): T {
  const found = objects.find(
    (one) => one.kind === kind && (name === undefined || one.metadata.name === name),
  );
  expect(found, `${kind} ${name}`).toBeDefined();
  return found as T;
}

interface Deployment {
  readonly spec: {
    readonly template: {
      readonly metadata: { readonly labels: Readonly<Record<string, string>> };
      readonly spec: {
        readonly containers: readonly [{ readonly args: string[]; readonly image: string }];
        readonly volumes: readonly { readonly name: string }[];
      };
    };
  };
}

interface ConfigMap {
  readonly data: Readonly<Record<string, string>>;
}

test.each(MODES)("install --dry-run --mode %s prints these manifests", async (mode) => {
  const { code, out, err } = await call("install", "--dry-run", "--mode", mode);
  expect({ code, err }).toEqual({ code: 0, err: "" });
  await expect(`${out}\n`).toMatchFileSnapshot(`../../../test/fixtures/install/${mode}.yaml`);
});

test.each(MODES)(
  "install --mode %s starts a control plane with options that it has",
  async (mode) => {
    const objects = await objectsOf("--mode", mode, "--set", "extraArgs={--output,json}");
    const [{ args }] = find<Deployment>(objects, "Deployment").spec.template.spec.containers;
    const program = buildProgram({ print: () => {}, say: () => {} }, () => {});
    const [name, ...options] = args;
    const command = program.commands.find((one) => one.name() === name)!;
    const { operands, unknown } = command.parseOptions([...options]);
    expect({ operands, unknown }).toEqual({ operands: [], unknown: [] });
    expect(command.opts()).toMatchObject({
      mode,
      kubernetes: true,
      address: { host: "0.0.0.0", port: 15012 },
      metricsAddress: { host: "0.0.0.0", port: 15014 },
      readinessAddress: { host: "0.0.0.0", port: 8080 },
      waypointSettings: "/etc/waystone/settings.yaml",
      output: "json",
    });
  },
);

test.each(MODES)("install --mode %s writes waypoint settings that can be read", async (mode) => {
  const objects = await objectsOf(
    ...["--mode", mode, "--namespace", "mesh-1", "--set", "image.pullSecrets={a},network=net-1"],
    ...["--set", "waypoint.tolerations[0].operator=Exists,waypoint.nodeSelector.a=b"],
  );
  const { data } = find<ConfigMap>(objects, "ConfigMap", "waystone-waypoints");
  const read = readWaypointSettings(parse(data["settings.yaml"]!));
  const istiod = "istiod.istio-system.svc:15012";
  const beside = {
    xdsAddress: "waystone.mesh-1.svc:15012",
    caAddress: istiod,
    istiodAddress: istiod,
    controlPlaneIdentity: "spiffe://cluster.local/ns/mesh-1/sa/waystone",
  };
  expect(read).toEqual({
    settings: {
      image: expect.stringMatching(/^waystone:\d/),
      imagePullPolicy: "IfNotPresent",
      imagePullSecrets: ["a"],
      clusterId: "Kubernetes",
      network: "net-1",
      revision: "default",
      resources: { requests: { cpu: "100m", memory: "128Mi" } },
      tolerations: [{ operator: "Exists" }],
      nodeSelector: { a: "b" },
      ...(mode === "beside" ? beside : { xdsAddress: "istiod.mesh-1.svc:15012" }),
    },
  });
});

test.each(MODES)("install --mode %s gives the roles of the table of permissions", async (mode) => {
  const objects = await objectsOf("--mode", mode);
  const rules = (kind: string, name: string) =>
    find<{ rules: readonly object[] }>(objects, kind, name).rules;
  const inAnyOrder = (all: readonly object[]) => all.map((one) => JSON.stringify(one)).sort();
  const given = {
    cluster: rules("ClusterRole", `waystone-${mode}`),
    root: rules("Role", `waystone-${mode}`),
    own: rules("Role", "waystone-leader"),
  } as const;
  for (const scope of ["cluster", "root", "own"] as const) {
    expect(given[scope].map((one) => ({ ...one })).length).toBe(rulesOf(mode, scope).length);
    expect(inAnyOrder(given[scope]).map((one) => JSON.parse(one) as object)).toEqual(
      expect.arrayContaining([...rulesOf(mode, scope)]),
    );
  }
});

test("install beside istiod has nothing that is istiod's", async () => {
  const objects = await objectsOf("--mode", "beside");
  const names = objects.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
  expect(names).not.toContain("ConfigMap istio");
  expect(names).not.toContain("Service istiod");
  expect(names.filter((name) => name.startsWith("ValidatingWebhook"))).toEqual([]);
  const { metadata, spec } = find<Deployment>(objects, "Deployment").spec.template;
  expect(metadata.labels).not.toHaveProperty("app");
  expect(metadata.labels).not.toHaveProperty("istio");
  expect(spec.volumes.map(({ name }) => name)).toContain("istio-token");
  expect(find<KubeObject>(objects, "GatewayClass").metadata.name).toBe("waystone-waypoint");
});

test("every selector finds the control plane's Pods", async () => {
  const objects = await objectsOf("--set", "networkPolicy.enabled=true");
  const { labels } = find<Deployment>(objects, "Deployment").spec.template.metadata;
  const selectors = objects.flatMap(({ kind, spec = {} }) => {
    const { selector, podSelector } = spec as Record<string, { matchLabels?: object }>;
    const found = kind === "Service" ? selector : (selector ?? podSelector)?.matchLabels;
    return found === undefined ? [] : [found];
  });
  expect(selectors.length).toBe(4);
  for (const selector of selectors) expect(labels).toMatchObject(selector);
});

test("other settings of waypoints make other Pods, other replicas do not", async () => {
  const template = async (...options: string[]) =>
    find<Deployment>(await objectsOf(...options), "Deployment").spec.template;
  const usual = await template();
  expect(await template("--set", "replicas=5")).toEqual(usual);
  expect(await template("--set", "waypoint.resources.requests.cpu=2")).not.toEqual(usual);
});

test("--values files and --set are laid over one another in their order", async () => {
  const [one, two] = [join(folder, "one.yaml"), join(folder, "two.yaml")];
  await writeFile(one, "image: { repository: one, tag: one }\nreplicas: 3\n");
  await writeFile(two, "image: { tag: two }\n");
  const objects = await objectsOf(
    ...["--values", one, "--values", two, "--set", "replicas=4", "--set", "replicas=5"],
  );
  const deployment = find<Deployment & { spec: { replicas: number } }>(objects, "Deployment");
  expect(deployment.spec.replicas).toBe(5);
  expect(deployment.spec.template.spec.containers[0].image).toBe("one:two");
});

test("wrong usage of install is 64, and says what would be right", async () => {
  const unknown = await call("install", "--dry-run", "--set", "replcas=3");
  expect(unknown.code).toBe(64);
  expect(unknown.err).toMatch(/^Error: there is no value replcas\nDid you mean replicas\?/);
  const wrong: readonly (readonly [string, string[]])[] = [
    ["is no name of a namespace", ["--namespace", "A b"]],
    ["Allowed choices are under, beside", ["--mode", "over"]],
    ["has no value", ["--set", "replicas"]],
    ["looks like 90s", ["--timeout", "soon"]],
  ];
  for (const [message, options] of wrong) {
    const { code, err, out } = await call("install", "--dry-run", ...options);
    expect({ code, out }).toEqual({ code: 64, out: "" });
    expect(err).toContain(message);
  }
  const missing = await call("install", "--dry-run", "--values", join(folder, "none.yaml"));
  expect(missing.code).toBe(1);
  expect(missing.err).toContain("There is no such file");
});

test("without a cluster install and uninstall say how to name one", async () => {
  for (const command of ["install", "uninstall"]) {
    const { code, err } = await call(command, "--kubeconfig", join(folder, "none"));
    expect(code).toBe(1);
    expect(err).toContain("[KUBERNETES_ACCESS_INVALID]");
    const closed = join(folder, "closed");
    await writeFile(closed, kubeconfig("https://127.0.0.1:1"));
    const away = await call(command, "--kubeconfig", closed);
    expect(away.code).toBe(1);
    expect(away.err).toContain("[KUBERNETES_UNAVAILABLE]");
  }
});

function kubeconfig(server: string): string {
  return JSON.stringify({
    "current-context": "c",
    clusters: [{ name: "c", cluster: { server } }],
    users: [{ name: "u", user: {} }],
    contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
  });
}
