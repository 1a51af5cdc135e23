/**
 * The port of the control plane (15012): gRPC over TLS, with configuration and certificates on it.
 *
 * Bounds: connections, streams of each, the size of heads and messages, silence (a PING every 30 s
 * that must be answered within 10 s). A drain sends GOAWAY; streams that do not end by themselves
 * are whoever mounted them's to end, or are cut at the deadline.
 */
import {
  constants,
  createSecureServer,
  type Http2SecureServer,
  type ServerHttp2Session,
} from "node:http2";
import type { AddressInfo } from "node:net";
import type { ConnectRouter } from "@connectrpc/connect";
import type { Drainable } from "../../kit/drain.ts";
import { Failure } from "../../kit/failure.ts";
import { log } from "../../kit/log.ts";
import { LimitsReached } from "../../telemetry/limits-reached.ts";
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import { rpcListener } from "./rpc-listener.ts";
import type { ServerIdentity } from "./server-certificate.ts";

export interface GrpcServerOptions {
  readonly host: string;
  readonly port: number;
  /** Asked before each handshake. */
  readonly tls: () => ServerIdentity;
  readonly routes: (router: ConnectRouter) => void;
  readonly maxConnections?: number;
  readonly registry?: MetricRegistry;
}

const MAX_CONNECTIONS = 10_000;
const MAX_STREAMS = 100;
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** A proxy names what it holds when it reconnects: 5 MB in a mesh of 50,000 workloads. */
const MESSAGE_BYTES_MAX = 64 * 1024 * 1024;
const PING_INTERVAL_MS = 30_000;
const PING_TIMEOUT_MS = 10_000;
/** For the end of an answer to go out, and for the client to end its side. */
const ANSWERED_MS = 1000;

export class GrpcServer implements Drainable {
  readonly #options: GrpcServerOptions;
  readonly #server: Http2SecureServer;
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #log = log("grpc");
  #identity: ServerIdentity;
  #isDraining = false;
  #isDestroyed = false;

  constructor(options: GrpcServerOptions) {
    this.#options = options;
    this.#identity = options.tls();
    const handler = rpcListener({ routes: options.routes, readMaxBytes: MESSAGE_BYTES_MAX });
    this.#server = createSecureServer(
      {
        ...this.#tls(),
        minVersion: "TLSv1.2",
        handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
        ALPNProtocols: ["h2"],
        settings: { maxConcurrentStreams: MAX_STREAMS, initialWindowSize: 1024 * 1024 },
      },
      handler,
    );
    this.#server.maxConnections = options.maxConnections ?? MAX_CONNECTIONS;
    if (options.registry !== undefined) {
      const limitsReached = new LimitsReached(options.registry, this.#log);
      this.#server.on("drop", () => limitsReached.reached("control_plane_connections"));
    }
    // Before the server's own listener, which begins the handshake.
    this.#server.prependListener("connection", () => this.#renew());
    this.#server.on("session", (session) => this.#onSession(session));
    this.#server.on("tlsClientError", (error, socket) => {
      this.#log.debug({ remoteAddress: socket.remoteAddress, reason: error.message }, "TLS");
    });
  }

  /** Rejects with PORT_IN_USE. */
  async listen(): Promise<void> {
    const { host, port } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", (error: NodeJS.ErrnoException) => {
        const isTaken = error.code === "EADDRINUSE";
        const detail = isTaken ? `${host}:${port} is in use` : `${host}:${port}: ${error.message}`;
        const code = isTaken ? "PORT_IN_USE" : "CONFIGURATION_INVALID";
        reject(new Failure(code, detail, { cause: error }));
      });
      this.#server.listen({ host, port }, resolve);
    });
    this.#server.removeAllListeners("error");
    this.#server.on("error", () => {});
  }

  get port(): number {
    return (this.#server.address() as AddressInfo | null)?.port ?? 0;
  }

  /** No new connections, GOAWAY on the open ones; resolves when their streams have ended. */
  async drain(): Promise<void> {
    this.#isDraining = true;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const session of this.#sessions) session.close();
    await closed;
  }

  destroy(): void {
    this.#isDestroyed = true;
    this.#server.close();
    for (const session of this.#sessions) session.destroy();
  }

  #tls(): { cert: string; key: string } {
    return { cert: this.#identity.certPem, key: this.#identity.keyPem };
  }

  /** A renewed certificate is for handshakes from now on. */
  #renew(): void {
    const now = this.#options.tls();
    if (now === this.#identity) return;
    this.#identity = now;
    this.#server.setSecureContext({ ...this.#tls(), minVersion: "TLSv1.2" });
  }

  #onSession(session: ServerHttp2Session): void {
    this.#sessions.add(session);
    // It was shaking hands when the others were told.
    if (this.#isDestroyed) session.destroy();
    else if (this.#isDraining) session.close();
    let pending: NodeJS.Timeout | undefined;
    const timer = setInterval(() => {
      // Destroyed, and not closed yet: a PING would throw.
      if (session.destroyed) return;
      pending = setTimeout(() => session.destroy(), PING_TIMEOUT_MS).unref();
      if (!session.ping(() => clearTimeout(pending))) clearTimeout(pending);
    }, PING_INTERVAL_MS);
    timer.unref();
    session.on("error", () => {});
    // A client need not end its side of a stream that we have answered in full (RFC 9113 §8.1).
    session.on("stream", (stream) => {
      stream.on("finish", () => {
        setTimeout(() => stream.close(constants.NGHTTP2_NO_ERROR), ANSWERED_MS).unref();
      });
    });
    session.on("close", () => {
      clearInterval(timer);
      clearTimeout(pending);
      this.#sessions.delete(session);
    });
  }
}
