import { expect, test } from "vitest";
import type { ConfigMap } from "../api/core.ts";
import type { ParsedObject } from "../api/object.ts";
import { readObjects } from "../api/read-objects.ts";
import { DEFAULT_SETTINGS, type MeshSettings } from "../model/settings.ts";
import { Findings } from "./findings.ts";
import { readSettings } from "./mesh-settings.ts";

interface Outcome {
  /** What differs from the defaults. */
  readonly changed: Partial<MeshSettings>;
  readonly complaints: string[];
  readonly places: string[];
}

async function settingsOf(mesh: string, name = "istio", key = "mesh"): Promise<Outcome> {
  const text = JSON.stringify({
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name, namespace: "istio-system" },
    data: { [key]: mesh },
  });
  const { objects } = await readObjects(text, "mesh.json");
  const findings = new Findings(objects[0]!);
  const settings = readSettings(DEFAULT_SETTINGS, objects[0] as ParsedObject<ConfigMap>, findings);
  const changed = Object.entries(settings).filter(
    ([field, value]) => value !== DEFAULT_SETTINGS[field as keyof MeshSettings],
  );
  const diagnostics = findings.status()?.diagnostics ?? [];
  return {
    changed: Object.fromEntries(changed),
    complaints: diagnostics.map((d) => `${d.code} ${d.message}`),
    places: diagnostics.map((d) => `${d.path} ${d.file}:${d.line}`),
  };
}

const own = (config: string) => settingsOf(config, "waystone", "config");

const meshFields: [text: string, changed: Partial<MeshSettings>][] = [
  ["accessLogFile: /dev/stdout", { accessLogFile: "/dev/stdout" }],
  ["accessLogEncoding: JSON", { accessLogEncoding: "JSON" }],
  ['accessLogFormat: "%PROTOCOL%"', { accessLogFormat: "%PROTOCOL%" }],
  ["connectTimeout: 1m30s", { connectTimeoutMs: 90_000 }],
  ["connectTimeout: 1.5s", { connectTimeoutMs: 1500 }],
  ["hboneIdleTimeout: 2h", { hboneIdleTimeoutMs: 7_200_000 }],
  ["protocolDetectionTimeout: 100ms", { protocolDetectionTimeoutMs: 100 }],
  ["rootNamespace: mesh", { rootNamespace: "mesh" }],
  ["trustDomain: example.com", { trustDomain: "example.com" }],
  ["trustDomainAliases: [a, b]", { trustDomainAliases: ["a", "b"] }],
  ["pathNormalization: { normalization: NONE }", { pathNormalization: "NONE" }],
  [
    "pathNormalization: { normalization: DECODE_AND_MERGE_SLASHES }",
    { pathNormalization: "DECODE_AND_MERGE_SLASHES" },
  ],
  ["pathNormalization: { normalization: DEFAULT }", {}],
  ["defaultHttpRetryPolicy: { attempts: 0 }", { retryAttempts: 0 }],
  ["defaultHttpRetryPolicy: { attempts: 5, retryOn: 5xx }", { retryAttempts: 5 }],
  ["defaultConfig: { discoveryAddress: a }\nenableTracing: true", {}],
  ["", {}],
  ["# nothing", {}],
];

for (const [text, changed] of meshFields) {
  test(`MeshConfig ${JSON.stringify(text)}`, async () => {
    expect(await settingsOf(text)).toEqual({ changed, complaints: [], places: [] });
  });
}

const ownFields: [text: string, changed: Partial<MeshSettings>][] = [
  ["compatibility: istio", { compatibility: "istio" }],
  ["decisionHeader: true", { decisionHeader: true }],
  ["clusterDomain: example.local", { clusterDomain: "example.local" }],
  ["clusterId: c1", { clusterId: "c1" }],
  ["network: n1", { network: "n1" }],
];

for (const [text, changed] of ownFields) {
  test(`own setting ${JSON.stringify(text)}`, async () => {
    expect(await own(text)).toEqual({ changed, complaints: [], places: [] });
  });
}

const unusable = [
  "accessLogEncoding: XML",
  "accessLogFile: 7",
  "connectTimeout: 10",
  "connectTimeout: soon",
  "connectTimeout: -1s",
  "connectTimeout: 0s",
  "hboneIdleTimeout: 0s",
  "hboneIdleTimeout: 9999999h",
  "trustDomain: ''",
  "rootNamespace: ''",
  "rootNamespace: [a]",
  "trustDomainAliases: a",
  "trustDomainAliases: [1]",
  "pathNormalization: NONE",
  "pathNormalization: { normalization: ALL }",
  "pathNormalization: { normalisation: NONE }",
  "defaultHttpRetryPolicy: { attempts: -1 }",
  "defaultHttpRetryPolicy: { attempts: 1.5 }",
  "defaultHttpRetryPolicy: 3",
];

for (const text of unusable) {
  test(`${JSON.stringify(text)} is reported, and the default stays`, async () => {
    const { changed, complaints, places } = await settingsOf(`${text}\naccessLogFormat: a`);
    expect(changed).toEqual({ accessLogFormat: "a" });
    expect(complaints).toHaveLength(1);
    const name = text.split(":", 1)[0]!;
    expect(complaints[0]).toMatch(new RegExp(`^WS0102 ${name}: .*; it keeps its default$`));
    expect(places).toEqual(["data.mesh mesh.json:1"]);
  });
}

test("a setting that nobody knows is reported, with the one that was meant", async () => {
  expect((await settingsOf("trustDomian: a")).complaints).toEqual([
    "WS0107 trustDomian is not a setting that Waystone knows, did you mean trustDomain?",
  ]);
  expect((await own("trustDomain: a")).complaints).toEqual([
    expect.stringMatching(/^WS0107 trustDomain is not a setting/),
  ]);
  expect((await settingsOf("constructor: a")).complaints).toHaveLength(1);
});

const broken = ["a: [", "just text", "[a, b]", "a: 1\na: 2", "a: &a\n  b: *a", "a: *b"];

for (const text of broken) {
  test(`${JSON.stringify(text)} inside the ConfigMap is reported, and nothing is changed`, async () => {
    const { changed, complaints } = await settingsOf(text);
    expect(changed).toEqual({});
    expect(complaints.length).toBeGreaterThan(0);
  });
}

test("a ConfigMap without the key changes nothing", async () => {
  expect(await settingsOf("trustDomain: a", "istio", "meshNetworks")).toEqual({
    changed: {},
    complaints: [],
    places: [],
  });
});
