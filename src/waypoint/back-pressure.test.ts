/** Somebody who does not read stops who sends to him, through every pairing of protocols. */
import { afterEach, expect, test } from "vitest";
import { endClients, open, serveHttp2, withProtocol } from "../../test/support/inner-http2.ts";
import { settle } from "../../test/support/memory-stream.ts";
import { FakeWaypoint } from "../../test/support/waypoint-session.ts";

afterEach(endClients);

const SENT_BYTES = 16 * 1024 * 1024;
/** The windows of both hops (1 MiB each in memory), with what is in an output buffer. */
const HELD_BYTES_MAX = 3 * 1024 * 1024;

const PAIRINGS = [
  ["h1", "HTTP11"],
  ["h1", "HTTP2"],
  ["h2", "HTTP11"],
  ["h2", "HTTP2"],
] as const;

test.each(PAIRINGS)("a client that does not read, %s to %s", async (down, protocol) => {
  const waypoint = new FakeWaypoint(withProtocol(protocol));
  const body = Buffer.alloc(SENT_BYTES, "b");
  if (protocol === "HTTP2") {
    serveHttp2(waypoint).on("stream", (stream) => {
      stream.on("error", () => {});
      stream.respond({ ":status": 200 });
      stream.end(body);
    });
  } else {
    waypoint.backends.onConnection = (peer) => {
      setTimeout(() => {
        peer.send(`HTTP/1.1 200 OK\r\ncontent-length: ${SENT_BYTES}\r\n\r\n`);
        peer.send(body);
      }, 5);
    };
  }
  let received = () => 0;
  if (down === "h2") {
    const request = open(waypoint).client.request({ ":authority": "reviews", ":path": "/" });
    request.on("error", () => {});
  } else {
    const { client } = waypoint.open();
    client.isReading = false;
    client.send("GET / HTTP/1.1\r\nhost: reviews\r\n\r\n");
    received = () => client.receivedBytes;
  }
  await expect.poll(() => waypoint.backends.streams[0]?.receivedBytes ?? 0).toBeGreaterThan(10_000);
  await settle(200);
  expect(waypoint.backends.streams[0]!.receivedBytes).toBeLessThan(HELD_BYTES_MAX);
  expect(received()).toBeLessThan(HELD_BYTES_MAX);
});

test.each(PAIRINGS)("a backend that does not read, %s to %s", async (down, protocol) => {
  const waypoint = new FakeWaypoint(withProtocol(protocol));
  if (protocol === "HTTP2") serveHttp2(waypoint).on("stream", (stream) => stream.pause());
  else {
    waypoint.backends.onConnection = (peer) => {
      peer.isReading = false;
    };
  }
  const body = Buffer.alloc(SENT_BYTES, "b");
  let stream: { receivedBytes: number };
  if (down === "h2") {
    const opened = open(waypoint);
    const request = opened.client.request({ ":authority": "reviews", ":method": "POST" });
    request.on("error", () => {});
    request.end(body);
    stream = opened.stream;
  } else {
    const opened = waypoint.open();
    opened.client.send(`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ${SENT_BYTES}\r\n\r\n`);
    opened.client.send(body);
    stream = opened.stream;
  }
  await expect.poll(() => stream.receivedBytes).toBeGreaterThan(10_000);
  await settle(200);
  expect(stream.receivedBytes).toBeLessThan(HELD_BYTES_MAX);
});
