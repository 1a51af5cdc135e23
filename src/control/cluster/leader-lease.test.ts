import { setTimeout as pause } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import type { Query, WriteKind } from "../source/kubernetes/kube-client.ts";
import { LeaderLease, type LeaseTimings } from "./leader-lease.ts";

const TIMINGS: LeaseTimings = { durationMs: 1000, deadlineMs: 400, retryMs: 40 };

interface Stored {
  metadata: { resourceVersion: string };
  spec: { holderIdentity: string; leaseTransitions: number; renewTime: string };
}

/** One Lease, with the API server's rules of versions. */
class LeaseServer {
  lease: Stored | undefined;
  #version = 0;
  /** Whose requests get no answer. */
  readonly away = new Set<string>();

  clientOf(identity: string) {
    const answer = async <T>(signal: AbortSignal, give: () => T): Promise<T> => {
      await pause(1);
      signal.throwIfAborted();
      if (this.away.has(identity)) throw new Error("away");
      return give();
    };
    const refusal = (status: number) =>
      ({ isRefusal: true, status, message: "", retryAfterMs: 0 }) as const;
    return {
      get: (_path: string, _query: Query, signal: AbortSignal) =>
        answer(signal, () =>
          this.lease ? { body: structuredClone(this.lease) as unknown } : refusal(404),
        ),
      write: (kind: WriteKind, _path: string, _query: Query, body: unknown, signal: AbortSignal) =>
        answer(signal, () => {
          const given = body as Stored;
          if (kind === "create" && this.lease) return refusal(409);
          const now = this.lease?.metadata.resourceVersion;
          if (kind === "replace" && given.metadata.resourceVersion !== now) return refusal(409);
          this.lease = structuredClone({
            ...given,
            metadata: { ...given.metadata, resourceVersion: String(++this.#version) },
          });
          return { body: structuredClone(this.lease) as unknown };
        }),
    };
  }
}

const open: LeaderLease[] = [];
afterEach(async () => {
  for (const lease of open.splice(0)) await lease.close();
});

/** Notes who leads, and that never two do. */
function candidate(server: LeaseServer, identity: string, leaders: Set<string>): LeaderLease {
  const lease = new LeaderLease({
    client: server.clientOf(identity),
    namespace: "istio-system",
    name: "waystone-leader",
    identity,
    timings: TIMINGS,
    lead: (signal) => {
      leaders.add(identity);
      expect([...leaders]).toEqual([identity]);
      signal.addEventListener("abort", () => leaders.delete(identity));
    },
  });
  open.push(lease);
  lease.start();
  return lease;
}

test("one of three leads; when it ends, another does, at once", async () => {
  const server = new LeaseServer();
  const leaders = new Set<string>();
  const all = new Map(["a", "b", "c"].map((name) => [name, candidate(server, name, leaders)]));
  for (let round = 0; round < 3; round++) {
    await expect.poll(() => leaders.size).toBe(1);
    const [leader = ""] = leaders;
    expect(server.lease?.spec.holderIdentity).toBe(leader);
    await all.get(leader)?.close();
    all.delete(leader);
    expect(server.lease?.spec.holderIdentity).toBe("");
  }
  expect(server.lease?.spec.leaseTransitions).toBe(2);
});

test("a leader that cannot renew stops before another begins", async () => {
  const server = new LeaseServer();
  const leaders = new Set<string>();
  const a = candidate(server, "a", leaders);
  await expect.poll(() => a.isLeader).toBe(true);
  const b = candidate(server, "b", leaders);
  await pause(TIMINGS.durationMs * 1.2);
  expect([...leaders]).toEqual(["a"]);
  server.away.add("a");
  await expect.poll(() => a.isLeader, { timeout: TIMINGS.deadlineMs * 2 }).toBe(false);
  expect(b.isLeader).toBe(false);
  await expect.poll(() => b.isLeader, { timeout: TIMINGS.durationMs * 3 }).toBe(true);
  server.away.clear();
  await pause(TIMINGS.retryMs * 4);
  expect([...leaders]).toEqual(["b"]);
});

test("a leader whose lease was taken from it follows", async () => {
  const server = new LeaseServer();
  const leaders = new Set<string>();
  const a = candidate(server, "a", leaders);
  await expect.poll(() => a.isLeader).toBe(true);
  const { lease } = server;
  server.lease = {
    metadata: { resourceVersion: "999" },
    spec: { ...lease!.spec, holderIdentity: "somebody" },
  };
  await expect.poll(() => a.isLeader).toBe(false);
  // Whoever it is does not renew.
  await expect.poll(() => a.isLeader, { timeout: TIMINGS.durationMs * 3 }).toBe(true);
});
