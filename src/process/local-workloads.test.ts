import { expect, test } from "vitest";
import { indexOf, makeWorkload, smallMesh } from "../../test/support/small-mesh.ts";
import type { CertificateSource } from "../agent/certificates.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { Workload } from "../model/workload.ts";
import { LocalWorkloads } from "./local-workloads.ts";

/** Notes what is asked of it. */
class FakeCertificates implements CertificateSource {
  readonly asked: string[] = [];
  get(spiffeId: string): Promise<never> {
    this.asked.push(`get ${spiffeId.slice(-1)}`);
    return Promise.reject(new Error("none"));
  }
  release(spiffeId: string): void {
    this.asked.push(`release ${spiffeId.slice(-1)}`);
  }
  current(): undefined {
    return undefined;
  }
  subscribe(): () => void {
    return () => {};
  }
  list(): readonly [] {
    return [];
  }
}

function snapshotOf(...workloads: Workload[]): Snapshot {
  return {
    ...smallMesh(),
    workloads: indexOf(Object.fromEntries(workloads.map((w) => [w.uid, w]))),
  };
}

const here = { node: "here" };
const a = makeWorkload("a", "127.70.0.1", here);
const b = makeWorkload("b", "127.70.0.2", { node: "there" });
const waypoint = makeWorkload("w", "127.70.0.3", { ...here, waypointInstanceOf: "default/w" });
const plain = makeWorkload("p", "127.70.0.4", { ...here, tunnelProtocol: "TCP" });
const foreign = makeWorkload("f", "192.0.2.9", here);

test("the workloads of the node that have tunnels are served, at this machine's addresses", () => {
  const certificates = new FakeCertificates();
  const workloads = new LocalWorkloads("here", certificates);
  expect(workloads.refresh(snapshotOf(a, b, waypoint, plain, foreign))).toBe(true);
  expect(certificates.asked.sort()).toEqual(["get a", "get f"]);
  expect(workloads.tunnelPorts()).toEqual([
    { address: "127.70.0.1", port: 15008, purpose: "workload default/a", workload: a.uid },
  ]);
});

test("a change is told, certificates come and go with the last workload of an identity", () => {
  const certificates = new FakeCertificates();
  const workloads = new LocalWorkloads("here", certificates);
  const twin = makeWorkload("a-2", "127.70.0.5", { ...here, serviceAccount: "a" });
  workloads.refresh(snapshotOf(a, twin, b));
  expect(workloads.refresh(snapshotOf(a, twin))).toBe(false);
  expect(workloads.refresh(snapshotOf(twin))).toBe(true);
  expect(certificates.asked).toEqual(["get a"]);
  expect(workloads.refresh(snapshotOf({ ...b, node: "here" }))).toBe(true);
  expect(certificates.asked).toEqual(["get a", "get b", "release a"]);
  expect([...workloads.identities]).toEqual(["spiffe://cluster.local/ns/default/sa/b"]);
});
