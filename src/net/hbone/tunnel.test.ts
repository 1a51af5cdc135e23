/** Tunnel pool and tunnel server together, over real TLS on loopback. */
import { once } from "node:events";
import net from "node:net";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { HOUR_MS, idOf, TestMesh } from "../../../test/support/identities.ts";
import { CLIENT_PREFACE, frame, settings, T } from "../../../test/support/peer.ts";
import { Failure } from "../../kit/failure.ts";
import type { StreamReset } from "../byte-stream.ts";
import type { HeaderList } from "../http2/headers.ts";
import { header } from "../http2/headers.ts";
import { type Http2Limits, TUNNEL_LIMITS } from "../http2/limits.ts";
import type { Http2Stream } from "../http2/stream.ts";
import { acceptTls, connectTls, type TlsIdentity } from "../tls.ts";
import { TunnelPool, type TunnelPoolOptions, type TunnelTarget } from "./tunnel-pool.ts";
import {
  type TunnelConnection,
  type TunnelHandler,
  TunnelServer,
  type TunnelServerOptions,
} from "./tunnel-server.ts";

let mesh: TestMesh;
let server: TlsIdentity;
let client: TlsIdentity;

beforeAll(async () => {
  mesh = await TestMesh.make();
  server = await mesh.identity("server");
  client = await mesh.identity("client");
});

const cleanups: (() => void)[] = [];

afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

interface Arrival {
  readonly stream: Http2Stream;
  readonly authority: string;
  readonly headers: HeaderList;
  readonly connection: TunnelConnection;
}

/** A server that answers 200 and echoes, unless told otherwise. */
async function serve(
  options: Partial<TunnelServerOptions> = {},
  onConnect: (arrival: Arrival) => void = ({ stream }) => stream.respond([":status", "200"], false),
) {
  const arrivals: Arrival[] = [];
  const failures: Failure[] = [];
  const told: string[] = [];
  const handler: TunnelHandler = {
    onConnect(stream, { authority, headers }, connection) {
      const arrival = { stream, authority, headers, connection };
      arrivals.push(arrival);
      stream.consumer = {
        onData: (bytes, start, end) => stream.write(bytes, start, end, stream),
        onEnd: () => stream.end(),
        onClosed() {},
      };
      onConnect(arrival);
    },
    onTlsFailure: (failure) => failures.push(failure),
    onIdle: ({ peer }) => told.push(`idle ${peer}`),
    onMalformedConnect: ({ peer }) => told.push(`400 ${peer}`),
    onPeerError: ({ code, detail }, { peer }) => told.push(`${code} ${detail} ${peer}`),
  };
  const all: TunnelServerOptions = {
    identity: () => server,
    trustDomains: () => ["cluster.local"],
    limits: TUNNEL_LIMITS,
    handshakeTimeoutMs: 2000,
    ...options,
  };
  const tunnels = new TunnelServer(all, handler);
  await tunnels.listen("127.0.0.1", 0);
  cleanups.push(() => tunnels.destroy());
  return { tunnels, arrivals, failures, told, port: tunnels.address!.port };
}

function makePool(options: Partial<TunnelPoolOptions> = {}): TunnelPool {
  const pool = new TunnelPool({
    connectTimeoutMs: 2000,
    maxStreamsPerConnection: 100,
    idleTimeoutMs: 300_000,
    limits: TUNNEL_LIMITS,
    ...options,
  });
  cleanups.push(() => pool.destroy());
  return pool;
}

function targetOf(port: number, options: Partial<TunnelTarget> = {}): TunnelTarget {
  return {
    host: "127.0.0.1",
    port,
    expected: [idOf("server")],
    identity: () => client,
    sourceAddress: undefined,
    poolKey: idOf("client"),
    ...options,
  };
}

interface Opened {
  readonly stream: Http2Stream;
  readonly headers: HeaderList;
}

interface Refused {
  readonly failure: Failure;
  readonly status: number;
}

function open(pool: TunnelPool, target: TunnelTarget, authority = "10.0.0.1:80") {
  return new Promise<Opened>((resolve, reject) => {
    pool.open(
      target,
      { authority, headers: ["x-test", "yes"] },
      {
        onOpen: (stream, headers) => resolve({ stream, headers }),
        onRefused: (failure, status) => reject({ failure, status } satisfies Refused),
      },
    );
  });
}

function refusalOf(opening: Promise<Opened>): Promise<Refused> {
  return opening.then(
    () => {
      throw new Error("it was opened");
    },
    (refused: Refused) => refused,
  );
}

/** Sends a text through the tunnel and reads as much back. */
async function echo(stream: Http2Stream, text: string): Promise<string> {
  let received = "";
  stream.consumer = {
    onData(bytes, start, end) {
      received += bytes.toString("utf8", start, end);
      stream.credit(end - start);
    },
    onEnd() {},
    onClosed() {},
  };
  const bytes = Buffer.from(text);
  stream.write(bytes, 0, bytes.length, null);
  await expect.poll(() => received.length, { interval: 2 }).toBe(text.length);
  return received;
}

describe("a tunnel", () => {
  test("carries bytes, with the client's identity and addresses at the server", async () => {
    const { arrivals, port } = await serve({}, ({ stream }) =>
      stream.respond([":status", "200", "baggage", "k8s.namespace.name=x"], false),
    );
    const pool = makePool();
    const target = targetOf(port, { sourceAddress: "127.0.0.7" });
    const { stream, headers } = await open(pool, target, "[fd00::1]:9080");
    expect(header(headers, "baggage")).toBe("k8s.namespace.name=x");
    expect(await echo(stream, "through the mesh")).toBe("through the mesh");
    const [arrival] = arrivals;
    expect(arrival?.authority).toBe("[fd00::1]:9080");
    expect(header(arrival!.headers, "x-test")).toBe("yes");
    expect(header(arrival!.headers, ":scheme")).toBeUndefined();
    expect(arrival?.connection).toMatchObject({
      peer: idOf("client"),
      remoteAddress: "127.0.0.7",
      localAddress: "127.0.0.1",
      localPort: port,
    });
  });

  test("ends in each direction by itself", async () => {
    const { port } = await serve();
    const { stream } = await open(makePool(), targetOf(port));
    const events: (string | StreamReset | undefined)[] = [];
    stream.consumer = {
      onData: (bytes, start, end) => {
        events.push(bytes.toString("utf8", start, end));
        stream.credit(end - start);
      },
      onEnd: () => events.push("end"),
      onClosed: (reset) => events.push("closed", reset),
    };
    stream.write(Buffer.from("bye"), 0, 3, null);
    stream.end();
    await expect.poll(() => events).toEqual(["bye", "end", "closed", undefined]);
  });

  test("shares a connection with others of its kind, and with no others", async () => {
    const { arrivals, tunnels, port } = await serve();
    const pool = makePool();
    await Promise.all([open(pool, targetOf(port)), open(pool, targetOf(port))]);
    await open(pool, targetOf(port));
    expect(tunnels.connectionCount).toBe(1);
    expect(new Set(arrivals.map(({ connection }) => connection)).size).toBe(1);
    const other = await mesh.identity("other");
    await open(pool, targetOf(port, { poolKey: idOf("other"), identity: () => other }));
    expect(arrivals[3]?.connection.peer).toBe(idOf("other"));
    await open(pool, targetOf(port, { sourceAddress: "127.0.0.8" }));
    expect(arrivals[4]?.connection.remoteAddress).toBe("127.0.0.8");
    await open(pool, targetOf(port, { expected: [idOf("server"), idOf("second")] }));
    expect(tunnels.connectionCount).toBe(4);
    await open(pool, targetOf(port, { expected: [idOf("second"), idOf("server")] }));
    expect(tunnels.connectionCount).toBe(4);
    expect(pool.stats).toEqual({ connections: 4, connecting: 0, streams: 7, waiting: 0 });
  });

  test("that is refused says with which status, and leaves no stream behind", async () => {
    for (const endStream of [true, false]) {
      const { port } = await serve({}, ({ stream }) =>
        stream.respond([":status", "401"], endStream),
      );
      const pool = makePool();
      const { failure, status } = await refusalOf(open(pool, targetOf(port)));
      expect(status).toBe(401);
      expect(failure.code).toBe("UPSTREAM_REFUSED");
      expect(failure.message).toContain("CONNECT 10.0.0.1:80");
      expect(pool.stats.streams).toBe(0);
    }
  });

  test("that is aborted is not heard of again", async () => {
    const { arrivals, port } = await serve({}, () => {});
    const pool = makePool();
    let calls = 0;
    const listener = { onOpen: () => calls++, onRefused: () => calls++ };
    const request = { authority: "10.0.0.1:80", headers: [] };
    pool.open(targetOf(port), request, listener).abort();
    const later = pool.open(targetOf(port), request, listener);
    await expect.poll(() => arrivals.length).toBe(1);
    later.abort();
    await expect.poll(() => arrivals[0]?.stream.isClosed).toBe(true);
    expect(calls).toBe(0);
    expect(pool.stats).toMatchObject({ streams: 0, waiting: 0 });
  });
});

describe("TunnelPool", () => {
  test("opens another connection when one is full", async () => {
    const { tunnels, port } = await serve();
    const pool = makePool({ maxStreamsPerConnection: 10 });
    const opened = await Promise.all(Array.from({ length: 25 }, () => open(pool, targetOf(port))));
    expect(tunnels.connectionCount).toBe(3);
    expect(pool.stats).toEqual({ connections: 3, connecting: 0, streams: 25, waiting: 0 });
    const perConnection = new Map<unknown, number>();
    for (const { stream } of opened) {
      perConnection.set(stream.connection, (perConnection.get(stream.connection) ?? 0) + 1);
    }
    expect(Math.max(...perConnection.values())).toBeLessThanOrEqual(10);
  });

  test("respects a lower limit of the peer", async () => {
    const limits: Http2Limits = { ...TUNNEL_LIMITS, maxConcurrentStreams: 3 };
    const { tunnels, port } = await serve({ limits });
    const pool = makePool();
    await Promise.all(Array.from({ length: 7 }, () => open(pool, targetOf(port))));
    expect(tunnels.connectionCount).toBe(3);
  });

  test("bounds connections, waiting tunnels and their wait", async () => {
    const { port } = await serve();
    const limits: string[] = [];
    const pool = makePool({
      maxStreamsPerConnection: 2,
      maxConnectionsPerTarget: 2,
      maxWaiting: 5,
      connectTimeoutMs: 500,
      onLimit: (limit) => limits.push(limit),
    });
    const outcomes = await Promise.allSettled(
      Array.from({ length: 10 }, () => open(pool, targetOf(port))),
    );
    const refused = outcomes.filter((outcome) => outcome.status === "rejected");
    expect(outcomes.length - refused.length).toBe(4);
    const failures = refused.map(({ reason }) => (reason as Refused).failure);
    expect(failures.filter(({ code }) => code === "UPSTREAM_OVERFLOW").length).toBe(5);
    const late = failures.filter(({ code }) => code === "UPSTREAM_CONNECT_TIMEOUT");
    expect(late.map(({ message }) => message)).toEqual([
      expect.stringContaining("no connection with room in time"),
    ]);
    expect(pool.stats).toEqual({ connections: 2, connecting: 0, streams: 4, waiting: 0 });
    // Two connections take four; the fifth waits, and five more are too many.
    expect(limits).toEqual([
      "tunnels_to_target",
      ...Array.from({ length: 5 }, () => "waiting_tunnels"),
    ]);
  });

  test("who waits has the place of who leaves", async () => {
    const { tunnels, port } = await serve();
    const pool = makePool({ maxStreamsPerConnection: 2, maxConnectionsPerTarget: 2 });
    let opened = 0;
    const all = Array.from({ length: 40 }, async () => {
      const { stream } = await open(pool, targetOf(port));
      opened++;
      expect(pool.stats.streams).toBeLessThanOrEqual(4);
      expect(await echo(stream, "hello")).toBe("hello");
      stream.reset("cancel");
    });
    await Promise.all(all);
    expect(opened).toBe(40);
    expect(tunnels.connectionCount).toBe(2);
    expect(pool.stats).toMatchObject({ streams: 0, waiting: 0 });
  });

  test("closes connections that nobody uses", async () => {
    const { tunnels, port } = await serve();
    const pool = makePool({ idleTimeoutMs: 100 });
    const { stream } = await open(pool, targetOf(port));
    await wait(250);
    expect(tunnels.connectionCount).toBe(1);
    stream.reset("cancel");
    await wait(50);
    const again = await open(pool, targetOf(port));
    expect(tunnels.connectionCount).toBe(1);
    again.stream.reset("cancel");
    await expect.poll(() => tunnels.connectionCount).toBe(0);
    expect(pool.stats).toEqual({ connections: 0, connecting: 0, streams: 0, waiting: 0 });
  });

  test("uses the certificate of the moment for each new connection", async () => {
    const { arrivals, port } = await serve();
    const pool = makePool({ maxStreamsPerConnection: 1 });
    let identity: TlsIdentity = client;
    const target = targetOf(port, { identity: () => identity });
    const old = await open(pool, target);
    identity = await mesh.identity("renewed");
    await open(pool, target);
    expect(arrivals.map(({ connection }) => connection.peer)).toEqual([
      idOf("client"),
      idOf("renewed"),
    ]);
    expect(await echo(old.stream, "still open")).toBe("still open");
  });

  test("tells all who wait why there is no connection", async () => {
    const { port, failures } = await serve();
    const pool = makePool();
    const wrong = targetOf(port, { expected: [idOf("reviews")] });
    const refused = await Promise.all([1, 2, 3].map(() => refusalOf(open(pool, wrong))));
    for (const { failure, status } of refused) {
      expect(failure.code).toBe("UPSTREAM_TLS_FAILED");
      expect(status).toBe(0);
    }
    const none = await refusalOf(open(pool, targetOf(port, { identity: () => undefined })));
    expect(none.failure.code).toBe("CERTIFICATE_UNAVAILABLE");
    const expired = await mesh.identity("client", { ageMs: 2 * HOUR_MS });
    const old = targetOf(port, { identity: () => expired, poolKey: "expired" });
    const judged = await refusalOf(open(pool, old));
    expect(judged.failure.code).toBe("UPSTREAM_TLS_FAILED");
    expect(judged.failure.message).toContain("does the server accept this client's certificate?");
    await expect.poll(() => failures.at(-1)?.message).toContain("CERT_HAS_EXPIRED");
    const absent = net.createServer().listen(0, "127.0.0.1");
    await once(absent, "listening");
    const closedPort = (absent.address() as net.AddressInfo).port;
    absent.close();
    await once(absent, "close");
    const nobody = await refusalOf(open(pool, targetOf(closedPort)));
    expect(nobody.failure.code).toBe("UPSTREAM_CONNECT_FAILED");
    expect(pool.stats).toEqual({ connections: 0, connecting: 0, streams: 0, waiting: 0 });
  });

  test("waits only so long: for TCP, for SETTINGS, for the answer", async () => {
    const mute = await scriptedPeer(() => {});
    const pool = makePool({ connectTimeoutMs: 100 });
    const silent = await refusalOf(open(pool, targetOf(mute.port)));
    expect(silent.failure.code).toBe("UPSTREAM_CONNECT_TIMEOUT");
    expect(silent.failure.message).toContain("no HTTP/2 SETTINGS");
    const { port, arrivals } = await serve({}, () => {});
    const unanswered = await refusalOf(open(pool, targetOf(port)));
    expect(unanswered.failure.code).toBe("UPSTREAM_CONNECT_TIMEOUT");
    await expect.poll(() => arrivals[0]?.stream.isClosed).toBe(true);
  });

  test("opens tunnels elsewhere after a GOAWAY and keeps those it has", async () => {
    const { tunnels, port, arrivals } = await serve();
    const pool = makePool();
    const { stream } = await open(pool, targetOf(port));
    const drained = tunnels.drain();
    await expect.poll(() => stream.connection.isDraining).toBe(true);
    const second = await serve();
    const retry = await refusalOf(open(pool, targetOf(port)));
    expect(retry.failure.code).toBe("UPSTREAM_CONNECT_FAILED");
    expect(await echo(stream, "to the end")).toBe("to the end");
    expect(arrivals.length).toBe(1);
    stream.end();
    await drained;
    expect(tunnels.connectionCount).toBe(0);
    await open(pool, targetOf(second.port));
  });

  test("sends a CONNECT once more when the peer says that it did not look at it", async () => {
    for (const refusal of [goaway(0), reset(1, REFUSED_STREAM)]) {
      let connections = 0;
      const peer = await scriptedPeer((socket) => {
        connections++;
        const isFirst = connections === 1;
        socket.write(SETTINGS);
        onHeaders(socket, (id) => socket.write(isFirst ? refusal : ok(id)));
      });
      const pool = makePool();
      const { headers } = await open(pool, targetOf(peer.port));
      expect(header(headers, ":status")).toBe("200");
      expect(connections).toBe(2);
    }
  });

  test("sends a CONNECT no third time, and not again when the peer may have acted on it", async () => {
    let asked = 0;
    const refusing = await scriptedPeer((socket) => {
      socket.write(SETTINGS);
      onHeaders(socket, (id) => {
        asked++;
        socket.write(reset(id, REFUSED_STREAM));
      });
    });
    const pool = makePool();
    const twice = await refusalOf(open(pool, targetOf(refusing.port)));
    expect(twice).toMatchObject({ failure: { code: "UPSTREAM_REFUSED" }, status: 0 });
    expect(asked).toBe(2);
    asked = 0;
    const dying = await scriptedPeer((socket) => {
      socket.write(SETTINGS);
      onHeaders(socket, () => {
        asked++;
        socket.destroy();
      });
    });
    const lost = await refusalOf(open(pool, targetOf(dying.port)));
    expect(lost).toMatchObject({ failure: { code: "UPSTREAM_CONNECT_FAILED" }, status: 0 });
    expect(asked).toBe(1);
  });

  test("does not open connections for ever to a peer that takes no streams", async () => {
    let connections = 0;
    const peer = await scriptedPeer((socket) => {
      connections++;
      // MAX_CONCURRENT_STREAMS = 0 (RFC 9113 §6.5.2).
      socket.write(frame(4, 0, 0, Buffer.from([0, 3, 0, 0, 0, 0])));
    });
    const { failure } = await refusalOf(open(makePool(), targetOf(peer.port)));
    expect(failure.message).toContain("takes no streams");
    expect(connections).toBe(1);
  });

  test("drain() waits for the last tunnel and takes no more", async () => {
    const { port, tunnels } = await serve();
    const pool = makePool();
    const { stream } = await open(pool, targetOf(port));
    let isDrained = false;
    const drained = pool.drain().then(() => {
      isDrained = true;
    });
    const late = await refusalOf(open(pool, targetOf(port)));
    expect(late.failure.message).toContain("shutting down");
    expect(await echo(stream, "still here")).toBe("still here");
    expect(isDrained).toBe(false);
    stream.end();
    await drained;
    await expect.poll(() => tunnels.connectionCount).toBe(0);
  });

  test("destroy() ends everything at once", async () => {
    const { port, tunnels } = await serve();
    const pool = makePool();
    const { stream } = await open(pool, targetOf(port));
    const waiting = refusalOf(open(pool, targetOf(port, { poolKey: "another" })));
    let reset: StreamReset | undefined;
    stream.consumer = { onData() {}, onEnd() {}, onClosed: (why) => (reset = why) };
    pool.destroy();
    expect((await waiting).failure.code).toBe("UPSTREAM_CONNECT_FAILED");
    expect(reset?.by).toBe("connection");
    await expect.poll(() => tunnels.connectionCount).toBe(0);
    expect(pool.stats).toEqual({ connections: 0, connecting: 0, streams: 0, waiting: 0 });
  });
});

describe("TunnelServer", () => {
  test("answers 400 to what is no CONNECT with an authority", async () => {
    const { port, arrivals, told } = await serve();
    const pool = makePool();
    for (const authority of ["10.0.0.1", "10.0.0.1:0", "::1:80", "host:port", "a@b:80"]) {
      const { status } = await refusalOf(open(pool, targetOf(port), authority));
      expect(status, authority).toBe(400);
    }
    expect(arrivals).toEqual([]);
    expect(told).toEqual(Array.from({ length: 5 }, () => `400 ${idOf("client")}`));
    await open(pool, targetOf(port));
    expect(arrivals.length).toBe(1);
  });

  test("keeps its owner's state with the connection", async () => {
    const { port, arrivals } = await serve({}, ({ stream, connection }) => {
      connection.data = ((connection.data as number | undefined) ?? 0) + 1;
      stream.respond([":status", "200"], false);
    });
    const pool = makePool();
    await open(pool, targetOf(port));
    await open(pool, targetOf(port));
    expect(arrivals[0]?.connection.data).toBe(2);
  });

  test("tells what a client breaks, and who it is", async () => {
    const { port, told } = await serve();
    const socket = await dialTls(port);
    socket.write(Buffer.concat([CLIENT_PREFACE, settings(), frame(T.ping, 0, 1, Buffer.alloc(8))]));
    await closeOf(socket);
    expect(told).toEqual([`PROTOCOL_ERROR §6.7: PING on a stream ${idOf("client")}`]);
  });

  test("has no time for a client that never speaks HTTP/2", async () => {
    const { tunnels, failures, port } = await serve({ handshakeTimeoutMs: 100 });
    const silent = await dialTls(port);
    await expect.poll(() => tunnels.connectionCount).toBe(1);
    await closeOf(silent);
    expect(tunnels.connectionCount).toBe(0);
    await closeOf(dialPlain(port));
    expect(failures.map(({ code }) => code)).toEqual(["TIMEOUT", "TLS_HANDSHAKE_FAILED"]);
  });

  test("asks a connection without tunnels to go, and says so", async () => {
    const { tunnels, told, port } = await serve({ idleTimeoutMs: 50 });
    const { stream } = await open(makePool(), targetOf(port));
    await wait(150);
    expect(told).toEqual([]);
    stream.reset("cancel");
    await expect.poll(() => tunnels.connectionCount).toBe(0);
    expect(told).toEqual([`idle ${idOf("client")}`]);
  });

  test("limits connections and handshakes", async () => {
    const limits = { maxConnections: 3, maxHandshakes: 1 };
    const { failures, port, tunnels } = await serve(limits);
    // A client is done with its handshake before the server is.
    const dialNth = async (count: number) => {
      await dialTls(port);
      await expect.poll(() => tunnels.connectionCount).toBe(count);
    };
    await dialNth(1);
    const stalled = dialPlain(port);
    await once(stalled, "connect");
    await closeOf(dialPlain(port));
    expect(failures[0]).toMatchObject({ code: "TOO_MANY_CONNECTIONS" });
    expect(failures[0]?.message).toContain("1 handshakes");
    stalled.destroy();
    await expect.poll(() => failures.at(-1)?.code).toBe("TLS_HANDSHAKE_FAILED");
    await dialNth(2);
    await dialNth(3);
    await closeOf(dialPlain(port));
    expect(failures.at(-1)?.message).toContain("3 connections");
  });

  test("refuses while it has no certificate", async () => {
    const { failures, port } = await serve({ identity: () => undefined });
    const { failure } = await refusalOf(open(makePool(), targetOf(port)));
    expect(failure.side).toBe("upstream");
    expect(failures[0]?.code).toBe("CERTIFICATE_UNAVAILABLE");
  });

  test("drain() lets tunnels finish, refuses new connections, and destroy() cuts", async () => {
    const { tunnels, port } = await serve();
    const pool = makePool();
    const { stream } = await open(pool, targetOf(port));
    let isDrained = false;
    void tunnels.drain().then(() => {
      isDrained = true;
    });
    expect(await echo(stream, "go on")).toBe("go on");
    await wait(20);
    expect(isDrained).toBe(false);
    tunnels.destroy();
    await expect.poll(() => isDrained).toBe(true);
    await expect.poll(() => stream.isClosed).toBe(true);
  });

  test("listen() says when the port is somebody's", async () => {
    const { port } = await serve();
    const other = new TunnelServer(
      {
        identity: () => server,
        trustDomains: () => [],
        limits: TUNNEL_LIMITS,
        handshakeTimeoutMs: 100,
      },
      { onConnect() {} },
    );
    await expect(other.listen("127.0.0.1", port)).rejects.toMatchObject({ code: "PORT_IN_USE" });
  });
});

/** A TCP client that sends nothing. */
function dialPlain(port: number): net.Socket {
  const socket = net.connect(port, "127.0.0.1").resume();
  socket.on("error", () => {});
  cleanups.push(() => socket.destroy());
  return socket;
}

function closeOf(socket: net.Socket): Promise<unknown> {
  return new Promise((resolve) => socket.once("close", resolve));
}

/** A TLS client of the mesh that sends nothing. */
function dialTls(port: number): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const expected = [idOf("server")];
    const options = { host: "127.0.0.1", port, identity: client, expected, timeoutMs: 2000 };
    connectTls(options, (result) => {
      if (result instanceof Failure) {
        reject(result);
        return;
      }
      cleanups.push(() => result.socket.destroy());
      result.socket.resume();
      resolve(result.socket);
    });
  });
}

// ---- a server that speaks frames by hand

const REFUSED_STREAM = 7;
const SETTINGS = frame(4, 0, 0, Buffer.alloc(0));

function words(...values: number[]): Buffer {
  const payload = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) payload.writeUInt32BE(value, index * 4);
  return payload;
}

const goaway = (last: number) => frame(7, 0, 0, words(last, 0));
const reset = (id: number, code: number) => frame(3, 0, id, words(code));
/** HEADERS with `:status: 200`, which is entry 8 of the static table (RFC 7541 appendix A). */
const ok = (id: number) => frame(1, 4, id, Buffer.from([0x88]));

/** Calls back for every HEADERS frame that the client sends. */
function onHeaders(socket: net.Socket, callback: (id: number) => void): void {
  let held = Buffer.alloc(0);
  let skip = 24;
  socket.on("data", (bytes: Buffer) => {
    held = Buffer.concat([held, bytes]);
    if (held.length < skip) return;
    held = held.subarray(skip);
    skip = 0;
    while (held.length >= 9) {
      const length = held.readUIntBE(0, 3);
      if (held.length < 9 + length) return;
      const [type, id] = [held[3], held.readUInt32BE(5)];
      held = held.subarray(9 + length);
      if (type === 1) callback(id);
    }
  });
}

async function scriptedPeer(onSocket: (socket: net.Socket) => void): Promise<{ port: number }> {
  const listener = net.createServer((raw) => {
    const trustDomains = ["cluster.local"];
    acceptTls(raw, { identity: server, trustDomains, handshakeTimeoutMs: 2000 }, (result) => {
      if (result instanceof Failure) return;
      cleanups.push(() => result.socket.destroy());
      onSocket(result.socket);
    });
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  cleanups.push(() => listener.close());
  return { port: (listener.address() as net.AddressInfo).port };
}
