/**
 * The built-in workloads of the embedded mesh: whatever the manifests declare without a process
 * behind it is played by an echo server that says what reached it.
 *
 * One listener on a free port of 127.0.0.1 for each port of a workload. A port whose protocol is
 * known to be TCP echoes bytes; any other one looks at the first bytes and answers HTTP/1.1,
 * HTTP/2 or gRPC with what arrived (`echo-http.ts`), or echoes them. Where bytes are echoed a first
 * line `whoami` is answered with a line of JSON that says who this is.
 */
import net from "node:net";
import type { Drainable } from "../kit/drain.ts";
import type { EchoIdentity } from "./echo-answer.ts";
import { EchoHttp, type EchoObserver } from "./echo-http.ts";

const SNIFF_TIMEOUT_MS = 5_000;

/** Every HTTP/1.1 request starts like this (RFC 9112 §3); 24 bytes hold every method in use. */
const REQUEST_START = /^[A-Z]{3,20} /;
const METHOD_PREFIX = /^[A-Z]{0,20}$/;
/** Its first bytes look like a request, too (RFC 9113 §3.4). */
const HTTP2_START = "PRI * HTTP/2.0";
const WHO_AM_I = /^whoami\r?\n/;
const WHO_AM_I_BYTES = 8;

type Spoken = "http1" | "http2" | "bytes";

export class EchoServer implements Drainable {
  readonly #identity: EchoIdentity;
  readonly #port: number;
  readonly #listener: net.Server;
  readonly #http: EchoHttp;
  readonly #sockets = new Set<net.Socket>();

  /** `port` is the workload's own, for the answer; what is listened on is told by `listen`. */
  constructor(
    identity: EchoIdentity,
    port: number,
    isPlainTcp: boolean,
    observer?: EchoObserver | undefined,
  ) {
    this.#identity = identity;
    this.#port = port;
    this.#http = new EchoHttp(identity, port, observer);
    this.#listener = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => socket.destroy());
      socket.once("close", () => this.#sockets.delete(socket));
      if (isPlainTcp) this.#echoBytes(socket);
      else this.#sniff(socket);
    });
  }

  /** Listens on a free port of 127.0.0.1 and tells which. */
  listen(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#listener.once("error", reject);
      this.#listener.listen({ host: "127.0.0.1", port: 0 }, () => {
        this.#listener.off("error", reject);
        this.#listener.on("error", () => {});
        resolve((this.#listener.address() as net.AddressInfo).port);
      });
    });
  }

  /** Takes no new connections; those that are open are the proxies' to end. */
  async drain(): Promise<void> {
    this.#listener.close();
    this.#http.closeIdle();
  }

  destroy(): void {
    this.#listener.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #sniff(socket: net.Socket): void {
    let seen = Buffer.alloc(0);
    const decide = (spoken: Spoken) => {
      clearTimeout(timer);
      socket.off("data", onData);
      socket.off("end", onEnd);
      socket.pause();
      if (seen.length > 0) socket.unshift(seen);
      if (spoken === "bytes") this.#echoBytes(socket);
      else this.#http.accept(socket, spoken);
    };
    const onData = (bytes: Buffer) => {
      seen = Buffer.concat([seen, bytes]);
      const spoken = spokenBy(seen.subarray(0, 24).toString("latin1"));
      if (spoken !== undefined) decide(spoken);
    };
    const onEnd = () => {
      clearTimeout(timer);
      socket.end(seen);
    };
    const timer = setTimeout(() => decide("bytes"), SNIFF_TIMEOUT_MS);
    socket.once("close", () => clearTimeout(timer));
    socket.on("data", onData);
    socket.on("end", onEnd);
  }

  #echoBytes(socket: net.Socket): void {
    socket.once("data", (bytes: Buffer) => {
      socket.pause();
      const start = bytes.toString("latin1", 0, WHO_AM_I_BYTES);
      const found = WHO_AM_I.exec(start)?.[0].length ?? 0;
      if (found > 0) {
        const { remoteAddress = "", remotePort = 0 } = socket;
        const peer = `${remoteAddress}:${remotePort}`;
        socket.write(`${JSON.stringify({ ...this.#identity, port: this.#port, peer })}\n`);
      }
      if (bytes.length > found) socket.unshift(bytes.subarray(found));
      socket.pipe(socket);
    });
    socket.resume();
    socket.once("end", () => socket.end());
  }
}

/** Undefined: not to be seen yet. */
function spokenBy(start: string): Spoken | undefined {
  if (start.startsWith(HTTP2_START)) return "http2";
  if (HTTP2_START.startsWith(start)) return undefined;
  if (REQUEST_START.test(start)) return "http1";
  return METHOD_PREFIX.test(start) ? undefined : "bytes";
}
