/**
 * The end of tunnels: accepts sockets, has them prove an identity, speaks HTTP/2, and hands every
 * well-formed CONNECT to its handler. What is not a CONNECT with an authority is answered 400 here.
 *
 *     accept() ──> TLS handshake ──> preface and SETTINGS ──> CONNECT streams ──> drain() or close
 *                  └──── each within handshakeTimeoutMs ────┘
 */
import net from "node:net";
import { type DeadlineEntry, Deadlines, deadlinesOf } from "../../kit/deadlines.ts";
import { Failure } from "../../kit/failure.ts";
import { type ConnectionHandler, Http2Connection } from "../http2/connection.ts";
import type { PeerError } from "../http2/errors.ts";
import { encodeStatelessBlock, type HeaderList, header } from "../http2/headers.ts";
import type { Http2Limits } from "../http2/limits.ts";
import type { Http2Stream } from "../http2/stream.ts";
import { SocketTransport } from "../http2/transport.ts";
import { acceptTls, lingerThenDestroy, type TlsIdentity, type TlsPeer } from "../tls.ts";
import { parseAuthority } from "./authority.ts";

export interface TunnelConnection {
  /** SPIFFE id. */
  readonly peer: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;
  /** The owner's state per connection. */
  data: unknown;
}

export interface TunnelHandler {
  /** `request.authority` is well-formed; whether it means anything here is the handler's to say. */
  onConnect(
    stream: Http2Stream,
    request: { authority: string; headers: HeaderList },
    connection: TunnelConnection,
  ): void;
  /** A connection that did not come to speak HTTP/2: limits, TLS, identity. */
  onTlsFailure?(failure: Failure, remoteAddress: string): void;
  /** What was no CONNECT with an authority, and has been answered 400. */
  onMalformedConnect?(connection: TunnelConnection): void;
  /** A connection without tunnels has been silent for too long; it is told to go. */
  onIdle?(connection: TunnelConnection): void;
  /** The client broke HTTP/2 or one of its limits; it has been told. */
  onPeerError?(error: PeerError, connection: TunnelConnection): void;
}

export interface TunnelServerOptions {
  readonly identity: () => TlsIdentity | undefined;
  readonly trustDomains: () => readonly string[];
  readonly limits: Http2Limits;
  /** For the TLS handshake, and again for the HTTP/2 preface behind it. */
  readonly handshakeTimeoutMs: number;
  /** A connection without tunnels gets GOAWAY after this time; default: never. */
  readonly idleTimeoutMs?: number;
  /** Default 20,000. */
  readonly maxConnections?: number;
  /** Handshakes in flight; default 1,000. */
  readonly maxHandshakes?: number;
}

const MAX_CONNECTIONS = 20_000;
const MAX_HANDSHAKES = 1_000;
/** A drain waits so long for handshakes: a peer that says nothing does not hold it up. */
const DRAIN_HANDSHAKE_MS = 1_000;
const BAD_REQUEST = encodeStatelessBlock([":status", "400"]);

type Addresses = Omit<TunnelConnection, "peer" | "data">;

export class TunnelServer {
  readonly #options: TunnelServerOptions;
  readonly #handler: TunnelHandler;
  readonly #handshakes = new Set<net.Socket>();
  readonly #sessions = new Set<Session>();
  #listener: net.Server | undefined;
  #isDraining = false;
  #onEmpty: (() => void)[] = [];

  constructor(options: TunnelServerOptions, handler: TunnelHandler) {
    this.#options = options;
    this.#handler = handler;
  }

  /** Takes a socket from any listener. It must not have been read. */
  accept(socket: net.Socket): void {
    // Captured now: a socket that is closed has forgotten its addresses.
    const addresses = addressesOf(socket);
    if (addresses === undefined || this.#isDraining) {
      discard(socket);
      return;
    }
    const refusal = this.#refusal();
    const identity = this.#options.identity();
    if (refusal !== undefined || identity === undefined) {
      discard(socket);
      const detail = "this server has no certificate";
      const failure = refusal ?? new Failure("CERTIFICATE_UNAVAILABLE", detail);
      this.#handler.onTlsFailure?.(failure, addresses.remoteAddress);
      return;
    }
    this.#handshakes.add(socket);
    const { handshakeTimeoutMs } = this.#options;
    const trustDomains = this.#options.trustDomains();
    acceptTls(socket, { identity, trustDomains, handshakeTimeoutMs }, (result) => {
      this.#handshakes.delete(socket);
      if (!(result instanceof Failure)) this.#secured(result, addresses);
      else if (!this.#isDraining) this.#handler.onTlsFailure?.(result, addresses.remoteAddress);
      this.#checkEmpty();
    });
  }

  #refusal(): Failure | undefined {
    const connectionsMax = this.#options.maxConnections ?? MAX_CONNECTIONS;
    const handshakesMax = this.#options.maxHandshakes ?? MAX_HANDSHAKES;
    if (this.connectionCount + this.#handshakes.size >= connectionsMax) {
      return new Failure("TOO_MANY_CONNECTIONS", `${connectionsMax} connections are open`);
    }
    if (this.#handshakes.size >= handshakesMax) {
      return new Failure("TOO_MANY_CONNECTIONS", `${handshakesMax} handshakes are in progress`);
    }
    return undefined;
  }

  #secured({ socket, peer }: TlsPeer, addresses: Addresses): void {
    const connection: TunnelConnection = { peer, ...addresses, data: undefined };
    const session = new Session(connection, this.#handler, this.#options, () => {
      this.#sessions.delete(session);
      this.#checkEmpty();
    });
    this.#sessions.add(session);
    session.start(socket);
    // Its first requests may be on their way already: they are taken, and no others.
    if (this.#isDraining) void session.drain();
  }

  #checkEmpty(): void {
    if (this.#handshakes.size + this.#sessions.size > 0) return;
    for (const resolve of this.#onEmpty.splice(0)) resolve();
  }

  /** Listens on an address of its own; rejects with PORT_IN_USE when it is somebody's. */
  async listen(host: string, port: number): Promise<void> {
    const listener = net.createServer((socket) => this.accept(socket));
    this.#listener = listener;
    await new Promise<void>((resolve, reject) => {
      listener.once("error", (error) => {
        reject(new Failure("PORT_IN_USE", `${host}:${port}: ${error.message}`, { cause: error }));
      });
      listener.listen(port, host, resolve);
    });
  }

  /** Where `listen` listens. */
  get address(): net.AddressInfo | undefined {
    const address = this.#listener?.address();
    return typeof address === "object" && address !== null ? address : undefined;
  }

  get connectionCount(): number {
    return this.#sessions.size;
  }

  /** Open streams, and connections that have yet to say whether they open one. */
  get streamCount(): number {
    let count = this.#handshakes.size;
    for (const session of this.#sessions) count += session.streamCount;
    return count;
  }

  /**
   * GOAWAY on every connection; resolves when their last streams have ended.
   *
   * Clients hear late that this server is leaving, and a tunnel that is refused costs their user a
   * connection (protocols.md §3.4). So who comes within the grace is served like before, and asked
   * to leave behind it; so is who is in the middle of a handshake then.
   */
  async drain(graceMs = 0): Promise<void> {
    if (graceMs > 0) {
      for (const session of this.#sessions) void session.drain();
      await new Promise((resolve) => setTimeout(resolve, graceMs));
    }
    this.#isDraining = true;
    this.#listener?.close();
    for (const session of this.#sessions) void session.drain();
    if (this.#handshakes.size + this.#sessions.size === 0) return;
    const timer = setTimeout(() => {
      for (const socket of this.#handshakes) socket.destroy();
    }, DRAIN_HANDSHAKE_MS);
    await new Promise<void>((resolve) => this.#onEmpty.push(resolve));
    clearTimeout(timer);
  }

  destroy(): void {
    this.#isDraining = true;
    this.#listener?.close();
    for (const socket of this.#handshakes) socket.destroy();
    for (const session of [...this.#sessions]) session.destroy();
  }
}

/** One client's connection after its handshake. */
class Session implements ConnectionHandler, DeadlineEntry {
  deadlinePrevious: DeadlineEntry | null = null;
  deadlineNext: DeadlineEntry | null = null;
  deadlineAtMs = 0;
  readonly #connection: TunnelConnection;
  readonly #handler: TunnelHandler;
  readonly #options: TunnelServerOptions;
  readonly #onOver: () => void;
  readonly #timer: NodeJS.Timeout;
  #http2: Http2Connection | undefined;
  #socket: net.Socket | undefined;
  #isReady = false;

  constructor(
    connection: TunnelConnection,
    handler: TunnelHandler,
    options: TunnelServerOptions,
    onOver: () => void,
  ) {
    this.#connection = connection;
    this.#handler = handler;
    this.#options = options;
    const { handshakeTimeoutMs: prefaceTimeoutMs } = options;
    this.#onOver = onOver;
    this.#timer = setTimeout(() => {
      const failure = new Failure("TIMEOUT", `no HTTP/2 preface within ${prefaceTimeoutMs} ms`);
      this.#http2?.destroy(failure);
      this.#handler.onTlsFailure?.(failure, this.#connection.remoteAddress);
    }, prefaceTimeoutMs);
  }

  start(socket: net.Socket): void {
    const { limits } = this.#options;
    this.#socket = socket;
    this.#http2 = new Http2Connection(new SocketTransport(socket), "server", this, limits);
  }

  /** A new connection was made for a stream: it counts as one until it says more. */
  get streamCount(): number {
    return this.#isReady ? (this.#http2?.streamCount ?? 0) : 1;
  }

  onReady(): void {
    this.#isReady = true;
    clearTimeout(this.#timer);
    if (this.#http2!.streamCount === 0) this.onIdle();
  }

  onIdle(): void {
    const { idleTimeoutMs } = this.#options;
    if (idleTimeoutMs !== undefined) deadlinesOf(idleTimeoutMs).arm(this, performance.now());
  }

  onDeadline(): void {
    this.#handler.onIdle?.(this.#connection);
    void this.#http2!.drain();
  }

  onStream(stream: Http2Stream, headers: HeaderList): void {
    if (this.deadlineNext !== null) Deadlines.disarm(this);
    const authority = header(headers, ":authority");
    const isConnect =
      header(headers, ":method") === "CONNECT" && header(headers, ":protocol") === undefined;
    if (!isConnect || authority === undefined || parseAuthority(authority) === undefined) {
      stream.respond(BAD_REQUEST, true);
      stream.reset("cancel");
      this.#handler.onMalformedConnect?.(this.#connection);
      return;
    }
    this.#handler.onConnect(stream, { authority, headers }, this.#connection);
  }

  onPeerError(error: PeerError): void {
    this.#handler.onPeerError?.(error, this.#connection);
  }

  onClosed(failure: Failure | undefined): void {
    clearTimeout(this.#timer);
    Deadlines.disarm(this);
    lingerThenDestroy(this.#socket!, failure !== undefined);
    this.#onOver();
  }

  drain(): Promise<void> {
    return this.#http2?.drain() ?? Promise.resolve();
  }

  destroy(): void {
    this.#http2?.destroy();
  }
}

function addressesOf(socket: net.Socket): Addresses | undefined {
  const { remoteAddress, remotePort, localAddress, localPort } = socket;
  if (!remoteAddress || remotePort === undefined || !localAddress || localPort === undefined) {
    return undefined;
  }
  return {
    remoteAddress: unmapped(remoteAddress),
    remotePort,
    localAddress: unmapped(localAddress),
    localPort,
  };
}

/** A listener for both families shows IPv4 clients as `::ffff:10.0.0.1`. */
function unmapped(address: string): string {
  return address.startsWith("::ffff:") ? address.slice("::ffff:".length) : address;
}

/** Nobody takes this socket: errors on its way out concern nobody. */
function discard(socket: net.Socket): void {
  socket.on("error", () => {});
  socket.destroy();
}
