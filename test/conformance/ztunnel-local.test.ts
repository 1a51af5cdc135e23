/**
 * ztunnel's own example of a file configuration (set `ztunnel-local`), read here into a snapshot:
 * what it says about names, addresses, ports and policy must be what our ztunnel decides.
 */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import type { L4Policy } from "../../src/model/rule.ts";
import type { Endpoint } from "../../src/model/service.ts";
import type { AddressOwners, Snapshot } from "../../src/model/snapshot.ts";
import type { Workload } from "../../src/model/workload.ts";
import { decide } from "../../src/policy/decide.ts";
import { type NextHop, nextHop } from "../../src/policy/next-hop.ts";
import { conformanceJson, conformancePath } from "../support/conformance.ts";
import { l4Policy } from "../support/l4-policies.ts";
import { makeWorkload, smallMesh } from "../support/small-mesh.ts";

interface LocalConfig {
  readonly workloads: readonly {
    readonly uid: string;
    readonly name: string;
    readonly workloadIps: readonly string[];
    readonly protocol: "HBONE" | "TCP";
    readonly node: string;
    readonly serviceAccount: string;
    readonly services: Record<string, Record<string, number>>;
  }[];
  readonly policies: readonly {
    readonly action: "Allow" | "Deny";
    readonly name: string;
    readonly namespace: string;
    readonly rules: readonly (readonly (readonly { notDestinationPorts: number[] }[])[])[];
  }[];
  readonly services: readonly {
    readonly name: string;
    readonly namespace: string;
    readonly hostname: string;
    readonly vips: readonly string[];
    readonly ports: Record<string, number>;
    readonly subjectAltNames?: readonly string[];
  }[];
}

const portsOf = (ports: Record<string, number>) =>
  new Map(Object.entries(ports).map(([port, target]) => [Number(port), target]));

function snapshotOf(config: LocalConfig): Snapshot {
  const base = smallMesh();
  const template = [...base.services.values()][0]!;
  const workloads = config.workloads.map(
    (w): Workload =>
      makeWorkload(w.name, w.workloadIps[0]!, {
        uid: w.uid,
        tunnelProtocol: w.protocol,
        node: w.node,
        serviceAccount: w.serviceAccount,
        services: new Map(Object.entries(w.services).map(([key, p]) => [key, portsOf(p)])),
      }),
  );
  const addresses = new Map<string, AddressOwners>();
  for (const w of workloads) addresses.set(w.addresses[0]!, { workloads: [w.uid], services: [] });
  const services = config.services.map((s) => {
    const key = `${s.namespace}/${s.hostname}`;
    // Only the local network ("") is ours.
    const own = s.vips.filter((vip) => vip.startsWith("/")).map((vip) => vip.slice(1));
    for (const vip of own) addresses.set(vip, { workloads: [], services: [key] });
    const ports = [...portsOf(s.ports)].map(([port, targetPort]) => ({
      ...template.ports[0]!,
      port,
      targetPort,
    }));
    const { name, namespace, hostname } = s;
    const subjectAltNames = s.subjectAltNames ?? [];
    const more = { key, name, namespace, hostname, ports, addresses: own, subjectAltNames };
    return { ...template, ...more, waypoint: undefined };
  });
  const endpoints = services.map((s): [string, Endpoint[]] => [
    s.key,
    workloads.flatMap((w): Endpoint[] => {
      const ports = w.services.get(s.key);
      if (ports === undefined) return [];
      return [{ workloadUid: w.uid, address: w.addresses[0]!, ports, isHealthy: true }];
    }),
  ]);
  const policies = config.policies.map((p): L4Policy => {
    const [[[match]]] = p.rules as [[[{ notDestinationPorts: number[] }]]];
    const action = p.action === "Allow" ? "ALLOW" : "DENY";
    return l4Policy(p.name, action, { notDestinationPorts: match.notDestinationPorts });
  });
  return {
    ...base,
    workloads: new Map(workloads.map((w) => [w.uid, w])),
    services: new Map(services.map((s) => [s.key, s])),
    endpoints: new Map(endpoints),
    addresses,
    l4Policies: new Map(policies.map((p) => [p.key, p])),
    l4PoliciesByNamespace: new Map([["default", policies]]),
  };
}

interface Facts {
  readonly facts: readonly {
    readonly lookup?: string;
    readonly workload?: string;
    readonly protocol?: string;
    readonly service?: string | null;
    readonly endpoints?: readonly string[];
  }[];
}

const file = conformancePath("ztunnel-local", "localhost.yaml");
const expected = conformanceJson<Facts>("ztunnel-local", "facts.json");

describe.skipIf(file === undefined || expected === undefined)("ztunnel-local", () => {
  const snapshot = file === undefined ? smallMesh() : snapshotOf(parse(readFileSync(file, "utf8")));
  const source = [...snapshot.workloads.values()].find((w) => w.name === "local");
  const hopsTo = (address: string, port: number): NextHop[] =>
    [0, 0.25, 0.5, 0.75].map((draw) => nextHop(snapshot, { source, address, port, draw }));

  for (const fact of expected?.facts ?? []) {
    const [address = "", port = "8080"] = fact.lookup?.split(":") ?? [];
    if (fact.workload !== undefined) {
      test(`${address} is ${fact.workload}`, () => {
        const kind = fact.protocol === "HBONE" ? "tunnel" : "direct";
        for (const hop of hopsTo(address, Number(port))) {
          expect(hop).toMatchObject({ kind, workload: { name: fact.workload!.split("/")[1] } });
        }
      });
    } else if (fact.endpoints !== undefined) {
      test(`${fact.lookup} is ${fact.service}, with its endpoints`, () => {
        const reached = hopsTo(address, Number(port)).map((hop) =>
          hop.kind === "tunnel"
            ? `${hop.authorityAddress}:${hop.authorityPort}`
            : hop.kind === "direct" && `${hop.address}:${hop.port}`,
        );
        expect([...new Set(reached)].sort()).toEqual([...fact.endpoints!].sort());
      });
    } else if (fact.lookup !== undefined) {
      test(`${fact.lookup} is nobody's`, () => {
        expect(hopsTo(address, Number(port))[0]?.kind).toBe("passthrough");
      });
    }
  }

  test("policy default/deny-9999 admits every port but that one", () => {
    const hop = { proxy: "ztunnel", workload: source!.uid } as const;
    for (const [port, isAllowed] of [
      [8080, true],
      [9999, false],
    ] as const) {
      const facts = {
        sourceIdentity: undefined,
        sourceAddress: "127.0.0.9",
        destinationAddress: "127.0.0.1",
        destinationPort: port,
      };
      expect(decide(snapshot, hop, facts, 0).verdict.isAllowed, `${port}`).toBe(isAllowed);
    }
  });
});
