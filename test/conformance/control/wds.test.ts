/**
 * What istiod puts on the wire for an object, and what we do: the sets wds-objects and wds-policy
 * of the folder that WAYSTONE_CONFORMANCE names. The objects go through the control plane, in
 * `compatibility: istio` mode, and are compared as messages of the workload API.
 *
 * Some inputs of wds-objects are istiod's own structures; they are turned into the objects that
 * lead to them. Where that changes a name (a Service's host name follows from its own; a waypoint's
 * host is in its Gateway's namespace), the expectation follows.
 */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type DescMessage, fromBinary, fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import { afterAll, describe, expect, type TestContext, test } from "vitest";
import { parse } from "yaml";
import { MeshState } from "../../../src/agent/mesh-state.ts";
import { KINDS, type Kind, type KindName } from "../../../src/api/kinds.ts";
import { readObjects } from "../../../src/api/read-objects.ts";
import { ControlPlane } from "../../../src/control/control-plane.ts";
import { MeshResources } from "../../../src/control/serve/mesh-resources.ts";
import { serviceKey } from "../../../src/model/service.ts";
import { AuthorizationSchema } from "../../../src/wire/gen/istio/authorization_pb.ts";
import {
  AddressSchema,
  ServiceSchema,
  WorkloadSchema,
} from "../../../src/wire/gen/istio/workload_pb.ts";
import { ipBytes } from "../../../src/wire/ip.ts";
import { RESOURCE_TYPES } from "../../../src/wire/resource.ts";
import { conformanceJson, conformancePath } from "../../support/conformance.ts";
import { contents, feed, whole } from "../../support/over-the-wire.ts";

const DOMAIN = "domain.suffix";

type Json = { readonly [field: string]: JsonValue };

interface WdsCase {
  readonly name: string;
  readonly inputs: readonly Json[];
  readonly result?: JsonValue;
  readonly [object: string]: unknown;
}

/** What the cases ask that later versions are for, by the text that gives it away. */
const LATER: readonly [RegExp, string][] = [
  [/"resolution":"(?:DNS|NONE)"/, "only ServiceEntries with resolution STATIC are acted on"],
  [/"applicationTunnel"/, "the PROXY sandwich is not served"],
];

let judged = 0;
const skipped = new Map<string, number>();

/** Skips a test, and counts it under its reason. */
function leaveOut(context: TestContext, why: string): never {
  skipped.set(why, (skipped.get(why) ?? 0) + 1);
  return context.skip(why);
}

afterAll(() => {
  if (judged + skipped.size === 0) return;
  process.stderr.write(`wds: ${judged} cases judged\n`);
  for (const [why, count] of skipped) process.stderr.write(`  ${count} skipped: ${why}\n`);
  expect(judged).toBeGreaterThan(20);
});

async function resourcesOf(objects: readonly unknown[]): Promise<MeshResources> {
  // The API server would not have taken a container without a name.
  const text = objects
    .map((object) => JSON.stringify(object).replace('"containers":[{', '$&"name":"main",'))
    .join("\n---\n");
  const read = await readObjects(text, "case.yaml");
  expect(read.diagnostics.filter(({ level }) => level === "error")).toEqual([]);
  const control = new ControlPlane({
    enrolment: "annotation",
    defaults: {
      clusterDomain: DOMAIN,
      clusterId: "cluster0",
      network: "testnetwork",
      compatibility: "istio",
    },
  });
  control.apply({ upserted: read.objects, removed: [] });
  return new MeshResources(control);
}

interface Waypoint {
  readonly named: { readonly name: string; readonly namespace: string };
  readonly trafficType: string;
  readonly address: { readonly hostname: { readonly hostname: string } };
  readonly allowedRoutes?: { readonly fromNamespaces: string; readonly selector: object };
}

function gatewayOf({ named, trafficType, address, allowedRoutes }: Waypoint): object {
  const namespaces = allowedRoutes && {
    from: allowedRoutes.fromNamespaces,
    selector: { matchLabels: allowedRoutes.selector },
  };
  const listener = { name: "mesh", port: 15008, protocol: "HBONE" };
  return {
    apiVersion: "gateway.networking.k8s.io/v1",
    kind: "Gateway",
    metadata: { ...named, labels: { "istio.io/waypoint-for": trafficType } },
    spec: {
      gatewayClassName: "istio-waypoint",
      listeners: [namespaces ? { ...listener, allowedRoutes: { namespaces } } : listener],
    },
    status: { addresses: [{ type: "Hostname", value: address.hostname.hostname }] },
  };
}

interface ServiceInfo {
  readonly service: {
    readonly name: string;
    readonly namespace: string;
    readonly hostname: string;
    readonly addresses?: readonly { readonly address: string }[];
    readonly ports: readonly { readonly servicePort: number; readonly targetPort: number }[];
  };
  readonly portNames?: Readonly<Record<string, { portName: string; targetPortName?: string }>>;
  readonly labelSelector?: object;
  readonly source?: { readonly kind: string };
}

function serviceOf({ service, portNames, labelSelector = {}, source }: ServiceInfo): object {
  const { name, namespace, hostname } = service;
  const ports = service.ports.map(({ servicePort, targetPort }) => {
    const { portName = "http", targetPortName } = portNames?.[servicePort] ?? {};
    const target = targetPort || targetPortName;
    return { servicePort, name: portName, ...(target && { targetPort: target }) };
  });
  const hasSelector = Object.keys(labelSelector).length > 0;
  if (source?.kind === "ServiceEntry") {
    return {
      apiVersion: "networking.istio.io/v1",
      kind: "ServiceEntry",
      metadata: { name, namespace },
      spec: {
        hosts: [hostname],
        resolution: "STATIC",
        ports: ports.map(({ servicePort, ...port }) => ({ ...port, number: servicePort })),
        ...(hasSelector && { workloadSelector: { labels: labelSelector } }),
      },
    };
  }
  const clusterIP = service.addresses?.[0]?.address ?? "None";
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace },
    spec: {
      clusterIP,
      ports: ports.map(({ servicePort, ...port }) => ({ ...port, port: servicePort })),
      ...(hasSelector && { selector: labelSelector }),
    },
  };
}

interface WorkloadAuthorization {
  readonly labelSelector: object;
  readonly authorization: object;
}

/** An input as an object that the control plane reads. */
function objectOf(input: unknown): unknown {
  const { internalType } = input as { readonly internalType?: string };
  switch (internalType) {
    case undefined:
      return input;
    case "Waypoint":
      return gatewayOf(input as Waypoint);
    case "model.ServiceInfo":
      return serviceOf(input as ServiceInfo);
    case "model.WorkloadAuthorization": {
      const { labelSelector, authorization } = input as WorkloadAuthorization;
      return {
        apiVersion: "security.istio.io/v1",
        kind: "AuthorizationPolicy",
        metadata: authorization,
        spec: { selector: { matchLabels: labelSelector } },
      };
    }
    default:
      throw new Error(`an input of type ${internalType}`);
  }
}

/** The names that the objects have in place of those among the inputs. */
function renamed(text: string, inputs: readonly unknown[]): string {
  let after = text;
  for (const input of inputs) {
    const { internalType } = input as { readonly internalType?: string };
    if (internalType === "Waypoint") {
      const { named, address } = input as Waypoint;
      const { hostname } = address.hostname;
      const host = `{"hostname":{"namespace":"${named.namespace}","hostname":"${hostname}"}`;
      after = after.replace(
        new RegExp(
          `\\{"hostname":\\{"namespace":"[^"]*","hostname":"${hostname}"\\}(,"hbone[^}]*)?`,
        ),
        `${host},"hboneMtlsPort":15008`,
      );
    } else if (internalType === "model.ServiceInfo") {
      const { service, source } = input as ServiceInfo;
      const { namespace, name, hostname } = service;
      if (source?.kind === "ServiceEntry") continue;
      after = after.replaceAll(
        `"${namespace}/${hostname}"`,
        `"${serviceKey(namespace, name, DOMAIN)}"`,
      );
    }
  }
  return after;
}

/** IP addresses as the bytes they are, in protobuf JSON. */
function withBytes(value: unknown, key = ""): unknown {
  if (typeof value === "string") {
    const bytes = /^address(es)?$/.test(key) ? ipBytes(value) : undefined;
    return bytes === undefined ? value : Buffer.from(bytes).toString("base64");
  }
  if (Array.isArray(value)) return value.map((one) => withBytes(one, key));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([k, inner]) => [k, withBytes(inner, k)]));
}

/** As it would be without fields that have their default; throws for a field that is not there. */
function normal(schema: DescMessage, value: unknown): JsonValue {
  return toJson(schema, fromJson(schema, value as JsonValue));
}

/** All that the resources hold of services or workloads, without our own extensions. */
function sent(resources: MeshResources, wanted: "service" | "workload"): Map<string, JsonValue> {
  const found = new Map<string, JsonValue>();
  for (const [name, { bytes }] of resources.resources(RESOURCE_TYPES.address)) {
    const { type } = fromBinary(AddressSchema, bytes);
    if (type.case !== wanted) continue;
    type.value.extensions = [];
    const schema = type.case === "service" ? ServiceSchema : WorkloadSchema;
    found.set(name, toJson(schema, type.value));
  }
  return found;
}

/**
 * What the function that a case was made for leaves to others: the API server writes a Service's
 * `targetPort` out, and of several services with one host a later stage says which is canonical.
 */
function completed(result: Json, object: unknown): Json {
  const { kind, spec } = object as { kind: string; spec?: { ports?: { targetPort?: unknown }[] } };
  if (kind === "ServiceEntry") return { ...result, canonical: true };
  const ports = (result.ports as Json[]).map((port, index) =>
    spec?.ports?.[index]?.targetPort === undefined
      ? { ...port, targetPort: port.servicePort! }
      : port,
  );
  return { ...result, ports };
}

const SETS: Readonly<Record<string, readonly [object: string, holds: "service" | "workload"]>> = {
  TestServiceServices: ["svc", "service"],
  TestServiceEntryServices: ["se", "service"],
  TestPodWorkloads: ["pod", "workload"],
  TestWorkloadEntryWorkloads: ["we", "workload"],
  TestServiceEntryWorkloads: ["se", "workload"],
  TestEndpointSliceWorkloads: ["slice", "workload"],
};

async function judge(one: WdsCase, field: string, holds: "service" | "workload"): Promise<void> {
  const object = one[field] as Json;
  // A service that is in the case twice: as what it is made from, and as what it became.
  const others = one.inputs.filter((input) => {
    const { source } = input as unknown as ServiceInfo;
    return !(field === "se" && source?.kind === "ServiceEntry");
  });
  const resources = await resourcesOf([...others.map(objectOf), object]);
  const schema = holds === "service" ? ServiceSchema : WorkloadSchema;
  const text = renamed(JSON.stringify(one.result ?? []), one.inputs);
  const results = [JSON.parse(text)].flat() as Json[];
  const wanted = results.map((result) => {
    const whole = holds === "service" ? completed(result, object) : result;
    return normal(schema, withBytes(whole));
  });
  const found = sent(resources, holds);
  const names = results.map((result) =>
    String(result.uid ?? `${result.namespace}/${result.hostname}`),
  );
  expect(names.map((name) => found.get(name))).toEqual(wanted);
  // Of the object itself there is nothing else.
  const { name } = object.metadata as { readonly name: string };
  const own = [...found.values()].filter((value) => (value as Json).name === name);
  expect(own).toHaveLength(wanted.length);
}

const objects = conformanceJson<{ tests: Record<string, readonly WdsCase[]> }>(
  "wds-objects",
  "cases.json",
);

describe.skipIf(objects === undefined)("wds-objects", () => {
  for (const [set, [field, holds]] of Object.entries(SETS)) {
    for (const one of objects?.tests[set] ?? []) {
      test(`${set}: ${one.name}`, async (context) => {
        const text = JSON.stringify(one);
        const later = LATER.find(([pattern]) => pattern.test(text));
        if (later !== undefined) leaveOut(context, later[1]);
        await judge(one, field, holds);
        judged++;
      });
    }
  }
});

const policies = conformancePath("wds-policy");

/** istiod's generator has other names for the levels. */
function levels(expected: Json): Json {
  const { groups = [], ...rest } = expected as { groups?: { rules: object[] }[] } & Json;
  return { ...rest, rules: groups.map(({ rules }) => ({ clauses: rules })) } as unknown as Json;
}

describe.skipIf(policies === undefined)("wds-policy", () => {
  test.for(policies === undefined ? [] : readdirSync(policies))("%s", async (name, context) => {
    const read = (file: string) => readFileSync(`${policies}/${name}/${file}`, "utf8");
    const inputs = read("input.yaml")
      .split(/^---$/m)
      .map((text) => parse(text));
    for (const { kind } of inputs as { kind: KindName }[]) {
      const { use }: Kind = KINDS[kind];
      if (use === "later") leaveOut(context, `${kind} is not acted on yet`);
    }
    const resources = await resourcesOf(inputs);
    const { expected } = JSON.parse(read("case.json")) as { expected: string | null };
    const wanted = expected === null ? [] : [levels(parse(read(expected)))];
    const all = [...resources.resources(RESOURCE_TYPES.authorization).values()];
    // It goes out whenever there is a PeerAuthentication, and is no case of the set.
    const own = all.filter((one) => !one.name.endsWith("/istio_converted_static_strict"));
    const found = own.map(({ bytes }) => {
      const message = fromBinary(AuthorizationSchema, bytes);
      message.extensions = [];
      return toJson(AuthorizationSchema, message);
    });
    const namespaced = wanted.map((one) => ({ namespace: "default", ...one }));
    expect(found).toEqual(namespaced.map((one) => normal(AuthorizationSchema, one)));
    judged++;
  });
});

const root = conformancePath();

/** Objects of all suites, by folder: what is applied together. */
function manifestsByFolder(): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const entry of readdirSync(root!, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || !/^(?:manifest.*|base|input)\.yaml$/.test(entry.name)) continue;
    const files = found.get(entry.parentPath) ?? [];
    files.push(join(entry.parentPath, entry.name));
    found.set(entry.parentPath, files);
  }
  return found;
}

test.skipIf(root === undefined)(
  "what the suites' manifests come to survives the wire",
  async () => {
    const folders = manifestsByFolder();
    expect(folders.size).toBeGreaterThan(100);
    for (const [folder, files] of folders) {
      const control = new ControlPlane({ enrolment: "label" });
      for (const file of files) {
        const { objects: upserted } = await readObjects(readFileSync(file, "utf8"), file);
        control.apply({ upserted, removed: [] });
      }
      const state = new MeshState();
      expect(feed(state, whole(new MeshResources(control))), folder).toEqual([]);
      expect(contents(state.current), folder).toEqual(contents(control.current));
    }
  },
);
