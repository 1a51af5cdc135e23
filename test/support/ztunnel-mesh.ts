/**
 * A ztunnel between real sockets, for its tests: `client` and `reviews-v1` in the mesh, `vm` outside
 * it, real TLS between them, and a snapshot that the test may change.
 */
import { once } from "node:events";
import net from "node:net";
import { type CertificateAuthority, Certificates } from "../../src/agent/certificates.ts";
import type { DecisionPayload } from "../../src/agent/decision-record.ts";
import { Drain } from "../../src/kit/drain.ts";
import { log } from "../../src/kit/log.ts";
import type { L4Policy } from "../../src/model/rule.ts";
import type { Snapshot } from "../../src/model/snapshot.ts";
import type { Workload } from "../../src/model/workload.ts";
import { TunnelPool } from "../../src/net/hbone/tunnel-pool.ts";
import { type TunnelHandler, TunnelServer } from "../../src/net/hbone/tunnel-server.ts";
import { TUNNEL_LIMITS } from "../../src/net/http2/limits.ts";
import { DecisionLog } from "../../src/telemetry/decision-log.ts";
import { MetricRegistry } from "../../src/telemetry/metrics.ts";
import { Ztunnel, type ZtunnelOptions } from "../../src/ztunnel/ztunnel.ts";
import { HOUR_MS, idOf, TestMesh } from "./identities.ts";
import { indexOf, smallMesh } from "./small-mesh.ts";

export const REVIEWS_VIP = "127.80.0.1";
export const REVIEWS_KEY = "default/reviews.default.svc.cluster.local";
export const TOKEN = "open sesame";

/** `smallMesh()` with its addresses, without waypoints; `vm` has a loopback address. */
export function plainSnapshot(): Snapshot {
  const small = smallMesh();
  const workloads = new Map<string, Workload>();
  for (const workload of small.workloads.values()) {
    const addresses = workload.name === "vm" ? ["127.70.0.9"] : workload.addresses;
    workloads.set(workload.uid, { ...workload, addresses });
  }
  const reviews = { ...small.services.get(REVIEWS_KEY)!, waypoint: undefined };
  const owned = [...workloads.values()].map(
    (w) => [w.addresses[0]!, { workloads: [w.uid], services: [] }] as const,
  );
  return {
    ...small,
    workloads,
    services: new Map([...small.services.entries(), [REVIEWS_KEY, reviews]]),
    addresses: indexOf({
      ...Object.fromEntries(owned),
      [REVIEWS_VIP]: { workloads: [], services: [REVIEWS_KEY] },
    }),
  };
}

/** That, with policies for the whole namespace. */
export function withPolicies(snapshot: Snapshot, ...policies: readonly L4Policy[]): Snapshot {
  return {
    ...snapshot,
    l4Policies: new Map(policies.map((policy) => [policy.key, policy])),
    l4PoliciesByNamespace: indexOf({ default: policies }),
  };
}

export class ZtunnelMesh {
  readonly registry = new MetricRegistry();
  readonly decisions = new DecisionLog<DecisionPayload>();
  readonly drain = new Drain();
  readonly ztunnel: Ztunnel;
  readonly pool: TunnelPool;
  /** Where the application behind a workload's port listens, by `name:port`. */
  readonly apps = new Map<string, number>();
  snapshot: Snapshot;
  readonly #authority: CertificateAuthority;
  readonly #certificates: Certificates;
  readonly #listeners = new Set<(now: Snapshot, before: Snapshot) => void>();
  readonly #servers: net.Server[] = [];
  readonly #sockets = new Set<net.Socket>();
  readonly #tunnelPorts = new Map<string, number>();
  readonly #misdelivered = new Map<string, string>();

  static async start(
    authority?: CertificateAuthority,
    options: Pick<ZtunnelOptions, "maxConnections"> = {},
  ): Promise<ZtunnelMesh> {
    const mesh = await TestMesh.make();
    const signing = { sign: mesh.signAt.bind(mesh, Date.now()) };
    const started = new ZtunnelMesh(signing, authority ?? signing, options);
    for (const workload of started.snapshot.workloads.values()) {
      if (workload.tunnelProtocol !== "HBONE") continue;
      const accept = (socket: net.Socket) => started.ztunnel.acceptTunnel(socket, workload.uid);
      const [address = ""] = workload.addresses;
      started.#tunnelPorts.set(address, await started.listen(accept, address));
      await started.#certificates.get(idOf(workload.serviceAccount)).catch(() => {});
    }
    return started;
  }

  private constructor(
    own: CertificateAuthority,
    authority: CertificateAuthority,
    options: Pick<ZtunnelOptions, "maxConnections">,
  ) {
    this.#authority = own;
    const logger = log("test");
    this.#certificates = new Certificates(authority, { ttlMs: HOUR_MS, log: logger });
    this.snapshot = plainSnapshot();
    const mesh = this;
    this.ztunnel = new Ztunnel({
      ...options,
      snapshots: {
        get current() {
          return mesh.snapshot;
        },
        subscribe(listener) {
          mesh.#listeners.add(listener);
          return () => mesh.#listeners.delete(listener);
        },
      },
      certificates: this.#certificates,
      registry: this.registry,
      decisions: this.decisions,
      drain: this.drain,
      tunnelAddress: (address) => {
        const host = this.#misdelivered.get(address) ?? address;
        return { host, port: this.#tunnelPorts.get(host) ?? 1 };
      },
      dialFrom: (address) => address,
      appAddress: (workload, port, localAddress) => ({
        host: "127.0.0.1",
        port: this.apps.get(`${workload.name}:${port}`) ?? 1,
        localAddress,
      }),
    });
    this.pool = new TunnelPool({
      connectTimeoutMs: 5_000,
      maxStreamsPerConnection: 100,
      idleTimeoutMs: 60_000,
      limits: TUNNEL_LIMITS,
    });
  }

  /** Somebody else's tunnel server at a workload's address, with that workload's identity. */
  async peer(name: string, address: string, onConnect: TunnelHandler["onConnect"]) {
    const certificates = new Certificates(this.#authority, { ttlMs: HOUR_MS, log: log("test") });
    const identity = await certificates.get(idOf(name));
    certificates.close();
    const server = new TunnelServer(
      {
        identity: () => identity,
        trustDomains: () => ["cluster.local"],
        limits: TUNNEL_LIMITS,
        handshakeTimeoutMs: 5_000,
      },
      { onConnect },
    );
    this.#tunnelPorts.set(address, await this.listen((socket) => server.accept(socket), address));
    return server;
  }

  /** From now on what is sent to one workload's tunnel port arrives at another's. */
  misdeliver(address: string, to: string): void {
    this.#misdelivered.set(address, to);
  }

  /** A port that is open until the end. */
  async listen(accept: (socket: net.Socket) => void, host = "127.0.0.1"): Promise<number> {
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      this.#keep(socket);
      accept(socket);
    });
    this.#servers.push(server);
    server.listen(0, host);
    await once(server, "listening");
    return (server.address() as net.AddressInfo).port;
  }

  /** An application behind a workload's port. */
  async app(name: string, port: number, accept: (socket: net.Socket) => void): Promise<void> {
    this.apps.set(`${name}:${port}`, await this.listen(accept));
  }

  /** What a client at that address gets when it connects there. */
  async captured(from: string, address: string, port: number): Promise<net.Socket> {
    const at = await this.listen((s) => this.ztunnel.acceptCaptured(s, { address, port }));
    return this.#keep(net.connect({ host: "127.0.0.1", port: at, localAddress: from, ...OPEN }));
  }

  /** The port on which SOCKS5 clients are taken; the user is a workload's name. */
  socks(): Promise<number> {
    return this.listen((socket) =>
      this.ztunnel.acceptSocks(socket, (user, password) =>
        password === TOKEN
          ? [...this.snapshot.workloads.values()].find((w) => w.name === user)
          : undefined,
      ),
    );
  }

  connect(port: number): net.Socket {
    return this.#keep(net.connect({ host: "127.0.0.1", port, ...OPEN }));
  }

  /** The status of a CONNECT that `client` sends to a workload's tunnel port. */
  async ask(address: string, authority: string): Promise<number> {
    const certificates = new Certificates(this.#authority, { ttlMs: HOUR_MS, log: log("test") });
    const identity = await certificates.get(idOf("client"));
    certificates.close();
    const workload = [...this.snapshot.workloads.values()].find((w) => w.addresses[0] === address)!;
    const target = {
      host: address,
      port: this.#tunnelPorts.get(address)!,
      expected: [idOf(workload.serviceAccount)],
      identity: () => identity,
      sourceAddress: "127.70.0.2",
      poolKey: "test",
    };
    return await new Promise((resolve, reject) => {
      const request = { authority, headers: [] };
      this.pool.open(target, request, {
        onOpen: (stream) => {
          stream.reset("cancel");
          resolve(200);
        },
        onRefused: (failure, status) => (status > 0 ? resolve(status) : reject(failure)),
      });
    });
  }

  swap(snapshot: Snapshot): void {
    const before = this.snapshot;
    this.snapshot = { ...snapshot, revision: before.revision + 1 };
    for (const listener of this.#listeners) listener(this.snapshot, before);
  }

  workload(name: string): Workload {
    return [...this.snapshot.workloads.values()].find((w) => w.name === name)!;
  }

  /** A connection to a workload's tunnel port, as any stranger can make one. */
  connectTunnel(address: string): net.Socket {
    const port = this.#tunnelPorts.get(address)!;
    return this.#keep(net.connect({ host: address, port, ...OPEN }));
  }

  /** The value of one series, by its name and labels as exposed; 0 when it is not there. */
  value(series: string): number {
    const line = this.registry
      .expose()
      .split("\n")
      .find((l) => l.startsWith(`${series} `));
    return Number(line?.slice(series.length + 1) ?? 0);
  }

  /** `istio_tcp_<name>_total`, summed over the series that have all of these labels. */
  count(name: string, labels: Readonly<Record<string, string>> = {}): number {
    let sum = 0;
    for (const line of this.registry.expose().split("\n")) {
      if (!line.startsWith(`istio_tcp_${name}_total{`)) continue;
      const has = ([key, value]: [string, string]) => line.includes(`${key}="${value}"`);
      if (Object.entries(labels).every(has)) sum += Number(line.slice(line.lastIndexOf(" ")));
    }
    return sum;
  }

  stop(): void {
    this.pool.destroy();
    this.ztunnel.destroy();
    this.#certificates.close();
    for (const server of this.#servers) server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #keep(socket: net.Socket): net.Socket {
    socket.on("error", () => {});
    this.#sockets.add(socket);
    return socket;
  }
}

const OPEN = { allowHalfOpen: true } as const;
