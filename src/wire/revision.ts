/** The resource that ends a batch: which state of the mesh the resources before it amount to. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { RevisionSchema } from "./gen/waystone/revision_pb.ts";
import { type EncodedResource, RESOURCE_TYPES, type RevisionStamp } from "./resource.ts";

/** There is one, and this is its name. */
export const REVISION_NAME = "revision";

export function encodeRevision({ id, digest }: RevisionStamp): EncodedResource {
  const bytes = toBinary(RevisionSchema, create(RevisionSchema, { id: BigInt(id), digest }));
  return { type: RESOURCE_TYPES.revision, name: REVISION_NAME, version: String(id), bytes };
}

/** Throws when the bytes are none. */
export function decodeRevision(bytes: Uint8Array): RevisionStamp {
  const { id, digest } = fromBinary(RevisionSchema, bytes);
  if (id > Number.MAX_SAFE_INTEGER) throw new Error(`revision ${id} is out of range`);
  return { id: Number(id), digest };
}
