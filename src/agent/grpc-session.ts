/**
 * The HTTP/2 connection under a GrpcChannel: made when it is needed, asked for signs of life, and
 * made anew once the server has said goodbye or does not answer.
 *
 * In the place of connect-node's own, which lets the error of a connection that it has given up
 * end the process. Streams of a connection that got GOAWAY live on; new ones go to a new one.
 */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type ClientSessionRequestOptions,
  connect,
  type OutgoingHttpHeaders,
} from "node:http2";
import type { TLSSocket } from "node:tls";

export interface GrpcSessionOptions {
  /** `https://host:port` */
  readonly authority: string;
  readonly dial: () => TLSSocket;
  readonly pingIntervalMs: number;
  readonly pingTimeoutMs: number;
  /** Without a stream; after that the connection is closed. */
  readonly idleTimeoutMs: number;
}

const WINDOW_BYTES = 2 * 1024 * 1024;

export class GrpcSession {
  readonly authority: string;
  readonly #options: GrpcSessionOptions;
  #current: Promise<ClientHttp2Session> | undefined;
  /** What is open, and how many streams are on it. */
  readonly #open = new Map<ClientHttp2Session, number>();

  constructor(options: GrpcSessionOptions) {
    this.#options = options;
    this.authority = options.authority;
  }

  async request(
    method: string,
    path: string,
    headers: OutgoingHttpHeaders,
    options: ClientSessionRequestOptions,
  ): Promise<ClientHttp2Stream> {
    this.#current ??= this.#connect();
    let session = await this.#current;
    if (session.closed || session.destroyed) {
      // It ended while this call waited.
      this.#current = this.#connect();
      session = await this.#current;
    }
    const stream = session.request({ ...headers, ":method": method, ":path": path }, options);
    this.#count(session, 1);
    stream.once("close", () => this.#count(session, -1));
    return stream;
  }

  #count(session: ClientHttp2Session, added: 1 | -1): void {
    const streams = this.#open.get(session);
    if (streams !== undefined) this.#open.set(session, streams + added);
  }

  /** Of no use: PING is sent whether bytes flow or not. */
  notifyResponseByteRead(): void {}

  /** Cuts all there is. The next request makes a connection again. */
  close(): void {
    this.#current = undefined;
    for (const session of this.#open.keys()) session.destroy();
  }

  #connect(): Promise<ClientHttp2Session> {
    const session = connect(this.authority, {
      createConnection: this.#options.dial,
      settings: { initialWindowSize: WINDOW_BYTES, enablePush: false },
    });
    this.#open.set(session, 0);
    const connecting = new Promise<ClientHttp2Session>((resolve, reject) => {
      session.once("connect", () => resolve(session));
      // Stays: an error without a listener would end the process.
      session.on("error", reject);
      session.once("close", () => reject(new Error("the connection was closed")));
    });
    // Awaited by whoever wanted it, or by nobody.
    connecting.catch(() => {});
    const forget = () => {
      if (this.#current === connecting) this.#current = undefined;
    };
    session.once("goaway", () => {
      forget();
      if (!session.destroyed) session.close();
    });
    session.once("close", () => {
      this.#open.delete(session);
      forget();
    });
    this.#watch(session, forget);
    return connecting;
  }

  /** PING while there are streams, as a gRPC server expects it; the end when there are none. */
  #watch(session: ClientHttp2Session, forget: () => void): void {
    const { pingIntervalMs, pingTimeoutMs, idleTimeoutMs } = this.#options;
    let pong: NodeJS.Timeout | undefined;
    let idleSinceMs = performance.now();
    const timer = setInterval(() => {
      if (session.connecting || session.destroyed || pong !== undefined) return;
      if (this.#open.get(session)! > 0) {
        idleSinceMs = performance.now();
        const silent = () => session.destroy(new Error(`no answer to PING in ${pingTimeoutMs} ms`));
        pong = setTimeout(silent, pingTimeoutMs).unref();
        session.ping(() => {
          clearTimeout(pong);
          pong = undefined;
        });
      } else if (performance.now() - idleSinceMs > idleTimeoutMs && !session.closed) {
        forget();
        session.close();
      }
    }, pingIntervalMs).unref();
    session.once("close", () => {
      clearInterval(timer);
      clearTimeout(pong);
    });
  }
}
