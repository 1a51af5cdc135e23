/** The resource that holds a workload or a service (`istio.workload.Address`). */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { Service } from "../model/service.ts";
import type { Workload } from "../model/workload.ts";
import { AddressSchema } from "./gen/istio/workload_pb.ts";
import { decodeService, type EncodingOptions, encodeService } from "./service.ts";
import { adoptOrigin, decodeWorkload, encodeSource, encodeWorkload } from "./workload.ts";

export type DecodedAddress =
  | { readonly kind: "service"; readonly service: Service }
  | { readonly kind: "workload"; readonly workload: Workload };

export function encodeServiceAddress(service: Service, options: EncodingOptions): Uint8Array {
  const value = create(AddressSchema, {
    type: { case: "service", value: encodeService(service, options) },
  });
  return toBinary(AddressSchema, value);
}

export function encodeWorkloadAddress(workload: Workload, options: EncodingOptions): Uint8Array {
  const value = create(AddressSchema, {
    type: { case: "workload", value: encodeWorkload(workload, options) },
  });
  return toBinary(AddressSchema, value);
}

/** What there is to know of a workload that is only a client. */
export function encodeSourceAddress(workload: Workload): Uint8Array {
  const value = create(AddressSchema, {
    type: { case: "workload", value: encodeSource(workload) },
  });
  return toBinary(AddressSchema, value);
}

/** Throws with what is wrong. */
export function decodeAddress(bytes: Uint8Array): DecodedAddress {
  const { type } = fromBinary(AddressSchema, bytes);
  switch (type.case) {
    case "service":
      return { kind: "service", service: decodeService(type.value) };
    case "workload":
      return { kind: "workload", workload: decodeWorkload(type.value) };
    default:
      throw new Error("neither a workload nor a service");
  }
}

/**
 * Another server's workload with what only ours says of it. Theirs must be a workload; ours may be
 * missing.
 */
export function withOriginOf(theirs: Uint8Array, ours: Uint8Array | undefined): Uint8Array {
  if (ours === undefined) return theirs;
  const [address, own] = [fromBinary(AddressSchema, theirs), fromBinary(AddressSchema, ours)];
  if (address.type.case !== "workload" || own.type.case !== "workload") return theirs;
  adoptOrigin(address.type.value, own.type.value);
  return toBinary(AddressSchema, address);
}
