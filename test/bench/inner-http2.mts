/**
 * What a request over HTTP/2 inside the tunnel costs the waypoint itself, without sockets and TLS:
 * sessions, stages, upstream, over streams in memory. By hand, with a Node that runs TypeScript:
 *
 *     node test/bench/inner-http2.mts [h2-h2 | h2-h1 | h1-h2 | h1-h1 | direct] [requests]
 *
 * `direct` is client and server without a waypoint between them: what to subtract.
 */
import { ByteStream, type ResetReason } from "../../src/net/byte-stream.ts";
import { Http2Connection } from "../../src/net/http2/connection.ts";
import { INNER_LIMITS } from "../../src/net/http2/limits.ts";
import type { Http2Stream } from "../../src/net/http2/stream.ts";
import { StreamTransport } from "../../src/net/http2/stream-transport.ts";
import { Http1Session } from "../../src/waypoint/http1-session.ts";
import { Http2Session } from "../../src/waypoint/http2-session.ts";
import { indexOf } from "../support/small-mesh.ts";
import { FakeWaypoint, meshWith } from "../support/waypoint-session.ts";

const CONCURRENCY = 32;

let arriving: { to: Pipe; bytes: Buffer }[] = [];

/** What was written in one turn arrives in the next. */
function deliver(): void {
  const all = arriving;
  arriving = [];
  for (const { to, bytes } of all) to.consumer.onData(bytes, 0, bytes.length);
}

class Pipe extends ByteStream {
  other!: Pipe;
  isClosed = false;
  queuedBytes = 0;
  static pair(): [Pipe, Pipe] {
    const a = new Pipe();
    const b = new Pipe();
    a.other = b;
    b.other = a;
    return [a, b];
  }
  write(bytes: Buffer, start: number, end: number, source: ByteStream | null): void {
    const copy = Buffer.allocUnsafe(end - start);
    bytes.copy(copy, 0, start, end);
    if (arriving.length === 0) setImmediate(deliver);
    arriving.push({ to: this.other, bytes: copy });
    source?.credit(end - start);
  }
  end(): void {}
  reset(_reason: ResetReason): void {}
  credit(_count: number): void {}
}

const REQUEST = [
  ...[":method", "POST", ":scheme", "http", ":path", "/reviews/1?x=2", ":authority", "reviews"],
  ...["user-agent", "grpc-go/1.60", "content-type", "application/grpc", "te", "trailers"],
  ...["x-request-id", "6f1c6f1c-6f1c-4f1c-8f1c-6f1c6f1c6f1c", "grpc-timeout", "1S"],
  ...["traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x-a", "b"],
];
const RESPONSE = [":status", "200", "content-type", "application/grpc", "x-b", "c"];
const TRAILERS = ["grpc-status", "0", "grpc-message", ""];
const BODY = Buffer.from("0123456789");

function withProtocol(protocol: "HTTP11" | "HTTP2") {
  const snapshot = meshWith(1);
  const key = "default/reviews.default.svc.cluster.local";
  const service = snapshot.services.get(key)!;
  const ports = service.ports.map((port) => ({ ...port, protocol }));
  return { ...snapshot, services: indexOf({ [key]: { ...service, ports } }) };
}

function serveHttp2(stream: ByteStream): void {
  new Http2Connection(
    new StreamTransport(stream),
    "server",
    {
      onStream(request: Http2Stream) {
        request.consumer = {
          onData: (_b, s, e) => request.credit(e - s),
          onEnd() {
            request.respond(RESPONSE, false);
            request.write(BODY, 0, BODY.length, null);
            request.sendTrailers(TRAILERS);
          },
          onClosed() {},
        };
      },
      onClosed() {},
    },
    INNER_LIMITS,
  );
}

const ANSWER_1 = Buffer.from(
  "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\nx-b: c\r\ncontent-length: 10\r\n\r\n0123456789",
);

function serveHttp1(stream: ByteStream): void {
  stream.consumer = {
    onData(bytes, _start, end) {
      if (bytes.toString("latin1", end - 5, end) === "0\r\n\r\n" || bytes[0] === 0x47) {
        stream.write(ANSWER_1, 0, ANSWER_1.length, null);
      }
    },
    onEnd() {},
    onClosed() {},
  };
}

function askHttp2(stream: ByteStream, count: number): Promise<void> {
  return new Promise((resolve) => {
    let asked = 0;
    let done = 0;
    const connection = new Http2Connection(
      new StreamTransport(stream),
      "client",
      { onReady: () => Array.from({ length: CONCURRENCY }, ask), onClosed() {} },
      INNER_LIMITS,
    );
    function ask() {
      if (asked++ >= count) return;
      const request = connection.open(REQUEST, false, { onHeaders() {} });
      request.consumer = {
        onData: (_b, s, e) => request.credit(e - s),
        onEnd() {
          if (++done === count) resolve();
          else ask();
        },
        onClosed() {},
      };
      request.write(BODY, 0, BODY.length, null);
      request.end();
    }
  });
}

const REQUEST_1 = Buffer.from(
  "GET /reviews/1?x=2 HTTP/1.1\r\nhost: reviews\r\nuser-agent: grpc-go/1.60\r\n" +
    "content-type: application/grpc\r\nx-request-id: 6f1c6f1c-6f1c-4f1c-8f1c-6f1c6f1c6f1c\r\n" +
    "grpc-timeout: 1S\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n" +
    "x-a: b\r\n\r\n",
);

/** One of CONCURRENCY connections. */
function askHttp1(stream: ByteStream, count: number): Promise<void> {
  return new Promise((resolve) => {
    let done = 0;
    stream.consumer = {
      onData(bytes, _start, end) {
        const text = bytes.toString("latin1", Math.max(0, end - 10), end);
        if (!text.endsWith("0123456789") && !text.endsWith("\n0\r\n\r\n")) return;
        if (++done === count) resolve();
        else stream.write(REQUEST_1, 0, REQUEST_1.length, null);
      },
      onEnd() {},
      onClosed() {},
    };
    stream.write(REQUEST_1, 0, REQUEST_1.length, null);
  });
}

async function run(kind: string, count: number): Promise<number> {
  const [down, up] = kind.split("-");
  const waypoint = new FakeWaypoint(withProtocol(up === "h1" ? "HTTP11" : "HTTP2"));
  const { context, connection } = waypoint;
  Object.assign(context, { accessLog: { isOn: false, write() {} } });
  const dialer = {
    dial(_endpoint: unknown, _headers: unknown, listener: { onDialed(stream: ByteStream): void }) {
      setImmediate(() => {
        const [near, far] = Pipe.pair();
        if (up === "h1") serveHttp1(far);
        else serveHttp2(far);
        listener.onDialed(near);
      });
      return { abort() {} };
    },
  };
  Object.assign(context, { dialer });
  const start = () => {
    const [near, far] = Pipe.pair();
    if (kind === "direct") serveHttp2(far);
    else if (down === "h1") new Http1Session(far, connection, context, waypoint.target());
    else new Http2Session(far, connection, context, waypoint.target());
    return near;
  };
  const startCpu = process.cpuUsage();
  if (down === "h1") {
    const each = Math.floor(count / CONCURRENCY);
    await Promise.all(Array.from({ length: CONCURRENCY }, () => askHttp1(start(), each)));
  } else await askHttp2(start(), count);
  const cpu = process.cpuUsage(startCpu);
  return (cpu.user + cpu.system) / count;
}

const [kind = "h2-h2", requests = "60000"] = process.argv.slice(2);
await run(kind, Number(requests) / 4);
const figures: number[] = [];
for (let i = 0; i < 5; i++) figures.push(await run(kind, Number(requests)));
const text = figures.map((figure) => figure.toFixed(2)).join(" ");
process.stdout.write(`${kind}: µs of CPU per request, both ends included: ${text}\n`);
process.exit(0);
