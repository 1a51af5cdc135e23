import fc from "fast-check";
import { expect, test } from "vitest";
import type { ObjectChange, ParsedObject } from "../../api/object.ts";
import type { Caller } from "./authenticator.ts";
import { PodIdentities } from "./pod-identities.ts";

interface PodFacts {
  readonly name: string;
  readonly uid: string;
  readonly serviceAccount: string;
  readonly node: string;
  readonly phase: string;
}

const POSITION = { file: "", line: 1, column: 1 };

function pod({ name, uid, serviceAccount, node, phase }: PodFacts): ParsedObject {
  const value = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: "shop", uid },
    spec: {
      ...(serviceAccount === "" ? {} : { serviceAccountName: serviceAccount }),
      ...(node === "" ? {} : { nodeName: node }),
      containers: [],
    },
    status: { phase },
  };
  return { kind: "Pod", value, position: POSITION, positionOf: () => POSITION };
}

function following(first: readonly ParsedObject[] = []) {
  let tell: (change: ObjectChange) => void = () => {};
  const identities = new PodIdentities({
    objects: () => first.map((one) => [`shop/${one.value.metadata.name}`, one] as const) as never,
    onChange: (listener) => {
      tell = listener;
      return () => {};
    },
  });
  return { identities, tell: (change: ObjectChange) => tell(change) };
}

const caller = (over: Partial<Caller> = {}): Caller => ({
  namespace: "shop",
  serviceAccount: "ztunnel",
  podName: "zt",
  podUid: "u1",
  node: "node-9",
  ...over,
});

const ZT: PodFacts = {
  name: "zt",
  uid: "u1",
  serviceAccount: "ztunnel",
  node: "node-1",
  phase: "Running",
};

test("a caller is on the node of its Pod, whatever its token says of nodes", () => {
  const { identities } = following([pod(ZT)]);
  expect(identities.nodeOf(caller())).toBe("node-1");
});

test.each([
  ["is bound to no Pod", { podName: undefined }],
  ["does not say which Pod's it is", { podUid: undefined }],
  ["is of a Pod that was made anew since", { podUid: "u0" }],
  ["is of a Pod with another account", { serviceAccount: "other" }],
  ["is of a Pod that is not there", { podName: "gone" }],
])("a caller whose token %s is on no node", (_what, over) => {
  const { identities } = following([pod(ZT)]);
  expect(identities.nodeOf(caller(over))).toBeUndefined();
});

test("a Pod without an account has the default one; one that has ended has none", () => {
  const { identities, tell } = following([pod({ ...ZT, serviceAccount: "" })]);
  const identity = { trustDomain: "t", namespace: "shop", serviceAccount: "default" };
  expect(identities.has("node-1", identity)).toBe(true);
  tell({ upserted: [pod({ ...ZT, serviceAccount: "", phase: "Failed" })], removed: [] });
  expect(identities.has("node-1", identity)).toBe(false);
});

test("after any changes, it is as the Pods that are there have it", () => {
  const facts = fc.record({
    name: fc.constantFrom("a", "b", "c", "d"),
    uid: fc.constantFrom("u1", "u2"),
    serviceAccount: fc.constantFrom("", "x", "y"),
    node: fc.constantFrom("", "n1", "n2"),
    phase: fc.constantFrom("Pending", "Running", "Succeeded", "Failed"),
  });
  const step = fc.oneof(facts, fc.constantFrom("a", "b", "c", "d"));
  fc.assert(
    fc.property(fc.array(facts), fc.array(step, { maxLength: 40 }), (first, steps) => {
      const now = new Map(first.map((one) => [one.name, one]));
      const { identities, tell } = following([...now.values()].map(pod));
      for (const one of steps) {
        if (typeof one === "string") {
          now.delete(one);
          tell({ upserted: [], removed: [{ kind: "Pod", namespace: "shop", name: one }] });
        } else {
          now.set(one.name, one);
          tell({ upserted: [pod(one)], removed: [] });
        }
      }
      for (const node of ["n1", "n2"]) {
        for (const serviceAccount of ["default", "x", "y"]) {
          const expected = [...now.values()].some(
            (one) =>
              one.node === node &&
              (one.serviceAccount || "default") === serviceAccount &&
              (one.phase === "Pending" || one.phase === "Running"),
          );
          const identity = { trustDomain: "t", namespace: "shop", serviceAccount };
          expect(identities.has(node, identity)).toBe(expected);
        }
      }
    }),
  );
});
