import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Workload } from "../model/workload.ts";
import { encodeWorkloadAddress } from "../wire/address.ts";
import { contentVersion, ResourceDigest } from "../wire/digest.ts";
import { AddressSchema, WorkloadSchema } from "../wire/gen/istio/workload_pb.ts";
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

/** As istiod encodes it: without what is our own on it, and with a field that we do not know. */
function foreign(value: Workload): EncodedResource {
  const message = fromBinary(AddressSchema, resource(value).bytes);
  if (message.type.case !== "workload") throw new Error("it is one");
  message.type.value.extensions = [];
  const unknownField = Uint8Array.of(...[0xfa, 0x3e, 0x02], 1, 2);
  const inner = Buffer.concat([toBinary(WorkloadSchema, message.type.value), unknownField]);
  const bytes = toBinary(
    AddressSchema,
    create(AddressSchema, {
      type: { case: "workload", value: fromBinary(WorkloadSchema, inner) },
    }),
  );
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

  /** Everything is to be sent again. */
  forget(): void {
    this.#now.clear();
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

test("istiod's workloads take the place of ours; what only we say of one stays on it", async () => {
  const { state, splice, sender } = rig();
  await sender.send([workload("a", { waypointInstanceOf: "shop/wp" }), workload("b")]);
  expect(accounts(state)).toEqual({ a: "ours", b: "ours" });
  await splice.workloads.stage(address, [resource(theirs("a", { tunnelProtocol: "HBONE" }))], []);
  expect(accounts(state)).toEqual({ a: "theirs" });
  const a = state.current.workloads.get(workload("a").uid);
  expect(a).toMatchObject({ tunnelProtocol: "HBONE", waypointInstanceOf: "shop/wp" });
  await splice.workloads.stage(address, [], [workload("a").uid]);
  expect(accounts(state)).toEqual({});
});

test("an istiod without any workload has none, also of ours", async () => {
  const { state, splice, sender } = rig();
  await sender.send([workload("a")]);
  await splice.workloads.stage(address, [], []);
  expect(accounts(state)).toEqual({});
});

test("the verdict on a workload's waypoint is istiod's, the name of its Gateway ours", async () => {
  const { state, splice, sender } = rig();
  const of = (name: string) => state.current.workloads.get(workload(name).uid)?.waypoint;
  const bound = { state: "bound", hbonePort: 15008 } as const;
  const service = "shop/renamed.shop.svc.cluster.local";
  const unusable = { state: "unusable", waypoint: "shop/wp", reason: "WaypointMissing" } as const;
  await sender.send([
    workload("a", { waypoint: unusable }),
    workload("b", { waypoint: { ...bound, service, waypoint: "shop/wp" } }),
    workload("c", { waypoint: { ...bound, service, waypoint: "shop/wp" } }),
    workload("d", { waypoint: unusable }),
  ]);
  const sent = (name: string, host: string | undefined) =>
    foreign(
      theirs(
        name,
        host === undefined ? {} : { waypoint: { ...bound, service: host, waypoint: "" } },
      ),
    );
  const other = "shop/other.shop.svc.cluster.local";
  const all = [sent("a", service), sent("b", service), sent("c", other), sent("d", undefined)];
  expect(await splice.workloads.stage(address, all, [])).toEqual([]);
  expect(of("a")).toEqual({ ...bound, service, waypoint: "shop/renamed" });
  expect(of("b")).toEqual({ ...bound, service, waypoint: "shop/wp" });
  expect(of("c")).toEqual({ ...bound, service: other, waypoint: "shop/other" });
  expect(of("d")).toBeUndefined();
});

test("what istiod says before our control plane comes with its first revision", async () => {
  const { state, splice, sender } = rig();
  await splice.workloads.stage(address, [resource(theirs("a")), resource(theirs("z"))], []);
  expect(state.current.revision).toBe(0);
  expect(await sender.send([workload("a")])).toBeUndefined();
  expect(accounts(state)).toEqual({ a: "theirs", z: "theirs" });
});

test("istiod is heard while a batch of ours is under way, and when it never ends", async () => {
  const { state, splice, sender } = rig();
  await sender.send([workload("a")]);
  await splice.workloads.stage(address, [resource(theirs("a")), resource(theirs("b"))], []);
  await splice.mesh.stage(
    address,
    [resource(workload("b", { waypointInstanceOf: "shop/wp" }))],
    [],
  );
  await splice.workloads.stage(address, [resource(theirs("a", { serviceAccount: "new" }))], []);
  expect(accounts(state)).toEqual({ a: "new", b: "theirs" });
  const b = () => state.current.workloads.get(workload("b").uid)?.waypointInstanceOf;
  expect(b()).toBeUndefined();
  // The stream was lost; the next one goes on from what has come.
  expect([...splice.mesh.versions(address).keys()]).toContain(workload("b").uid);
  await sender.send([workload("a"), workload("b", { waypointInstanceOf: "shop/wp" })]);
  expect(b()).toBe("shop/wp");
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
  expect(accounts(state)).toEqual({ b: "theirs" });
  // A server that is asked for everything sends that; what does not come is gone.
  await splice.mesh.stage(address, [resource(workload("c"))], []);
  const digest = new ResourceDigest();
  const { name, version } = resource(workload("c"));
  digest.add(address, name, version);
  expect(await splice.mesh.commit({ id: 10, digest: digest.toString() })).toBeUndefined();
  expect(accounts(state)).toEqual({ b: "theirs" });
  await splice.workloads.stage(address, [resource(theirs("c"))], [workload("b").uid]);
  expect(accounts(state)).toEqual({ c: "theirs" });
});

test("what was held from before the start goes when it is not sent again", async () => {
  const state = new MeshState();
  const before = rig(state);
  await before.sender.send([workload("a"), workload("b")]);
  const { sender } = rig(state);
  expect(await sender.send([workload("b")])).toBeUndefined();
  expect(accounts(state)).toEqual({ b: "ours" });
});

test("a response of many lets others have a turn, and takes effect as a whole", async () => {
  const { state, splice, sender } = rig();
  const names = Array.from({ length: 1500 }, (_, i) => `pod-${i}`);
  await sender.send(names.slice(0, 1000).map((name) => workload(name)));
  const states: string[] = [];
  state.subscribe((now) => {
    const all = [...now.workloads.values()];
    states.push(`${all.length} ${[...new Set(all.map((one) => one.serviceAccount))]}`);
  });
  let turns = 0;
  const timer = setInterval(() => turns++, 0);
  await splice.workloads.stage(
    address,
    names.map((name) => foreign(theirs(name))),
    [],
  );
  clearInterval(timer);
  expect(states).toEqual(["1500 theirs"]);
  expect(turns).toBeGreaterThan(2);
  // The same again, as a server that gives no versions sends it, changes nothing.
  const again = names.map((name) => ({ ...foreign(theirs(name)), version: "" }));
  expect(await splice.workloads.stage(address, again, [])).toEqual([]);
  expect(states.length).toBe(1);
});

test("whatever comes in whatever order, workloads are ours, and then istiod's alone", async () => {
  const name = fc.constantFrom("a", "b", "c", "d");
  const account = fc.constantFrom("one", "two");
  const ours = fc.uniqueArray(fc.record({ name, account }), { selector: (one) => one.name });
  const step = fc.oneof(
    fc.record({ kind: fc.constant("ours" as const), all: ours }),
    fc.record({ kind: fc.constant("theirs" as const), name, account }),
    fc.record({ kind: fc.constant("gone" as const), name }),
    fc.record({ kind: fc.constant("wrong" as const) }),
  );
  const sent = (one: { name: string; account: string }, gateway?: string) =>
    workload(one.name, { serviceAccount: one.account, waypointInstanceOf: gateway });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
      const { state, splice, sender } = rig();
      let own: Workload[] | undefined;
      let other: Map<string, Workload> | undefined;
      for (const one of steps) {
        if (one.kind === "ours") {
          own = one.all.map((each) => sent(each, `shop/${each.account}`));
          expect(await sender.send(own)).toBeUndefined();
        } else if (one.kind === "wrong") {
          await splice.mesh.commit({ id: 99, digest: "0".repeat(31) });
          sender.forget();
        } else {
          other ??= new Map();
          const { uid } = workload(one.name);
          if (one.kind === "gone") {
            other.delete(uid);
            await splice.workloads.stage(address, [], [uid]);
          } else {
            const value = sent({ name: one.name, account: `their-${one.account}` });
            other.set(uid, value);
            await splice.workloads.stage(address, [{ ...foreign(value), version: "" }], []);
          }
        }
        const gateways = new Map(own?.map(({ uid, waypointInstanceOf: g }) => [uid, g]));
        const expected = own && (other === undefined ? own : [...other.values()]);
        const found = [...state.current.workloads.values()];
        const told = ({ uid, serviceAccount, waypointInstanceOf }: Workload) =>
          `${uid} ${serviceAccount} ${waypointInstanceOf}`;
        const wanted = (expected ?? []).map((value) =>
          told({ ...value, waypointInstanceOf: gateways.get(value.uid) }),
        );
        expect(found.map(told).sort()).toEqual(wanted.sort());
      }
    }),
    { numRuns: 300 },
  );
});
