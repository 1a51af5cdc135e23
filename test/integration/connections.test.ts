/**
 * Connections that are not requests, and requests that are long, through a whole mesh: the client's
 * ztunnel, the waypoint with its routes, the backend's ztunnel.
 */
import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import type net from "node:net";
import tls from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { WorkloadReport } from "../../src/local/mesh-report.ts";
import { acceptFor } from "../../src/waypoint/web-socket.ts";
import type { Resource } from "../conformance/routes/cases.ts";
import { askTcp } from "../conformance/routes/clients.ts";
import { RouteMesh } from "../conformance/routes/route-mesh.ts";
import { TestMesh } from "../support/identities.ts";

const NAMESPACE = "shop";
const SECURE = 443;
const PLAIN = 9000;
const HTTP = 80;
const H2C = 8080;

const PORTS = [
  { name: "tls", port: SECURE },
  { name: "tcp", port: PLAIN },
  { name: "http", port: HTTP },
  { name: "http2", port: H2C },
];

function workload(name: string): Resource[] {
  const labels = { app: name };
  const metadata = { name, namespace: NAMESPACE };
  const template = { metadata: { labels }, spec: {} };
  return [
    { apiVersion: "v1", kind: "Service", metadata, spec: { selector: labels, ports: PORTS } },
    {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata,
      spec: { selector: { matchLabels: labels }, template },
    },
  ];
}

function route(
  kind: "TLSRoute" | "TCPRoute",
  name: string,
  parent: string,
  backends: readonly (readonly [string, number])[],
  hostnames?: readonly string[],
): Resource {
  const port = kind === "TLSRoute" ? SECURE : PLAIN;
  return {
    apiVersion: kind === "TLSRoute" ? "gateway.networking.k8s.io/v1" : TCP_ROUTE_VERSION,
    kind,
    metadata: { name, namespace: NAMESPACE },
    spec: {
      parentRefs: [{ group: "", kind: "Service", name: parent, port }],
      ...(hostnames === undefined ? {} : { hostnames }),
      rules: [{ backendRefs: backends.map(([to, weight]) => ({ name: to, port, weight })) }],
    },
  };
}

const TCP_ROUTE_VERSION = "gateway.networking.k8s.io/v1alpha2";

const RESOURCES: Resource[] = [
  { apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE } },
  ...["client", "a", "b", "real", "split", "lost", "idle", "named"].flatMap(workload),
  // Without a Deployment.
  workload("empty")[0]!,
  route("TLSRoute", "exact", "named", [["a", 1]], ["one.example.com"]),
  route("TLSRoute", "wildcard", "named", [["b", 1]], ["*.example.com"]),
  route("TCPRoute", "split", "split", [
    ["a", 4],
    ["b", 1],
  ]),
  route("TCPRoute", "lost", "lost", [["nobody", 1]]),
  route("TCPRoute", "idle", "idle", [["a", 0]]),
];

let mesh: RouteMesh;
let client: WorkloadReport;
const servers: (net.Server | http2.Http2Server)[] = [];
const sockets = new Set<net.Socket>();

async function listen(server: net.Server): Promise<{ host: string; port: number }> {
  servers.push(server);
  server.on("connection", (socket: net.Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { host: "127.0.0.1", port: (server.address() as net.AddressInfo).port };
}

/** TLS of its own, that says who it is and then repeats what it hears. */
async function serveTls(name: string, identity: { keyPem: string; certificatePem: string }) {
  const options = { key: identity.keyPem, cert: identity.certificatePem };
  const server = tls.createServer(options, (socket) => {
    socket.on("error", () => {});
    socket.write(`${name} `);
    socket.pipe(socket);
  });
  return await listen(server);
}

const http1 = http.createServer();
const h2c = http2.createServer({ settings: { enableConnectProtocol: true } });

beforeAll(async () => {
  const identity = await (await TestMesh.make()).identity("app");
  const at = {
    a: await serveTls("a", identity),
    b: await serveTls("b", identity),
    http1: await listen(http1),
    h2c: await listen(h2c as unknown as net.Server),
  };
  mesh = await RouteMesh.start({
    base: RESOURCES,
    waypointIn: [NAMESPACE],
    overrides: [
      { workload: "shop/a", workloadPort: SECURE, ...at.a },
      { workload: "shop/b", workloadPort: SECURE, ...at.b },
      { workload: "shop/real", workloadPort: HTTP, ...at.http1 },
      { workload: "shop/real", workloadPort: H2C, ...at.h2c },
    ],
  });
  client = mesh.report().workloads.find((pod) => pod.workloadName === "client")!;
});

afterAll(async () => {
  await mesh?.stop();
  for (const socket of sockets) socket.destroy();
  for (const server of servers) server.close();
});

const dial = (host: string, port: number) => mesh.dial(client, host, port);

describe("TLSRoute", () => {
  /** What the server behind the route says; "" when there is none. */
  async function ask(servername: string | undefined, options: tls.ConnectionOptions = {}) {
    const socket = await dial("named", SECURE);
    const secure = tls.connect({
      socket,
      rejectUnauthorized: false,
      ...(servername === undefined ? {} : { servername }),
      ...options,
    });
    let text = "";
    secure.on("secureConnect", () => secure.end("hello"));
    secure.on("data", (bytes) => {
      text += bytes;
    });
    secure.on("error", () => {});
    socket.on("error", () => {});
    await new Promise((resolve) => secure.on("close", resolve));
    return text;
  }

  test.each([
    ["one.example.com", "a hello"],
    ["ONE.Example.COM", "a hello"],
    ["two.example.com", "b hello"],
    ["three.two.example.com", "b hello"],
    ["example.com", ""],
    ["elsewhere.org", ""],
    [undefined, ""],
  ])("%s: %j", async (name, answer) => {
    expect(await ask(name)).toBe(answer);
  });

  test("TLS 1.2 as well", async () => {
    expect(await ask("one.example.com", { maxVersion: "TLSv1.2" })).toBe("a hello");
  });

  test("a first message in pieces", async () => {
    const socket = await dial("named", SECURE);
    const { Duplex } = await import("node:stream");
    const slow = new Duplex({
      read() {},
      write(bytes: Buffer, _encoding, done) {
        const half = bytes.length >> 1;
        socket.write(bytes.subarray(0, half));
        setTimeout(() => socket.write(bytes.subarray(half), () => done()), 30);
      },
    });
    socket.on("data", (bytes) => slow.push(bytes));
    const secure = tls.connect({
      socket: slow,
      servername: "one.example.com",
      rejectUnauthorized: false,
    });
    const [bytes] = await once(secure, "data");
    expect(String(bytes)).toBe("a ");
    socket.destroy();
  });

  test("what is no TLS is closed", async () => {
    const socket = await dial("named", SECURE);
    socket.on("error", () => {});
    socket.resume();
    socket.write("GET / HTTP/1.1\r\n\r\n");
    await new Promise((resolve) => socket.on("close", resolve));
  });
});

describe("TCPRoute", () => {
  test("connections are shared by weight", async () => {
    const seen: Record<string, number> = {};
    for (let i = 0; i < 200; i++) {
      const { backend } = await askTcp(dial("split", PLAIN), 0);
      const name = backend?.workload.split("-")[0] ?? "nobody";
      seen[name] = (seen[name] ?? 0) + 1;
    }
    expect(Object.keys(seen).sort()).toEqual(["a", "b"]);
    // Four standard deviations of 200 draws at 0.8.
    expect(Math.abs(seen.a! - 160)).toBeLessThan(23);
  });

  test.each(["lost", "idle"])("a route that leads nowhere (%s) closes", async (name) => {
    const { backend, failure } = await askTcp(dial(name, PLAIN), 0);
    expect(backend).toBeUndefined();
    expect(failure).not.toBe("no answer in time");
  });
});

describe("WebSocket", () => {
  const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
  http1.on("upgrade", (request, socket) => {
    const accept = acceptFor(String(request.headers["sec-websocket-key"]));
    socket.write(
      "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n" +
        `sec-websocket-accept: ${accept}\r\n\r\n`,
    );
    socket.on("error", () => {});
    socket.pipe(socket);
  });
  h2c.on("stream", (stream, headers) => {
    if (headers[":protocol"] !== "websocket") return;
    stream.on("error", () => {});
    stream.respond({ ":status": 200 });
    stream.pipe(stream);
  });

  test.each([
    ["HTTP/1.1", "HTTP/1.1", HTTP],
    ["HTTP/1.1", "HTTP/2", H2C],
    ["HTTP/2", "HTTP/1.1", HTTP],
    ["HTTP/2", "HTTP/2", H2C],
  ])("%s to %s", async (from, _to, port) => {
    const socket = await dial("real", port);
    socket.on("error", () => {});
    const { stream, end } =
      from === "HTTP/2" ? await openHttp2(socket) : await openHttp1(socket, KEY);
    const bytes = Buffer.alloc(3 << 20, "z");
    let got = 0;
    const whole = new Promise<void>((resolve) => {
      stream.on("data", (more: Buffer) => {
        got += more.length;
        if (got === bytes.length) resolve();
      });
    });
    stream.write(bytes);
    await whole;
    const closed = once(stream, "end");
    stream.end();
    await closed;
    end();
  });

  async function openHttp1(socket: net.Socket, key: string) {
    const request = http.request({
      createConnection: () => socket,
      path: "/chat",
      headers: {
        host: "real",
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": key,
      },
    });
    request.end();
    const [response, stream] = await once(request, "upgrade");
    expect(response.headers["sec-websocket-accept"]).toBe(acceptFor(key));
    return { stream: stream as net.Socket, end: () => socket.destroy() };
  }

  async function openHttp2(socket: net.Socket) {
    const session = http2.connect("http://real", { createConnection: () => socket });
    await once(session, "remoteSettings");
    const stream = session.request({
      ":method": "CONNECT",
      ":protocol": "websocket",
      ":scheme": "http",
      ":path": "/chat",
      ":authority": "real",
      "sec-websocket-version": "13",
    });
    const [headers] = await once(stream, "response");
    expect(headers[":status"]).toBe(200);
    return { stream, end: () => session.destroy() };
  }
});

describe("long answers", () => {
  let onStream: (response: http.ServerResponse) => void = () => {};
  http1.on("request", (_request, response) => onStream(response));

  async function ask() {
    const socket = await dial("real", HTTP);
    socket.on("error", () => {});
    const request = http.request({ createConnection: () => socket, headers: { host: "real" } });
    request.on("error", () => {});
    request.end();
    return { socket, request };
  }

  test("events leave one by one, and a client that goes ends it at once", async () => {
    const arrived = new Promise<http.ServerResponse>((resolve) => {
      onStream = resolve;
    });
    const { socket, request } = await ask();
    const response = await arrived;
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.flushHeaders();
    const [answer] = (await once(request, "response")) as [http.IncomingMessage];
    for (let i = 0; i < 20; i++) {
      response.write(`data: ${i}\n\n`);
      const [bytes] = await once(answer, "data");
      expect(String(bytes)).toBe(`data: ${i}\n\n`);
    }
    const closed = once(response, "close");
    socket.destroy();
    await closed;
  });

  test("a client that does not wait for its answer cancels it at the backend", async () => {
    const arrived = new Promise<http.ServerResponse>((resolve) => {
      onStream = resolve;
    });
    const { request } = await ask();
    const response = await arrived;
    const closed = once(response, "close");
    request.destroy();
    await closed;
    expect(response.writableFinished).toBe(false);
  });

  /** Resolves when the backend of the next request sees it go; the answer has begun by then. */
  function nextIsCut(port: number): Promise<void> {
    return new Promise((resolve) => {
      onStream = (response) => {
        response.write("first");
        response.on("close", resolve);
      };
      h2c.removeAllListeners("stream");
      h2c.on("stream", (stream) => {
        stream.on("error", () => {});
        stream.respond({ ":status": 200 });
        stream.write("first");
        stream.on("close", () => {
          expect([port, stream.rstCode]).toEqual([H2C, http2.constants.NGHTTP2_CANCEL]);
          resolve();
        });
      });
    });
  }

  test.each([
    ["HTTP/1.1", "HTTP/1.1", HTTP],
    ["HTTP/1.1", "HTTP/2", H2C],
    ["HTTP/2", "HTTP/1.1", HTTP],
    ["HTTP/2", "HTTP/2", H2C],
  ])("a client that breaks off, %s to %s", async (from, _to, port) => {
    const isCut = nextIsCut(port);
    const socket = await dial("real", port);
    socket.on("error", () => {});
    if (from === "HTTP/2") {
      const session = http2.connect("http://real", { createConnection: () => socket });
      session.on("error", () => {});
      const stream = session.request({ ":path": "/", ":authority": "real" });
      stream.on("error", () => {});
      await once(stream, "data");
      stream.close(http2.constants.NGHTTP2_CANCEL);
      await isCut;
      session.destroy();
    } else {
      socket.write("GET / HTTP/1.1\r\nhost: real\r\n\r\n");
      await once(socket, "data");
      socket.resetAndDestroy();
      await isCut;
    }
  });

  test("a backend that breaks off breaks the client's answer off", async () => {
    onStream = (response) => {
      response.write("half");
      setTimeout(() => response.socket!.resetAndDestroy(), 30);
    };
    const { request } = await ask();
    const [answer] = (await once(request, "response")) as [http.IncomingMessage];
    answer.resume();
    const [error] = await once(answer, "error");
    expect(error).toMatchObject({ code: "ECONNRESET" });
  });
});

describe("gRPC", () => {
  const CALL = {
    ":method": "POST",
    ":path": "/a.B/C",
    ":authority": "real",
    "content-type": "application/grpc",
    te: "trailers",
  };

  async function call(onCall: (stream: http2.ServerHttp2Stream) => void) {
    h2c.removeAllListeners("stream");
    h2c.on("stream", onCall);
    const socket = await dial("real", H2C);
    const session = http2.connect("http://real", { createConnection: () => socket });
    session.on("error", () => {});
    const stream = session.request(CALL);
    stream.on("error", () => {});
    return { stream, end: () => session.destroy() };
  }

  test("both sides speak in turn, and trailers end it", async () => {
    const { stream, end } = await call((served) => {
      served.respond({ ":status": 200 }, { waitForTrailers: true });
      served.on("wantTrailers", () => served.sendTrailers({ "grpc-status": "0", "x-late": "y" }));
      served.on("data", (bytes) => served.write(bytes));
      served.on("end", () => served.end());
    });
    for (let i = 0; i < 50; i++) {
      stream.write(`message ${i}`);
      const [bytes] = await once(stream, "data");
      expect(String(bytes)).toBe(`message ${i}`);
    }
    const trailers = once(stream, "trailers");
    stream.end();
    expect((await trailers)[0]).toMatchObject({ "grpc-status": "0", "x-late": "y" });
    end();
  });

  test("a cancelled call is cancelled at the backend", async () => {
    let cancelled: (code: number | undefined) => void = () => {};
    const code = new Promise<number | undefined>((resolve) => {
      cancelled = resolve;
    });
    const { stream, end } = await call((served) => {
      served.on("error", () => {});
      served.on("close", () => cancelled(served.rstCode));
      served.respond({ ":status": 200 });
      served.write("first");
    });
    await once(stream, "data");
    stream.close(http2.constants.NGHTTP2_CANCEL);
    expect(await code).toBe(http2.constants.NGHTTP2_CANCEL);
    end();
  });

  test("a backend that is not there is UNAVAILABLE, in trailers alone", async () => {
    const socket = await dial("empty", H2C);
    const session = http2.connect("http://empty", { createConnection: () => socket });
    session.on("error", () => {});
    const stream = session.request(CALL);
    stream.end();
    const [headers, flags] = await once(stream, "response");
    expect(headers[":status"]).toBe(200);
    expect(headers["grpc-status"]).toBe("14");
    expect(flags & http2.constants.NGHTTP2_FLAG_END_STREAM).toBe(1);
    session.destroy();
  });
});
