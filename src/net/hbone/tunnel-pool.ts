/**
 * Tunnels to others: CONNECT streams over a few shared connections per target (protocols.md §3.3).
 *
 * A connection is shared by tunnels of one client identity, source address, destination and set of
 * expected identities, up to a number of streams; then another is opened. Tunnels wait, in a
 * bounded queue and for a bounded time, for connections that are being opened, and when there may
 * be no more of those, for a stream to end; what is open is used at once.
 *
 * A certificate that was renewed is used by new connections; those with the old one take no new
 * streams, and close when their last one ends.
 *
 * Invariants:
 * - a listener is called once, never during `open()`, and not at all after `abort()`;
 * - a CONNECT is sent twice only when the peer has said that it did not look at the first.
 */
import { Deadlines } from "../../kit/deadlines.ts";
import { Failure } from "../../kit/failure.ts";
import type { PeerError } from "../http2/errors.ts";
import type { HeaderList } from "../http2/headers.ts";
import type { Http2Limits } from "../http2/limits.ts";
import type { Http2Stream } from "../http2/stream.ts";
import type { TlsIdentity } from "../tls.ts";
import { PoolConnection, type PoolConnectionOwner } from "./pool-connection.ts";
import { Tunnel, type TunnelOwner } from "./tunnel.ts";

/** Where a tunnel leads, and as whom. */
export interface TunnelTarget {
  readonly host: string;
  readonly port: number;
  /** The SPIFFE ids of which the server must prove one. */
  readonly expected: readonly string[];
  /** Read at each new connection; undefined fails the tunnels that wait for it. */
  readonly identity: () => TlsIdentity | undefined;
  readonly sourceAddress: string | undefined;
  /** Tunnels of different keys never share a connection: the client's identity. */
  readonly poolKey: string;
}

export interface TunnelRequest {
  readonly authority: string;
  /** baggage, forwarded, … */
  readonly headers: HeaderList;
}

/** One of the two is called, once, unless the opening is aborted. */
export interface TunnelListener {
  onOpen(stream: Http2Stream, responseHeaders: HeaderList): void;
  /** `status` 0: there was no answer. */
  onRefused(failure: Failure, status: number): void;
}

export interface TunnelPoolOptions {
  /** For a connection to be ready, and again for the answer to a CONNECT. */
  readonly connectTimeoutMs: number;
  readonly maxStreamsPerConnection: number;
  readonly idleTimeoutMs: number;
  readonly limits: Http2Limits;
  /** Connections per target; default 64. */
  readonly maxConnectionsPerTarget?: number;
  /** Tunnels that may wait for connections of one target; default 16,384. */
  readonly maxWaiting?: number;
  /** As many connections as may be to one target are full (a tunnel waits), or too many wait. */
  readonly onLimit?: (limit: "tunnels_to_target" | "waiting_tunnels") => void;
  /** A server broke HTTP/2 or one of its limits; it has been told. */
  readonly onPeerError?: (error: PeerError, target: TunnelTarget) => void;
}

export interface TunnelPoolStats {
  readonly connections: number;
  readonly connecting: number;
  readonly streams: number;
  readonly waiting: number;
}

const MAX_CONNECTIONS_PER_TARGET = 64;
const MAX_WAITING = 16_384;

export class TunnelPool {
  readonly #options: TunnelPoolOptions;
  readonly #groups = new Map<string, Group>();
  readonly #idle: Deadlines;
  readonly #openings: Deadlines;
  #isDraining = false;

  constructor(options: TunnelPoolOptions) {
    this.#options = options;
    this.#idle = new Deadlines(options.idleTimeoutMs);
    this.#openings = new Deadlines(options.connectTimeoutMs);
  }

  open(target: TunnelTarget, request: TunnelRequest, listener: TunnelListener): { abort(): void } {
    if (this.#isDraining) {
      const tunnel = new Tunnel(undefined, target, request, listener, this.#openings);
      setImmediate(() => tunnel.fail(new Failure("UPSTREAM_CONNECT_FAILED", "shutting down")));
      return tunnel;
    }
    const key = keyOf(target);
    let group = this.#groups.get(key);
    if (group === undefined) {
      group = new Group(target, this.#options, this.#idle, () => this.#groups.delete(key));
      this.#groups.set(key, group);
    }
    const tunnel = new Tunnel(group, target, request, listener, this.#openings);
    group.place(tunnel, target);
    return tunnel;
  }

  get stats(): TunnelPoolStats {
    let [connections, connecting, streams, waiting] = [0, 0, 0, 0];
    for (const group of this.#groups.values()) {
      waiting += group.waitingCount;
      for (const connection of group.connections) {
        if (connection.isReady) connections++;
        else connecting++;
        streams += connection.streamCount;
      }
    }
    return { connections, connecting, streams, waiting };
  }

  /** No new tunnels; resolves when the last one has ended and all connections are closed. */
  async drain(): Promise<void> {
    this.#isDraining = true;
    await Promise.all([...this.#groups.values()].map((group) => group.drain()));
  }

  destroy(): void {
    this.#isDraining = true;
    for (const group of [...this.#groups.values()]) group.destroy();
  }
}

function keyOf(target: TunnelTarget): string {
  const { host, port, expected, sourceAddress, poolKey } = target;
  const ids = expected.length > 1 ? [...expected].sort().join(" ") : (expected[0] ?? "");
  return `${poolKey} ${sourceAddress ?? "-"} ${host} ${port} ${ids}`;
}

/** The connections to one target and what waits for them. */
class Group implements PoolConnectionOwner, TunnelOwner {
  readonly connections: PoolConnection[] = [];
  readonly #options: TunnelPoolOptions;
  readonly #idle: Deadlines;
  readonly #forget: () => void;
  /** In order of arrival: a Set, so that one may leave from the middle. */
  readonly #waiting = new Set<Tunnel>();
  /** The latest one: its `identity` is as fresh as any. */
  #target: TunnelTarget;
  #isDraining = false;

  constructor(
    target: TunnelTarget,
    options: TunnelPoolOptions,
    idle: Deadlines,
    forget: () => void,
  ) {
    this.#target = target;
    this.#options = options;
    this.#idle = idle;
    this.#forget = forget;
  }

  get waitingCount(): number {
    return this.#waiting.size;
  }

  /** Starts the tunnel on a connection with room, or has it wait for a new one. */
  place(tunnel: Tunnel, target: TunnelTarget, except?: PoolConnection): void {
    this.#target = target;
    const identity = target.identity();
    const retired = this.connections.filter((connection) => connection.retireUnless(identity));
    this.#seat(tunnel, except);
    // Behind it: a group without connections would be forgotten.
    for (const connection of retired) connection.closeUnused();
  }

  #seat(tunnel: Tunnel, except: PoolConnection | undefined): void {
    const { maxStreamsPerConnection } = this.#options;
    for (const connection of this.connections) {
      if (connection !== except && connection.hasRoom(maxStreamsPerConnection)) {
        connection.start(tunnel);
        return;
      }
    }
    if (this.#waiting.size >= (this.#options.maxWaiting ?? MAX_WAITING)) {
      this.#options.onLimit?.("waiting_tunnels");
      const { host, port } = this.#target;
      const detail = `${host}:${port}: ${this.#waiting.size} tunnels wait already`;
      setImmediate(() => tunnel.fail(new Failure("UPSTREAM_OVERFLOW", detail)));
      return;
    }
    tunnel.wait();
    this.#waiting.add(tunnel);
    if (!this.#connectForWaiting()) this.#options.onLimit?.("tunnels_to_target");
  }

  /**
   * As many connections under way as the waiting tunnels would fill; the others wait for room.
   * False: there are as many connections as may be.
   */
  #connectForWaiting(): boolean {
    const { maxStreamsPerConnection, maxConnectionsPerTarget } = this.#options;
    const connecting = this.connections.filter((connection) => !connection.isReady).length;
    if (this.#waiting.size <= connecting * maxStreamsPerConnection) return true;
    // Those that are leaving are bounded by their streams: nothing new is added to them.
    const staying = this.connections.filter((connection) => !connection.isLeaving).length;
    if (staying >= (maxConnectionsPerTarget ?? MAX_CONNECTIONS_PER_TARGET)) return false;
    this.connections.push(new PoolConnection(this, this.#target, this.#options, this.#idle));
    return true;
  }

  onConnectionReady(ready: PoolConnection): void {
    const started = this.#startWaiting(ready);
    if (this.#waiting.size === 0) return;
    // A peer that takes no stream at all would have us open connections for ever.
    if (started === 0) this.#failWaiting(this.#failure("the server takes no streams"));
    else this.#connectForWaiting();
  }

  onConnectionRoom(connection: PoolConnection): void {
    if (this.#waiting.size > 0) this.#startWaiting(connection);
  }

  /** How many were started: those who wait longest first. */
  #startWaiting(connection: PoolConnection): number {
    const { maxStreamsPerConnection } = this.#options;
    let started = 0;
    for (const tunnel of this.#waiting) {
      if (!connection.hasRoom(maxStreamsPerConnection)) break;
      if (tunnel.refusedBy === connection) continue;
      this.#waiting.delete(tunnel);
      connection.start(tunnel);
      started++;
    }
    return started;
  }

  onConnectionClosed(closed: PoolConnection, failure: Failure | undefined): void {
    const index = this.connections.indexOf(closed);
    if (index >= 0) this.connections.splice(index, 1);
    const isAnyConnecting = this.connections.some((connection) => !connection.isReady);
    if (failure !== undefined && !isAnyConnecting) this.#failWaiting(failure);
    else if (this.#waiting.size > 0 && !isAnyConnecting) this.#connectForWaiting();
    if (this.connections.length === 0 && this.#waiting.size === 0) this.#forget();
  }

  onTunnelGone(tunnel: Tunnel): void {
    this.#waiting.delete(tunnel);
  }

  onTunnelRefused(tunnel: Tunnel, by: PoolConnection, failure: Failure): void {
    if (this.#isDraining) tunnel.fail(failure);
    else this.place(tunnel, tunnel.target, by);
  }

  async drain(): Promise<void> {
    this.#isDraining = true;
    this.#failWaiting(this.#failure("shutting down"));
    await Promise.all([...this.connections].map((connection) => connection.drain()));
  }

  destroy(): void {
    this.#isDraining = true;
    this.#failWaiting(this.#failure("shutting down"));
    for (const connection of [...this.connections]) connection.destroy();
  }

  #failWaiting(failure: Failure): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const tunnel of waiting) tunnel.fail(failure);
  }

  #failure(detail: string): Failure {
    const { host, port } = this.#target;
    return new Failure("UPSTREAM_CONNECT_FAILED", `${host}:${port}: ${detail}`);
  }
}
