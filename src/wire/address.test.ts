import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { addresses, services, workloads } from "../../test/support/model-arbitraries.ts";
import { makeWorkload } from "../../test/support/small-mesh.ts";
import type { Service } from "../model/service.ts";
import { decodeAddress, encodeServiceAddress, encodeWorkloadAddress } from "./address.ts";
import { AddressSchema, type GatewayAddress } from "./gen/istio/workload_pb.ts";
import { ipBytes, ipText } from "./ip.ts";
import type { EncodingOptions } from "./service.ts";

const OPTIONS: EncodingOptions = { network: "network", ignoresUnusable: false };
const options: fc.Arbitrary<EncodingOptions> = fc.record({
  network: fc.constantFrom("", "network"),
  ignoresUnusable: fc.boolean(),
});

test("an address is the same text after it has been bytes", () => {
  fc.assert(
    fc.property(addresses, (text) => {
      expect(ipText(ipBytes(text)!)).toBe(text);
    }),
  );
  for (const none of ["", "1.2.3", "fe80::1%eth0", "host"]) expect(ipBytes(none)).toBeUndefined();
  expect(ipText(new Uint8Array(5))).toBeUndefined();
});

test("a service survives the wire", () => {
  fc.assert(
    fc.property(services, options, (service, how) => {
      const decoded = decodeAddress(encodeServiceAddress(service, how));
      expect(decoded).toEqual({ kind: "service", service });
    }),
  );
});

test("a workload survives the wire", () => {
  fc.assert(
    fc.property(workloads, options, (workload, how) => {
      const decoded = decodeAddress(encodeWorkloadAddress(workload, how));
      expect(decoded).toEqual({ kind: "workload", workload });
      const [was, is] = [workload.services, decoded.kind === "workload" && decoded.workload];
      // Maps are equal in any order; endpoints are in the order of theirs.
      expect(is && [...is.services.keys()]).toEqual([...was.keys()]);
    }),
  );
});

test("nothing is sent that makes ztunnel refuse a resource", () => {
  const isWhole = (waypoint: GatewayAddress | undefined) =>
    waypoint === undefined || waypoint.destination.case !== undefined;
  fc.assert(
    fc.property(services, workloads, options, (service, workload, how) => {
      const sentService = read(encodeServiceAddress(service, how));
      const sentWorkload = read(encodeWorkloadAddress(workload, how));
      if (sentService?.case !== "service" || sentWorkload?.case !== "workload") throw new Error();
      const { value } = sentService;
      expect(isWhole(value.waypoint) && isWhole(sentWorkload.value.waypoint)).toBe(true);
      expect(value.loadBalancing?.routingPreference ?? []).not.toContain(0);
      const sizes = [...value.addresses.map((one) => one.address), ...sentWorkload.value.addresses];
      expect(sizes.every((bytes) => bytes.length === 4 || bytes.length === 16)).toBe(true);
      expect([0, 1]).toContain(sentWorkload.value.tunnelProtocol);
    }),
  );
});

function read(bytes: Uint8Array) {
  return fromBinary(AddressSchema, bytes).type;
}

function unusable(service: Service): Service {
  const waypoint = { state: "unusable", waypoint: "a/w", reason: "WaypointMissing" } as const;
  return { ...service, waypoint };
}

test("a waypoint that is not there is sent as one that is nowhere, unless Istio's way is asked for", () => {
  const [service] = fc.sample(services, 1).map(unusable);
  const sent = (ignoresUnusable: boolean) => {
    const type = read(encodeServiceAddress(service!, { ...OPTIONS, ignoresUnusable }));
    return type.case === "service" ? type.value.waypoint : undefined;
  };
  expect(sent(false)?.destination).toMatchObject({
    case: "hostname",
    value: { namespace: "a", hostname: "unusable.waypoint.invalid" },
  });
  expect(sent(false)?.hboneMtlsPort).toBe(15_008);
  expect(sent(true)).toBeUndefined();
});

type Address = MessageInitShape<typeof AddressSchema>;

function service(more: object): Address {
  const value = { name: "b", namespace: "a", hostname: "b", ...more };
  return { type: { case: "service", value } } as Address;
}

function workload(more: object): Address {
  return { type: { case: "workload", value: { uid: "u", ...more } } } as Address;
}

const FOREIGN_EXTENSION = { name: "other", config: { typeUrl: "x", value: new Uint8Array([1]) } };

describe("what comes from elsewhere", () => {
  const refused: readonly [string, Address, RegExp][] = [
    ["nothing", {}, /neither/],
    ["a service without a namespace", service({ namespace: "" }), /no namespace/],
    ["a hostname with a slash", service({ hostname: "b/c" }), /slash/],
    ["an address of 5 bytes", service({ addresses: [{ address: new Uint8Array(5) }] }), /5 bytes/],
    ["a protocol of tomorrow", service({ ports: [{ appProtocol: 77 }] }), /app_protocol 77/],
    ["a port beyond the last", service({ ports: [{ servicePort: 65_536 }] }), /no port 65536/],
    ["a waypoint nowhere", service({ waypoint: { hboneMtlsPort: 1 } }), /without a destination/],
    ["a preference for no scope", service({ loadBalancing: { routingPreference: [0] } }), /scope/],
    ["a mode of tomorrow", service({ loadBalancing: { mode: 9 } }), /mode 9/],
    ["a workload without uid", workload({ uid: "" }), /no uid/],
    ["a tunnel of yesterday", workload({ tunnelProtocol: 2 }), /tunnel_protocol 2/],
    ["a status of tomorrow", workload({ status: 2 }), /status 2/],
    ["an empty address", workload({ addresses: [new Uint8Array()] }), /0 bytes/],
    ["a service key without a slash", workload({ services: { b: {} } }), /b has no namespace/],
  ];
  test.each(refused)("%s is refused", (_, address, why) => {
    const bytes = toBinary(AddressSchema, create(AddressSchema, address));
    expect(() => decodeAddress(bytes)).toThrow(why);
  });

  test("extensions of others are passed over, and a broken one of ours is refused", () => {
    const bytes = (extensions: object[]) =>
      toBinary(AddressSchema, create(AddressSchema, workload({ extensions })));
    const decoded = decodeAddress(bytes([FOREIGN_EXTENSION]));
    expect(decoded).toMatchObject({ workload: { uid: "u", trustDomain: "cluster.local" } });
    const ours = { ...FOREIGN_EXTENSION, name: "waystone.v1.Origin" };
    expect(() => decodeAddress(bytes([ours]))).toThrow();
  });
});

test("a message is refused wherever it is cut", () => {
  const whole = encodeWorkloadAddress(makeWorkload("a", "10.0.0.1"), OPTIONS);
  for (let size = 0; size < whole.length; size++) {
    expect(() => decodeAddress(whole.subarray(0, size)), `${size} bytes`).toThrow();
  }
});
