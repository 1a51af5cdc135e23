import { expect, test } from "vitest";
import { MemoryPeer, MemoryStream, settle } from "../../test/support/memory-stream.ts";
import type { StreamReset } from "./byte-stream.ts";
import { EarlyBytes } from "./early-bytes.ts";
import { Relay } from "./relay.ts";

function relayed(options: { windowBytes?: number; pieceBytes?: number } = {}) {
  const [down, client] = MemoryStream.pair(options);
  const [up, server] = MemoryStream.pair(options);
  const ends: { sent: number; received: number; reset: StreamReset | undefined }[] = [];
  const listener = {
    onRelayEnd(sent: number, received: number, reset: StreamReset | undefined) {
      ends.push({ sent, received, reset });
    },
  };
  const peers = { client: new MemoryPeer(client), server: new MemoryPeer(server) };
  return { down, up, ...peers, ends, join: () => new Relay(down, up, listener) };
}

test("bytes and half-closes go through, each way on its own", async () => {
  const { join, client, server, ends, down, up } = relayed({ pieceBytes: 3 });
  join();
  client.send("question");
  client.stream.end();
  await settle();
  expect(server.text).toBe("question");
  expect(server.isEnded).toBe(true);
  expect(client.isEnded).toBe(false);
  server.send("an answer");
  await settle();
  expect(ends).toEqual([]);
  expect(down.heldBytes + up.heldBytes).toBe(0);
  server.stream.end();
  await settle();
  expect(client.text).toBe("an answer");
  expect(ends).toEqual([{ sent: 9, received: 8, reset: undefined }]);
});

test("a slow reader stops the sender; no hop holds more than a window", async () => {
  const windowBytes = 1000;
  const { join, client, server, down, up } = relayed({ windowBytes });
  join();
  server.isReading = false;
  client.send("x".repeat(50_000));
  await settle(100);
  expect(server.receivedBytes).toBe(windowBytes);
  expect(down.heldBytes).toBe(windowBytes);
  expect(up.queuedBytesMax).toBeLessThanOrEqual(windowBytes);
  server.resume();
  await settle(300);
  expect(server.receivedBytes).toBe(50_000);
  expect(down.heldBytes).toBe(0);
});

test.each(["client", "server"] as const)("a cut by the %s cuts the other side", async (side) => {
  const all = relayed();
  all.join();
  all[side].stream.reset("cancel");
  await settle();
  expect(all.client.isClosed && all.server.isClosed).toBe(true);
  expect(all.ends).toHaveLength(1);
  expect(all.ends[0]!.reset?.by).toBe("peer");
});

test("what came early is kept uncredited, then poured, end included", async () => {
  const { join, client, server, down } = relayed({ pieceBytes: 4 });
  let closed = 0;
  const early = new EarlyBytes(down, () => closed++);
  client.send("early bytes");
  client.stream.end();
  await settle();
  expect(down.heldBytes).toBe(11);
  early.pourInto(join());
  await settle();
  expect(server.text).toBe("early bytes");
  expect(server.isEnded).toBe(true);
  expect(down.heldBytes).toBe(0);
  expect(closed).toBe(0);
});

test("a stream that goes while it waits is told", async () => {
  const { client, down } = relayed();
  let closed = 0;
  new EarlyBytes(down, () => closed++);
  client.send("bytes");
  client.stream.reset("cancel");
  await settle();
  expect(closed).toBe(1);
});
