/** Over real sockets, with an outside judge at the other end: Node's own HTTP/2. */
import http2 from "node:http2";
import net, { type AddressInfo } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { CONNECT, OK, Owner, Recorder } from "../../../test/support/http2-sides.ts";
import { Http2Connection } from "./connection.ts";
import { TUNNEL_LIMITS } from "./limits.ts";
import { SocketTransport } from "./transport.ts";

const open: (() => void)[] = [];
afterEach(() => {
  for (const close of open.splice(0)) close();
});

async function listening(server: net.Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  open.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** A server of ours; every stream goes through `owner`. */
async function serve(owner: Owner, limits = TUNNEL_LIMITS): Promise<number> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    open.push(() => socket.destroy());
    new Http2Connection(new SocketTransport(socket), "server", owner, limits);
  });
  return listening(server);
}

function dial(port: number, owner: Owner, limits = TUNNEL_LIMITS): Http2Connection {
  const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  open.push(() => socket.destroy());
  return new Http2Connection(new SocketTransport(socket), "client", owner, limits);
}

function pattern(length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, i) => (i * 31) >> 5));
}

const MEGABYTES = 8 * 1_048_576;

test("two connections of ours carry much in both directions at once", async () => {
  const serverOwner = new Owner();
  const bytes = pattern(MEGABYTES);
  serverOwner.onAccept = (stream) => {
    stream.respond(OK, false);
    stream.write(bytes, 0, bytes.length, null);
    stream.end();
  };
  const client = dial(await serve(serverOwner), new Owner());
  const nears = Array.from({ length: 3 }, () => {
    const near = new Recorder();
    near.of(client.open(CONNECT, false, near));
    near.stream!.write(bytes, 0, bytes.length, null);
    near.stream!.end();
    return near;
  });
  await expect.poll(() => nears.every((near) => near.isClosed), { timeout: 15_000 }).toBe(true);
  for (const each of [...nears, ...serverOwner.streams]) {
    expect(each.log.at(-1)).toBe("closed orderly");
    expect(each.bytes.equals(bytes)).toBe(true);
  }
  await client.drain();
  await expect.poll(() => serverOwner.log.at(-1)).toBe("closed orderly");
});

test("two ends with wide windows and much under way do not stop reading each other", async () => {
  const limits = {
    ...TUNNEL_LIMITS,
    streamWindowBytes: 32 * 1_048_576,
    connectionWindowBytes: 64 * 1_048_576,
  };
  const bytes = Buffer.alloc(30 * 1_048_576);
  const [serverOwner, owner] = [new Owner(), new Owner()];
  serverOwner.onAccept = (stream) => {
    stream.respond(OK, false);
    stream.write(bytes, 0, bytes.length, null);
    stream.end();
  };
  const client = dial(await serve(serverOwner, limits), owner, limits);
  await expect.poll(() => owner.log).toContain("ready");
  const near = new Recorder();
  near.of(client.open(CONNECT, false, near));
  near.stream!.write(bytes, 0, bytes.length, null);
  near.stream!.end();
  await expect.poll(() => near.log.at(-1), { timeout: 10_000 }).toBe("closed orderly");
  expect(near.bytes).toHaveLength(bytes.length);
});

describe("Node's client", () => {
  test("opens a tunnel through our server, and sees the half-close", async () => {
    const owner = new Owner();
    owner.onAccept = (stream, _headers, far) => {
      stream.respond([":status", "200", "baggage", "k8s.namespace.name=default"], false);
      const { onEnd } = far;
      far.onEnd = () => {
        onEnd.call(far);
        stream.write(far.bytes, 0, far.bytes.length, null);
        stream.end();
      };
    };
    const session = http2.connect(`http://127.0.0.1:${await serve(owner)}`);
    open.push(() => session.destroy());
    const request = session.request({ ":method": "CONNECT", ":authority": "10.0.0.1:80" });
    const bytes = pattern(3_000_000);
    request.end(bytes);
    const [headers] = await new Promise<[http2.IncomingHttpHeaders]>((resolve) => {
      request.once("response", (...all) => resolve([all[0]]));
    });
    expect(headers).toMatchObject({ ":status": 200, baggage: "k8s.namespace.name=default" });
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    expect(Buffer.concat(parts).equals(bytes)).toBe(true);
    expect(owner.streams[0]!.log.at(-1)).toBe("closed orderly");
  });

  test("posts with trailers, Huffman and a dynamic table, many times", async () => {
    const owner = new Owner();
    owner.onAccept = (stream) => {
      stream.respond([":status", "200", "set-cookie", "a=b", "x-long", "y".repeat(20_000)], false);
      stream.write(Buffer.from("ok"), 0, 2, null);
      stream.sendTrailers(["grpc-status", "0"]);
    };
    const session = http2.connect(`http://127.0.0.1:${await serve(owner)}`);
    open.push(() => session.destroy());
    for (let i = 0; i < 50; i++) {
      const cookie = [`session=${i % 3}`, "theme=dark"];
      const request = session.request({ ":method": "POST", ":path": `/items/${i}`, cookie });
      request.end("body");
      const trailers = await new Promise((resolve) => {
        request.once("trailers", resolve);
        request.resume();
      });
      expect(trailers).toMatchObject({ "grpc-status": "0" });
      const { log, bytes } = owner.streams[i]!;
      expect(log[0]).toContain(`:path /items/${i} `);
      expect(log[0]).toContain(`cookie session=${i % 3}`);
      expect(bytes.toString()).toBe("body");
    }
  });

  test.each([undefined, 4096, 100, 0])(
    "reads header lists that use its table of %s bytes",
    async (headerTableSize) => {
      const owner = new Owner();
      const list = (i: number) => [":status", "200", "x-app", "reviews", "x-turn", String(i % 7)];
      owner.onAccept = (stream) => stream.respond(list(owner.streams.length), true);
      const port = await serve(owner, { ...TUNNEL_LIMITS, indexesHeaders: true });
      const settings = headerTableSize === undefined ? {} : { headerTableSize };
      const session = http2.connect(`http://127.0.0.1:${port}`, { settings });
      open.push(() => session.destroy());
      for (let i = 1; i <= 40; i++) {
        // In the middle the table is narrowed: what was in it is gone.
        if (i === 20) await new Promise((done) => session.settings({ headerTableSize: 60 }, done));
        const request = session.request({ ":path": "/" });
        const headers = await new Promise((resolve, reject) => {
          request.once("response", resolve);
          request.once("error", reject);
        });
        expect(headers).toMatchObject({ "x-app": "reviews", "x-turn": String(i % 7) });
        request.resume();
      }
    },
  );

  test("is told GOAWAY by a drain, and its running stream goes on", async () => {
    const owner = new Owner();
    let server: Http2Connection | undefined;
    owner.onAccept = (stream) => {
      server = stream.connection;
      stream.respond(OK, false);
    };
    const session = http2.connect(`http://127.0.0.1:${await serve(owner)}`);
    open.push(() => session.destroy());
    const goaways: number[] = [];
    session.on("goaway", (code, last) => goaways.push(code, last));
    const request = session.request({ ":method": "CONNECT", ":authority": "10.0.0.1:80" });
    await new Promise((resolve) => request.once("response", resolve));
    const drained = server!.drain();
    await expect.poll(() => goaways).toEqual([0, 0x7fffffff, 0, 1]);
    request.end("last words");
    request.resume();
    await expect.poll(() => owner.streams[0]!.log.includes("end")).toBe(true);
    expect(owner.streams[0]!.bytes.toString()).toBe("last words");
    owner.streams[0]!.stream!.end();
    await drained;
  });
});

describe("Node's server", () => {
  const serveNode = async (onStream: (stream: http2.ServerHttp2Stream) => void) => {
    const server = http2.createServer({ settings: { initialWindowSize: 20_000 } });
    server.on("stream", onStream);
    return listening(server);
  };

  test("answers our tunnels, within its windows", async () => {
    const port = await serveNode((stream) => {
      stream.respond({ ":status": 200 });
      stream.pipe(stream);
    });
    const client = dial(port, new Owner());
    const bytes = pattern(1_000_000);
    const nears = Array.from({ length: 5 }, () => {
      const near = new Recorder();
      near.of(client.open(CONNECT, false, near));
      near.stream!.write(bytes, 0, bytes.length, null);
      near.stream!.end();
      return near;
    });
    await expect.poll(() => nears.every((near) => near.isClosed), { timeout: 10_000 }).toBe(true);
    for (const near of nears) {
      expect(near.log).toEqual([
        expect.stringMatching(/^headers :status 200/),
        "end",
        "closed orderly",
      ]);
      expect(near.bytes.equals(bytes)).toBe(true);
    }
  });

  test("refuses and resets, and we know why", async () => {
    const port = await serveNode((stream) => {
      stream.on("error", () => {});
      stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
    });
    const client = dial(port, new Owner());
    const near = new Recorder();
    near.of(client.open(CONNECT, false, near));
    await expect.poll(() => near.isClosed).toBe(true);
    expect(near.reset).toEqual({
      by: "peer",
      detail: "RST_STREAM REFUSED_STREAM",
      isRefused: true,
    });
  });
});

test("a socket that is gone closes the connection, also when it was gone before", async () => {
  const serverOwner = new Owner();
  const port = await serve(serverOwner);
  const owner = new Owner();
  const socket = net.connect({ port, host: "127.0.0.1" });
  await new Promise((resolve) => socket.once("connect", resolve));
  const client = new Http2Connection(new SocketTransport(socket), "client", owner, TUNNEL_LIMITS);
  const near = new Recorder();
  near.of(client.open(CONNECT, false, near));
  await expect.poll(() => serverOwner.streams.length).toBe(1);
  socket.resetAndDestroy();
  await expect.poll(() => owner.log.at(-1)).toMatch(/DOWNSTREAM_RESET/);
  expect(near.reset).toMatchObject({ by: "connection" });
  await expect.poll(() => serverOwner.log.at(-1)).toMatch(/ECONNRESET/);
  const late = new Owner();
  new Http2Connection(new SocketTransport(socket), "client", late, TUNNEL_LIMITS);
  await expect.poll(() => late.log.at(-1)).toMatch(/^closed/);
});
