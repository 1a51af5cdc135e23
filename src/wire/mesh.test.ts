import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import { attachedRoutes, policies } from "../../test/policy/arbitraries.ts";
import { settings, waypoints } from "../../test/support/model-arbitraries.ts";
import { DEFAULT_SETTINGS } from "../model/settings.ts";
import { AttachedRoutesSchema, OriginSchema } from "./gen/waystone/mesh_pb.ts";
import { RevisionSchema } from "./gen/waystone/revision_pb.ts";
import {
  decodePolicies,
  decodeRoutes,
  decodeSettings,
  decodeWaypoint,
  encodePolicies,
  encodeRoutes,
  encodeSettings,
  encodeWaypoint,
} from "./mesh.ts";
import { decodeRevision, encodeRevision } from "./revision.ts";
import { jsonMessage } from "./shapes.ts";

/** Encodes a value of any shape as that of another: what a broken or newer server might send. */
function as<T>(encode: (value: T) => Uint8Array, value: unknown): Uint8Array {
  return encode(value as T);
}

test("waypoints, settings, policies and routes survive the wire", () => {
  fc.assert(
    fc.property(waypoints, settings, policies, attachedRoutes, (waypoint, mesh, list, routes) => {
      expect(decodeWaypoint(encodeWaypoint(waypoint))).toEqual(waypoint);
      expect(decodeSettings(encodeSettings(mesh))).toEqual(mesh);
      expect(decodePolicies(encodePolicies(list))).toEqual(list);
      expect(decodeRoutes(encodeRoutes(routes))).toEqual(routes);
    }),
  );
});

test("jsonMessage() writes what the library does, at every length of the length", () => {
  const sizes = [0, 125, 126, 127, 16_381, 16_382, 16_383, 2_097_149, 2_097_150];
  for (const text of [...sizes.map((size) => "x".repeat(size)), "é✓\ud800𝄞"]) {
    const json = JSON.stringify(text);
    const bytes = jsonMessage(text);
    expect(fromBinary(OriginSchema, bytes).json).toBe(json);
    expect(Buffer.compare(bytes, toBinary(OriginSchema, create(OriginSchema, { json })))).toBe(0);
  }
});

test("a revision survives the wire, and one that no number can hold is refused", () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.string({ maxLength: 32 }), (id, digest) => {
      expect(decodeRevision(encodeRevision({ id, digest }).bytes)).toEqual({ id, digest });
    }),
  );
  const id = 2n ** 53n;
  const bytes = toBinary(RevisionSchema, create(RevisionSchema, { id, digest: "" }));
  expect(() => decodeRevision(bytes)).toThrow(/out of range/);
});

function policyWith(field: object) {
  const source = { kind: "AuthorizationPolicy", namespace: "a", name: "p" };
  const blank = { values: [], notValues: [], hasValues: false, hasNotValues: false, path: "" };
  const rule = { index: 0, from: [[{ field: "principal", ...blank, ...field }]], to: [], when: [] };
  return [{ key: "a/p", action: "DENY", rules: [rule], isDryRun: false, source }];
}

const range = (bytes: string, prefixLength: number) => ({
  field: "sourceIp",
  values: [{ type: "cidr", cidr: { bytes, prefixLength, text: "" }, text: "" }],
});

test("a field that is not known yet fails closed", () => {
  const [policy] = decodePolicies(as(encodePolicies, policyWith({ field: "moonPhase" })));
  expect(policy!.rules[0]!.from[0]![0]!.field).toBe("unsupported:moonPhase");
});

function routesWith(createdMs: unknown): Uint8Array {
  const source = { kind: "HTTPRoute", namespace: "a", name: "r" };
  const route = { kind: "HTTPRoute", key: "a/r", source, createdMs, rules: [], hostnames: [] };
  const text = JSON.stringify([{ route, ports: [] }]).replace('"1e999"', "1e999");
  return toBinary(AttachedRoutesSchema, create(AttachedRoutesSchema, { json: text }));
}

const REFUSED: readonly [string, () => unknown, RegExp][] = [
  ["no JSON", () => decodeSettings(Buffer.from([0x0a, 1, 0x7b])), /not JSON/],
  ["a time without end", () => decodeRoutes(routesWith("1e999")), /Infinity is no time/],
  ["nothing", () => decodeRoutes(new Uint8Array()), /not JSON/],
  [
    "a setting that is missing",
    () => decodeSettings(as(encodeSettings, { ...DEFAULT_SETTINGS, trustDomain: undefined })),
    /trustDomain/,
  ],
  [
    "a mode of tomorrow",
    () => decodeSettings(as(encodeSettings, { ...DEFAULT_SETTINGS, compatibility: "kuma" })),
    /compatibility/,
  ],
  [
    "half a retry",
    () => decodeSettings(as(encodeSettings, { ...DEFAULT_SETTINGS, retryAttempts: 0.5 })),
    /retryAttempts/,
  ],
  [
    "an action of tomorrow",
    () => decodePolicies(as(encodePolicies, [{ ...policyWith({})[0], action: "WARN" }])),
    /\/0\/action/,
  ],
  [
    "a range of 3 bytes",
    () => decodePolicies(as(encodePolicies, policyWith(range("0a0000", 8)))),
    /no address/,
  ],
  [
    "a prefix of 33 bits",
    () => decodePolicies(as(encodePolicies, policyWith(range("0a000000", 33)))),
    /33 bits/,
  ],
  [
    "a port beyond the last",
    () =>
      decodePolicies(
        as(encodePolicies, policyWith({ values: [{ type: "port", port: 65_536, text: "" }] })),
      ),
    /port/,
  ],
];

test.each(REFUSED)("%s is refused", (_, decode, why) => {
  expect(decode).toThrow(why);
});
