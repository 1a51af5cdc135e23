import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import { DeltaDiscoveryResponseSchema } from "./gen/envoy/discovery_pb.ts";
import { type EncodedResource, RESOURCE_TYPES } from "./resource.ts";
import { encodeResourceList } from "./resource-list.ts";

const resource: fc.Arbitrary<EncodedResource> = fc.record({
  type: fc.constant(RESOURCE_TYPES.address),
  // With lengths on both sides of one, two and three bytes of varint.
  name: fc.oneof(fc.string({ unit: "grapheme" }), fc.constant("n".repeat(127))),
  version: fc.string({ maxLength: 20 }),
  bytes: fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.constantFrom(0, 57, 58, 127, 128, 16_383, 16_384).map((length) => new Uint8Array(length)),
  ),
});

test("encodeResourceList() is what the library's own writer makes", () => {
  const fields = { typeUrl: RESOURCE_TYPES.address, nonce: "7", removedResources: ["gone"] };
  fc.assert(
    fc.property(fc.array(resource, { minLength: 1, maxLength: 5 }), (resources) => {
      const response = create(DeltaDiscoveryResponseSchema, fields);
      const head = toBinary(DeltaDiscoveryResponseSchema, response);
      const sent = Buffer.concat([head, encodeResourceList(resources)]);
      const wanted = create(DeltaDiscoveryResponseSchema, {
        ...fields,
        resources: resources.map(({ type, name, version, bytes }) => ({
          ...{ name, version },
          resource: { typeUrl: type, value: bytes },
        })),
      });
      const received = fromBinary(DeltaDiscoveryResponseSchema, sent);
      expect(received.$unknown).toBeUndefined();
      const again = toBinary(DeltaDiscoveryResponseSchema, received);
      expect(again).toEqual(toBinary(DeltaDiscoveryResponseSchema, wanted));
    }),
  );
});
