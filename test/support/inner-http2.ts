/** HTTP/2 inside the tunnel, spoken by node:http2 at both ends of a waypoint in memory. */
import http2 from "node:http2";
import { Duplex } from "node:stream";
import type { ByteStream } from "../../src/net/byte-stream.ts";
import { Http1Session } from "../../src/waypoint/http1-session.ts";
import { Http2Session } from "../../src/waypoint/http2-session.ts";
import { type MemoryPeer, MemoryStream } from "./memory-stream.ts";
import { type FakeWaypoint, meshWith } from "./waypoint-session.ts";

const ends: (() => void)[] = [];

/** For afterEach: lets go of all clients. */
export function endClients(): void {
  for (const end of ends.splice(0)) end();
}

/** A byte stream as Node has them, for node:http2. */
function duplexOver(stream: ByteStream): Duplex {
  const duplex = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      stream.write(chunk, 0, chunk.length, null);
      done();
    },
    final(done) {
      stream.end();
      done();
    },
    destroy(error, done) {
      stream.reset("cancel");
      done(error);
    },
  });
  stream.consumer = {
    onData(bytes, start, end) {
      duplex.push(Buffer.from(bytes.subarray(start, end)));
      stream.credit(end - start);
    },
    onEnd: () => duplex.push(null),
    onClosed: () => duplex.destroy(),
  };
  return duplex;
}

/** A client that speaks HTTP/2; `through` HTTP/1.1's session it is recognised by its preface. */
export function connect(waypoint: FakeWaypoint, through: "http1" | "http2" = "http2") {
  return open(waypoint, through).client;
}

/** The same, with the waypoint's end of its stream. */
export function open(waypoint: FakeWaypoint, through: "http1" | "http2" = "http2") {
  const [stream, remote] = MemoryStream.pair();
  const Session = through === "http2" ? Http2Session : Http1Session;
  new Session(stream, waypoint.connection, waypoint.context, waypoint.target());
  const duplex = duplexOver(remote);
  const client = http2.connect("http://reviews", { createConnection: () => duplex });
  client.on("error", () => {});
  ends.push(() => client.destroy());
  return { client, stream };
}

export function withProtocol(protocol: "HTTP11" | "HTTP2" | "UNKNOWN") {
  const snapshot = meshWith(1);
  const key = "default/reviews.default.svc.cluster.local";
  const service = snapshot.services.get(key)!;
  const ports = service.ports.map((port) => ({ ...port, protocol }));
  const services = { ...snapshot.services, get: () => ({ ...service, ports }) };
  return { ...snapshot, services: services as unknown as typeof snapshot.services };
}

export interface Answer {
  headers: http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader;
  trailers: http2.IncomingHttpHeaders;
  body: string;
}

export function ask(
  client: http2.ClientHttp2Session,
  headers: http2.OutgoingHttpHeaders,
  body = "",
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = client.request({ ":authority": "reviews", ...headers });
    const answer: Answer = { headers: {}, trailers: {}, body: "" };
    request.on("response", (found) => Object.assign(answer.headers, found));
    request.on("trailers", (found) => Object.assign(answer.trailers, found));
    request.on("data", (bytes) => {
      answer.body += bytes;
    });
    request.on("end", () => resolve(answer));
    request.on("error", reject);
    if (!request.writableEnded) request.end(body);
  });
}

export function serveHttp2(
  waypoint: FakeWaypoint,
  options: http2.ServerOptions = {},
): http2.Http2Server {
  const server = http2.createServer(options);
  waypoint.backends.onConnection = (peer: MemoryPeer) => {
    server.emit("connection", duplexOver(peer.stream));
  };
  return server;
}
