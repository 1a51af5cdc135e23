/**
 * A pool of real worker processes (worker-program.mjs, the product as built) with its port open on
 * loopback, and clients with real tunnels.
 */
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { Certificates } from "../../src/agent/certificates.ts";
import { Readiness } from "../../src/agent/readiness.ts";
import { log } from "../../src/kit/log.ts";
import { type TunnelListener, TunnelPool } from "../../src/net/hbone/tunnel-pool.ts";
import { TunnelServer } from "../../src/net/hbone/tunnel-server.ts";
import { TUNNEL_LIMITS } from "../../src/net/http2/limits.ts";
import type { Http2Stream } from "../../src/net/http2/stream.ts";
import type { TlsIdentity } from "../../src/net/tls.ts";
import { ResourceRelay } from "../../src/process/workers/resource-relay.ts";
import { WorkerPool } from "../../src/process/workers/worker-pool.ts";
import { MetricRegistry } from "../../src/telemetry/metrics.ts";
import { RESOURCE_TYPES } from "../../src/wire/resource.ts";
import { HOUR_MS, idOf, TestMesh } from "./identities.ts";

const SERVER = idOf("waypoint");

export const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** The value of a series in an exposition. */
export function sample(text: string, series: string): number {
  const line = text.split("\n").find((candidate) => candidate.startsWith(`${series} `));
  return Number(line?.slice(series.length + 1));
}

export async function scrape(pool: WorkerPool): Promise<string> {
  return [...(await pool.exposition())].join("");
}

/** A tunnel to the `tunnel` program: which process has it, and whether it still stands. */
export class Held {
  readonly stream: Http2Stream;
  readonly pid: Promise<number>;
  isClosed = false;
  #text = "";

  constructor(stream: Http2Stream) {
    this.stream = stream;
    this.pid = new Promise((resolve) => {
      stream.consumer = {
        onData: (bytes, start, end) => {
          stream.credit(end - start);
          this.#text += bytes.toString("latin1", start, end);
          const line = this.#text.indexOf("\n");
          if (line >= 0) resolve(Number(this.#text.slice(0, line)));
        },
        onEnd: () => {},
        onClosed: () => {
          this.isClosed = true;
          resolve(-1);
        },
      };
    });
  }
}

interface SetUp {
  readonly count: number;
  readonly program?: string;
  readonly options?: object;
  readonly ttlMs?: number;
}

export class WorkerMesh {
  readonly #mesh: TestMesh;
  readonly #client: TlsIdentity;
  readonly #ends: (() => unknown)[] = [];

  private constructor(mesh: TestMesh, client: TlsIdentity) {
    this.#mesh = mesh;
    this.#client = client;
  }

  static async make(): Promise<WorkerMesh> {
    const mesh = await TestMesh.make();
    return new WorkerMesh(mesh, await mesh.identity("client"));
  }

  /** Ends what one test has started, last first. */
  async end(): Promise<void> {
    for (const end of this.#ends.splice(0).reverse()) await end();
  }

  atEnd(end: () => unknown): void {
    this.#ends.push(end);
  }

  /** A pool with its port, ready. */
  async start({ count, program = "tunnel", options = {}, ttlMs = HOUR_MS }: SetUp) {
    const logger = log("test");
    logger.level = "silent";
    const sign = (request: { csrPem: string; spiffeId: string; ttlMs: number }) =>
      this.#mesh.signAt(Date.now(), request);
    const certificates = new Certificates({ sign }, { ttlMs, log: logger });
    const registry = new MetricRegistry();
    const readiness = new Readiness();
    const relay = new ResourceRelay([RESOURCE_TYPES.address]);
    const pool = new WorkerPool({
      count,
      program,
      programOptions: { spiffeId: SERVER, ...options },
      command: {
        modulePath: fileURLToPath(new URL("worker-program.mjs", import.meta.url)),
        args: [],
      },
      relay,
      certificates,
      registry,
      readiness,
      drainTimeoutMs: 10_000,
    });
    this.atEnd(() => {
      pool.destroy();
      certificates.close();
    });
    pool.start();
    const { port } = await pool.listen("127.0.0.1", 0, { kind: "tunnel" });
    await expect.poll(() => readiness.isReady, { timeout: 20_000 }).toBe(true);
    return { pool, port, relay, readiness, registry, certificates };
  }

  /** A ztunnel with an application behind it; returns its port. */
  async backend(account: string, application: (stream: Http2Stream) => void): Promise<number> {
    const identity = await this.#mesh.identity(account);
    const options = {
      identity: () => identity,
      trustDomains: () => ["cluster.local"],
      limits: TUNNEL_LIMITS,
      handshakeTimeoutMs: 5_000,
    };
    const server = new TunnelServer(options, {
      onConnect(stream) {
        stream.respond([":status", "200"], false);
        application(stream);
      },
    });
    await server.listen("127.0.0.1", 0);
    this.atEnd(() => server.destroy());
    return server.address!.port;
  }

  tunnels(): TunnelPool {
    const made = new TunnelPool({
      connectTimeoutMs: 5_000,
      maxStreamsPerConnection: 100,
      idleTimeoutMs: 60_000,
      limits: TUNNEL_LIMITS,
    });
    this.atEnd(() => made.destroy());
    return made;
  }

  /** `key`s that differ never share a connection. */
  open(
    tunnels: TunnelPool,
    port: number,
    key: string,
    authority: string,
    listener: TunnelListener,
  ): void {
    const target = {
      host: "127.0.0.1",
      port,
      expected: [SERVER],
      identity: () => this.#client,
      sourceAddress: undefined,
      poolKey: key,
    };
    tunnels.open(target, { authority, headers: [] }, listener);
  }

  hold(tunnels: TunnelPool, port: number, key: string, authority = "x:1"): Promise<Held> {
    return new Promise<Held>((resolve, reject) => {
      // At once: the first bytes may have come with the answer.
      const onOpen = (stream: Http2Stream) => resolve(new Held(stream));
      this.open(tunnels, port, key, authority, { onOpen, onRefused: reject });
    });
  }
}
