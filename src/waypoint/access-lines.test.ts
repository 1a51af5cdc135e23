/** What the access log says of requests and connections that did not come to a good end. */
import { expect, test } from "vitest";
import { MemoryPeer, MemoryStream, settle } from "../../test/support/memory-stream.ts";
import { denyingAll, FakeWaypoint, meshWith } from "../../test/support/waypoint-session.ts";
import { TcpSession } from "./tcp-session.ts";

const GET = "GET /a HTTP/1.1\r\nhost: reviews\r\n\r\n";
const HTTP_CLUSTER = "inbound-vip|80|http|reviews.default.svc.cluster.local";
const TCP_CLUSTER = "inbound-vip|9000|tcp|reviews.default.svc.cluster.local";

test.each([
  ["nonsense\r\n\r\n", "- - HTTP/1.1 400 DPE http1.codec_error - 0 11 -"],
  ["GET / HTTP/3.0\r\nhost: a\r\n\r\n", "- - HTTP/1.1 505 DPE http1.unsupported_version - 0 0 -"],
  ["CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n", "- - HTTP/1.1 405 - upgrade_failed - 0 0 -"],
  [`GET / HTTP/1.1\r\na: ${"b".repeat(70_000)}`, "- - HTTP/1.1 431 DPE http1.headers_too_large"],
])("a head that is refused has its line: %j", async (text, line) => {
  const waypoint = new FakeWaypoint();
  const { client } = waypoint.open();
  client.send(text.slice(0, 80_000));
  await settle();
  expect((await waypoint.accessLines())[0]).toContain(line);
  expect(waypoint.refused).toHaveLength(1);
});

test("HTTP/2 that breaks its rules has a line, too", async () => {
  const waypoint = new FakeWaypoint();
  const { client } = waypoint.open();
  client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".padEnd(60, "\0"));
  await settle();
  expect((await waypoint.accessLines())[0]).toContain("HTTP/2 400 DPE http2.protocol_error");
});

test("a backend that dies in mid-answer is said to have done so", async () => {
  const waypoint = new FakeWaypoint();
  const { client } = waypoint.open();
  client.send(GET);
  await settle();
  waypoint.backends.last.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf");
  await settle();
  waypoint.backends.last.stream.reset("cancel");
  await settle();
  expect(await waypoint.accessLines()).toEqual([
    "GET /a HTTP/1.1 200 UC upstream_reset_after_response_started{connection_termination} - 0 4 " +
      HTTP_CLUSTER,
  ]);
});

function tcp(waypoint: FakeWaypoint): MemoryPeer {
  const [stream, remote] = MemoryStream.pair();
  const answer = { accept() {}, refuse: () => stream.reset("refused") };
  new TcpSession(
    stream,
    waypoint.connection,
    waypoint.context,
    waypoint.target(9000),
    answer,
  ).start();
  return new MemoryPeer(remote);
}

test("a TCP connection has a line with its bytes", async () => {
  const waypoint = new FakeWaypoint();
  const client = tcp(waypoint);
  await settle();
  client.send("hello");
  client.stream.end();
  await settle();
  waypoint.backends.last.send("hi");
  waypoint.backends.last.stream.end();
  await settle();
  expect(await waypoint.accessLines()).toEqual([`- - - 0 - - - 5 2 ${TCP_CLUSTER}`]);
});

test("one that is denied, or cannot be connected, too", async () => {
  const denying = new FakeWaypoint(denyingAll(meshWith(1)));
  tcp(denying);
  expect(await denying.accessLines()).toEqual([
    `- - - 0 - - rbac_access_denied_matched_policy[none] 0 0 ${TCP_CLUSTER}`,
  ]);
  const failing = new FakeWaypoint();
  failing.backends.outcome = () => "fail";
  tcp(failing);
  await settle();
  expect(await failing.accessLines()).toEqual([`- - - 0 UF - - 0 0 ${TCP_CLUSTER}`]);
});
