/**
 * The waypoint of a service or workload on the wire.
 *
 * A binding that came to nothing is sent as one to a host that does not exist: the real ztunnel
 * then refuses such traffic as ours does, and never sends it past the waypoint (D4).
 */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { WaypointBinding } from "../model/waypoint.ts";
import { portOf } from "./enums.ts";
import { type GatewayAddress, GatewayAddressSchema } from "./gen/istio/workload_pb.ts";
import { oneOf, record, type Shape, text } from "./shapes.ts";

const UNUSABLE_HOST = "unusable.waypoint.invalid";
const HBONE_PORT = 15_008;

/** What the wire has no field for. */
export interface BindingOrigin {
  readonly waypoint: string;
  readonly reason?: Extract<WaypointBinding, { state: "unusable" }>["reason"];
}

export const bindingShape: Shape = record(
  { waypoint: text },
  {
    reason: oneOf(
      "WaypointMissing",
      "WaypointIsNotReady",
      "AttachmentDenied",
      "UnsupportedTrafficType",
    ),
  },
);

export function encodeBinding(
  binding: WaypointBinding | undefined,
): MessageInitShape<typeof GatewayAddressSchema> | undefined {
  if (binding === undefined) return undefined;
  const isBound = binding.state === "bound";
  const [namespace, hostname] = split(
    isBound ? binding.service : `${binding.waypoint.split("/")[0]}/${UNUSABLE_HOST}`,
  );
  return create(GatewayAddressSchema, {
    destination: { case: "hostname", value: { namespace, hostname } },
    hboneMtlsPort: isBound ? binding.hbonePort : HBONE_PORT,
  });
}

export function bindingOrigin(binding: WaypointBinding | undefined): BindingOrigin | undefined {
  if (binding === undefined) return undefined;
  const { waypoint } = binding;
  return binding.state === "bound" ? { waypoint } : { waypoint, reason: binding.reason };
}

/**
 * Throws when the address names nothing. Without an origin (the server is not ours) the Gateway's
 * key is guessed from the host.
 */
export function decodeBinding(
  address: GatewayAddress | undefined,
  origin: BindingOrigin | undefined,
): WaypointBinding | undefined {
  if (address === undefined) return undefined;
  if (origin?.reason !== undefined) {
    return { state: "unusable", waypoint: origin.waypoint, reason: origin.reason };
  }
  const { destination } = address;
  const hbonePort = portOf(address.hboneMtlsPort);
  if (destination.case === undefined) throw new Error("waypoint without a destination");
  // An IP address stands for a gateway elsewhere: nothing here serves it.
  if (destination.case === "address") {
    return { state: "unusable", waypoint: origin?.waypoint ?? "", reason: "WaypointMissing" };
  }
  const { namespace, hostname } = destination.value;
  const waypoint = origin?.waypoint ?? `${namespace}/${hostname.split(".")[0]}`;
  return { state: "bound", waypoint, service: `${namespace}/${hostname}`, hbonePort };
}

function split(key: string): [string, string] {
  const slash = key.indexOf("/");
  return [key.slice(0, slash), key.slice(slash + 1)];
}
