/**
 * Delta ADS between real servers and clients: whatever breaks in between, a proxy never enforces
 * what was no state of the mesh, and ends up with the last one; and who does not read costs little.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { afterEach, beforeAll, expect, test } from "vitest";
import { AdsClient } from "../../src/agent/ads-client.ts";
import { setLogLevel } from "../../src/kit/log.ts";
import { RESOURCE_TYPES, type ResourceType } from "../../src/wire/resource.ts";
import {
  type Change,
  channelTo,
  TestAuthority,
  TestControlPlane,
  TestSink,
  TestSource,
  until,
} from "../support/ads.ts";
import { dial, RawAdsClient } from "../support/raw-ads-client.ts";

setLogLevel(process.env.WAYSTONE_LOG_LEVEL ?? "silent");

const { address, authorization, policies, routes, revision } = RESOURCE_TYPES;
const MIB = 1024 * 1024;
const cleanups: (() => unknown)[] = [];
let authority: TestAuthority;

beforeAll(async () => {
  authority = await TestAuthority.make();
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function serve(
  source: TestSource,
  options: Partial<Parameters<typeof TestControlPlane.start>[0]> = {},
): Promise<TestControlPlane> {
  const plane = await TestControlPlane.start({ source, authority, ...options });
  cleanups.push(() => plane.kill());
  return plane;
}

function follow(plane: { readonly port: number }, id: string, backoffMaxMs = 15_000): TestSink {
  const sink = new TestSink();
  const channel = channelTo(plane, authority.rootsPem);
  const client = new AdsClient({ channel, node: { id, metadata: {} }, sink, backoffMaxMs });
  client.start();
  cleanups.push(() => {
    client.close();
    channel.close();
  });
  return sink;
}

const pause = (delayMs: number) => new Promise((resolve) => setTimeout(resolve, delayMs));

const change: fc.Arbitrary<Change> = fc
  .record({
    type: fc.constantFrom<ResourceType>(address, authorization, policies, routes),
    name: fc.constantFrom("a", "b", "c", "d", "e"),
    content: fc.option(fc.constantFrom("1", "2", "x".repeat(200_000)), { nil: undefined }),
  })
  .map(({ type, name, content }) => ({
    type,
    name,
    ...(content === undefined ? {} : { content }),
  }));

type Step =
  | { readonly kind: "batch"; readonly changes: readonly Change[] }
  | { readonly kind: "cut" | "drain" }
  | { readonly kind: "slow"; readonly delayMs: number }
  | { readonly kind: "wait"; readonly delayMs: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .array(change, { minLength: 1, maxLength: 6 })
      .map((changes) => ({ kind: "batch" as const, changes })),
  },
  { weight: 1, arbitrary: fc.constantFrom({ kind: "cut" as const }, { kind: "drain" as const }) },
  { weight: 1, arbitrary: fc.nat(5).map((delayMs) => ({ kind: "slow" as const, delayMs })) },
  { weight: 3, arbitrary: fc.nat(40).map((delayMs) => ({ kind: "wait" as const, delayMs })) },
);

test("what a proxy enforces was a state of the mesh, and in the end it is the last", async () => {
  let committed = 0;
  let reconnects = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 40 }), async (steps) => {
      const source = new TestSource();
      let plane = await serve(source);
      const { port } = plane;
      const sinks = [follow(plane, "one", 40), follow(plane, "two", 40)];
      await pause(50);
      for (const one of steps) {
        if (one.kind === "batch") source.apply(one.changes);
        else if (one.kind === "slow") sinks[1]!.delayMs = one.delayMs;
        else if (one.kind === "wait") await pause(one.delayMs);
        else {
          if (one.kind === "cut") plane.kill();
          else await plane.drain();
          reconnects++;
          plane = await serve(source, { port });
        }
      }
      for (const sink of sinks) {
        const isLast = () => sink.lastRevision === source.revision.id;
        await until(isLast, `${sink.lastRevision} becomes ${source.revision.id}`, 20_000);
        expect(sink.contents).toEqual(source.contents);
        for (const { revision: stamp, contents } of sink.committed) {
          expect(contents).toEqual(source.history.get(stamp.id));
        }
        const ids = sink.committed.map(({ revision: { id } }) => id);
        expect(ids).toEqual([...ids].sort((a, b) => a - b));
        committed += ids.length;
      }
      for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
    }),
    { numRuns: 25 },
  );
  expect(committed).toBeGreaterThan(100);
  expect(reconnects).toBeGreaterThan(20);
});

/** Without it the figure is of garbage, which is as much as the machine was slow to collect. */
setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

/** Of JavaScript and of buffers that are in use, when what was under way has come to rest. */
async function heldBytes(): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let stable = 0; stable < 5; stable++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    collectGarbage();
    const { heapUsed, external } = process.memoryUsage();
    if (heapUsed + external < least - MIB) stable = 0;
    least = Math.min(least, heapUsed + external);
  }
  return least;
}

/** `ADS_STREAMS=500` for the figure of docs/decisions/005. */
const STREAMS = Number(process.env.ADS_STREAMS ?? 50);

test("of many streams those that never read cost a response each, and the others nothing", async () => {
  const content = "x".repeat(2_000);
  const names = Array.from({ length: 1_000 }, (_, i) => `r${i}`);
  const all = (version: number) =>
    names.map((name) => ({ type: address, name, content: `${name} ${version} ${content}` }));
  const source = new TestSource(all(0));
  const plane = await serve(source);
  const readers = Array.from({ length: STREAMS - 20 }, (_, i) => follow(plane, `reader-${i}`));
  const deaf = Array.from({ length: 20 }, () => new RawAdsClient({ port: plane.port }));
  for (const client of deaf) {
    cleanups.push(() => client.destroy());
    for (const typeUrl of [revision, address, authorization]) client.send({ typeUrl });
  }
  const isEverybody = () => plane.ads.clients.length === STREAMS;
  await until(isEverybody, "everybody is there", 60_000);
  const isCurrent = () => readers.every((sink) => sink.lastRevision === source.revision.id);
  await until(isCurrent, "the readers have the first state", 60_000);
  const before = await heldBytes();
  const times: number[] = [];
  // 7,600 resources of 2 kB: 15 MB for each client that would be queued for.
  for (let version = 1; version <= 40; version++) {
    source.apply(all(version).slice(0, version % 10 === 0 ? 1_000 : 100));
    const startMs = performance.now();
    await until(isCurrent, `the readers have ${version}`, 60_000);
    times.push(performance.now() - startMs);
  }
  const grownMiB = ((await heldBytes()) - before) / MIB;
  times.sort((a, b) => a - b);
  if (process.env.ADS_STREAMS !== undefined) {
    const [median, worst] = [times[times.length >> 1]!, times.at(-1)!];
    const rssMiB = process.memoryUsage().rss / MIB;
    process.stdout.write(
      `${STREAMS} streams: ${grownMiB.toFixed(1)} MiB more, rss ${rssMiB.toFixed(0)} MiB; ` +
        `a change at all: median ${median.toFixed(0)} ms, worst ${worst.toFixed(0)} ms\n`,
    );
  }
  const held = plane.ads.clients.filter(({ node }) => node === "");
  expect(held).toHaveLength(deaf.length);
  // At most the first response: the answer to it has not come.
  for (const { enforcedRevision, types } of held) {
    expect(enforcedRevision).toBeUndefined();
    expect(types.every(({ ackedNonce }) => ackedNonce === "")).toBe(true);
  }
  // The test's own record of 40 revisions and its readers are up to 70; queues would be 300 more.
  expect(grownMiB).toBeLessThan(150);
  // One that begins to read is told the state of now.
  const [first] = deaf;
  first!.read();
  const seen: string[] = [];
  while (!seen.includes(revision)) seen.push((await first!.taken()).typeUrl);
  expect(seen.filter((type) => type === address).length).toBeLessThan(20);
});

test("one that never reads is gone when its connection is", async () => {
  const content = "x".repeat(200_000);
  const source = new TestSource(
    Array.from({ length: 100 }, (_, i) => ({ type: address, name: `w-${i}`, content })),
  );
  const plane = await serve(source);
  const silent = new RawAdsClient({ port: plane.port });
  cleanups.push(() => silent.destroy());
  silent.send({ node: { id: "silent" }, typeUrl: address });
  // Its first answer has been begun, and waits for a window that it never opens.
  const sent = `waystone_ads_resources_sent_total{type="${address}"}`;
  await until(() => plane.metric(sent) > 0, "an answer on its way");
  await pause(50);
  expect(plane.ads.clients).toHaveLength(1);
  silent.destroy();
  await until(() => plane.ads.clients.length === 0, "no client is left");
  expect(plane.metric("waystone_ads_clients")).toBe(0);
});

test("100 proxies that come back at once are served, and cost what they send", async () => {
  const names = Array.from(
    { length: 5_000 },
    (_, i) => `cluster1//Pod/namespace-${i % 50}/pod-${i}`,
  );
  const source = new TestSource(
    names.map((name) => ({ type: address, name, content: `${name}1` })),
  );
  const first = await serve(source);
  const { port } = first;
  const sinks = Array.from({ length: 100 }, (_, i) => follow(first, `proxy-${i}`));
  const isCurrent = () => sinks.every((sink) => sink.lastRevision === source.revision.id);
  await until(isCurrent, "all have the first state", 60_000);
  const before = await heldBytes();
  first.kill();
  source.apply([{ type: address, name: names[0]!, content: "2" }]);
  const startMs = performance.now();
  const second = await serve(source, { port });
  await until(isCurrent, "all are back", 60_000);
  expect(performance.now() - startMs).toBeLessThan(30_000);
  for (const sink of sinks) expect(sink.received).toBe(5_001);
  expect(second.metric(`waystone_ads_resources_sent_total{type="${address}"}`)).toBe(100);
  await pause(200);
  expect(((await heldBytes()) - before) / MIB).toBeLessThan(100);
});

test("streams that share a connection share nothing else", async () => {
  const big = Array.from({ length: 20 }, (_, i) => ({
    type: address,
    name: `${i}`,
    content: `${i}`.repeat(50_000),
  }));
  const source = new TestSource(big);
  const plane = await serve(source);
  const session = dial(plane.port);
  cleanups.push(() => session.destroy());
  const open = () => new RawAdsClient({ port: plane.port, session });
  const deaf = open().send({ typeUrl: address }).send({ typeUrl: authorization });
  const reader = open().read().send({ typeUrl: authorization });
  expect((await reader.taken()).typeUrl).toBe(authorization);
  await until(() => plane.ads.clients.length === 2, "both are served");
  for (let i = 0; i < 20; i++) {
    source.apply([{ type: authorization, name: "n/p", content: `${i}` }]);
    expect((await reader.taken()).resources).toHaveLength(1);
  }
  expect(deaf.isEnded).toBe(false);
});
