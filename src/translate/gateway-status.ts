/**
 * What the status of a waypoint's Gateway says: conditions of the Gateway and of its listeners, and
 * the addresses by which it is found.
 *
 * Istio's types, reasons and words, so that tools which wait for them find them.
 */
import type { GatewayAddress, Listener } from "../api/gateway.ts";
import { type Condition, makeCondition } from "./findings.ts";

export const HBONE_PORT = 15008;

export function isHbone({ port, protocol }: Pick<Listener, "port" | "protocol">): boolean {
  return port === HBONE_PORT && protocol === "HBONE";
}

export interface GatewayFacts {
  readonly listeners: readonly Listener[];
  /** `host:port` of the Service in front of its Pods. */
  readonly host: string;
  readonly hasAddress: boolean;
  /** One of its Pods is healthy. */
  readonly hasInstance: boolean;
  /** Whether that Service is there; undefined: nobody has looked. */
  readonly hasService?: boolean | undefined;
  /** `spec.addresses`: somebody else looks after the Pods and the Service named there. */
  readonly requested?: readonly GatewayAddress[] | undefined;
  /** What is wrong with its overlays. */
  readonly invalidParameters?: string | undefined;
}

const WRONG_LISTENER = 'Expected a single listener on port 15008 with protocol "HBONE"';

/** What is wrong with the listeners of a waypoint. */
export function listenersProblem(listeners: readonly Listener[]): string | undefined {
  const [listener] = listeners;
  const isRight = listener !== undefined && listeners.length === 1 && isHbone(listener);
  return isRight ? undefined : WRONG_LISTENER;
}

/** `Accepted` and `Programmed`. */
export function gatewayConditions(facts: GatewayFacts): readonly [Condition, Condition] {
  return [acceptedCondition(facts), programmedCondition(facts)];
}

function acceptedCondition(facts: GatewayFacts): Condition {
  const { listeners, invalidParameters, requested = [] } = facts;
  const refused = (reason: string, message: string) =>
    makeCondition("Accepted", false, reason, message);
  if (invalidParameters !== undefined) return refused("InvalidParameters", invalidParameters);
  const ignored = requested.filter((address) => !isHostname(address)).map(({ value }) => value);
  if (ignored.length > 0) {
    const message = `only Hostname is supported, ignoring ${ignored.join(", ")}`;
    return refused("UnsupportedAddress", message);
  }
  const problem = listenersProblem(listeners);
  if (problem !== undefined) return refused("ListenersNotValid", problem);
  return makeCondition("Accepted", true, "Accepted", "Resource accepted");
}

const NOT_ASSIGNED = "Failed to assign to any requested addresses";

function programmedCondition(facts: GatewayFacts): Condition {
  const { host, hasAddress, hasInstance, hasService = true, requested = [] } = facts;
  const failed = (reason: string, message: string) =>
    makeCondition("Programmed", false, reason, message);
  if (requested.length > 0 && !requested.some(isHostname)) {
    return failed("UnsupportedAddress", NOT_ASSIGNED);
  }
  const hostname = host.slice(0, host.lastIndexOf(":"));
  if (!hasService)
    return failed("AddressNotUsable", `${NOT_ASSIGNED}: hostname "${hostname}" not found`);
  if (hasAddress && hasInstance) {
    const message = `Resource programmed, assigned to service(s) ${host}`;
    return makeCondition("Programmed", true, "Programmed", message);
  }
  const why = hasAddress ? "no healthy instances" : "no instances";
  return failed("AddressNotAssigned", `${NOT_ASSIGNED}: ${why} found for hostname "${hostname}"`);
}

/** One without a type is an IP address, as the Gateway API has it. */
export function isHostname({ type }: GatewayAddress): boolean {
  return type === "Hostname";
}

/** Of the one controller that has the class. */
export function gatewayClassConditions(): readonly [Condition] {
  return [makeCondition("Accepted", true, "Accepted", "Handled by Waystone")];
}

export const RESOLVED_REFS = makeCondition(
  "ResolvedRefs",
  true,
  "ResolvedRefs",
  "All references resolved",
);

export function listenerConditions(listener: Listener): readonly Condition[] {
  const isRight = isHbone(listener);
  const problem = "UnsupportedProtocol";
  return [
    isRight
      ? makeCondition("Accepted", true, "Accepted", "No errors found")
      : makeCondition("Accepted", false, problem, WRONG_LISTENER),
    makeCondition("Conflicted", false, "NoConflicts", "No errors found"),
    isRight
      ? makeCondition("Programmed", true, "Programmed", "No errors found")
      : makeCondition("Programmed", false, "Invalid", WRONG_LISTENER),
    makeCondition("ResolvedRefs", true, "ResolvedRefs", "No errors found"),
  ];
}

/** The types that a Gateway's annotation asks for; both by default. */
export const ADDRESS_TYPE_ANNOTATION = "networking.istio.io/address-type";

/** Of a Service with these virtual addresses. */
export function gatewayAddresses(
  hostname: string,
  virtualIps: readonly string[],
  types: { readonly ips: boolean; readonly hostname: boolean },
): readonly GatewayAddress[] {
  const ips = types.ips ? virtualIps.map((value) => ({ type: "IPAddress", value })) : [];
  const hosts = types.hostname ? [{ type: "Hostname", value: hostname }] : [];
  return [...ips, ...hosts];
}
