import { expect, test } from "vitest";
import type { Listener } from "../api/gateway.ts";
import {
  type GatewayFacts,
  gatewayAddresses,
  gatewayConditions,
  listenerConditions,
} from "./gateway-status.ts";

const HBONE: Listener = { name: "mesh", port: 15008, protocol: "HBONE" };
const HTTP: Listener = { name: "web", port: 80, protocol: "HTTP" };
const HOST = "waypoint.shop.svc.cluster.local";
const WRONG = 'Expected a single listener on port 15008 with protocol "HBONE"';
const FAILED = "Failed to assign to any requested addresses";

const READY: GatewayFacts = {
  listeners: [HBONE],
  host: `${HOST}:15008`,
  hasAddress: true,
  hasInstance: true,
  hasService: true,
};

function said(facts: Partial<GatewayFacts>): readonly string[] {
  return gatewayConditions({ ...READY, ...facts }).map(
    ({ type, status, reason, message }) => `${type}=${status} ${reason}: ${message}`,
  );
}

const ACCEPTED = "Accepted=True Accepted: Resource accepted";
const PROGRAMMED = `Programmed=True Programmed: Resource programmed, assigned to service(s) ${HOST}:15008`;

test.each<[string, Partial<GatewayFacts>, string, string]>([
  ["all is there", {}, ACCEPTED, PROGRAMMED],
  [
    "no instance has ever been",
    { hasAddress: false, hasInstance: false },
    ACCEPTED,
    `Programmed=False AddressNotAssigned: ${FAILED}: no instances found for hostname "${HOST}"`,
  ],
  [
    "the instances have gone",
    { hasInstance: false },
    ACCEPTED,
    `Programmed=False AddressNotAssigned: ${FAILED}: no healthy instances found for hostname "${HOST}"`,
  ],
  [
    "the Service has gone",
    { hasService: false },
    ACCEPTED,
    `Programmed=False AddressNotUsable: ${FAILED}: hostname "${HOST}" not found`,
  ],
  ["nobody has looked for the Service", { hasService: undefined }, ACCEPTED, PROGRAMMED],
  [
    "there is another listener",
    { listeners: [HBONE, HTTP] },
    `Accepted=False ListenersNotValid: ${WRONG}`,
    PROGRAMMED,
  ],
  ["there is none", { listeners: [] }, `Accepted=False ListenersNotValid: ${WRONG}`, PROGRAMMED],
  [
    "an overlay cannot be used",
    { listeners: [HTTP], invalidParameters: "why" },
    "Accepted=False InvalidParameters: why",
    PROGRAMMED,
  ],
  [
    "a Service of somebody's own is asked for",
    { requested: [{ type: "Hostname", value: HOST }] },
    ACCEPTED,
    PROGRAMMED,
  ],
  [
    "an address is asked for beside it",
    { requested: [{ value: "10.0.0.1" }, { type: "Hostname", value: HOST }] },
    "Accepted=False UnsupportedAddress: only Hostname is supported, ignoring 10.0.0.1",
    PROGRAMMED,
  ],
  [
    "only an address is asked for",
    { requested: [{ type: "IPAddress", value: "10.0.0.1" }] },
    "Accepted=False UnsupportedAddress: only Hostname is supported, ignoring 10.0.0.1",
    `Programmed=False UnsupportedAddress: ${FAILED}`,
  ],
])("gatewayConditions() when %s", (_when, facts, accepted, programmed) => {
  expect(said(facts)).toEqual([accepted, programmed]);
});

test("listenerConditions() have all four types, and say which listener is wrong", () => {
  const states = (listener: Listener) =>
    Object.fromEntries(
      listenerConditions(listener).map(({ type, status, reason }) => [type, `${status} ${reason}`]),
    );
  expect(states(HBONE)).toEqual({
    Accepted: "True Accepted",
    Conflicted: "False NoConflicts",
    Programmed: "True Programmed",
    ResolvedRefs: "True ResolvedRefs",
  });
  expect(states({ ...HBONE, port: 15009 })).toMatchObject({
    Accepted: "False UnsupportedProtocol",
    Programmed: "False Invalid",
  });
});

test("gatewayAddresses() have a type each, the addresses before the name", () => {
  expect(gatewayAddresses(HOST, ["10.0.0.1", "fd00::1"], { ips: true, hostname: true })).toEqual([
    { type: "IPAddress", value: "10.0.0.1" },
    { type: "IPAddress", value: "fd00::1" },
    { type: "Hostname", value: HOST },
  ]);
  expect(gatewayAddresses(HOST, ["10.0.0.1"], { ips: false, hostname: true })).toEqual([
    { type: "Hostname", value: HOST },
  ]);
});
