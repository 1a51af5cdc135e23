/** Every limit of a waypoint on sizes and numbers is reached, and a counter moves. */
import { expect, test } from "vitest";
import { settle, until } from "../../test/support/memory-stream.ts";
import {
  CLIENT_PREFACE,
  END_HEADERS,
  END_STREAM,
  frame,
  settings,
  T,
} from "../../test/support/peer.ts";
import { FakeWaypoint } from "../../test/support/waypoint-session.ts";
import { encodeStatelessBlock } from "../net/http2/headers.ts";

const GET = "GET /a HTTP/1.1\r\nhost: reviews\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const CHUNKED = "HTTP/1.1\r\nhost: reviews\r\ntransfer-encoding: chunked\r\n\r\n";

const MALFORMED = (status: number) =>
  `waystone_waypoint_malformed_requests_total{waypoint="default/wp",status="${status}"} 1`;
const LIMIT = (limit: string, times = 1) =>
  `waystone_limits_reached_total{limit="${limit}"} ${times}\n`;
const REQUEST = (status: number, flags: string) =>
  new RegExp(
    `istio_requests_total\\{.*response_code="${status}".*response_flags="${flags}".*\\} 1`,
  );

const lines = (count: number) => Array.from({ length: count }, (_, i) => `x-${i}: y\r\n`).join("");

test.each([
  ["bytes", `GET / HTTP/1.1\r\nhost: a\r\nx: ${"y".repeat(70_000)}\r\n\r\n`],
  ["lines", `GET / HTTP/1.1\r\nhost: a\r\n${lines(300)}\r\n`],
])("a request's head: %s", async (_what, head) => {
  const waypoint = new FakeWaypoint();
  const { client } = waypoint.open();
  client.send(head);
  await settle();
  expect(client.text).toMatch(/^HTTP\/1\.1 431 /);
  expect(waypoint.metrics()).toContain(MALFORMED(431));
});

const FRAME_BYTES = 16_000;

/** HEADERS and what CONTINUATION it takes. */
function headers(id: number, block: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < block.length; at += FRAME_BYTES) {
    const end = Math.min(at + FRAME_BYTES, block.length);
    const type = at === 0 ? T.headers : T.continuation;
    const flags = (at === 0 ? END_STREAM : 0) | (end === block.length ? END_HEADERS : 0);
    parts.push(frame(type, flags, id, block.subarray(at, end)));
  }
  return Buffer.concat(parts);
}

/** A client that cares for no SETTINGS: with that many requests, each with that much of a head. */
async function inFrames(count: number, headBytes: number): Promise<FakeWaypoint> {
  const waypoint = new FakeWaypoint();
  const { client } = waypoint.open();
  const fields = Array.from({ length: headBytes / 6_000 }, (_, i) => [`x-${i}`, "y".repeat(6_000)]);
  const pseudo = [":method", "GET", ":scheme", "http", ":authority", "reviews", ":path", "/"];
  const block = encodeStatelessBlock([...pseudo, ...fields.flat()]);
  const requests = Array.from({ length: count }, (_, i) => headers(2 * i + 1, block));
  client.send(Buffer.concat([CLIENT_PREFACE, settings(), ...requests]));
  await settle();
  return waypoint;
}

const HTTP2 = (code: string) =>
  `waystone_http2_protocol_errors_total{role="listener",code="${code}"} 1\n`;

test("a head of HTTP/2", async () => {
  expect((await inFrames(1, 72_000)).metrics()).toContain(HTTP2("ENHANCE_YOUR_CALM"));
});

test("streams of one HTTP/2 connection", async () => {
  expect((await inFrames(1_024, 0)).metrics()).not.toContain(
    "waystone_http2_protocol_errors_total",
  );
  expect((await inFrames(1_025, 0)).metrics()).toContain(HTTP2("REFUSED_STREAM"));
});

test.each([
  ["a head", `HTTP/1.1 200 OK\r\nx: ${"y".repeat(70_000)}\r\n\r\n`],
  ["1xx", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(40)],
])("of a backend: %s", async (_what, answer) => {
  const waypoint = new FakeWaypoint();
  const { client } = waypoint.open();
  client.send(GET);
  await settle();
  waypoint.backends.last.send(answer);
  await settle();
  expect(client.text).toMatch(/HTTP\/1\.1 502 /);
  expect(waypoint.metrics()).toMatch(REQUEST(502, "UPE"));
});

test.each([
  ["extensions of a chunk", `1;x=${"y".repeat(5_000)}\r\na\r\n`],
  ["extensions of a body", `1;x=${"y".repeat(3_000)}\r\na\r\n`.repeat(8)],
  ["trailers", `0\r\nx: ${"y".repeat(17_000)}\r\n\r\n`],
])("in a request's body: %s", async (_what, body) => {
  const waypoint = new FakeWaypoint();
  const { client } = waypoint.open();
  client.send(`POST /a ${CHUNKED}${body}`);
  await settle();
  expect(client.text).toMatch(/^HTTP\/1\.1 400 /);
  expect(waypoint.metrics()).toMatch(REQUEST(400, "DPE"));
});

test("answers that a client which pipelines does not read", async () => {
  const waypoint = new FakeWaypoint();
  const { client } = waypoint.open({ windowBytes: 1_000 });
  client.isReading = false;
  const body = "b".repeat(70_000);
  client.send(GET);
  await settle();
  waypoint.backends.last.send(`HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n${body}`);
  await settle();
  expect(waypoint.metrics()).not.toContain("waystone_limits_reached_total{");
  client.send(GET + GET);
  await settle();
  expect(waypoint.metrics()).toContain(LIMIT("queued_answers"));
});

test("a last answer that a client never reads", async () => {
  const waypoint = new FakeWaypoint(undefined, { lingerMs: 10, unreadTimeoutMs: 30 });
  const { client } = waypoint.open({ windowBytes: 1_000 });
  client.isReading = false;
  client.send(GET.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n"));
  await settle();
  waypoint.backends.last.send(
    `HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n${"b".repeat(5_000)}`,
  );
  await until(() => client.isClosed);
  expect(waypoint.metrics()).toContain(LIMIT("unread_answer"));
});

test("idle connections to one endpoint", async () => {
  const waypoint = new FakeWaypoint();
  const clients = Array.from({ length: 257 }, () => waypoint.open().client);
  for (const client of clients) client.send(GET);
  await settle();
  for (const backend of waypoint.backends.connections) backend.send(OK);
  await settle();
  expect(waypoint.backends.connections.filter((one) => one.isEnded || one.isClosed)).toHaveLength(
    1,
  );
  expect(waypoint.metrics()).toContain(LIMIT("idle_connections"));
});

test("tunnels that wait for one endpoint: flag UO", async () => {
  const waypoint = new FakeWaypoint();
  waypoint.backends.outcome = () => "overflow";
  const { client } = waypoint.open();
  client.send(GET);
  await settle();
  expect(client.text).toMatch(/^HTTP\/1\.1 503 /);
  expect(waypoint.metrics()).toMatch(REQUEST(503, "UO"));
});
