/** What a gRPC client is told when the waypoint answers itself, over both versions of HTTP. */
import { afterEach, describe, expect, test } from "vitest";
import { ask, connect, endClients, withProtocol } from "../../test/support/inner-http2.ts";
import { settle } from "../../test/support/memory-stream.ts";
import {
  denyingAll,
  FakeWaypoint,
  meshWith,
  withRequestTimeout,
  withRule,
} from "../../test/support/waypoint-session.ts";
import { grpcMessage, grpcTimeout, grpcTimeoutMs, isGrpcType } from "./grpc.ts";

/** Machines are busy. */
const poll = <T>(look: () => T) => expect.poll(look, { timeout: 10_000 });

afterEach(endClients);

const GRPC = { ":method": "POST", ":path": "/a.B/C", "content-type": "application/grpc+proto" };
const HEAD =
  "POST /a.B/C HTTP/1.1\r\nhost: reviews\r\ncontent-type: application/grpc+proto\r\n" +
  "content-length: 5\r\n\r\n\0\0\0\0\0";

const OTHER_PATH = {
  path: { type: "Exact", value: "/other" },
  headers: [],
  queryParams: [],
  method: undefined,
} as const;

/** Name, the waypoint, and what its gRPC clients are told. */
const CASES: [string, () => FakeWaypoint, string, string | undefined][] = [
  ["403", () => new FakeWaypoint(denyingAll(meshWith(1))), "7", "RBAC: access denied"],
  [
    "404",
    () => new FakeWaypoint(withRule(meshWith(1), { matches: [OTHER_PATH] })),
    "12",
    undefined,
  ],
  // GRPCRoute, backendRefs: UNAVAILABLE where HTTPRoute has 500.
  [
    "500, no backend",
    () => new FakeWaypoint(withRule(meshWith(1), { backends: [] })),
    "14",
    undefined,
  ],
  [
    "500, a rule that cannot be acted on",
    () => new FakeWaypoint(withRule(meshWith(1), { problem: "a filter" })),
    "2",
    undefined,
  ],
  ["503 UH", () => new FakeWaypoint(meshWith(0)), "14", "no healthy upstream"],
  [
    "503 UF",
    () => {
      const waypoint = new FakeWaypoint();
      waypoint.backends.outcome = () => "fail";
      return waypoint;
    },
    "14",
    "upstream connect error or disconnect/reset before headers. retried and the latest " +
      "reset reason: remote connection failure",
  ],
  [
    "502 UPE",
    () => {
      const waypoint = new FakeWaypoint(withProtocol("HTTP11"));
      waypoint.backends.onConnection = (peer) => setTimeout(() => peer.send("nonsense\r\n\r\n"), 5);
      return waypoint;
    },
    "14",
    "upstream connect error or disconnect/reset before headers. reset reason: protocol error",
  ],
  [
    "504 UT",
    () => new FakeWaypoint(withRequestTimeout(withProtocol("HTTP11"), 20)),
    "14",
    "upstream request timeout",
  ],
];

describe.each(CASES)("%s", (_name, make, status, message) => {
  test("HTTP/2: trailers only", async () => {
    const waypoint = make();
    const { headers, trailers, body } = await ask(connect(waypoint), GRPC, "\0\0\0\0\0");
    expect(headers).toMatchObject({ ":status": 200, "content-type": "application/grpc" });
    expect(headers["grpc-status"]).toBe(status);
    expect(headers["grpc-message"]).toBe(message);
    expect(trailers).toEqual({});
    expect(body).toBe("");
    expect(waypoint.metrics()).toContain(`grpc_response_status="${status}"`);
  });

  test("HTTP/1.1: the same in the head, and the connection goes on", async () => {
    const waypoint = make();
    const { client } = waypoint.open();
    for (let answers = 1; answers <= 2; answers++) {
      client.send(HEAD);
      await poll(() => client.text.split("HTTP/1.1 200 OK").length).toBe(answers + 1);
    }
    await settle();
    const [, first] = client.text.split("HTTP/1.1 200 OK");
    expect(first).toContain("\r\ncontent-type: application/grpc\r\n");
    expect(first).toContain(`\r\ngrpc-status: ${status}\r\n`);
    expect(first).toContain("\r\ncontent-length: 0\r\n");
    if (message !== undefined) expect(first).toContain(`\r\ngrpc-message: ${message}\r\n`);
    expect(client.text.endsWith("\r\n\r\n")).toBe(true);
    expect(waypoint.metrics()).toContain('request_protocol="grpc"');
    expect(waypoint.active).toBe(0);
  });
});

test.each([
  ["application/grpc", true],
  ["application/grpc+proto", true],
  ["application/grpc; charset=x", true],
  ["Application/GRPC", true],
  ["application/grpc-web", false],
  ["application/grpcx", false],
  ["text/plain", false],
  [undefined, false],
])("isGrpcType(%j)", (type, expected) => {
  expect(isGrpcType(type)).toBe(expected);
});

/** gRPC over HTTP/2, Percent-Encoded: all but 0x20 to 0x7e, and the percent sign. */
test.each([
  ["plain ~ text", "plain ~ text"],
  ["100%", "100%25"],
  ["a\r\nb\0", "a%0D%0Ab%00"],
  ["für 🙂", "f%C3%BCr %F0%9F%99%82"],
])("grpcMessage(%j)", (text, encoded) => {
  expect(grpcMessage(text)).toBe(encoded);
  expect(decodeURIComponent(encoded)).toBe(text);
});

/** gRPC over HTTP/2, Requests: TimeoutValue and TimeoutUnit. */
test.each([
  ["300m", 300],
  ["2S", 2_000],
  ["1M", 60_000],
  ["99999999H", 359_999_996_400_000],
  ["300000u", 300],
  ["1500u", 2],
  ["1n", 1],
  ["0300m", 300],
  // Not positive.
  ["0m", 0],
  ["-1m", 0],
  // Another unit, or none.
  ["300", 0],
  ["300x", 0],
  ["300ms", 0],
  ["m", 0],
  // More than eight digits, or something else.
  ["123456789n", 0],
  ["+300m", 0],
  ["300 m", 0],
  ["3e2m", 0],
  ["300m,200m", 0],
  ["", 0],
  [undefined, 0],
])("grpcTimeoutMs(%j) is %i", (value, ms) => {
  expect(grpcTimeoutMs(value)).toBe(ms);
});

test.each([
  [1, "1m"],
  [99_999_999, "99999999m"],
  [100_000_001, "100001S"],
  [360_000_000_000, "100000H"],
])("grpcTimeout(%i) is %s, and not less when it is read", (ms, value) => {
  expect(grpcTimeout(ms)).toBe(value);
  expect(grpcTimeoutMs(value)).toBeGreaterThanOrEqual(ms);
});
