/** Whoever stops speaking or reading, on either side: how long we wait, and what then. */
import { afterEach, expect, test } from "vitest";
import { ask, connect, endClients } from "../../test/support/inner-http2.ts";
import { settle, until } from "../../test/support/memory-stream.ts";
import { FakeWaypoint, meshWith, withRequestTimeout } from "../../test/support/waypoint-session.ts";
import type { WaypointLimits } from "./limits.ts";

const GET = "GET /a HTTP/1.1\r\nhost: reviews\r\n\r\n";
const POST = "POST /a HTTP/1.1\r\nhost: reviews\r\ncontent-length: 5\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const UPGRADE =
  "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
const SWITCHED =
  "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

let waypoint = new FakeWaypoint();

afterEach(async () => {
  await settle();
  expect(waypoint.active).toBe(0);
});

function start(limits: Partial<WaypointLimits>, hboneIdleTimeoutMs = 60_000, base = meshWith(1)) {
  const snapshot = { ...base, settings: { ...base.settings, hboneIdleTimeoutMs } };
  waypoint = new FakeWaypoint(snapshot, limits);
  return waypoint.open();
}

test("a connection that says nothing is closed after hboneIdleTimeout", async () => {
  const { client } = start({}, 20);
  await until(() => client.isEnded);
  expect(client.text).toBe("");
  expect(waypoint.timeouts).toEqual(["http1"]);
});

test("so is one between requests, and not while there are any", async () => {
  const { client } = start({}, 60);
  for (let i = 0; i < 4; i++) {
    client.send(GET);
    await settle();
    waypoint.backends.last.send(OK);
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(client.isEnded).toBe(false);
  }
  expect(client.text.match(/200 OK/g)).toHaveLength(4);
  await until(() => client.isEnded);
  expect(waypoint.timeouts).toEqual(["http1"]);
});

test("a client that never ends its side does not keep the stream", async () => {
  const { client } = start({ lingerMs: 20 });
  client.send("nonsense\r\n\r\n");
  await until(() => client.isClosed);
  expect(client.text).toMatch(/^HTTP\/1\.1 400 /);
  expect(client.reset).toMatchObject({ by: "peer" });
});

test("what is left for a client that reads slowly is not cut off", async () => {
  waypoint = new FakeWaypoint(meshWith(1), { lingerMs: 15 });
  const { client } = waypoint.open({ windowBytes: 1_000 });
  client.isReading = false;
  client.send(GET.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n"));
  await settle();
  const body = "b".repeat(5_000);
  waypoint.backends.last.send(`HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n${body}`);
  for (let i = 0; i < 8; i++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    client.stream.credit(client.stream.heldBytes);
  }
  await until(() => client.isEnded);
  expect(client.text.endsWith(body)).toBe(true);
});

test("half a request body: 408, and the connection ends", async () => {
  const { client } = start({ requestBodyIdleTimeoutMs: 30 });
  client.send(`${POST}ab`);
  await settle();
  const backend = waypoint.backends.last;
  await until(() => client.isEnded);
  expect(client.text).toMatch(/^HTTP\/1\.1 408 [\s\S]*connection: close\r\n/);
  expect(waypoint.metrics()).toMatch(/response_code="408".*response_flags="SI"/);
  await settle();
  expect(backend.isClosed).toBe(true);
});

test("a body that trickles is not a stall", async () => {
  const { client } = start({ requestBodyIdleTimeoutMs: 250 });
  client.send(POST.replace(/content-length: \d+/, "content-length: 12"));
  for (const byte of "hello, world") {
    await new Promise((resolve) => setTimeout(resolve, 30));
    client.send(byte);
  }
  await settle();
  waypoint.backends.last.send(OK);
  await settle();
  expect(client.text).toMatch(/^HTTP\/1\.1 200 /);
});

test("the rest of a body that nobody wants any more is waited for as an idle connection", async () => {
  const { client } = start({}, 40);
  client.send(POST);
  await settle();
  waypoint.backends.last.send(OK);
  await settle();
  expect(client.text).toMatch(/^HTTP\/1\.1 200 /);
  await until(() => client.isEnded);
});

test("a backend that answers nothing: 504 after hboneIdleTimeout", async () => {
  const { client } = start({}, 40);
  // The watch looks no more often than the shorter of the two limits.
  waypoint = new FakeWaypoint(waypoint.snapshot, { requestBodyIdleTimeoutMs: 20 });
  const opened = waypoint.open();
  client.stream.end();
  opened.client.send(GET);
  await until(() => opened.client.text !== "");
  expect(opened.client.text).toMatch(/^HTTP\/1\.1 504 [\s\S]*stream timeout$/);
  expect(waypoint.metrics()).toMatch(/response_code="504".*response_flags="SI"/);
});

test("half a response's head: 504", async () => {
  const { client } = start({ responseHeadTimeoutMs: 30 });
  client.send(GET);
  await settle();
  const backend = waypoint.backends.last;
  backend.send("HTTP/1.1 200 OK\r\nconte");
  await until(() => client.text !== "");
  expect(client.text).toMatch(/^HTTP\/1\.1 504 [\s\S]*upstream request timeout$/);
  await settle();
  expect(backend.isClosed).toBe(true);
});

test("half a response's body breaks the answer off", async () => {
  const { client } = start({ requestBodyIdleTimeoutMs: 20 }, 40);
  client.send(GET);
  await settle();
  waypoint.backends.last.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
  await until(() => client.isClosed);
  expect(client.reset).toBeDefined();
  expect(waypoint.metrics()).toMatch(/response_code="200".*response_flags="SI"/);
});

test("a WebSocket whose client has ended does not wait for its backend", async () => {
  const { client } = start({ lingerMs: 30 });
  client.send(UPGRADE);
  await settle();
  const backend = waypoint.backends.last;
  backend.send(SWITCHED);
  await settle();
  client.stream.end();
  await until(() => client.isClosed && backend.isClosed);
  expect(backend.isEnded).toBe(true);
});

test("a route's time-out ends with the upgrade", async () => {
  const { client } = start({}, 60_000, withRequestTimeout(meshWith(1), 40));
  client.send(UPGRADE);
  await settle();
  const backend = waypoint.backends.last;
  backend.send(SWITCHED);
  await new Promise((resolve) => setTimeout(resolve, 100));
  backend.send("still here");
  await settle();
  expect(client.text.endsWith("still here")).toBe(true);
  client.stream.end();
  backend.stream.end();
  await settle();
});

test("HTTP/2 behind its preface is idle by its own measure", async () => {
  const base = meshWith(1);
  const snapshot = { ...base, settings: { ...base.settings, hboneIdleTimeoutMs: 500 } };
  waypoint = new FakeWaypoint(snapshot);
  waypoint.backends.onConnection = (peer) => {
    peer.onData = (_bytes, start, end) => {
      peer.stream.credit(end - start);
      peer.send(OK);
    };
  };
  const client = connect(waypoint, "http1");
  for (let i = 0; i < 8; i++) {
    await ask(client, { ":path": "/" });
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  expect(client.closed).toBe(false);
  await until(() => client.closed);
  expect(waypoint.timeouts).toEqual(["http2"]);
  endClients();
});

test("1xx without end are cut off", async () => {
  const { client } = start({});
  client.send(GET);
  await settle();
  waypoint.backends.last.send("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100));
  await settle();
  expect(client.text).toMatch(/HTTP\/1\.1 502 /);
  expect(client.text.match(/HTTP\/1\.1 103/g)!.length).toBeLessThan(100);
});

test("an answer that an HTTP/2 client does not read is not kept for ever", async () => {
  start({ lingerMs: 20, unreadTimeoutMs: 50 });
  const client = connect(waypoint);
  const request = client.request({ ":authority": "reviews", ":path": "/" });
  request.on("error", () => {});
  await until(() => waypoint.backends.connections.length > 0);
  const body = "b".repeat(200_000);
  waypoint.backends.last.send(`HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n${body}`);
  await until(() => request.rstCode !== 0);
  expect(waypoint.active).toBe(0);
  endClients();
});

test("a client that has ended is waited for while its answer moves", async () => {
  const { client } = start({ endedClientTimeoutMs: 300 });
  client.send(GET);
  await settle();
  const backend = waypoint.backends.last;
  client.stream.end();
  backend.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n");
  for (const piece of "12345") {
    await new Promise((resolve) => setTimeout(resolve, 100));
    backend.send(piece);
  }
  await settle();
  expect(client.text.endsWith("12345")).toBe(true);
  expect(backend.isClosed).toBe(false);
  await until(() => backend.isClosed);
  await settle();
  expect(client.isClosed).toBe(true);
  expect((await waypoint.accessLines())[0]).toContain("200 DC downstream_remote_disconnect");
});

test("one that gets no answer at all is gone", async () => {
  const { client } = start({ endedClientTimeoutMs: 30 });
  waypoint.backends.outcome = () => "hang";
  client.send(GET + GET);
  client.stream.end();
  await expect.poll(() => waypoint.backends.aborted).toBe(1);
  await settle();
  expect(client.isClosed).toBe(true);
  expect(waypoint.active).toBe(0);
  expect(await waypoint.accessLines()).toHaveLength(1);
});
