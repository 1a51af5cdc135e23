import { expect, test } from "vitest";
import { indexOf, makeWorkload, smallMesh } from "../../../test/support/small-mesh.ts";
import type { Snapshot } from "../../model/snapshot.ts";
import type { Workload } from "../../model/workload.ts";
import { NodeIdentities } from "./node-identities.ts";

function snapshotOf(...workloads: Workload[]): Snapshot {
  return {
    ...smallMesh(),
    workloads: indexOf(Object.fromEntries(workloads.map((w) => [w.uid, w]))),
  };
}

const identity = { trustDomain: "cluster.local", namespace: "default", serviceAccount: "a" };
const caller = { namespace: "default", serviceAccount: "a", podName: "a", node: undefined };

test("it follows workloads that come, move and go", () => {
  const one = makeWorkload("a", "10.0.0.1", { node: "n1" });
  const twin = makeWorkload("a-2", "10.0.0.2", { node: "n1", serviceAccount: "a" });
  const snapshots = { current: snapshotOf(one, twin) };
  const identities = new NodeIdentities(snapshots);
  expect(identities.has("n1", identity)).toBe(true);
  expect(identities.has("n2", identity)).toBe(false);
  expect(identities.nodeOf(caller)).toBe("n1");
  snapshots.current = snapshotOf({ ...one, node: "n2" }, twin);
  expect(identities.nodeOf(caller)).toBe("n2");
  expect(identities.has("n1", identity)).toBe(true);
  expect(identities.has("n2", identity)).toBe(true);
  snapshots.current = snapshotOf({ ...one, node: "n2" });
  expect(identities.has("n1", identity)).toBe(false);
  snapshots.current = snapshotOf();
  expect(identities.has("n2", identity)).toBe(false);
  expect(identities.nodeOf(caller)).toBeUndefined();
});

test("a token that names its node is believed, and one without node and Pod has none", () => {
  const identities = new NodeIdentities({ current: snapshotOf() });
  expect(identities.nodeOf({ ...caller, node: "n7" })).toBe("n7");
  expect(identities.nodeOf({ ...caller, podName: undefined })).toBeUndefined();
});
