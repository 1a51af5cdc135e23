import { afterEach, expect, test } from "vitest";
import { indexOf, makeWorkload, smallMesh } from "../../test/support/small-mesh.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { Workload } from "../model/workload.ts";
import { AddressPlan } from "./addresses.ts";
import type { EchoAnswer } from "./echo-answer.ts";
import { Echoes, type WorkloadOverride } from "./echoes.ts";

const open: Echoes[] = [];
afterEach(() => {
  for (const echoes of open.splice(0)) echoes.destroy();
});

function make(...overrides: WorkloadOverride[]): Echoes {
  const echoes = new Echoes(new AddressPlan("ports"), overrides);
  open.push(echoes);
  return echoes;
}

function workloadOf(snapshot: Snapshot, name: string): Workload {
  return snapshot.workloads.get(`Kubernetes//Pod/default/${name}`)!;
}

test("Echoes play the workloads of the mesh, port by port", async () => {
  const snapshot = smallMesh();
  const echoes = make();
  await echoes.sync(snapshot);
  const reviews = workloadOf(snapshot, "reviews-v1");
  const { host, port } = echoes.appAddress(reviews, 8080, "127.70.0.2");
  const answer = (await (await fetch(`http://${host}:${port}/x`)).json()) as EchoAnswer;
  expect(answer).toMatchObject({ workload: "reviews-v1", version: "v1", port: 8080, path: "/x" });
  expect(echoes.appAddress(reviews, 9000, "127.70.0.2").port).not.toBe(port);
  expect(echoes.playedBy(reviews)).toBe("echo");
  expect(echoes.playedBy(workloadOf(snapshot, "wp"))).toBe("waypoint");
  expect(echoes.playedBy(workloadOf(snapshot, "vm"))).toBe("");
});

test("a port that no service leads to refuses connections", async () => {
  const snapshot = smallMesh();
  const echoes = make();
  await echoes.sync(snapshot);
  const { host, port } = echoes.appAddress(workloadOf(snapshot, "reviews-v1"), 1234, "127.0.0.1");
  await expect(fetch(`http://${host}:${port}/`)).rejects.toThrow();
});

test("an override stands for the workload on all ports", async () => {
  const snapshot = smallMesh();
  const override = { workload: "default/reviews-v1", host: "127.0.0.1", port: 5555 };
  const unknown = { workload: "revews", host: "127.0.0.1", port: 1 };
  const echoes = make(override, unknown);
  await echoes.sync(snapshot);
  const reviews = workloadOf(snapshot, "reviews-v1");
  expect(echoes.appAddress(reviews, 8080, "127.0.0.9")).toMatchObject({
    host: "127.0.0.1",
    port: 5555,
  });
  expect(echoes.playedBy(reviews)).toBe("127.0.0.1:5555");
  expect(echoes.unusedOverrides(snapshot)).toEqual([unknown]);
});

test("an override of one port leaves the others to the echo", async () => {
  const snapshot = smallMesh();
  const echoes = make({
    workload: "reviews-v1",
    workloadPort: 9000,
    host: "127.0.0.1",
    port: 5555,
  });
  await echoes.sync(snapshot);
  const reviews = workloadOf(snapshot, "reviews-v1");
  expect(echoes.appAddress(reviews, 9000, "127.70.0.2").port).toBe(5555);
  const { host, port } = echoes.appAddress(reviews, 8080, "127.70.0.2");
  expect((await fetch(`http://${host}:${port}/`)).status).toBe(200);
});

test("the application sees its client's address where both ends are loopback", () => {
  const echoes = new Echoes(new AddressPlan("addresses"), [
    { workload: "local", host: "127.0.0.1", port: 80 },
    { workload: "remote", host: "192.0.2.1", port: 80 },
  ]);
  const from = (name: string, source: string) =>
    echoes.appAddress(makeWorkload(name, "127.70.0.9"), 80, source).localAddress;
  expect(from("local", "127.70.0.2")).toBe("127.70.0.2");
  expect(from("remote", "127.70.0.2")).toBeUndefined();
  expect(from("local", "::1")).toBeUndefined();
});

test("sync() ends the echo servers of workloads that are gone", async () => {
  const snapshot = smallMesh();
  const echoes = make();
  await echoes.sync(snapshot);
  const { host, port } = echoes.appAddress(workloadOf(snapshot, "reviews-v1"), 8080, "127.0.0.1");
  await echoes.sync({ ...snapshot, workloads: indexOf({}) });
  await expect(fetch(`http://${host}:${port}/`)).rejects.toThrow();
});
