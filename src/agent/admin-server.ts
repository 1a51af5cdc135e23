/**
 * A small, strict HTTP server for people, scrapers and probes; never part of the data path.
 *
 * Every path is registered with its method; anything else is 404 or 405. Bodies, heads, times and
 * connections are limited. A handler that throws costs its request and nothing more. What the
 * standard ports serve stands in `admin-routes.ts`.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import { type AddressInfo, isIP } from "node:net";
import type { Drainable } from "../kit/drain.ts";
import { Failure } from "../kit/failure.ts";

interface AdminRequest {
  readonly method: "GET" | "POST";
  readonly path: string;
  /** What follows the route's path when that ends in "/": the id of `/decisions/<id>`. */
  readonly rest: string;
  readonly query: URLSearchParams;
  readonly body: string;
  /** Of the `authorization` header. */
  readonly authorization: string | undefined;
  /** Somebody on this machine, and no web page: by an address or `localhost`, of no other origin. */
  readonly isLocal: boolean;
}

export interface AdminResponse {
  readonly status: number;
  readonly contentType: string;
  /** Pieces are written one by one, so that a large body does not hold up the data path. */
  readonly body: string | Iterable<string>;
  /** Called when the response has been sent. */
  readonly onSent?: () => void;
}

type AdminHandler = (request: AdminRequest) => AdminResponse | Promise<AdminResponse>;

export interface AdminRoute {
  readonly method: "GET" | "POST";
  /** Exact, or with "/" at its end: everything one segment below it. */
  readonly path: string;
  /** For the index page. */
  readonly description: string;
  readonly handler: AdminHandler;
}

export interface AdminServerOptions {
  /** For messages: `admin`, `metrics`. */
  readonly name: string;
  /**
   * Answers only requests addressed to an IP, to `localhost` or to one of these names, and none
   * that a web page of another origin caused. Without it a page in the operator's browser could
   * rebind its name to this port and read or stop the proxy.
   */
  readonly trustedHosts?: readonly string[];
  readonly bodyBytesMax?: number;
  /** For a request to arrive, and for its answer to leave. */
  readonly timeoutMs?: number;
  readonly connectionsMax?: number;
  /** Speaks TLS with this; asked before each handshake. */
  readonly tls?: () => ServedCertificate;
}

interface ServedCertificate {
  readonly certPem: string;
  readonly keyPem: string;
}

/** An answer that is not the handler's. */
class Refusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const PIECE_CHARACTERS = 64 * 1024;

export class AdminServer implements Drainable {
  readonly #name: string;
  readonly #trustedHosts: readonly string[] | undefined;
  readonly #bodyBytesMax: number;
  readonly #server: ReturnType<typeof createServer> | TlsServer;
  readonly #routes = new Map<string, Map<string, AdminRoute>>();
  #inFlight = 0;
  #idleWaiters: (() => void)[] = [];

  constructor(options: AdminServerOptions) {
    const { timeoutMs = 30_000, connectionsMax = 128 } = options;
    this.#name = options.name;
    this.#trustedHosts = options.trustedHosts;
    this.#bodyBytesMax = options.bodyBytesMax ?? 64 * 1024;
    const limits = {
      requestTimeout: timeoutMs,
      headersTimeout: Math.min(timeoutMs, 10_000),
      connectionsCheckingInterval: Math.min(timeoutMs, 5_000),
      keepAliveTimeout: 15_000,
      maxHeaderSize: 16 * 1024,
    };
    const listener = (request: IncomingMessage, response: ServerResponse) =>
      void this.#serve(request, response);
    const { tls } = options;
    this.#server =
      tls === undefined
        ? createServer(limits, listener)
        : renewing(createTlsServer({ ...limits, handshakeTimeout: 10_000 }, listener), tls);
    this.#server.maxConnections = connectionsMax;
    this.#server.setTimeout(timeoutMs);
  }

  /** At any time. A path has one handler per method; the last one counts. */
  addRoute(route: AdminRoute): void {
    let byMethod = this.#routes.get(route.path);
    if (byMethod === undefined) {
      byMethod = new Map();
      this.#routes.set(route.path, byMethod);
    }
    byMethod.set(route.method, route);
  }

  /** All routes, by path. */
  get routes(): readonly AdminRoute[] {
    const all = [...this.#routes.values()].flatMap((byMethod) => [...byMethod.values()]);
    return all.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  }

  /** 0 takes a free port; see `port`. */
  async listen(host: string, port: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", (error: NodeJS.ErrnoException) => {
        const code = error.code === "EADDRINUSE" ? "PORT_IN_USE" : "CONFIGURATION_INVALID";
        const detail = `${this.#name} port ${host}:${port}: ${error.message}`;
        reject(new Failure(code, detail, { cause: error }));
      });
      this.#server.listen({ host, port }, resolve);
    });
    this.#server.removeAllListeners("error");
    // Out of descriptors and the like: the port is worse off, the process is not.
    this.#server.on("error", () => {});
  }

  /** The port that is listened on. */
  get port(): number {
    return (this.#server.address() as AddressInfo | null)?.port ?? 0;
  }

  /**
   * Waits for the requests in flight and keeps listening: during a drain the probe has to see 503,
   * and the operator wants to look.
   */
  async drain(): Promise<void> {
    if (this.#inFlight === 0) return;
    await new Promise<void>((resolve) => this.#idleWaiters.push(resolve));
  }

  destroy(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.once("close", resolve));
    this.destroy();
    await closed;
  }

  async #serve(message: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#inFlight++;
    // A peer that goes away in the middle is its own affair.
    response.on("error", () => {});
    message.on("error", () => {});
    try {
      const answer = await this.#answer(message, response);
      await send(message, response, answer);
      answer.onSent?.();
    } catch (error) {
      fail(response, error);
    } finally {
      this.#inFlight--;
      if (this.#inFlight === 0) for (const resolve of this.#idleWaiters.splice(0)) resolve();
    }
  }

  async #answer(message: IncomingMessage, response: ServerResponse): Promise<AdminResponse> {
    this.#checkOrigin(message);
    const target = message.url ?? "";
    if (!target.startsWith("/")) throw new Refusal(400, "the target is not a path");
    const question = target.indexOf("?");
    const path = question < 0 ? target : target.slice(0, question);
    const query = new URLSearchParams(question < 0 ? "" : target.slice(question + 1));
    const found = this.#find(path);
    if (found === undefined) throw new Refusal(404, `nothing is served at ${path}`);
    const method = message.method === "HEAD" ? "GET" : message.method;
    const route = found.byMethod.get(method ?? "");
    if (route === undefined) {
      response.setHeader("allow", allowedMethods(found.byMethod));
      throw new Refusal(405, `${message.method} is not for ${path}`);
    }
    const body = await readBody(message, this.#bodyBytesMax);
    const { authorization } = message.headers;
    const isLocal = isLocalCaller(message);
    const { method: asked } = route;
    const { rest } = found;
    return await route.handler({
      ...{ method: asked, path, rest, query, body, authorization, isLocal },
    });
  }

  #find(path: string): { byMethod: ReadonlyMap<string, AdminRoute>; rest: string } | undefined {
    const exact = this.#routes.get(path);
    // A path that ends in "/" waits for a segment; "/" itself is a page.
    if (exact !== undefined && (path === "/" || !path.endsWith("/"))) {
      return { byMethod: exact, rest: "" };
    }
    const parent = path.lastIndexOf("/") + 1;
    if (parent <= 1 || parent === path.length) return undefined;
    const byMethod = this.#routes.get(path.slice(0, parent));
    return byMethod && { byMethod, rest: decodeSegment(path.slice(parent)) };
  }

  #checkOrigin(message: IncomingMessage): void {
    const trusted = this.#trustedHosts;
    if (trusted === undefined) return;
    if (!isKnownHost(message, trusted)) {
      throw new Refusal(403, "the host name is not one of this server's");
    }
    if (isOfOtherPage(message)) {
      throw new Refusal(403, "requests of other web pages are not answered");
    }
  }
}

function isKnownHost({ headers }: IncomingMessage, trusted: readonly string[]): boolean {
  const host = hostName(headers.host ?? "");
  return isIP(host) !== 0 || host === "localhost" || trusted.includes(host);
}

function isOfOtherPage({ headers }: IncomingMessage): boolean {
  const { origin, host } = headers;
  const site = headers["sec-fetch-site"] ?? "none";
  const isOwn = origin === undefined || origin.replace(/^https?:\/\//, "") === host;
  return !isOwn || (site !== "none" && site !== "same-origin");
}

function isLocalCaller(message: IncomingMessage): boolean {
  const { remoteAddress } = message.socket;
  return isLoopback(remoteAddress) && isKnownHost(message, []) && !isOfOtherPage(message);
}

function isLoopback(address: string | undefined): boolean {
  return address === "::1" || /^(::ffff:)?127\./.test(address ?? "");
}

/** A renewed certificate is for handshakes from now on. */
function renewing(server: TlsServer, tls: () => ServedCertificate): TlsServer {
  let served: ServedCertificate | undefined;
  // Before the server's own listener, which begins the handshake.
  server.prependListener("connection", () => {
    const now = tls();
    if (now === served) return;
    served = now;
    server.setSecureContext({ cert: now.certPem, key: now.keyPem, minVersion: "TLSv1.2" });
  });
  return server;
}

function hostName(host: string): string {
  if (host.startsWith("[")) return host.slice(1, host.indexOf("]"));
  const colon = host.indexOf(":");
  return (colon < 0 ? host : host.slice(0, colon)).toLowerCase();
}

function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new Refusal(400, "the path has a malformed escape");
  }
}

function allowedMethods(byMethod: ReadonlyMap<string, AdminRoute>): string {
  const methods = [...byMethod.keys()];
  return (byMethod.has("GET") ? [...methods, "HEAD"] : methods).join(", ");
}

/** By events: leaving `for await` early would destroy the socket, and the 413 with it. */
function readBody(message: IncomingMessage, bytesMax: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    message.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      chunks.push(chunk);
      if (bytes <= bytesMax) return;
      message.removeAllListeners("data").pause();
      reject(new Refusal(413, `the body is larger than ${bytesMax} bytes`));
    });
    message.on("end", () => resolve(Buffer.concat(chunks).toString()));
    message.on("close", () => reject(new Refusal(400, "the body is incomplete")));
  });
}

/** Joins small pieces to ones worth a write. */
function* largePieces(body: string | Iterable<string>): Generator<string> {
  let pending = "";
  for (const piece of typeof body === "string" ? [body] : body) {
    pending += piece;
    if (pending.length < PIECE_CHARACTERS) continue;
    yield pending;
    pending = "";
  }
  if (pending !== "") yield pending;
}

async function send(
  message: IncomingMessage,
  response: ServerResponse,
  { status, contentType, body }: AdminResponse,
): Promise<void> {
  // The first piece before the head: what throws there can still become a 500.
  const pieces = largePieces(body);
  let next = pieces.next();
  writeHead(response, status, contentType, typeof body === "string" ? body : undefined);
  while (message.method !== "HEAD" && !next.done && !response.destroyed) {
    if (!response.write(next.value)) await writable(response);
    await new Promise((resolve) => setImmediate(resolve));
    next = pieces.next();
  }
  await new Promise<void>((resolve) => {
    response.once("close", resolve);
    response.end(resolve);
  });
}

function writable(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      response.off("drain", done);
      response.off("close", done);
      resolve();
    };
    response.on("drain", done);
    response.on("close", done);
  });
}

function writeHead(
  response: ServerResponse,
  status: number,
  contentType: string,
  body: string | undefined,
): void {
  if (body !== undefined) response.setHeader("content-length", Buffer.byteLength(body));
  response.setHeader("content-type", contentType);
  response.setHeader("cache-control", "no-store");
  response.setHeader("x-content-type-options", "nosniff");
  response.writeHead(status);
}

function fail(response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    // Half an answer must not look like a whole one.
    response.destroy();
    return;
  }
  const status = error instanceof Refusal ? error.status : 500;
  const text = `${error instanceof Error ? error.message : String(error)}\n`;
  // What is left of the request is not read; the connection cannot be used again.
  response.setHeader("connection", "close");
  writeHead(response, status, "text/plain; charset=utf-8", text);
  response.end(text);
}
