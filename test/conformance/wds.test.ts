/**
 * What is sent for a Service, ServiceEntry or WorkloadEntry against what Istio's tests expect of
 * istiod: the set wds-objects of the folder that WAYSTONE_CONFORMANCE names, decoded from the
 * bytes of the wire. Only fields that the expectation has are compared.
 *
 * Cases whose inputs are istiod's own structures and no objects are passed over, and counted.
 */
import { fromBinary, toJson } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { readObjects } from "../../src/api/read-objects.ts";
import { ControlPlane } from "../../src/control/control-plane.ts";
import { MeshResources } from "../../src/control/serve/mesh-resources.ts";
import { AddressSchema } from "../../src/wire/gen/istio/workload_pb.ts";
import { ipText } from "../../src/wire/ip.ts";
import { RESOURCE_TYPES } from "../../src/wire/resource.ts";
import { conformanceJson } from "../support/conformance.ts";

type Json = { readonly [name: string]: unknown };

interface Case {
  readonly name: string;
  readonly inputs: readonly Json[];
  readonly se?: Json;
  readonly svc?: Json;
  readonly pod?: Json;
  readonly we?: Json;
  readonly result: Json | readonly Json[] | null;
}

const set = conformanceJson<{ tests: { [test: string]: readonly Case[] } }>(
  "wds-objects",
  "cases.json",
);

/** Why a case is passed over; undefined: it is judged. */
function reasonToPass({ se, inputs }: Case): string | undefined {
  const resolution = (se?.spec as Json | undefined)?.resolution;
  if (se !== undefined && resolution !== "STATIC") return `later: resolution ${resolution}`;
  const internal = inputs.find((input) => input.internalType !== undefined);
  return internal && se !== undefined
    ? `an input is istiod's own ${internal.internalType}`
    : undefined;
}

/** Fields that follow from inputs of istiod's own, where a case has such. */
const FROM_INTERNALS = ["services", "waypoint", "authorizationPolicies"];

/** Or why the objects are none. */
async function sent(objects: readonly Json[]): Promise<Json[] | string> {
  const control = new ControlPlane({
    enrolment: "annotation",
    defaults: {
      clusterDomain: "domain.suffix",
      clusterId: "cluster0",
      network: "testnetwork",
      compatibility: "istio",
    },
  });
  const text = objects.map((object) => JSON.stringify(object)).join("\n---\n");
  const read = await readObjects(text, "case.yaml");
  const refused = read.diagnostics.find(({ level }) => level === "error");
  if (refused !== undefined) return refused.message;
  control.apply({ upserted: read.objects, removed: [] });
  const { address } = RESOURCE_TYPES;
  return [...new MeshResources(control).resources(address).values()].map(({ bytes }) => {
    const decoded = fromBinary(AddressSchema, bytes);
    // What is only ours.
    if (decoded.type.value !== undefined) decoded.type.value.extensions = [];
    const message = toJson(AddressSchema, decoded, { alwaysEmitImplicit: true }) as Json;
    return legible(message.service ?? message.workload) as Json;
  });
}

/** Addresses as text; what stands for nothing is left out, as the expectations have it. */
function legible(value: unknown, name = ""): unknown {
  if (name === "address" && typeof value === "string") return ipText(Buffer.from(value, "base64"));
  if (Array.isArray(value)) {
    const isBytes = name === "addresses" && typeof value[0] === "string";
    return value.map((one) => legible(one, isBytes ? "address" : ""));
  }
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, legible(one, key)]));
}

/** Empty lists and zeros are not on the wire. */
function plain(value: unknown, without: readonly string[] = []): unknown {
  if (Array.isArray(value)) return value.map((one) => plain(one));
  if (value === null || typeof value !== "object") return value;
  const isSaid = ([key, one]: [string, unknown]) =>
    one !== 0 && !(Array.isArray(one) && one.length === 0) && !without.includes(key);
  const entries = Object.entries(value).filter(isSaid);
  return Object.fromEntries(entries.map(([key, one]) => [key, plain(one)]));
}

for (const [name, key] of [
  ["TestServiceEntryServices", "se"],
  ["TestServiceServices", "svc"],
  ["TestPodWorkloads", "pod"],
  ["TestWorkloadEntryWorkloads", "we"],
] as const) {
  const all = (set?.tests[name] ?? []).filter(
    ({ inputs }) => key !== "svc" || !inputs.some((input) => "internalType" in input),
  );
  for (const one of all) {
    const reason = reasonToPass(one);
    if (reason) process.stderr.write(`conformance: ${name}: ${one.name} skipped: ${reason}\n`);
  }
  const cases = all.filter((one) => reasonToPass(one) === undefined);
  test.skipIf(cases.length === 0).for(cases)(`${name}: $name`, async (one, context) => {
    const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: "ns" } };
    const given = one.inputs.filter(({ internalType }) => internalType === undefined);
    const isNamespaced = given.some(({ kind }) => kind === "Namespace");
    const found = await sent([...(isNamespaced ? [] : [namespace]), ...given, one[key]!]);
    if (typeof found === "string") return context.skip(`the API server refuses it: ${found}`);
    const results = [one.result ?? []].flat() as Json[];
    expect(found).toHaveLength(results.length);
    const without = given.length < one.inputs.length ? FROM_INTERNALS : [];
    for (const result of results) {
      const [ours] = found.filter(({ hostname, uid }) =>
        key === "se" || key === "svc" ? hostname === result.hostname : uid === result.uid,
      );
      expect(ours).toMatchObject(plain(result, without) as object);
    }
  });
}
