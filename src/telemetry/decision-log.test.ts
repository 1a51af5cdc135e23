import { expect, test } from "vitest";
import { DEFAULT_SETTINGS } from "../model/settings.ts";
import type { Index, Snapshot } from "../model/snapshot.ts";
import { type DecisionInput, DecisionLog, type RecordedFacts } from "./decision-log.ts";
import { redactHeaders, redactQuery } from "./redact.ts";

function emptySnapshot(revision: number): Snapshot {
  const empty: Index<never> = new Map<string, never>();
  return {
    revision,
    settings: DEFAULT_SETTINGS,
    workloads: empty,
    services: empty,
    endpoints: empty,
    addresses: empty,
    waypoints: empty,
    policies: empty,
    authentications: empty,
    l4Policies: empty,
    l4PoliciesByNamespace: empty,
    routes: empty,
  };
}

const FACTS: RecordedFacts = {
  sourceIdentity: "spiffe://cluster.local/ns/a/sa/b",
  sourceAddress: "127.64.0.1",
  destinationAddress: "127.64.0.2",
  destinationPort: 80,
};

function decision(id: number, snapshot: Snapshot, facts = FACTS): DecisionInput<{ n: number }> {
  return {
    id: `id-${id}`,
    proxy: "waypoint",
    target: "a/b",
    atMs: id,
    facts,
    snapshot,
    payload: { n: id },
  };
}

test("find() gives a recorded decision; the oldest goes when the ring is full", () => {
  const log = new DecisionLog<{ n: number }>({ capacity: 3 });
  const snapshot = emptySnapshot(1);
  for (let id = 1; id <= 5; id++) log.record(decision(id, snapshot));
  expect(log.find("id-2")).toBeUndefined();
  expect(log.find("id-3")).toMatchObject({ id: "id-3", revision: 1, payload: { n: 3 } });
  expect(log.find("id-3")?.snapshot).toBe(snapshot);
  expect(log.recent(2).map((d) => d.id)).toEqual(["id-5", "id-4"]);
  expect(log.recent(10).map((d) => d.id)).toEqual(["id-5", "id-4", "id-3"]);
});

test("find() gives the latest of several decisions with one id", () => {
  const log = new DecisionLog<{ n: number }>();
  log.record(decision(1, emptySnapshot(1)));
  log.record({ ...decision(1, emptySnapshot(2)), payload: { n: 2 } });
  expect(log.find("id-1")?.payload).toEqual({ n: 2 });
});

test("find() takes the request's id, too; a decision's own id comes first", () => {
  const log = new DecisionLog<{ n: number }>();
  const snapshot = emptySnapshot(1);
  log.record({ ...decision(1, snapshot), requestId: "r-1" });
  log.record({ ...decision(2, snapshot), requestId: "r-1" });
  log.record({ ...decision(3, snapshot), requestId: "id-1" });
  expect(log.find("r-1")?.id).toBe("id-2");
  expect(log.find("id-1")?.id).toBe("id-1");
});

test("at most so many snapshots are kept; their decisions are found without them", () => {
  const log = new DecisionLog<{ n: number }>({ capacity: 100, snapshotsMax: 2 });
  const snapshots = [1, 2, 3].map(emptySnapshot);
  log.record(decision(1, snapshots[0]!));
  log.record(decision(2, snapshots[1]!));
  log.record(decision(3, snapshots[0]!)); // in flight across the swap
  log.record(decision(4, snapshots[2]!));
  const kept = [1, 2, 3, 4].map((id) => log.find(`id-${id}`)?.snapshot);
  expect(kept).toEqual([undefined, snapshots[1], undefined, snapshots[2]]);
  expect(log.find("id-1")?.revision).toBe(1);
});

test("record() keeps no secrets, and leaves the caller's facts as they are", () => {
  const log = new DecisionLog<{ n: number }>();
  const headers = ["authorization", "Bearer abc", "x-team", "blue", "Cookie", "sid=1"];
  const facts = { ...FACTS, query: "id=1&access_token=s3cret", headers };
  log.record(decision(1, emptySnapshot(1), facts));
  const kept = log.find("id-1")!.facts;
  expect(JSON.stringify(kept)).not.toMatch(/abc|sid=1|s3cret/);
  expect(kept.headers).toEqual([
    "authorization",
    "[redacted]",
    "x-team",
    "blue",
    "Cookie",
    "[redacted]",
  ]);
  expect(kept.query).toBe("id=1&access_token=[redacted]");
  expect(facts.headers[1]).toBe("Bearer abc");
});

test("redactHeaders() goes by name and by the look of the value", () => {
  const secret = [
    "proxy-authorization",
    "set-cookie",
    "x-amz-security-token",
    "x-api-key",
    "x-jwt-payload",
  ];
  for (const name of secret) expect(redactHeaders([name, "v"])).toEqual([name, "[redacted]"]);
  const jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln";
  expect(redactHeaders(["x-other", jwt, "y", `Bearer ${jwt}`])).toEqual([
    "x-other",
    "[redacted]",
    "y",
    "[redacted]",
  ]);
  const harmless = ["accept", "*/*", "x-request-id", "1", "author", "me"];
  expect(redactHeaders(harmless)).toBe(harmless);
});

test("redactQuery() looks through escapes", () => {
  expect(redactQuery("a=1&acc%65ss_tok%65n=x&b=Bearer%20y&c&sig=z&bad=%zz")).toBe(
    "a=1&acc%65ss_tok%65n=[redacted]&b=[redacted]&c&sig=[redacted]&bad=%zz",
  );
  expect(redactQuery("")).toBe("");
});
