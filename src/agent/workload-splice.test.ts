import fc from "fast-check";
import { expect, test } from "vitest";
import type { Workload } from "../model/workload.ts";
import { encodeWorkloadAddress } from "../wire/address.ts";
import { contentVersion, ResourceDigest } from "../wire/digest.ts";
import { type EncodedResource, RESOURCE_TYPES } from "../wire/resource.ts";
import { MeshState } from "./mesh-state.ts";
import { WorkloadSplice } from "./workload-splice.ts";

const { address } = RESOURCE_TYPES;

function workload(name: string, over: Partial<Workload> = {}): Workload {
  return {
    uid: `Kubernetes//Pod/shop/${name}`,
    name,
    namespace: "shop",
    addresses: [`10.0.0.${name.charCodeAt(0)}`],
    network: "",
    tunnelProtocol: "TCP",
    trustDomain: "cluster.local",
    serviceAccount: "ours",
    waypoint: undefined,
    node: "node-1",
    canonicalName: name,
    canonicalRevision: "latest",
    workloadType: "POD",
    workloadName: name,
    clusterId: "Kubernetes",
    locality: undefined,
    status: "HEALTHY",
    services: new Map(),
    authorizationPolicies: [],
    waypointInstanceOf: undefined,
    source: { kind: "Pod", namespace: "shop", name },
    ...over,
  };
}

function resource(value: Workload): EncodedResource {
  const bytes = encodeWorkloadAddress(value, { network: "", ignoresUnusable: false });
  return { type: address, name: value.uid, version: contentVersion(bytes), bytes };
}

/** Our control plane: sends what is different, and a revision. */
class Sender {
  readonly #splice: WorkloadSplice;
  #now = new Map<string, EncodedResource>();
  #id = 0;

  constructor(splice: WorkloadSplice) {
    this.#splice = splice;
  }

  async send(workloads: readonly Workload[]): Promise<string | undefined> {
    const next = new Map(workloads.map((one) => [one.uid, resource(one)]));
    const removed = [...this.#now.keys()].filter((uid) => !next.has(uid));
    const changed = [...next.values()].filter(
      ({ name, version }) => this.#now.get(name)?.version !== version,
    );
    this.#now = next;
    await this.#splice.mesh.stage(address, changed, removed);
    return await this.commit();
  }

  async commit(): Promise<string | undefined> {
    const digest = new ResourceDigest();
    for (const { name, version } of this.#now.values()) digest.add(address, name, version);
    return await this.#splice.mesh.commit({ id: ++this.#id, digest: digest.toString() });
  }
}

const accounts = (state: MeshState) =>
  Object.fromEntries([...state.current.workloads.values()].map((w) => [w.name, w.serviceAccount]));

function rig(state = new MeshState()) {
  const splice = new WorkloadSplice(state);
  return { state, splice, sender: new Sender(splice) };
}

const theirs = (name: string, over: Partial<Workload> = {}) =>
  workload(name, { serviceAccount: "theirs", ...over });

test("istiod's word goes before ours; what only we say of a workload stays on it", async () => {
  const { state, splice, sender } = rig();
  await sender.send([workload("a", { waypointInstanceOf: "shop/wp" }), workload("b")]);
  expect(accounts(state)).toEqual({ a: "ours", b: "ours" });
  await splice.workloads.stage(address, [resource(theirs("a", { tunnelProtocol: "HBONE" }))], []);
  expect(accounts(state)).toEqual({ a: "theirs", b: "ours" });
  const a = state.current.workloads.get(workload("a").uid);
  expect(a).toMatchObject({ tunnelProtocol: "HBONE", waypointInstanceOf: "shop/wp" });
  await splice.workloads.stage(address, [], [workload("a").uid]);
  expect(accounts(state)).toEqual({ a: "ours", b: "ours" });
});

test("what istiod says before our control plane comes with its first revision", async () => {
  const { state, splice, sender } = rig();
  await splice.workloads.stage(address, [resource(theirs("a")), resource(theirs("z"))], []);
  expect(state.current.revision).toBe(0);
  expect(await sender.send([workload("a")])).toBeUndefined();
  expect(accounts(state)).toEqual({ a: "theirs", z: "theirs" });
});

test("nothing of istiod's is committed between the parts of a revision", async () => {
  const { state, splice, sender } = rig();
  await sender.send([workload("a")]);
  await splice.mesh.stage(address, [resource(workload("b"))], []);
  await splice.workloads.stage(address, [resource(theirs("a"))], []);
  expect(accounts(state)).toEqual({ a: "ours" });
  expect(await sender.send([workload("a"), workload("b")])).toBeUndefined();
  expect(accounts(state)).toEqual({ a: "theirs", b: "ours" });
});

test("what istiod sends and nobody can use is refused by name, and the rest is taken", async () => {
  const { state, splice, sender } = rig();
  await sender.send([]);
  const bad = { ...resource(theirs("x")), bytes: new Uint8Array([255, 255]) };
  const misnamed = { ...resource(theirs("y")), name: "somebody" };
  const problems = await splice.workloads.stage(
    address,
    [bad, misnamed, resource(theirs("a"))],
    [],
  );
  expect(problems.map((problem) => problem.split(": ")[0])).toEqual([bad.name, "somebody"]);
  expect(accounts(state)).toEqual({ a: "theirs" });
  expect([...splice.workloads.versions(address).keys()]).toEqual([workload("a").uid]);
});

test("a revision that is not whole is refused, and then everything is taken anew", async () => {
  const { state, splice, sender } = rig();
  await sender.send([workload("a"), workload("b")]);
  await splice.workloads.stage(address, [resource(theirs("b"))], []);
  const wrong = await splice.mesh.commit({ id: 9, digest: "0".repeat(32) });
  expect(wrong).toContain("does not amount to this revision");
  expect([...splice.mesh.versions(address)]).toEqual([]);
  expect(accounts(state)).toEqual({ a: "ours", b: "theirs" });
  // A server that is asked for everything sends that; what does not come is gone.
  await splice.mesh.stage(address, [resource(workload("c"))], []);
  const digest = new ResourceDigest();
  const { name, version } = resource(workload("c"));
  digest.add(address, name, version);
  expect(await splice.mesh.commit({ id: 10, digest: digest.toString() })).toBeUndefined();
  expect(accounts(state)).toEqual({ b: "theirs", c: "ours" });
});

test("what was held from before the start goes when it is not sent again", async () => {
  const state = new MeshState();
  const before = rig(state);
  await before.sender.send([workload("a"), workload("b")]);
  const { sender } = rig(state);
  expect(await sender.send([workload("b")])).toBeUndefined();
  expect(accounts(state)).toEqual({ b: "ours" });
});

test("whatever comes in whatever order, istiod's workloads are there as it has them, then ours", async () => {
  const name = fc.constantFrom("a", "b", "c", "d");
  const account = fc.constantFrom("one", "two");
  const ours = fc.uniqueArray(fc.record({ name, account }), { selector: (one) => one.name });
  const step = fc.oneof(
    fc.record({ kind: fc.constant("ours" as const), all: ours }),
    fc.record({ kind: fc.constant("theirs" as const), name, account }),
    fc.record({ kind: fc.constant("gone" as const), name }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
      const { state, splice, sender } = rig();
      let own = new Map<string, string>();
      const other = new Map<string, string>();
      let hasBegun = false;
      for (const one of steps) {
        if (one.kind === "ours") {
          own = new Map(one.all.map((each) => [each.name, each.account]));
          hasBegun = true;
          const sent = one.all.map((each) => workload(each.name, { serviceAccount: each.account }));
          expect(await sender.send(sent)).toBeUndefined();
        } else if (one.kind === "theirs") {
          other.set(one.name, `their-${one.account}`);
          const sent = workload(one.name, { serviceAccount: `their-${one.account}` });
          await splice.workloads.stage(address, [{ ...resource(sent), version: "" }], []);
        } else {
          other.delete(one.name);
          await splice.workloads.stage(address, [], [workload(one.name).uid]);
        }
        const expected = hasBegun
          ? { ...Object.fromEntries(own), ...Object.fromEntries(other) }
          : {};
        expect(accounts(state)).toEqual(expected);
      }
    }),
    { numRuns: 300 },
  );
});
