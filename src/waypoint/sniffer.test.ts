import { expect, test } from "vitest";
import { MemoryPeer, MemoryStream, settle, until } from "../../test/support/memory-stream.ts";
import type { Drainable } from "./context.ts";
import { sniff } from "./sniffer.ts";

function sniffing(detectionMs = 0, pieceBytes = 1 << 16, idleMs = 60_000) {
  const sessions = new Set<Drainable>();
  const [stream, remote] = MemoryStream.pair({ pieceBytes });
  const found: string[] = [];
  const timeouts = { detectionMs, idleMs, onCut: () => found.push("cut") };
  const sniffer = sniff(stream, sessions, timeouts, (protocol, bytes, isEnded) => {
    found.push(`${protocol} ${JSON.stringify(bytes.toString("latin1"))} ${isEnded}`);
  });
  return { stream, client: new MemoryPeer(remote), found, sniffer, sessions };
}

test.each([
  ["GET / HTTP/1.1\r\n", "http1"],
  ["M-SEARCH * HTTP/1.1\r\n", "http1"],
  ["get / HTTP/1.1\r\n", "tcp"],
  [" GET /", "tcp"],
  ["\x16\x03\x01", "tcp"],
  ["ABCDEFGHIJKLMNOPQRSTUVWXYZ ", "tcp"],
])("%j is %s, however it is cut", async (text, protocol) => {
  for (const pieceBytes of [1, 2, 100]) {
    const { client, found, stream } = sniffing(0, pieceBytes);
    client.send(text);
    await settle();
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(new RegExp(`^${protocol} "`));
    // What it hands on is the next consumer's to credit.
    expect(text.startsWith(JSON.parse(found[0]!.split(" ").slice(1, -1).join(" ")))).toBe(true);
    expect(stream.creditedBytes).toBe(text.length - stream.heldBytes);
  }
});

test("a client that says too little, or ends, is taken for TCP, once", async () => {
  const { client, found } = sniffing();
  client.send("GE");
  client.stream.end();
  await settle();
  expect(found).toEqual(['tcp "GE" true']);
});

test("an end told to a sniffer that has settled is not news", async () => {
  const { found, sniffer } = sniffing();
  sniffer.onEnd();
  sniffer.onEnd();
  expect(found).toEqual(['tcp "" true']);
});

test("after the time-out a silent client is taken for TCP", async () => {
  const { found } = sniffing(10);
  await until(() => found.length > 0);
  expect(found).toEqual(['tcp "" false']);
});

test("a client that never says anything is cut after the idle time-out", async () => {
  const { client, found, sessions } = sniffing(0, 1, 10);
  expect(sessions.size).toBe(1);
  await until(() => client.isClosed);
  expect(found).toEqual(["cut"]);
  expect(sessions.size).toBe(0);
});

test("a drain cuts who has said nothing behind the grace", async () => {
  const { client, sniffer } = sniffing();
  sniffer.drain(1000);
  await settle();
  expect(client.isClosed).toBe(false);
  sniffer.drain(0);
  await settle();
  expect(client.isClosed).toBe(true);
});

test("a stream that closes before is nothing", async () => {
  const { client, found, sessions } = sniffing(20);
  client.stream.reset("cancel");
  await new Promise((resolve) => setTimeout(resolve, 40));
  expect(found).toEqual([]);
  expect(sessions.size).toBe(0);
});
