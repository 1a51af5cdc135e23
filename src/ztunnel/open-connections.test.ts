import { expect, test } from "vitest";
import { indexOf, smallMesh } from "../../test/support/small-mesh.ts";
import type { L4Match, L4Policy } from "../model/rule.ts";
import type { Snapshot } from "../model/snapshot.ts";
import { l4Decider } from "../policy/decider.ts";
import { OpenConnections } from "./open-connections.ts";

const EMPTY: L4Match = {
  namespaces: [],
  notNamespaces: [],
  principals: [],
  notPrincipals: [],
  serviceAccounts: [],
  notServiceAccounts: [],
  sourceIps: [],
  notSourceIps: [],
  destinationIps: [],
  notDestinationIps: [],
  destinationPorts: [],
  notDestinationPorts: [],
};

/** Denies a port in the whole namespace. */
function denying(port: number): L4Policy {
  return {
    key: "default/deny",
    namespace: "default",
    name: "deny",
    scope: "NAMESPACE",
    action: "DENY",
    rules: [{ clauses: [[{ ...EMPTY, destinationPorts: [port] }]], position: undefined }],
    isDryRun: false,
    source: { kind: "AuthorizationPolicy", namespace: "default", name: "deny" },
    position: undefined,
    because: undefined,
  };
}

function withPolicy(policy: L4Policy): Snapshot {
  const small = smallMesh();
  return {
    ...small,
    revision: 2,
    l4Policies: indexOf({ [policy.key]: policy }),
    l4PoliciesByNamespace: indexOf({ default: [policy] }),
  };
}

/** Connections to ports 8080 and 9000 of reviews; what cut them. */
function opened() {
  const before = smallMesh();
  const workload = [...before.workloads.values()].find((w) => w.name === "reviews-v1")!;
  const connections = new OpenConnections();
  const cut: string[] = [];
  for (const destinationPort of [8080, 9000]) {
    const connection = {
      facts: {
        sourceIdentity: "spiffe://cluster.local/ns/default/sa/client",
        sourceAddress: "127.70.0.2",
        destinationAddress: "127.70.0.1",
        destinationPort,
      },
      cut(because: string) {
        cut.push(`${destinationPort}: ${because}`);
        connections.remove(workload.uid, connection);
      },
    };
    connections.add(workload.uid, l4Decider(before, workload), connection);
  }
  return { connections, cut, workload };
}

test("judgeAgain() cuts what policy no longer admits, and only that", () => {
  const { connections, cut } = opened();
  connections.judgeAgain(withPolicy(denying(9000)));
  expect(cut).toEqual(["9000: explicitly denied by: default/deny"]);
  expect(connections.size).toBe(1);
});

test("judgeAgain() leaves everything alone when nothing applies", () => {
  const { connections, cut } = opened();
  connections.judgeAgain(withPolicy(denying(1)));
  expect(cut).toEqual([]);
  expect(connections.size).toBe(2);
});

test("judgeAgain() cuts the connections of a workload that is gone", () => {
  const { connections, cut, workload } = opened();
  const now = smallMesh();
  const left = [...now.workloads.entries()].filter(([uid]) => uid !== workload.uid);
  connections.judgeAgain({ ...now, workloads: new Map(left) });
  expect(cut).toHaveLength(2);
  expect(connections.size).toBe(0);
});
