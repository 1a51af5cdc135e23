/** One of two waypoints leaves under load, on real sockets: nobody may notice. */
import { afterEach, expect, test } from "vitest";
import { Http2Connection } from "../../src/net/http2/connection.ts";
import type { HeaderList } from "../../src/net/http2/headers.ts";
import { INNER_LIMITS } from "../../src/net/http2/limits.ts";
import type { Http2Stream } from "../../src/net/http2/stream.ts";
import { StreamTransport } from "../../src/net/http2/stream-transport.ts";
import { withProtocol } from "../support/inner-http2.ts";
import { RealMesh } from "../support/real-waypoint.ts";
import { meshWith } from "../support/waypoint-session.ts";

const REQUEST = Buffer.from("GET /a HTTP/1.1\r\nhost: reviews\r\n\r\n");
const ANSWER = Buffer.from("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");

let mesh: RealMesh | undefined;
afterEach(() => mesh?.end());

/** An application that answers each request after a moment. */
function serve(stream: Http2Stream): void {
  stream.consumer = {
    onData(_bytes, start, end) {
      stream.credit(end - start);
      setTimeout(() => stream.write(ANSWER, 0, ANSWER.length, null), Math.random() * 4);
    },
    onEnd: () => stream.end(),
    onClosed() {},
  };
}

/** An application's client that keeps its connection and asks every so often. */
class KeptClient {
  readonly #connect: () => Promise<Http2Stream>;
  readonly #everyMs: number;
  answered = 0;
  connections = 0;
  readonly failures: string[] = [];
  isStopped = false;

  constructor(connect: () => Promise<Http2Stream>, everyMs: number) {
    this.#connect = connect;
    this.#everyMs = everyMs;
  }

  async run(): Promise<void> {
    while (!this.isStopped) {
      this.connections++;
      const stream = await this.#connect().catch((caught: Error) => {
        this.failures.push(`connect: ${caught.message}`);
        return undefined;
      });
      if (stream !== undefined) await this.#talk(stream);
    }
  }

  /** Until the connection is over, or we are told that it will be. */
  #talk(stream: Http2Stream): Promise<void> {
    return new Promise((resolve) => {
      let text = "";
      let isAsking = false;
      const ask = () => {
        if (this.isStopped || stream.isRemoteEnded || stream.isClosed) {
          stream.end();
          resolve();
          return;
        }
        isAsking = true;
        text = "";
        stream.write(REQUEST, 0, REQUEST.length, null);
      };
      stream.consumer = {
        onData: (bytes, start, end) => {
          text += bytes.toString("latin1", start, end);
          stream.credit(end - start);
          if (!text.endsWith("\r\n\r\nok")) return;
          isAsking = false;
          if (text.startsWith("HTTP/1.1 200")) this.answered++;
          else this.failures.push(text);
          if (/connection: close/i.test(text)) {
            stream.end();
            resolve();
          } else setTimeout(ask, this.#everyMs);
        },
        onEnd: () => {
          if (isAsking) this.failures.push("ended without an answer");
          isAsking = false;
          stream.end();
        },
        onClosed: (reset) => {
          if (isAsking) this.failures.push(`closed: ${reset?.detail}`);
          resolve();
        },
      };
      ask();
    });
  }
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test("a waypoint that drains under load loses no request", { timeout: 20_000 }, async () => {
  mesh = await RealMesh.start(meshWith(1), serve);
  const made = mesh;
  const leaving = await mesh.waypoint({ drainGraceMs: 1_000 });
  const staying = await mesh.waypoint();
  let ports = [leaving.port, staying.port];
  const connect = () => made.connect(ports[Math.floor(Math.random() * ports.length)]!);
  // Some without a pause, some that ask about as often as the grace is long.
  const clients = [0, 0, 5, 10, 20, 20, 40, 40, 80, 80, 150, 300, 600].flatMap((everyMs) =>
    Array.from({ length: 4 }, () => new KeptClient(connect, everyMs)),
  );
  const running = clients.map((client) => client.run());
  await sleep(500);
  const drained = leaving.drain.start(10_000);
  // Clients' ztunnels learn of it late.
  await sleep(300);
  ports = [staying.port];
  const startMs = performance.now();
  await drained;
  // With its last stream, and not with the deadline.
  expect(performance.now() - startMs).toBeLessThan(5_000);
  const atDrained = clients.reduce((sum, client) => sum + client.answered, 0);
  await sleep(300);
  for (const client of clients) client.isStopped = true;
  await Promise.all(running);
  expect(clients.flatMap((client) => client.failures)).toEqual([]);
  const answered = clients.reduce((sum, client) => sum + client.answered, 0);
  expect(atDrained).toBeGreaterThan(500);
  expect(answered).toBeGreaterThan(atDrained);
  expect(clients.some((client) => client.connections > 1)).toBe(true);
});

const GRPC = [
  ...[":method", "POST", ":scheme", "http", ":path", "/a.B/C", ":authority", "reviews"],
  ...["content-type", "application/grpc", "te", "trailers"],
];

/** A client that speaks HTTP/2 inside its tunnels: several streams at once, on one connection. */
class Http2Client {
  readonly #connect: () => Promise<Http2Stream>;
  #connection: Http2Connection | undefined;
  answered = 0;
  connections = 0;
  readonly failures: string[] = [];
  isStopped = false;

  constructor(connect: () => Promise<Http2Stream>) {
    this.#connect = connect;
  }

  async run(): Promise<void> {
    while (!this.isStopped) {
      const ready = await this.#open();
      await Promise.all(Array.from({ length: 8 }, () => this.#ask(ready)));
    }
    this.#connection?.destroy();
  }

  /** A connection that takes streams: the one there is, as long as nobody has said GOAWAY. */
  async #open(): Promise<Http2Connection> {
    if (this.#connection?.canOpen) return this.#connection;
    this.connections++;
    const stream = await this.#connect();
    return new Promise((resolve) => {
      const connection: Http2Connection = new Http2Connection(
        new StreamTransport(stream),
        "client",
        {
          onReady: () => resolve(connection),
          onClosed: () => stream.reset("cancel"),
        },
        INNER_LIMITS,
      );
      this.#connection = connection;
    });
  }

  #ask(connection: Http2Connection): Promise<void> {
    return new Promise((resolve) => {
      // Another stream may have heard the GOAWAY in the meantime.
      if (!connection.canOpen) return resolve();
      let status = "";
      const onHeaders = (headers: HeaderList) => {
        status ||= headers[1]!;
      };
      const stream = connection.open(GRPC, false, { onHeaders });
      stream.consumer = {
        onData: (_bytes, start, end) => stream.credit(end - start),
        onEnd() {},
        onClosed: (reset) => {
          if (reset?.isRefused) return resolve();
          if (reset === undefined && status === "200") this.answered++;
          else this.failures.push(`${status} ${reset?.detail}`);
          resolve();
        },
      };
      stream.write(REQUEST, 0, 10, null);
      stream.end();
    });
  }
}

test("nor does HTTP/2 inside the tunnels", { timeout: 20_000 }, async () => {
  mesh = await RealMesh.start(withProtocol("HTTP2"), (stream) => {
    new Http2Connection(
      new StreamTransport(stream),
      "server",
      {
        onStream(request) {
          request.consumer = {
            onData: (_bytes, start, end) => request.credit(end - start),
            onEnd() {
              request.respond([":status", "200", "content-type", "application/grpc"], false);
              setTimeout(() => request.sendTrailers(["grpc-status", "0"]), Math.random() * 4);
            },
            onClosed() {},
          };
        },
        onClosed: () => stream.reset("cancel"),
      },
      INNER_LIMITS,
    );
  });
  const made = mesh;
  const leaving = await mesh.waypoint({ drainGraceMs: 500 });
  const staying = await mesh.waypoint();
  let ports = [leaving.port, staying.port];
  const connect = () => made.connect(ports[Math.floor(Math.random() * ports.length)]!);
  const clients = Array.from({ length: 6 }, () => new Http2Client(connect));
  const running = clients.map((client) => client.run());
  await sleep(300);
  const drained = leaving.drain.start(10_000);
  await sleep(200);
  ports = [staying.port];
  const startMs = performance.now();
  await drained;
  expect(performance.now() - startMs).toBeLessThan(5_000);
  await sleep(300);
  for (const client of clients) client.isStopped = true;
  await Promise.all(running);
  expect(clients.flatMap((client) => client.failures)).toEqual([]);
  expect(clients.reduce((sum, client) => sum + client.answered, 0)).toBeGreaterThan(500);
  expect(clients.some((client) => client.connections > 1)).toBe(true);
});
