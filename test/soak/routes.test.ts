/**
 * Routes under load, while everything behind them moves: endpoints appear and go, one dies without
 * saying so, weights change, the configuration is loaded again and again. Every request is answered
 * 200, and none that was sent after a backend's removal was acknowledged reaches it.
 *
 * With SOAK at 1,000 requests a second for a minute and with a hundred changes of weights; without,
 * shorter and slower.
 */
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { setLogLevel } from "../../src/kit/log.ts";
import { LocalMesh } from "../../src/local/local-mesh.ts";
import { Random } from "../fuzz/random.ts";
import { PacedLoad } from "../support/paced-load.ts";
import { sleep } from "../support/worker-mesh.ts";

setLogLevel("fatal");

const isLong = process.env.SOAK !== undefined;
const PER_SECOND = isLong ? 1_000 : 250;
const WEIGHTS = isLong ? 100 : 12;
const CHANGE_EVERY_MS = isLong ? 300 : 200;
const SEED = Number(process.env.WAYSTONE_SEED ?? Date.now() % 1_000_000);
const SENT = "x-sent-at";

interface Situation {
  /** Every change is one. */
  readonly change: number;
  readonly weights: readonly [number, number, number];
  readonly replicas: readonly [number, number];
}

/** Three backends: two that grow and shrink, and one that dies. */
function manifest({ change, weights, replicas }: Situation): string {
  const workload = (name: string, count: number) => `
apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: shop }
spec: { selector: { app: ${name} }, ports: [{ name: http, port: 80, targetPort: 8080 }] }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: ${name}, namespace: shop }
spec:
  replicas: ${count}
  selector: { matchLabels: { app: ${name} } }
  template:
    metadata: { labels: { app: ${name}, pool: all } }
    spec: { containers: [{ name: echo, ports: [{ containerPort: 8080 }] }] }
---`;
  return `apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels: { istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: shop }
spec:
  gatewayClassName: waystone-waypoint
  listeners: [{ name: mesh, port: 15008, protocol: HBONE }]
---
apiVersion: v1
kind: Pod
metadata: { name: client, namespace: shop, labels: { app: client } }
spec: { containers: [{ name: client }] }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { selector: { pool: all }, ports: [{ name: http, port: 80, targetPort: 8080 }] }
---${workload("one", replicas[0])}${workload("two", replicas[1])}${workload("mortal", 1)}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: web, namespace: shop, annotations: { change: "${change}" } }
spec:
  parentRefs: [{ group: "", kind: Service, name: web }]
  rules:
    - matches: [{ path: { value: /load } }]
      filters:
        - type: RequestHeaderModifier
          requestHeaderModifier: { set: [{ name: x-weights, value: "${weights.join(" ")}" }] }
      retry: { attempts: 4, backoff: 5ms }
      backendRefs:
        - { name: one, port: 80, weight: ${weights[0]} }
        - { name: two, port: 80, weight: ${weights[1]} }
        # The mortal one, and others that can take its place.
        - { name: web, port: 80, weight: ${weights[2]} }
`;
}

/** A backend that at times is not there, whatever the configuration says. */
class Mortal {
  #server: http.Server | undefined;
  port = 0;
  answered = 0;

  async live(): Promise<void> {
    const server = http.createServer((_request, response) => {
      this.answered++;
      response.end("mortal");
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.port, "127.0.0.1", resolve));
    this.port = (server.address() as AddressInfo).port;
  }

  die(): void {
    this.#server?.close();
    this.#server?.closeAllConnections();
    this.#server = undefined;
  }
}

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** When a workload's removal was acknowledged; a name may come back. */
class Removals {
  readonly #atMs = new Map<string, number>();
  readonly #known = new Set<string>();
  readonly late: string[] = [];
  /** Of workloads that are there. */
  inTime = 0;

  note(before: ReadonlySet<string>, now: ReadonlySet<string>): void {
    const atMs = performance.now();
    for (const name of before) if (!now.has(name)) this.#atMs.set(name, atMs);
    for (const name of now) {
      this.#atMs.delete(name);
      this.#known.add(name);
    }
  }

  seen(name: string, sentAtMs: number): void {
    const removedMs = this.#atMs.get(name);
    if (removedMs !== undefined && sentAtMs > removedMs) this.late.push(name);
    else if (this.#known.has(name)) this.inTime++;
  }
}

test("routes under load while all behind them moves", { timeout: 300_000 }, async () => {
  const random = new Random(SEED);
  const folder = await mkdtemp(join(tmpdir(), "waystone-soak-"));
  cleanups.push(() => rm(folder, { recursive: true }));
  const file = join(folder, "mesh.yaml");
  let situation: Situation = { change: 0, weights: [1, 1, 1], replicas: [2, 2] };
  await writeFile(file, manifest(situation));
  const mortal = new Mortal();
  await mortal.live();
  cleanups.push(() => mortal.die());
  const removals = new Removals();
  let onReload = () => {};
  const mesh = await LocalMesh.start({
    paths: [file],
    overrides: [{ workload: "shop/mortal", host: "127.0.0.1", port: mortal.port }],
    stateDirectory: folder,
    addressSeed: folder,
    version: "0.0.0",
    ...{ adminPort: 0, metricsPort: 0, readinessPort: 0, socksPort: 0 },
    drainTimeoutMs: 1_000,
    onEvent: (event) => {
      if (event.kind === "reloaded") onReload();
    },
    onEcho: ({ workload, headers }) => removals.seen(workload, Number(headers[SENT])),
    onQuit: () => {},
  });
  cleanups.push(() => mesh.stop(500));
  const podsNow = () => new Set(mesh.report().workloads.map(({ name }) => name));
  const client = mesh.report().workloads.find(({ name }) => name === "client")!;
  const web = mesh.report().services.find(({ name }) => name === "web")!;
  const load = new PacedLoad({
    connect: () => net.connect({ host: web.address, port: 80, localAddress: client.address }),
    perSecond: PER_SECOND,
    kept: 40,
    freshEvery: 10,
    header: () => `${SENT}: ${performance.now()}\r\n`,
  });
  cleanups.push(() => load.end());

  const change = async (next: Partial<Situation>) => {
    situation = { ...situation, ...next, change: situation.change + 1 };
    const before = podsNow();
    const reloaded = new Promise<void>((resolve) => {
      onReload = resolve;
    });
    await writeFile(`${file}.next`, manifest(situation));
    await rename(`${file}.next`, file);
    await reloaded;
    removals.note(before, podsNow());
  };
  for (let i = 0; i < WEIGHTS; i++) {
    await change({ weights: [random.below(5), random.below(5), 1 + random.below(3)] });
    await sleep(CHANGE_EVERY_MS);
    if (i % 3 === 1) await change({ replicas: [1 + random.below(4), 1 + random.below(4)] });
    if (i % 6 === 2) mortal.die();
    if (i % 6 === 5) await mortal.live();
    await sleep(CHANGE_EVERY_MS);
  }
  await load.end();
  console.info(
    `seed ${SEED}: ${WEIGHTS} weights, ${mortal.answered} of the mortal one: ${load.text}`,
  );
  expect(load.failures).toEqual([]);
  expect(removals.late).toEqual([]);
  expect(removals.inTime).toBeGreaterThan(100);
  expect(mortal.answered).toBeGreaterThan(0);
  expect(load.perSecond).toBeGreaterThan(PER_SECOND * 0.8);
});
