/** HTTP/2 inside a byte stream, where the stream stops, ends or comes back at bad moments. */
import { expect, test } from "vitest";
import { MemoryPeer, MemoryStream, settle } from "../../../test/support/memory-stream.ts";
import { StreamTransport } from "./stream-transport.ts";
import type { TransportReceiver } from "./transport.ts";

function start(onBytes: (text: string, transport: StreamTransport) => void) {
  const [stream, remote] = MemoryStream.pair({ pieceBytes: 1 });
  const peer = new MemoryPeer(remote);
  const transport = new StreamTransport(stream);
  const log: string[] = [];
  let depth = 0;
  const receiver: TransportReceiver = {
    onBytes(bytes, from, to) {
      if (++depth > 1) log.push("read within a read");
      const text = bytes.toString("latin1", from, to);
      log.push(text);
      onBytes(text, transport);
      depth--;
    },
    onEnd: () => log.push(depth > 0 ? "end within a read" : "end"),
    onClosed: (error) => log.push(`closed ${error?.message ?? "orderly"}`),
  };
  transport.attach(receiver);
  return { stream, peer, transport, log };
}

test("keeps what arrives while it is paused, in order, and then tells of the end", async () => {
  const { stream, peer, transport, log } = start((text, own) => {
    if (text === "b") own.pauseReading();
  });
  peer.send("abcd");
  peer.stream.end();
  await settle();
  expect(log).toEqual(["a", "b"]);
  expect(stream.heldBytes).toBe(2);
  transport.resumeReading();
  await settle();
  expect(log).toEqual(["a", "b", "c", "d", "end"]);
  expect(stream.heldBytes).toBe(0);
});

test("reads one buffer at a time, whoever resumes it", async () => {
  const { peer, transport, log } = start((text, own) => {
    if (text === "a") own.pauseReading();
    if (text === "b") {
      own.pauseReading();
      own.resumeReading();
    }
  });
  peer.send("abcd");
  peer.stream.end();
  await settle();
  expect(log).toEqual(["a"]);
  transport.resumeReading();
  await settle();
  expect(log).toEqual(["a", "b", "c", "d", "end"]);
});

test("hands on nothing behind its own end, and credits it, so that the stream can end", async () => {
  const { stream, peer, transport, log } = start((_text, own) => own.pauseReading());
  peer.send("abc");
  await settle();
  expect(stream.heldBytes).toBe(2);
  transport.end();
  peer.send("def");
  peer.stream.end();
  await settle();
  expect(log).toEqual(["a", "closed orderly"]);
  expect(stream.heldBytes).toBe(0);
  expect(stream.isClosed).toBe(true);
});

test("an end in the middle of reading stops the reading there", async () => {
  const { stream, peer, log } = start((text, own) => {
    if (text === "b") own.end();
  });
  peer.send("abcd");
  peer.stream.end();
  await settle();
  expect(log).toEqual(["a", "b", "closed orderly"]);
  expect(stream.heldBytes).toBe(0);
});
