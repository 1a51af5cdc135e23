/**
 * The HTTP side of an echo server: HTTP/1.1 and, by prior knowledge, HTTP/2. Requests are answered
 * with JSON that says what arrived; a gRPC call of any method gets its own messages back, and what
 * arrived as JSON in the trailer `x-echo-bin`. WebSockets come in by both (`echo-websocket.ts`).
 */
import http from "node:http";
import http2 from "node:http2";
import type net from "node:net";
import type { Duplex } from "node:stream";
import { answerTo, type EchoAnswer, type EchoIdentity, type EchoRequest } from "./echo-answer.ts";
import { FailuresSoFar, readOrders } from "./echo-orders.ts";
import { echoWebSocket, webSocketAccept } from "./echo-websocket.ts";

/** Told of every request that an echo server answers. */
export type EchoObserver = (answer: EchoAnswer) => void;

type Response = http.ServerResponse | http2.Http2ServerResponse;

const BODY_BYTES_SHOWN = 64 * 1024;
const CHUNK = Buffer.alloc(64 * 1024, "waystone\n");
const KEEP_ALIVE_MS = 60_000;
const HTTP_OK = 200;
const HTTP_NOT_IMPLEMENTED = 501;
const GRPC_OK = 0;
const GRPC_STATUS_MAX = 16;

export class EchoHttp {
  readonly #identity: EchoIdentity;
  readonly #port: number;
  readonly #observer: EchoObserver | undefined;
  readonly #failures = new FailuresSoFar();
  readonly #http1: http.Server;
  readonly #http2: http2.Http2Server;

  constructor(identity: EchoIdentity, port: number, observer: EchoObserver | undefined) {
    this.#identity = identity;
    this.#port = port;
    this.#observer = observer;
    this.#http1 = http.createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) =>
      this.#onRequest(request, response),
    );
    this.#http1.on("upgrade", (request, socket, head) => this.#onUpgrade(request, socket, head));
    this.#http2 = http2.createServer({ settings: { enableConnectProtocol: true } });
    this.#http2.on("request", (request, response) => {
      if (request.headers["content-type"]?.startsWith("application/grpc"))
        this.#onCall(request, response);
      else this.#onRequest(request, response);
    });
    // RFC 8441.
    this.#http2.on("connect", (request, response) => {
      if (request.headers[":protocol"] !== "websocket") {
        response.writeHead(HTTP_NOT_IMPLEMENTED).end();
        return;
      }
      const { stream } = request;
      stream.respond({ ":status": HTTP_OK, "x-served-by": this.#identity.workload });
      echoWebSocket(stream, this.#answer(request, "", 0));
    });
    this.#http2.on("sessionError", () => {});
  }

  accept(socket: net.Socket, version: "http1" | "http2"): void {
    if (version === "http2") this.#http2.emit("connection", socket);
    else {
      this.#http1.emit("connection", socket);
      socket.resume();
    }
  }

  closeIdle(): void {
    this.#http1.closeIdleConnections();
  }

  #onRequest(request: EchoRequest, response: Response): void {
    const query = (request.url ?? "").split("?").slice(1).join("?");
    const parameters = new URLSearchParams(query);
    const orders = readOrders((name) => parameters.get(name), this.#failures, HTTP_OK);
    response.on("error", () => {});
    collectBody(request, (body, bodyBytes) => {
      const answer = this.#answer(request, body, bodyBytes);
      later(orders.delayMs, () => {
        if (orders.status === 0) request.socket.destroy();
        else send(response, orders.status, orders.sizeBytes, answer);
      });
    });
  }

  #onUpgrade(request: http.IncomingMessage, socket: Duplex, head: Buffer): void {
    const key = request.headers["sec-websocket-key"];
    const answer = this.#answer(request, "", 0);
    if (request.headers.upgrade?.toLowerCase() !== "websocket" || key === undefined) {
      // Whoever offers something else is answered as if he had not (RFC 9110 §7.8).
      const response = new http.ServerResponse(request);
      response.shouldKeepAlive = false;
      response.assignSocket(socket as net.Socket);
      response.once("finish", () => socket.end());
      send(response, HTTP_OK, undefined, answer);
      return;
    }
    socket.write(
      "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n" +
        `sec-websocket-accept: ${webSocketAccept(key)}\r\n` +
        `x-served-by: ${this.#identity.workload}\r\n\r\n`,
    );
    if (head.length > 0) socket.unshift(head);
    echoWebSocket(socket, answer);
  }

  #onCall(request: http2.Http2ServerRequest, response: http2.Http2ServerResponse): void {
    const { stream } = request;
    const asked = (name: string) => {
      const value = request.headers[`x-echo-${name.toLowerCase()}`];
      return value === undefined ? null : String(value);
    };
    const orders = readOrders(asked, this.#failures, GRPC_OK);
    const isKnown = orders.status >= 0 && orders.status <= GRPC_STATUS_MAX;
    const answer = this.#answer(request, "", 0);
    const head = {
      "content-type": "application/grpc",
      "x-served-by": this.#identity.workload,
    };
    const trailers = {
      "grpc-status": String(isKnown ? orders.status : GRPC_OK),
      "x-echo-bin": Buffer.from(JSON.stringify(answer)).toString("base64"),
    };
    stream.on("error", () => {});
    later(orders.delayMs, () => {
      if (stream.destroyed) return;
      if (trailers["grpc-status"] !== String(GRPC_OK)) {
        // The whole answer is one head, as gRPC servers send a failure that comes first.
        stream.respond({ ":status": HTTP_OK, ...head, ...trailers }, { endStream: true });
        request.resume();
        return;
      }
      response.writeHead(HTTP_OK, head);
      response.addTrailers(trailers);
      request.pipe(response);
    });
  }

  #answer(request: EchoRequest, body: string, bodyBytes: number): EchoAnswer {
    const answer = { ...answerTo(request, this.#identity, this.#port), body, bodyBytes };
    this.#observer?.(answer);
    return answer;
  }
}

function collectBody(request: EchoRequest, done: (body: string, bodyBytes: number) => void): void {
  const pieces: Buffer[] = [];
  let kept = 0;
  let bodyBytes = 0;
  request.on("data", (bytes: Buffer) => {
    bodyBytes += bytes.length;
    if (kept >= BODY_BYTES_SHOWN) return;
    pieces.push(bytes.subarray(0, BODY_BYTES_SHOWN - kept));
    kept += bytes.length;
  });
  request.on("end", () => done(Buffer.concat(pieces).toString(), bodyBytes));
  request.on("error", () => {});
}

function later(delayMs: number, act: () => void): void {
  // A mesh that is being cut does not wait for it.
  if (delayMs > 0) setTimeout(act, delayMs).unref();
  else act();
}

function send(
  response: Response,
  status: number,
  sizeBytes: number | undefined,
  answer: EchoAnswer,
): void {
  response.statusCode = Number.isInteger(status) && status >= 200 && status < 600 ? status : 400;
  response.setHeader("x-served-by", answer.workload);
  if (sizeBytes !== undefined) {
    response.setHeader("content-type", "text/plain");
    response.setHeader("content-length", sizeBytes);
    sendBytes(response, sizeBytes);
    return;
  }
  const text = `${JSON.stringify(answer, undefined, 2)}\n`;
  response.setHeader("content-type", "application/json");
  response.setHeader("content-length", Buffer.byteLength(text));
  response.end(text);
}

/** As fast as the reader reads, and no faster. */
function sendBytes(response: Response, size: number): void {
  let left = size;
  const more = () => {
    while (left > 0 && !response.destroyed) {
      const piece = left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK;
      left -= piece.length;
      if (!(response as http.ServerResponse).write(piece) && left > 0) {
        response.once("drain", more);
        return;
      }
    }
    response.end();
  };
  more();
}
