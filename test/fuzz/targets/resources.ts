/**
 * Resources of a control plane, as a proxy takes them: the first byte says of which type, the rest
 * is the message, or (Waystone's own types) the JSON in it.
 *
 * Oracle: nothing is thrown; what is refused is refused by its name, changes nothing, and leaves
 * what came with it; what is taken is the same after it has been encoded and read again, is
 * committed, and can be decided by.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { MeshState } from "../../../src/agent/mesh-state.ts";
import type { AttachedRoute } from "../../../src/model/route.ts";
import type { AuthorizationPolicy, L4Policy } from "../../../src/model/rule.ts";
import { DEFAULT_SETTINGS, type MeshSettings } from "../../../src/model/settings.ts";
import type { Waypoint } from "../../../src/model/waypoint.ts";
import { decide } from "../../../src/policy/decide.ts";
import type { Hop } from "../../../src/policy/facts.ts";
import {
  type DecodedAddress,
  decodeAddress,
  encodeServiceAddress,
  encodeWorkloadAddress,
} from "../../../src/wire/address.ts";
import { decodeAuthorization, encodeAuthorization } from "../../../src/wire/authorization.ts";
import { ResourceDigest } from "../../../src/wire/digest.ts";
import { WaypointSchema } from "../../../src/wire/gen/waystone/mesh_pb.ts";
import {
  decodePolicies,
  decodeRoutes,
  decodeSettings,
  decodeWaypoint,
  encodePolicies,
  encodeRoutes,
  encodeSettings,
  encodeWaypoint,
  SETTINGS_NAME,
} from "../../../src/wire/mesh.ts";
import { RESOURCE_TYPES, type ResourceType } from "../../../src/wire/resource.ts";
import { decodeRevision, encodeRevision } from "../../../src/wire/revision.ts";
import { attachedRoutes, policies } from "../../policy/arbitraries.ts";
import {
  HTTP_HOP,
  L4_HOP,
  request,
  SERVICE,
  SERVICE_VALUE,
  WORKLOAD,
  workloadOf,
} from "../../policy/mesh.ts";
import {
  l4Policies,
  services,
  settings,
  waypoints,
  workloads,
} from "../../support/model-arbitraries.ts";
import { check, checkSame, OracleError, type Target } from "../target.ts";

const OPTIONS = { network: "", ignoresUnusable: false };
const FACTS = request({ path: "/a/b", headers: { "x-user": "one" } });
const HOPS: readonly Hop[] = [HTTP_HOP, L4_HOP];
const BESIDE = encodeServiceAddress(SERVICE_VALUE, OPTIONS);
const POLICY = "default/fuzzed";

interface Kind {
  readonly type: ResourceType;
  readonly decode: (bytes: Uint8Array) => unknown;
  readonly encode: (value: never) => Uint8Array;
  /** The name it must have; what it calls itself, where it does. */
  readonly nameOf: (value: never) => string;
  readonly isJson: boolean;
}

const encodeAddress = (value: DecodedAddress) =>
  value.kind === "service"
    ? encodeServiceAddress(value.service, OPTIONS)
    : encodeWorkloadAddress(value.workload, OPTIONS);

const KINDS: readonly Kind[] = [
  {
    type: RESOURCE_TYPES.address,
    decode: decodeAddress,
    encode: encodeAddress,
    nameOf: (value: DecodedAddress) =>
      value.kind === "service" ? value.service.key : value.workload.uid,
    isJson: false,
  },
  {
    type: RESOURCE_TYPES.authorization,
    decode: decodeAuthorization,
    encode: encodeAuthorization,
    nameOf: (value: L4Policy) => value.key,
    isJson: false,
  },
  {
    type: RESOURCE_TYPES.waypoint,
    decode: decodeWaypoint,
    encode: encodeWaypoint,
    nameOf: (value: Waypoint) => value.key,
    isJson: true,
  },
  {
    type: RESOURCE_TYPES.routes,
    decode: decodeRoutes,
    encode: encodeRoutes,
    nameOf: (_: readonly AttachedRoute[]) => `Service/${SERVICE}`,
    isJson: true,
  },
  {
    type: RESOURCE_TYPES.policies,
    decode: decodePolicies,
    encode: encodePolicies,
    nameOf: (_: readonly AuthorizationPolicy[]) => `Service/${SERVICE}`,
    isJson: true,
  },
  {
    type: RESOURCE_TYPES.settings,
    decode: decodeSettings,
    encode: encodeSettings,
    nameOf: (_: MeshSettings) => SETTINGS_NAME,
    isJson: true,
  },
];

function run(input: Buffer): string {
  const rest = input.subarray(1);
  const kind = KINDS[(input[0] ?? 0) % (KINDS.length + 1)];
  if (kind === undefined) return runRevision(rest);
  const json = rest.toString("utf8");
  // The messages of all our own types are the same on the wire.
  const bytes = kind.isJson ? toBinary(WaypointSchema, create(WaypointSchema, { json })) : rest;
  let value: unknown;
  try {
    value = kind.decode(bytes);
  } catch (caught) {
    check(caught instanceof Error, "what is thrown is no error");
    take(kind, "refused/name", bytes, true);
    return `${kind.type} ${caught.message.replace(/[^a-z ]/g, "").slice(0, 40)}`;
  }
  const again = kind.decode(kind.encode(value as never));
  checkSame(plain(again), plain(value), "another value after the wire");
  take(kind, kind.nameOf(value as never), bytes, false);
  return `${kind.type} ${plain(value)
    .replace(/"(?:[^"\\]|\\.)*"(?!:)|\d+/g, "")
    .slice(0, 80)}`;
}

function runRevision(bytes: Uint8Array): string {
  try {
    const stamp = decodeRevision(bytes);
    checkSame(decodeRevision(encodeRevision(stamp).bytes), stamp, "another revision");
    check(Number.isSafeInteger(stamp.id), "an id that is no number of a revision");
    return `revision ${stamp.digest.length > 0} ${Math.log10(stamp.id + 1) | 0}`;
  } catch (caught) {
    if (caught instanceof OracleError) throw caught;
    check(caught instanceof Error, "what is thrown is no error");
    return "no revision";
  }
}

/** As JSON that shows Maps. */
function plain(value: unknown): string {
  return JSON.stringify(value, (_, inner) => (inner instanceof Map ? [...inner] : inner));
}

/** A proxy is sent it, beside others, and goes on. */
function take({ type }: Kind, name: string, bytes: Uint8Array, isRefused: boolean): void {
  const state = new MeshState();
  const digest = new ResourceDigest();
  const stage = (of: ResourceType, called: string, content: Uint8Array): readonly string[] => {
    const resource = { type: of, name: called, version: "1", bytes: content };
    const problems = state.stage(of, [resource], []);
    if (problems.length === 0) digest.add(of, called, "1");
    return problems;
  };
  const workload = workloadOf({ authorizationPolicies: [POLICY] });
  if (name !== SERVICE) stage(RESOURCE_TYPES.address, SERVICE, BESIDE);
  if (name !== WORKLOAD) {
    stage(RESOURCE_TYPES.address, WORKLOAD, encodeWorkloadAddress(workload, OPTIONS));
  }
  const problems = stage(type, name, bytes);
  check(problems.length === (isRefused ? 1 : 0), `${problems.join("; ")}: taken, or not`);
  if (isRefused) check(problems[0]!.startsWith(`${name}: `), "refused without its name");
  checkSame(state.versions(type).has(name), !isRefused, "held, or not");
  checkSame(state.commit({ id: 1, digest: digest.toString() }), undefined, "not committed");
  for (const hop of HOPS) decide(state.current, hop, FACTS, 0.5);
}

function seedsOf<T>(kind: number, arbitrary: fc.Arbitrary<T>, encode: (value: T) => Uint8Array) {
  return fc.sample(arbitrary, { seed: kind + 1, numRuns: 4 }).map((value) => {
    return Buffer.concat([Buffer.of(kind), encode(value)]);
  });
}

const text = (value: unknown) => Buffer.from(JSON.stringify(value));

export const resources: Target = {
  name: "resources",
  dictionary: [
    ...'"key": "type": "exact" "presence" "template" "cidr" "port" null true [] {} 1e999 -1'.split(
      " ",
    ),
    ...'"position": "field": "unsupported:x" "header:x" 65536 4294967296 \\ud800 __proto__'.split(
      " ",
    ),
    Buffer.from("0801", "hex"),
    Buffer.from("12051a03", "hex"),
    Buffer.from("ffffffffffffffffff01", "hex"),
  ],
  seeds: () => [
    ...seedsOf(0, services, (value) => encodeServiceAddress(value, OPTIONS)),
    ...seedsOf(0, workloads, (value) => encodeWorkloadAddress(value, OPTIONS)),
    ...seedsOf(
      1,
      l4Policies.map((policy) => ({
        ...policy,
        namespace: "default",
        name: "fuzzed",
        key: POLICY,
      })),
      encodeAuthorization,
    ),
    ...seedsOf(2, waypoints, text),
    ...seedsOf(3, attachedRoutes, text),
    ...seedsOf(4, policies, text),
    ...seedsOf(5, settings, text),
    Buffer.concat([Buffer.of(5), text(DEFAULT_SETTINGS)]),
    Buffer.concat([Buffer.of(6), encodeRevision({ id: 7, digest: "0a1b" }).bytes]),
  ],
  run,
};
