import { once } from "node:events";
import net from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import type { Failure } from "../kit/failure.ts";
import { type ByteConsumer, ByteStream, type StreamReset } from "./byte-stream.ts";
import { Relay } from "./relay.ts";
import { connectTcp, TcpStream } from "./tcp-stream.ts";

const cleanups: (() => void)[] = [];

afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** A connected pair: a plain socket, and a stream at the other end. */
async function pair(highWaterBytes?: number) {
  const listener = net.createServer({ allowHalfOpen: true });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  const accepted = once(listener, "connection");
  const { port } = listener.address() as net.AddressInfo;
  const peer = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  peer.on("error", () => {});
  const [[socket]] = (await Promise.all([accepted, once(peer, "connect")])) as [[net.Socket], []];
  listener.close();
  cleanups.push(() => peer.destroy());
  cleanups.push(() => socket.destroy());
  const stream = new TcpStream(socket, highWaterBytes);
  const consumer = new Recorder(stream);
  return { peer, socket, stream, consumer };
}

/** Keeps what arrives and credits it, or not. */
class Recorder implements ByteConsumer {
  readonly events: string[] = [];
  readonly received: Buffer[] = [];
  readonly #stream: ByteStream;
  credits = true;
  reset: StreamReset | undefined;

  constructor(stream: ByteStream) {
    this.#stream = stream;
    stream.consumer = this;
  }

  get bytes(): number {
    return this.received.reduce((sum, bytes) => sum + bytes.length, 0);
  }

  onData(bytes: Buffer, start: number, end: number): void {
    this.received.push(Buffer.from(bytes.subarray(start, end)));
    if (this.credits) this.#stream.credit(end - start);
  }

  onEnd(): void {
    this.events.push("end");
  }

  onClosed(reset: StreamReset | undefined): void {
    this.reset = reset;
    this.events.push("closed");
  }
}

/** A source that counts the credit it gets. */
class Source extends ByteStream {
  readonly isClosed = false;
  readonly queuedBytes = 0;
  credited = 0;
  write(): void {}
  end(): void {}
  reset(): void {}
  credit(count: number): void {
    this.credited += count;
  }
}

function text(buffers: Buffer[]): string {
  return Buffer.concat(buffers).toString();
}

function pattern(bytes: number): Buffer {
  return Buffer.from(
    Array.from({ length: bytes }, (_, index) => (index * 7 + (index >> 8)) & 0xff),
  );
}

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe("TcpStream", () => {
  test("passes bytes both ways and lets the writer reuse its buffer", async () => {
    const { peer, stream, consumer } = await pair();
    const received: Buffer[] = [];
    peer.on("data", (bytes) => received.push(bytes));
    const scratch = Buffer.from("-hello-");
    stream.write(scratch, 1, 6, null);
    scratch.fill("x");
    stream.write(Buffer.from(" world"), 0, 6, null);
    peer.write("hi");
    await expect.poll(() => text(received)).toBe("hello world");
    await expect.poll(() => text(consumer.received)).toBe("hi");
    expect(stream.queuedBytes).toBe(0);
  });

  test("sends the small writes of one turn in one piece", async () => {
    const { peer, socket, stream } = await pair();
    const writes: number[] = [];
    const write = socket.write.bind(socket) as (...args: unknown[]) => boolean;
    socket.write = ((bytes: Buffer, ...rest: unknown[]) => {
      writes.push(bytes.length);
      return write(bytes, ...rest);
    }) as typeof socket.write;
    for (let i = 0; i < 100; i++) stream.write(Buffer.from("0123456789"), 0, 10, null);
    const [bytes] = (await once(peer, "data")) as [Buffer];
    expect(bytes.length).toBe(1000);
    expect(writes).toEqual([1000]);
  });

  test("keeps the order and every byte of large writes", async () => {
    const { peer, stream } = await pair();
    const bytes = pattern(1_000_003);
    const received: Buffer[] = [];
    peer.on("data", (chunk) => received.push(chunk));
    peer.on("end", () => peer.end());
    let position = 0;
    for (const size of [1, 65_535, 65_536, 65_537, 200_000, 9, 603_385]) {
      stream.write(bytes, position, position + size, null);
      position += size;
    }
    stream.end();
    await once(peer, "end");
    expect(Buffer.concat(received).equals(bytes)).toBe(true);
  });

  test("credits a source when its bytes have left, and not before", async () => {
    const { peer, stream } = await pair();
    peer.pause();
    const [one, two] = [new Source(), new Source()];
    const bytes = pattern(65_536);
    for (let i = 0; i < 400; i++) stream.write(bytes, 0, bytes.length, i % 2 === 0 ? one : two);
    const total = 400 * bytes.length;
    await wait(50);
    expect(one.credited + two.credited + stream.queuedBytes).toBe(total);
    expect(stream.queuedBytes).toBeGreaterThan(0);
    peer.resume();
    await expect.poll(() => one.credited + two.credited).toBe(total);
    expect(one.credited).toBe(two.credited);
    expect(stream.queuedBytes).toBe(0);
  });

  test("stops reading when the consumer owes credit, and goes on when it is given", async () => {
    const highWaterBytes = 131_072;
    const { peer, stream, consumer } = await pair(highWaterBytes);
    consumer.credits = false;
    const total = 20_000_000;
    peer.write(pattern(total));
    await wait(100);
    const held = consumer.bytes;
    expect(held).toBeGreaterThanOrEqual(highWaterBytes);
    // One read more than the limit may be under way.
    expect(held).toBeLessThanOrEqual(highWaterBytes + 2 * 65_536);
    consumer.credits = true;
    stream.credit(held);
    await expect.poll(() => consumer.bytes, { timeout: 5000 }).toBe(total);
  });

  test("holds a bounded amount between a fast sender and a slow reader", async () => {
    const [left, right] = [await pair(), await pair()];
    new Relay(left.stream, right.stream, { onRelayEnd() {} });
    right.peer.pause();
    const total = 50_000_000;
    left.peer.write(Buffer.alloc(total));
    await wait(200);
    expect(right.stream.queuedBytes).toBeLessThanOrEqual(262_144 + 2 * 65_536);
    let received = 0;
    right.peer.on("data", (bytes) => {
      received += bytes.length;
    });
    right.peer.resume();
    await expect.poll(() => received, { timeout: 10_000 }).toBe(total);
  });

  test("half-closes in either direction", async () => {
    const { peer, stream, consumer } = await pair();
    peer.end("request");
    await expect.poll(() => consumer.events).toEqual(["end"]);
    expect(stream.isClosed).toBe(false);
    const received: Buffer[] = [];
    peer.on("data", (bytes) => received.push(bytes));
    stream.write(Buffer.from("late answer"), 0, 11, null);
    stream.end();
    await once(peer, "end");
    expect(text(received)).toBe("late answer");
    await expect.poll(() => consumer.events).toEqual(["end", "closed"]);
    expect(consumer.reset).toBeUndefined();
    expect(stream.isClosed).toBe(true);
  });

  test("goes on receiving after its own end", async () => {
    const { peer, stream, consumer } = await pair();
    peer.resume();
    stream.end();
    await once(peer, "end");
    peer.write("still here");
    await expect.poll(() => text(consumer.received)).toBe("still here");
    expect(consumer.events).toEqual([]);
    peer.end();
    await expect.poll(() => consumer.events).toEqual(["end", "closed"]);
    expect(consumer.reset).toBeUndefined();
  });

  test("takes a socket of a listener without half-open", async () => {
    const listener = net.createServer();
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    cleanups.push(() => listener.close());
    const accepted = once(listener, "connection");
    const { port } = listener.address() as net.AddressInfo;
    const peer = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    const [socket] = (await accepted) as [net.Socket];
    const stream = new TcpStream(socket);
    const consumer = new Recorder(stream);
    peer.end("request");
    await expect.poll(() => consumer.events).toEqual(["end"]);
    await wait(20);
    const received = once(peer, "data");
    stream.write(Buffer.from("answer"), 0, 6, null);
    stream.end();
    expect(String((await received)[0])).toBe("answer");
  });

  test("reset() sends a RST, credits what it drops, and tells once", async () => {
    const { peer, stream, consumer } = await pair();
    const source = new Source();
    stream.write(pattern(100_000), 0, 100_000, source);
    let error: NodeJS.ErrnoException | undefined;
    peer.on("error", (caught) => {
      error = caught;
    });
    stream.reset("cancel");
    stream.reset("timeout");
    expect(stream.isClosed).toBe(true);
    expect(source.credited).toBe(100_000);
    stream.write(pattern(10), 0, 10, source);
    expect(source.credited).toBe(100_010);
    await expect.poll(() => error?.code).toBe("ECONNRESET");
    await expect.poll(() => consumer.events).toEqual(["closed"]);
    expect(consumer.reset).toMatchObject({ by: "local", detail: "cancel" });
  });

  test("a peer's RST closes it with a reset, while idle and while sending", async () => {
    const idle = await pair();
    idle.peer.resetAndDestroy();
    await expect.poll(() => idle.consumer.events).toEqual(["closed"]);
    expect(idle.consumer.reset).toMatchObject({ by: "peer", detail: "ECONNRESET" });
    const busy = await pair();
    busy.peer.pause();
    const source = new Source();
    busy.stream.write(pattern(8_000_000), 0, 8_000_000, source);
    await wait(20);
    busy.peer.resetAndDestroy();
    await expect.poll(() => busy.consumer.events).toEqual(["closed"]);
    expect(busy.consumer.reset?.by).toBe("peer");
    expect(source.credited).toBe(8_000_000);
    expect(busy.stream.queuedBytes).toBe(0);
  });

  test("tells about a socket that was closed before", async () => {
    const socket = new net.Socket();
    socket.destroy();
    await once(socket, "close");
    const stream = new TcpStream(socket);
    const consumer = new Recorder(stream);
    await expect.poll(() => consumer.events).toEqual(["closed"]);
    expect(consumer.reset?.by).toBe("peer");
  });
});

describe("connectTcp()", () => {
  const outcomeOf = (options: Parameters<typeof connectTcp>[0]) =>
    new Promise<net.Socket | Failure>((resolve) => connectTcp(options, resolve));

  test("connects, from an address when one is given", async () => {
    const listener = net.createServer((socket) => cleanups.push(() => socket.destroy()));
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    cleanups.push(() => listener.close());
    const { port } = listener.address() as net.AddressInfo;
    const connected = once(listener, "connection");
    const options = { host: "127.0.0.1", port, localAddress: "127.0.0.9", timeoutMs: 1000 };
    const socket = (await outcomeOf(options)) as net.Socket;
    cleanups.push(() => socket.destroy());
    expect(((await connected) as [net.Socket])[0].remoteAddress).toBe("127.0.0.9");
    expect(socket.allowHalfOpen).toBe(true);
  });

  test("says why it could not", async () => {
    const listener = net.createServer().listen(0, "127.0.0.1");
    await once(listener, "listening");
    const { port } = listener.address() as net.AddressInfo;
    listener.close();
    await once(listener, "close");
    const base = { host: "127.0.0.1", port, timeoutMs: 1000 };
    const refused = (await outcomeOf(base)) as Failure;
    expect(refused.code).toBe("UPSTREAM_CONNECT_FAILED");
    expect(refused.message).toContain(`127.0.0.1:${port}: ECONNREFUSED`);
    for (const broken of [{ port: 70_000 }, { localAddress: "nonsense" }]) {
      const failure = (await outcomeOf({ ...base, ...broken })) as Failure;
      expect(failure.code).toBe("UPSTREAM_CONNECT_FAILED");
    }
  });

  test("gives up in time", async () => {
    const listener = net.createServer((socket) => socket.on("error", () => {}));
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    cleanups.push(() => listener.close());
    const { port } = listener.address() as net.AddressInfo;
    const outcome = outcomeOf({ host: "127.0.0.1", port, timeoutMs: 5 });
    // Blocks the loop past the time-out, so that it comes before the news of the connection.
    const startMs = performance.now();
    while (performance.now() - startMs < 20);
    const failure = (await outcome) as Failure;
    expect(failure.code).toBe("UPSTREAM_CONNECT_TIMEOUT");
    expect(failure.message).toContain("not connected within 5 ms");
    const count = () => new Promise((resolve) => listener.getConnections((_e, n) => resolve(n)));
    await expect.poll(count).toBe(0);
  });

  test("says nothing after abort()", async () => {
    const listener = net.createServer((socket) => socket.on("error", () => {}));
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    cleanups.push(() => listener.close());
    const { port } = listener.address() as net.AddressInfo;
    let calls = 0;
    connectTcp({ host: "127.0.0.1", port, timeoutMs: 1000 }, () => calls++).abort();
    await wait(50);
    expect(calls).toBe(0);
  });
});
