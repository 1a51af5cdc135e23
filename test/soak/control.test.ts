/**
 * The control plane under churn: Pods come and go, readiness flips, routes and policies are edited,
 * hundreds of times a second, with clients that follow and clients that do everything wrong: one
 * refuses all it is sent, one never reads, one comes and goes. Memory stays flat, and in the end
 * each client that follows holds what a fresh build of the last objects gives.
 *
 * With SOAK 1,000 changes a second for a minute (CHURN_SECONDS: for longer); without, shorter and
 * slower.
 */
import { fileURLToPath } from "node:url";
import { afterEach, expect, test } from "vitest";
import { CalledProcess } from "../support/process-calls.mjs";

const isLong = process.env.SOAK !== undefined;
const SECONDS = Number(process.env.CHURN_SECONDS ?? (isLong ? 60 : 6));
const PER_SECOND = isLong ? 1_000 : 200;
const SERVICES = isLong ? 1_000 : 200;
/** The product's own, and others that take note of names and versions. */
const [REAL, LIGHT] = [3, 14];
const FOLLOWERS = REAL + LIGHT;
/** From here on it is to be flat: what is filled once has been. */
const WARM_SHARE = 1 / 3;
/** What a minute's garbage and a list or two more may come to. */
const GROWTH_MIB_MAX = 24;

const children: CalledProcess[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) await child.end();
});

function start(name: string): CalledProcess {
  const path = fileURLToPath(new URL(`../support/${name}.mjs`, import.meta.url));
  const child = new CalledProcess(path, ["--expose-gc"]);
  children.push(child);
  return child;
}

interface Memory {
  readonly heapMb: number;
  readonly externalMb: number;
}

const heldMib = ({ heapMb, externalMb }: Memory) => heapMb + externalMb;

const quantile = (sorted: readonly number[], share: number) =>
  sorted[Math.floor((sorted.length - 1) * share)]!;

test("a mesh that changes all the time", { timeout: (SECONDS + 120) * 1000 }, async () => {
  const server = start("control-host");
  await server.call("build", { services: SERVICES, podsPerService: 5 });
  const clients = start("ads-clients");
  await clients.call("at", await server.call("listen"));
  await clients.call("connect", { count: REAL, real: REAL });
  await clients.call("connect", { count: LIGHT, answers: "ack", keepsVersions: true });
  await clients.call("connect", { count: 1, kind: "silent", answers: "nack" });
  await clients.call("connect", { count: 1, kind: "silent", answers: "silent" });
  await clients.call("comeAndGo");
  await server.call("inSync", FOLLOWERS);

  const kinds = ["readiness", "pod", "route", "policy"];
  const held: number[] = [];
  const ackMs: number[] = [];
  let changes = 0;
  const startMs = performance.now();
  // By the second, so that the memory between can be asked for.
  for (let second = 0; second < SECONDS; second++) {
    const load = { perSecond: PER_SECOND, count: PER_SECOND, kinds, from: changes };
    ackMs.push(...(await server.call<{ ackMs: number[] }>("paced", load)).ackMs);
    changes += PER_SECOND;
    held.push(heldMib(await server.call<Memory>("memory")));
  }
  const tookS = (performance.now() - startMs) / 1000;
  const visits = await clients.call<number>("settle");
  await server.call("inSync", FOLLOWERS);

  ackMs.sort((a, b) => a - b);
  const warm = held[Math.floor(SECONDS * WARM_SHARE)]!;
  const [last, worst] = [held.at(-1)!, Math.max(...held)];
  console.info(
    `${changes} changes in ${tookS.toFixed(0)} s, ${FOLLOWERS} followers, ${visits} visits: ` +
      `ACK after ${quantile(ackMs, 0.5).toFixed(0)} ms (median), ` +
      `${quantile(ackMs, 0.99).toFixed(0)} ms (p99), ${ackMs.at(-1)!.toFixed(0)} ms (worst); ` +
      `held ${warm.toFixed(0)} MiB after a third, ${last.toFixed(0)} MiB in the end, ` +
      `${worst.toFixed(0)} MiB at most`,
  );
  expect(last - warm).toBeLessThan(GROWTH_MIB_MAX);
  interface Fresh {
    readonly contents: string;
    readonly versions: string;
  }
  const fresh = await server.call<Fresh>("fresh");
  const hashes = await clients.call<string[]>("hashes");
  expect(hashes.slice(0, REAL)).toEqual(new Array(REAL).fill(fresh.contents));
  expect(hashes.slice(REAL)).toEqual(new Array(LIGHT).fill(fresh.versions));
});
