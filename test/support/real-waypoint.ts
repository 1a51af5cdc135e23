/**
 * Waypoints on real sockets: mutual TLS, tunnels, a fake ztunnel with a fake application behind it.
 * The mesh is the small one of `waypoint-session.ts`.
 */
import { once } from "node:events";
import net from "node:net";
import { Drain } from "../../src/kit/drain.ts";
import type { Snapshot } from "../../src/model/snapshot.ts";
import { TunnelPool } from "../../src/net/hbone/tunnel-pool.ts";
import { TunnelServer } from "../../src/net/hbone/tunnel-server.ts";
import { TUNNEL_LIMITS } from "../../src/net/http2/limits.ts";
import type { Http2Stream } from "../../src/net/http2/stream.ts";
import type { TlsIdentity } from "../../src/net/tls.ts";
import { AccessLog } from "../../src/telemetry/access-log.ts";
import { DecisionLog } from "../../src/telemetry/decision-log.ts";
import { MetricRegistry } from "../../src/telemetry/metrics.ts";
import type { WaypointLimits } from "../../src/waypoint/limits.ts";
import { Waypoint } from "../../src/waypoint/waypoint.ts";
import { idOf, TestMesh } from "./identities.ts";
import { REVIEWS_HOST } from "./waypoint-session.ts";

/** What an application does with the stream to it; `authority`: the endpoint that was asked for. */
export type Application = (stream: Http2Stream, authority: string) => void;

export interface RealWaypoint {
  readonly waypoint: Waypoint;
  readonly drain: Drain;
  readonly port: number;
  readonly registry: MetricRegistry;
}

export class RealMesh {
  readonly #mesh: TestMesh;
  readonly #snapshot: Snapshot;
  readonly #ends: (() => void)[] = [];
  #backendPort = 0;
  readonly pool: TunnelPool;
  readonly #client: TlsIdentity;

  private constructor(mesh: TestMesh, snapshot: Snapshot, client: TlsIdentity) {
    this.#mesh = mesh;
    this.#snapshot = snapshot;
    this.#client = client;
    this.pool = new TunnelPool({
      connectTimeoutMs: 2_000,
      maxStreamsPerConnection: 100,
      idleTimeoutMs: 60_000,
      limits: TUNNEL_LIMITS,
    });
    this.#ends.push(() => this.pool.destroy());
  }

  /** With one application behind all workloads, which prove the identity of `reviews-0`. */
  static async start(snapshot: Snapshot, application: Application): Promise<RealMesh> {
    const mesh = await TestMesh.make();
    const made = new RealMesh(mesh, snapshot, await mesh.identity("client"));
    const identity = await mesh.identity("reviews-0");
    const server = new TunnelServer(serverOptions(identity), {
      onConnect(stream, { authority }) {
        stream.respond([":status", "200"], false);
        application(stream, authority);
      },
    });
    await server.listen("127.0.0.1", 0);
    made.#backendPort = server.address!.port;
    made.#ends.push(() => server.destroy());
    return made;
  }

  async waypoint(limits: Partial<WaypointLimits> = {}): Promise<RealWaypoint> {
    const identity = await this.#mesh.identity("wp");
    const drain = new Drain();
    const registry = new MetricRegistry();
    const snapshot = this.#snapshot;
    const waypoint = new Waypoint({
      key: "default/wp",
      spiffeId: idOf("wp"),
      snapshots: { current: snapshot, subscribe: () => () => {} },
      certificates: { current: () => identity },
      registry,
      accessLog: new AccessLog({ file: "", encoding: "TEXT", format: "" }),
      decisions: new DecisionLog(),
      drain,
      limits,
      sourceAddress: undefined,
      tunnelAddress: () => ({ host: "127.0.0.1", port: this.#backendPort }),
    });
    const listener = net.createServer((socket) => waypoint.acceptTunnel(socket));
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    this.#ends.push(() => {
      listener.close();
      waypoint.destroy();
    });
    const { port } = listener.address() as net.AddressInfo;
    return { waypoint, drain, port, registry };
  }

  /** A tunnel to `reviews:<port>`, as a client's ztunnel opens it. */
  connect(waypointPort: number, port = 80): Promise<Http2Stream> {
    const target = {
      host: "127.0.0.1",
      port: waypointPort,
      expected: [idOf("wp")],
      identity: () => this.#client,
      sourceAddress: undefined,
      poolKey: "client",
    };
    const request = { authority: `${REVIEWS_HOST}:${port}`, headers: [] };
    return new Promise((resolve, reject) => {
      this.pool.open(target, request, { onOpen: resolve, onRefused: reject });
    });
  }

  end(): void {
    for (const end of this.#ends.splice(0)) end();
  }
}

function serverOptions(identity: TlsIdentity) {
  return {
    identity: () => identity,
    trustDomains: () => ["cluster.local"],
    limits: TUNNEL_LIMITS,
    handshakeTimeoutMs: 2_000,
  };
}
