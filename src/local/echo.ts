/**
 * The built-in workloads of the embedded mesh: whatever the manifests declare without a process
 * behind it is played by an echo server that says what reached it.
 *
 * One listener on a free port of 127.0.0.1 for each port of a workload. A port whose protocol is
 * known to be TCP echoes bytes; any other one looks at the first bytes and answers HTTP/1.1 with
 * JSON, or echoes them. Query parameters shape the HTTP answer: `?status=503`, `?delay=100ms`,
 * `?size=1000` (that many bytes instead of JSON).
 */
import http from "node:http";
import net from "node:net";
import type { Drainable } from "../kit/drain.ts";

export interface EchoIdentity {
  readonly workload: string;
  readonly namespace: string;
  /** Label `version`; empty when there is none. */
  readonly version: string;
}

/** What the answer's JSON holds. */
export interface EchoAnswer extends EchoIdentity {
  readonly port: number;
  readonly method: string;
  readonly path: string;
  readonly host: string;
  /** Who connected: the client where its address is kept, else the proxy. */
  readonly peer: string;
  /** The identity that the headers carry, when one of them does. */
  readonly identity: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  /** The request's body, as text; cut at 64 KiB. */
  readonly body: string;
  readonly bodyBytes: number;
}

const BODY_BYTES_SHOWN = 64 * 1024;
const SIZE_MAX = 64 * 1024 * 1024;
const DELAY_MS_MAX = 60_000;
const SNIFF_TIMEOUT_MS = 5_000;
const CHUNK = Buffer.alloc(64 * 1024, "waystone\n");

/** Every HTTP/1.1 request starts like this (RFC 9112 §3); 24 bytes hold every method in use. */
const REQUEST_START = /^[A-Z]{3,20} /;
const METHOD_PREFIX = /^[A-Z]{0,20}$/;

export class EchoServer implements Drainable {
  readonly #identity: EchoIdentity;
  readonly #port: number;
  readonly #listener: net.Server;
  readonly #http: http.Server;
  readonly #sockets = new Set<net.Socket>();

  /** `port` is the workload's own, for the answer; what is listened on is told by `listen`. */
  constructor(identity: EchoIdentity, port: number, isPlainTcp: boolean) {
    this.#identity = identity;
    this.#port = port;
    this.#http = http.createServer({ keepAliveTimeout: 60_000 }, (request, response) =>
      this.#answer(request, response),
    );
    this.#listener = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => socket.destroy());
      socket.once("close", () => this.#sockets.delete(socket));
      if (isPlainTcp) socket.pipe(socket);
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
    this.#http.closeIdleConnections();
  }

  destroy(): void {
    this.#listener.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #sniff(socket: net.Socket): void {
    let seen = Buffer.alloc(0);
    const decide = (isHttp: boolean) => {
      clearTimeout(timer);
      socket.off("data", onData);
      socket.off("end", onEnd);
      socket.pause();
      if (seen.length > 0) socket.unshift(seen);
      if (isHttp) {
        this.#http.emit("connection", socket);
        socket.resume();
      } else socket.pipe(socket);
    };
    const onData = (bytes: Buffer) => {
      seen = Buffer.concat([seen, bytes]);
      const start = seen.subarray(0, 24).toString("latin1");
      if (REQUEST_START.test(start)) decide(true);
      else if (!METHOD_PREFIX.test(start)) decide(false);
    };
    const onEnd = () => {
      clearTimeout(timer);
      socket.end(seen);
    };
    const timer = setTimeout(() => decide(false), SNIFF_TIMEOUT_MS);
    socket.once("close", () => clearTimeout(timer));
    socket.on("data", onData);
    socket.on("end", onEnd);
  }

  #answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    const url = new URL(request.url ?? "/", "http://echo.invalid");
    const pieces: Buffer[] = [];
    let kept = 0;
    let bodyBytes = 0;
    request.on("data", (bytes: Buffer) => {
      bodyBytes += bytes.length;
      if (kept >= BODY_BYTES_SHOWN) return;
      pieces.push(bytes.subarray(0, BODY_BYTES_SHOWN - kept));
      kept += bytes.length;
    });
    request.on("end", () => {
      const send = () => this.#send(request, response, url, Buffer.concat(pieces), bodyBytes);
      const delayMs = durationMs(url.searchParams.get("delay"));
      // A mesh that is being cut does not wait for it.
      if (delayMs > 0) setTimeout(send, delayMs).unref();
      else send();
    });
    request.on("error", () => {});
    response.on("error", () => {});
  }

  #send(
    request: http.IncomingMessage,
    response: http.ServerResponse,
    url: URL,
    body: Buffer,
    bodyBytes: number,
  ): void {
    const status = Number(url.searchParams.get("status") ?? 200);
    response.statusCode = Number.isInteger(status) && status >= 200 && status < 600 ? status : 400;
    response.setHeader("x-served-by", this.#identity.workload);
    const size = Number(url.searchParams.get("size") ?? Number.NaN);
    if (Number.isInteger(size) && size >= 0 && size <= SIZE_MAX) {
      response.setHeader("content-type", "text/plain");
      response.setHeader("content-length", size);
      sendBytes(response, size);
      return;
    }
    const answer: EchoAnswer = {
      ...this.#identity,
      port: this.#port,
      method: request.method ?? "",
      path: url.pathname + url.search,
      host: request.headers.host ?? "",
      peer: `${request.socket.remoteAddress ?? ""}:${request.socket.remotePort ?? 0}`,
      identity: forwardedIdentity(request.headers["x-forwarded-client-cert"]),
      headers: flat(request.headers),
      body: body.toString(),
      bodyBytes,
    };
    const text = `${JSON.stringify(answer, undefined, 2)}\n`;
    response.setHeader("content-type", "application/json");
    response.setHeader("content-length", Buffer.byteLength(text));
    response.end(text);
  }
}

/** As fast as the reader reads, and no faster. */
function sendBytes(response: http.ServerResponse, size: number): void {
  let left = size;
  const more = () => {
    while (left > 0 && !response.destroyed) {
      const piece = left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK;
      left -= piece.length;
      if (!response.write(piece) && left > 0) {
        response.once("drain", more);
        return;
      }
    }
    response.end();
  };
  more();
}

function flat(headers: http.IncomingHttpHeaders): Record<string, string> {
  const entries = Object.entries(headers).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries.map(([name, value]) => [name, String(value)]));
}

/** The `URI=` of the last element: the nearest proxy's word. */
function forwardedIdentity(header: string | string[] | undefined): string | undefined {
  const text = Array.isArray(header) ? header.join(",") : (header ?? "");
  return [...text.matchAll(/URI=([^;,"]+)/g)].at(-1)?.[1];
}

/** `100ms`, `1.5s`, or milliseconds; 0 when it is none of them. */
function durationMs(text: string | null): number {
  const found = /^(\d+(?:\.\d+)?)(ms|s)?$/.exec(text ?? "");
  if (!found) return 0;
  const ms = Number(found[1]) * (found[2] === "s" ? 1000 : 1);
  return Math.min(ms, DELAY_MS_MAX);
}
