/**
 * A client that reads a byte a second of an answer of 100 MiB, and a server that does so of an
 * upload: over a client's ztunnel, a waypoint and a server's ztunnel, each a process of its own.
 * Whatever the protocol, none of them may hold more than two windows and 1 MiB above idle.
 *
 * `npm run soak` takes its time over every protocol; `npm test` looks at two for a moment.
 */
import { readSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TUNNEL_LIMITS } from "../../src/net/http2/limits.ts";
import { block, CLIENT_PREFACE, frame, settings, T, words } from "../support/peer.ts";
import { Host } from "./host.ts";
import { sleep } from "./wire.ts";

const MIB = 1024 * 1024;
const BODY_BYTES = 100 * MIB;
const HELD_BYTES_MAX = 2 * TUNNEL_LIMITS.streamWindowBytesMax + MIB;
const isSoak = process.env.SOAK !== undefined;
const SLOW_MS = isSoak ? Number(process.env.SOAK) * 1000 : 2_000;
const WIDE_OPEN = [settings([4, 0x7fffffff]), frame(T.windowUpdate, 0, 0, words(0x7fff0000))];
const ROLES = ["client's ztunnel", "waypoint", "server's ztunnel"] as const;

let directory: string;
let server: net.Server;
let hosts: Host[] = [];
/** What the present test does with a connection to the backend. */
let serve: (socket: net.Socket) => void = () => {};
const open = new Set<net.Socket>();

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "waystone-slow-"));
  server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    open.add(socket);
    socket.on("error", () => {});
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const appPort = String((server.address() as net.AddressInfo).port);
  // From the server's end to the client's: each knows the port of the next.
  const last = await Host.start(directory, {}, appPort);
  const middle = await Host.start(directory, { "127.0.0.2": last.listening.inbound }, appPort);
  const first = await Host.start(directory, { "127.0.0.9": middle.listening.waypoint }, appPort);
  hosts = [first, middle, last];
});
afterAll(async () => {
  for (const socket of open) socket.destroy();
  server.close();
  for (const host of hosts) await host.stop();
  await rm(directory, { recursive: true });
});

type Protocol = "http1" | "http2" | "tcp";

/** As an application of the workload `client`. */
function connect(protocol: Protocol): net.Socket {
  const port = hosts[0]!.listening[protocol];
  const socket = net.connect({ host: "127.0.0.1", port, localAddress: "127.0.0.5" });
  socket.on("error", () => {});
  open.add(socket);
  return socket;
}

/** Reads a byte of a socket that is paused, beneath Node's buffers. */
function readByte(socket: net.Socket): void {
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
  try {
    readSync(fd, Buffer.alloc(1));
  } catch (caught) {
    if ((caught as NodeJS.ErrnoException).code !== "EAGAIN") throw caught;
  }
}

/** As much as the other side takes. */
function flood(stream: NodeJS.WritableStream, bytes: number): { sent: number } {
  const block = Buffer.alloc(65_536, 0x78);
  const progress = { sent: 0 };
  const write = () => {
    while (progress.sent < bytes) {
      progress.sent += block.length;
      if (!stream.write(block)) return;
    }
    stream.end();
  };
  stream.on("drain", write);
  stream.on("error", () => {});
  write();
  return progress;
}

interface Play {
  /** Bytes that the fast end has got rid of. */
  sent(): number;
  /** The slow end reads one more byte. */
  readOne(): void;
}

const downloads: Record<Protocol, () => Play> = {
  http1: () => {
    let progress = { sent: 0 };
    serve = (socket) => {
      socket.resume();
      socket.once("data", () => {
        socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${BODY_BYTES}\r\n\r\n`);
        progress = flood(socket, BODY_BYTES);
      });
    };
    const client = connect("http1");
    client.write("GET /big HTTP/1.1\r\nhost: calm\r\n\r\n");
    return { sent: () => progress.sent, readOne: () => readByte(client) };
  },
  // Windows wide open on both sides: only the sockets say how much is too much.
  http2: () => {
    let progress = { sent: 0 };
    const backend = http2.createServer();
    backend.on("stream", (stream) => {
      stream.respond({ ":status": 200 });
      progress = flood(stream, BODY_BYTES);
    });
    serve = (socket) => backend.emit("connection", socket.resume());
    const client = connect("http2");
    const get = block(":method", "GET", ":scheme", "http", ":authority", "calm", ":path", "/big");
    client.write(Buffer.concat([CLIENT_PREFACE, ...WIDE_OPEN, frame(T.headers, 5, 1, get)]));
    return { sent: () => progress.sent, readOne: () => readByte(client) };
  },
  tcp: () => {
    let progress = { sent: 0 };
    serve = (socket) => {
      progress = flood(socket, BODY_BYTES);
    };
    const client = connect("tcp");
    return { sent: () => progress.sent, readOne: () => readByte(client) };
  },
};

const uploads: Record<Protocol, () => Play> = {
  http1: () => {
    let slow: net.Socket | undefined;
    serve = (socket) => {
      slow = socket;
    };
    const client = connect("http1");
    client.write(`POST /big HTTP/1.1\r\nhost: calm\r\ncontent-length: ${BODY_BYTES}\r\n\r\n`);
    const progress = flood(client, BODY_BYTES);
    return { sent: () => progress.sent, readOne: () => slow && readByte(slow) };
  },
  http2: () => {
    let slow: net.Socket | undefined;
    serve = (socket) => {
      slow = socket;
      socket.write(Buffer.concat(WIDE_OPEN));
    };
    const session = http2.connect("http://calm", { createConnection: () => connect("http2") });
    session.on("error", () => {});
    const stream = session.request({ ":path": "/big", ":method": "POST" });
    const progress = flood(stream, BODY_BYTES);
    return { sent: () => progress.sent, readOne: () => slow && readByte(slow) };
  },
  tcp: () => {
    let slow: net.Socket | undefined;
    serve = (socket) => {
      slow = socket;
    };
    const progress = flood(connect("tcp"), BODY_BYTES);
    return { sent: () => progress.sent, readOne: () => slow && readByte(slow) };
  },
};

/** 1 MiB through the same hops at full speed, so that connections and code are warm. */
async function warmUp(): Promise<void> {
  serve = (socket) => {
    socket.resume();
    socket.once("data", () => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${MIB}\r\nconnection: close\r\n\r\n`);
      flood(socket, MIB);
    });
  };
  const options = { createConnection: () => connect("http1"), headers: { host: "calm" } };
  await new Promise<void>((resolve, reject) => {
    const request = http.get(options, (answer) => answer.resume().once("end", resolve));
    request.once("error", reject);
  });
}

async function holdLittle(play: () => Play): Promise<void> {
  await warmUp();
  const idle = await Promise.all(hosts.map((host) => host.figures()));
  const { sent, readOne } = play();
  const endMs = performance.now() + SLOW_MS;
  const peaks = hosts.map(() => 0);
  const rssPeaks = hosts.map(() => 0);
  while (performance.now() < endMs) {
    await sleep(isSoak ? 1_000 : 500);
    readOne();
    const now = await Promise.all(hosts.map((host) => host.figures()));
    for (const [i, figures] of now.entries()) {
      peaks[i] = Math.max(peaks[i]!, figures.heldBytes - idle[i]!.heldBytes);
      rssPeaks[i] = Math.max(rssPeaks[i]!, figures.rss - idle[i]!.rss);
    }
    if (process.env.FIGURES) {
      const line = now.map((f, i) => {
        const held = (f.heldBytes - idle[i]!.heldBytes) / MIB;
        return `${ROLES[i]} ${held.toFixed(1)} rss ${((f.rss - idle[i]!.rss) / MIB).toFixed(1)}`;
      });
      console.log(`sent ${(sent() / MIB).toFixed(1)} MiB; ${line.join("; ")}`);
    }
  }
  for (const socket of open) socket.destroy();
  open.clear();
  // It has begun, and it has been stopped.
  expect(sent()).toBeGreaterThan(MIB);
  expect(sent()).toBeLessThan(BODY_BYTES);
  for (const [i, peak] of peaks.entries()) {
    expect(peak, ROLES[i]).toBeLessThan(HELD_BYTES_MAX);
    expect(rssPeaks[i], ROLES[i]).toBeLessThan(HELD_BYTES_MAX);
  }
}

const PROTOCOLS: readonly Protocol[] = isSoak ? ["http1", "http2", "tcp"] : ["http1"];

describe("a byte a second", () => {
  test.each(PROTOCOLS)("read by a client over %s", (protocol) => holdLittle(downloads[protocol]));
  test.each(PROTOCOLS)("read by a server over %s", (protocol) => holdLittle(uploads[protocol]));
});
