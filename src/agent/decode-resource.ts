/**
 * A resource as a proxy reads it: its value, or why it is none. The same for all who hold
 * resources, so that what one of them takes the other takes too.
 */
import type { L4Policy } from "../model/rule.ts";
import type { Waypoint } from "../model/waypoint.ts";
import { type DecodedAddress, decodeAddress } from "../wire/address.ts";
import { decodeAuthorization } from "../wire/authorization.ts";
import {
  decodeAuthentications,
  decodePolicies,
  decodeRoutes,
  decodeSettings,
  decodeWaypoint,
  SETTINGS_NAME,
} from "../wire/mesh.ts";
import { RESOURCE_TYPES, type ResourceType } from "../wire/resource.ts";

const { address, authorization, waypoint, policies, authentications, routes, settings } =
  RESOURCE_TYPES;

/** How each type is read; what they throw says what is wrong. */
const DECODERS: { readonly [type: string]: (bytes: Uint8Array) => unknown } = {
  [address]: decodeAddress,
  [authorization]: decodeAuthorization,
  [waypoint]: decodeWaypoint,
  [policies]: decodePolicies,
  [authentications]: decodeAuthentications,
  [routes]: decodeRoutes,
  [settings]: decodeSettings,
};

/** Throws when the bytes are none, or of another name. */
export function decodeResource(type: ResourceType, name: string, bytes: Uint8Array): unknown {
  const read = DECODERS[type];
  if (read === undefined) throw new Error(`no resource of type ${type} is expected`);
  const value = read(bytes);
  const own = ownName(type, value);
  if (own !== undefined && own !== name) throw new Error(`it calls itself ${own}`);
  const isTargeting = type === routes || type === policies || type === authentications;
  if (isTargeting && !TARGET.test(name)) {
    throw new Error("that is no name of a target");
  }
  return value;
}

/** What routes and policies are attached to. */
const TARGET = /^(?:Service|Gateway|GatewayClass)\/./;

/** The name that a value gives itself, where it does. */
function ownName(type: ResourceType, value: unknown): string | undefined {
  if (type === address) {
    const decoded = value as DecodedAddress;
    return decoded.kind === "service" ? decoded.service.key : decoded.workload.uid;
  }
  if (type === authorization) return (value as L4Policy).key;
  if (type === waypoint) return (value as Waypoint).key;
  return type === settings ? SETTINGS_NAME : undefined;
}
