/**
 * The chart and `waystone install --dry-run` give the same objects, and refuse the same values, by
 * a real helm.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { run } from "../../src/cli/program.ts";
import { findHelm, helm } from "./helm.ts";

const CHART = fileURLToPath(new URL("../../deploy/chart/waystone", import.meta.url));

interface KubernetesObject {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly data?: Readonly<Record<string, string>>;
}

/** Values as YAML, and what `--set` adds. */
interface Case {
  readonly name: string;
  readonly values?: string;
  readonly set?: readonly string[];
}

const CASES: readonly Case[] = [
  { name: "as usual" },
  {
    name: "an image elsewhere",
    set: ["image.repository=example.org:5000/mesh/waystone,image.tag=1.2.3-rc.1"],
    values: "image: { pullPolicy: Always, pullSecrets: [one, two] }",
  },
  { name: "no mesh settings", set: ["meshConfig=null"] },
  {
    name: "mesh settings of all sorts",
    values: `
meshConfig:
  trustDomain: example.org
  accessLogFormat: |
    [%START_TIME%] "%REQ(:METHOD)%"
      second line with trailing space 
  defaultConfig: { proxyMetadata: { A: "on", B: "1e3", C: "0x10", D: "a: b # c", E: "" } }
  extensionProviders:
    - { name: ext, envoyExtAuthzGrpc: { service: ext.example, port: 9000 } }
  connectTimeout: 10s
  enableTracing: false
  big: 1000680000
`,
  },
  {
    name: "one Pod, no budget, no webhook",
    set: ["replicas=1", "podDisruptionBudget.enabled=false,webhook.enabled=false"],
  },
  {
    name: "a NetworkPolicy with more egress",
    values: `
networkPolicy:
  enabled: true
  egress:
    - ports: [{ port: 9090, protocol: TCP }]
      to: [{ ipBlock: { cidr: 10.0.0.0/8 } }]
webhook: { failurePolicy: Fail }
`,
  },
  {
    name: "where Pods go",
    values: `
affinity:
  nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [] } }
nodeSelector: { kubernetes.io/os: linux, "10": ten, "9": nine }
tolerations: [{ key: a, operator: Exists }]
topologySpreadConstraints: [{ maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway }]
priorityClassName: system-cluster-critical
waypoint:
  resources: { limits: { memory: 1Gi } }
  affinity: { podAntiAffinity: {} }
  nodeSelector: { a: "true" }
  tolerations: [{ operator: Exists }]
  topologySpreadConstraints: [{ maxSkew: 2 }]
`,
  },
  {
    name: "arguments, variables and annotations that look like something else",
    values: `
extraArgs: ["--verbose", "{{ .Values.mode }}", "a: b", "null", "- x", "'\\"\\\\"]
env: [{ name: HTTPS_PROXY, value: "http://proxy:3128/?a=1&b=<2>" }, { name: N, value: "1" }]
podAnnotations: { "example.org/a": "yes", "b": "1.0", "c": "line\\nline" }
logLevel: debug
bindHost: "[::]"
`,
  },
  {
    name: "defaults taken away",
    set: ["waypoint.resources.requests=null"],
    values: `
resources: { requests: { cpu: null, ephemeral-storage: null }, limits: { cpu: "2" } }
nodeSelector: { a: null }
podAnnotations: { prometheus.io/port: null }
trustedNodeAccounts: []
`,
  },
  {
    name: "another istiod, revision and cluster",
    set: [
      "istiod.address=istiod-1-29.mesh.svc:15012,istiod.trustDomain=td.example",
      "revision=canary,clusterId=east-1,network=net-1,terminationGracePeriodSeconds=90",
      "trustedNodeAccounts={istio-system/ztunnel,kube-system/ztunnel}",
    ],
  },
  {
    name: "what --set can write",
    set: [
      "nodeSelector.kubernetes\\.io/os=linux,tolerations[0].key=a,tolerations[0].operator=Exists",
      "podAnnotations.a=x\\,y,extraArgs={--a,b}",
    ],
  },
];

/** Values that both refuse. */
const REFUSED: readonly string[] = [
  "mode=over",
  "replcas=3",
  "replicas=0",
  "replicas=two",
  "image.tag=1",
  "image=null",
  "image.pullSecrets=one",
  "istiod.address=istiod",
  "tolerations={a}",
  "webhook.failurePolicy=Maybe",
  "waypoint.replicas=2",
];

const found = findHelm();
const missing = typeof found === "string" ? undefined : found.missing;
if (missing !== undefined) process.stderr.write(`kubernetes: helm skipped, ${missing}\n`);

describe.skipIf(missing !== undefined)("the chart", () => {
  let folder = "";
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "waystone-helm-"));
  });
  afterAll(() => rm(folder, { recursive: true }));

  async function optionsOf({ values, set = [] }: Case, mode: string): Promise<string[]> {
    const path = join(folder, `${crypto.randomUUID()}.yaml`);
    if (values !== undefined) await writeFile(path, values);
    return [
      ...(values === undefined ? [] : ["--values", path]),
      ...set.flatMap((text) => ["--set", text]),
      ...["--set", `mode=${mode}`],
    ];
  }

  const template = async (options: readonly string[], namespace: string) =>
    objectsIn(
      await helm([
        ...["template", "waystone", CHART, "--namespace", namespace],
        ...["--kube-version", "1.31.0", ...options],
      ]),
    );

  for (const mode of ["under", "beside"]) {
    test.each(CASES)(`${mode}: $name: the same objects as install --dry-run`, async (one) => {
      const options = await optionsOf(one, mode);
      const namespace = mode === "under" ? "istio-system" : "mesh-1";
      const own = await dryRun([...options, "--namespace", namespace]);
      const theirs = await template(options, namespace);
      expect([...theirs.keys()].sort()).toEqual([...own.keys()].sort());
      for (const [key, object] of own) expect(theirs.get(key), key).toEqual(object);
    });
  }

  test.each(REFUSED)("--set %s is refused by both", async (set) => {
    await expect(template(["--set", set], "istio-system")).rejects.toThrow();
    await expect(dryRun(["--set", set])).rejects.toThrow("Error: ");
  });

  test("it has nothing that helm lint finds wrong", async () => {
    expect(await helm(["lint", "--strict", CHART])).toContain("0 chart(s) failed");
  });
});

async function dryRun(options: readonly string[]): Promise<ReadonlyMap<string, unknown>> {
  const printed: string[] = [];
  const said: string[] = [];
  const output = {
    print: (text: string) => void printed.push(text),
    say: (text: string) => void said.push(text),
  };
  const code = await run(["install", "--dry-run", ...options], output);
  if (code !== 0) throw new Error(said.join("\n"));
  return objectsIn(printed.join("\n"));
}

/** By kind and name. Texts that are YAML are read: the same may be written in many ways. */
function objectsIn(text: string): ReadonlyMap<string, unknown> {
  const documents = parseAllDocuments(text, { version: "1.1" });
  const objects = documents.flatMap((one) => {
    expect(one.errors).toEqual([]);
    const object = one.toJS() as KubernetesObject | null;
    return object === null ? [] : [object];
  });
  return new Map<string, unknown>(
    objects.map((object): [string, unknown] => {
      const { kind, metadata, data } = object;
      const key = `${kind} ${metadata.namespace ?? ""}/${metadata.name}`;
      if (data === undefined) return [key, object];
      const read = Object.entries(data).map(
        ([name, part]) => [name, parse(part, { version: "1.1" }) as unknown] as const,
      );
      return [key, { ...object, data: Object.fromEntries(read) }];
    }),
  );
}
