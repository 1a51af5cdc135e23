import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { afterEach, expect, test } from "vitest";
import { type MemoryPeer, settle, until } from "../../../test/support/memory-stream.ts";
import {
  FakeWaypoint,
  meshWith,
  REVIEWS_HOST,
  withRule,
} from "../../../test/support/waypoint-session.ts";
import type { ExternalAuthFilter, RouteFilter } from "../../model/route.ts";
import { CheckRequestSchema, CheckResponseSchema } from "../../wire/gen/envoy/ext_authz_pb.ts";
import type { WaypointLimits } from "../limits.ts";
import { filterAuthorizer } from "./authorizer.ts";
import { grpcAnswer, grpcQuestion } from "./grpc-authorizer.ts";

const OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const FILTER: ExternalAuthFilter = {
  type: "ExternalAuth",
  protocol: "HTTP",
  backend: {
    weight: 1,
    service: `default/${REVIEWS_HOST}`,
    port: 80,
    problem: undefined,
    position: undefined,
  },
  pathPrefix: "/check",
  allowedRequestHeaders: ["x-user"],
  allowedResponseHeaders: [],
  bodyBytesMax: 0,
};

let waypoint = new FakeWaypoint();

afterEach(async () => {
  await settle();
  for (const session of waypoint.context.sessions) session.drain(0);
  for (const stream of waypoint.backends.streams) {
    if (!stream.isClosed) expect(stream.heldBytes).toBe(0);
    stream.reset("cancel");
  }
  await settle();
  expect(waypoint.active).toBe(0);
});

async function send(
  request: string,
  parts: Partial<ExternalAuthFilter> = {},
  more: RouteFilter[] = [],
  limits: Partial<WaypointLimits> = {},
) {
  const filters = [{ ...FILTER, ...parts }, ...more];
  const mesh = withRule(meshWith(1), { filters });
  waypoint = new FakeWaypoint(mesh, { externalAuthTimeoutMs: 100, ...limits });
  const opened = waypoint.open();
  opened.client.send(request);
  await settle();
  return { ...opened, authorizer: waypoint.backends.connections[0] as MemoryPeer };
}

const GET =
  "GET /a?q HTTP/1.1\r\nhost: reviews\r\nx-user: me\r\nx-other: no\r\nauthorization: token\r\n\r\n";

test("the authorizer is asked with what it may see, and nothing reaches the backend before", async () => {
  const { authorizer, client } = await send(GET);
  expect(authorizer.text).toBe(
    "GET /check/a?q HTTP/1.1\r\nhost: reviews\r\nx-user: me\r\nauthorization: token\r\n" +
      "content-length: 0\r\n\r\n",
  );
  expect(waypoint.backends.connections).toHaveLength(1);
  authorizer.send(
    "HTTP/1.1 200 OK\r\nx-verdict: yes\r\nhost: evil\r\ncontent-type: text/x\r\ncontent-length: 0\r\n\r\n",
  );
  await settle();
  // The connection is at rest, and serves the backend, which is the same one here.
  const forwarded = authorizer.text.slice(authorizer.text.indexOf("\r\n\r\n") + 4);
  expect(forwarded).toMatch(/^GET \/a\?q HTTP\/1\.1\r\n/);
  expect(forwarded).toContain("x-verdict: yes\r\n");
  expect(forwarded).toContain("x-other: no\r\n");
  expect(forwarded).not.toMatch(/evil|text\/x/);
  authorizer.send(OK);
  await settle();
  expect(client.text).toMatch(/^HTTP\/1\.1 200 /);
});

test("what it refuses with is the client's answer", async () => {
  const { authorizer, client } = await send(GET);
  authorizer.send(
    "HTTP/1.1 401 no\r\nwww-authenticate: Basic\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\nhalt",
  );
  await settle();
  expect(client.text).toMatch(/^HTTP\/1\.1 401 /);
  expect(client.text).toContain("www-authenticate: Basic\r\n");
  expect(client.text.match(/content-type/g)).toHaveLength(1);
  expect(client.text.endsWith("\r\n\r\nhalt")).toBe(true);
  expect(await waypoint.accessLines()).toEqual([
    expect.stringContaining("401 UAEX ext_authz_denied"),
  ]);
});

test.each([
  ["answers 500", (peer: MemoryPeer) => peer.send("HTTP/1.1 500 no\r\ncontent-length: 0\r\n\r\n")],
  ["breaks off", (peer: MemoryPeer) => peer.stream.reset("cancel")],
  ["speaks no HTTP", (peer: MemoryPeer) => peer.send("220 mail\r\n\r\n")],
  ["says nothing", () => {}],
  [
    "says too much",
    (peer: MemoryPeer) => {
      peer.send(`HTTP/1.1 403 no\r\ncontent-length: 100000\r\n\r\n${"x".repeat(100_000)}`);
    },
  ],
])("an authorizer that %s lets nobody in", async (_, act) => {
  const { authorizer, client } = await send(GET);
  act(authorizer);
  await until(() => client.text !== "");
  expect(client.text).toMatch(/^HTTP\/1\.1 403 /);
  expect(waypoint.backends.connections).toHaveLength(1);
  expect(await waypoint.accessLines()).toEqual([
    expect.stringContaining("403 UAEX ext_authz_error"),
  ]);
});

test("an authorizer that does not exist lets nobody in", async () => {
  const { client } = await send(GET, { backend: { ...FILTER.backend, service: undefined } });
  expect(client.text).toMatch(/^HTTP\/1\.1 403 /);
});

test("it is shown the beginning of the body, and the backend gets all of it", async () => {
  const { client, authorizer } = await send(
    "POST /a HTTP/1.1\r\nhost: r\r\ncontent-length: 10\r\n\r\n01",
    { bodyBytesMax: 4 },
  );
  expect(authorizer).toBeUndefined();
  client.send("234567");
  await settle();
  const [asked] = waypoint.backends.connections as [MemoryPeer];
  expect(asked.text.endsWith("content-length: 4\r\n\r\n0123")).toBe(true);
  asked.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  client.send("89");
  await settle();
  expect(asked.text.endsWith("\r\n\r\n0123456789")).toBe(true);
  asked.send(OK);
});

/** More than any window that the client has. */
const LARGE = "0123456789abcdef".repeat(20_000);
const POST_LARGE = `POST /a HTTP/1.1\r\nhost: r\r\ncontent-length: ${LARGE.length}\r\n\r\n`;

function sendPieces(peer: MemoryPeer, text: string): void {
  for (let at = 0; at < text.length; at += 10_000) peer.send(text.slice(at, at + 10_000));
}

test("it is shown more than a window holds, where it asks for that", async () => {
  const { client } = await send(POST_LARGE, { bodyBytesMax: 1_000_000 });
  sendPieces(client, LARGE.slice(0, -1));
  await settle();
  expect(client.stream.heldBytes).toBeLessThan(64 * 1024);
  expect(waypoint.backends.connections).toHaveLength(0);
  expect(waypoint.context.keptBytes.bytes).toBeGreaterThan(256 * 1024);
  client.send(LARGE.slice(-1));
  await settle();
  const [asked] = waypoint.backends.connections as [MemoryPeer];
  expect(asked.text.endsWith(`\r\n\r\n${LARGE}`)).toBe(true);
  asked.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  await settle();
  expect(asked.text.split(LARGE)).toHaveLength(3);
  expect(waypoint.context.keptBytes.bytes).toBe(0);
  asked.send(OK);
  await settle();
  expect(client.stream.heldBytes).toBe(0);
});

test.each([
  ["what it may be shown ends", { externalAuthBodyBytesMax: 100_000 }, 1],
  ["all bodies together are too many", { keptBodiesBytesMax: 100_000 }, 0],
])("where %s, so does the body", async (_, limits, questions) => {
  const { client } = await send(POST_LARGE, { bodyBytesMax: 1_000_000 }, [], limits);
  sendPieces(client, LARGE.slice(0, 200_000));
  await settle();
  expect(waypoint.backends.connections).toHaveLength(questions);
  if (questions === 0) expect(client.text).toMatch(/^HTTP\/1\.1 503 .*overflow$/s);
  client.stream.reset("cancel");
  await settle();
  expect(waypoint.context.keptBytes.bytes).toBe(0);
});

test("a client that breaks off breaks the question off", async () => {
  const { client, authorizer } = await send(GET);
  client.stream.reset("cancel");
  await settle();
  expect(authorizer.isClosed).toBe(true);
});

test("each authorizer is asked, up to the first that refuses", async () => {
  const { client, authorizer } = await send(GET, {}, [{ ...FILTER, pathPrefix: "/second" }]);
  authorizer.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  await settle();
  expect(authorizer.text).toContain("GET /second/a?q HTTP/1.1");
  authorizer.send("HTTP/1.1 403 no\r\ncontent-length: 0\r\n\r\n");
  await settle();
  expect(client.text).toMatch(/^HTTP\/1\.1 403 /);
});

const ASKED = {
  id: "1",
  method: "GET",
  target: "/a?q",
  authority: "reviews",
  fields: ["x-user", "me", "x-user", "too", "x-other", "no"],
  protocol: "HTTP/1.1",
  sourceIdentity: "spiffe://cluster.local/ns/default/sa/client",
  sourceAddress: "10.0.0.1",
  sourcePort: 1234,
  destinationAddress: "10.96.0.1",
  destinationPort: 80,
  service: "reviews.default.svc.cluster.local",
};

function framed(message: Uint8Array): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

test("gRPC: the question has who asks for what", () => {
  const bytes = grpcQuestion(
    filterAuthorizer({ ...FILTER, protocol: "GRPC", allowedRequestHeaders: ["x-user"] }),
    ASKED,
    {
      bytes: Buffer.from("body"),
      isPartial: false,
    },
  );
  const { attributes } = fromBinary(CheckRequestSchema, bytes.subarray(5));
  expect(bytes.readUInt32BE(1)).toBe(bytes.length - 5);
  expect(attributes).toMatchObject({
    source: {
      principal: ASKED.sourceIdentity,
      address: { socketAddress: { address: "10.0.0.1", portValue: 1234 } },
    },
    destination: { service: ASKED.service },
    request: {
      http: { method: "GET", path: "/a?q", host: "reviews", body: "body", size: 4n },
    },
  });
  expect(attributes?.request?.http?.headers).toEqual({
    ":method": "GET",
    ":path": "/a?q",
    ":authority": "reviews",
    "x-user": "me,too",
    "x-envoy-auth-partial-body": "false",
  });
});

test("gRPC: an answer that allows may change headers, but not the message", () => {
  const option = (key: string, value: string, append = false) => ({
    header: { key, value },
    append: { value: append },
  });
  const message = create(CheckResponseSchema, {
    status: { code: 0 },
    httpResponse: {
      case: "okResponse",
      value: {
        headers: [
          option("X-Set", "1"),
          option("x-more", "2", true),
          option("content-length", "7"),
          option("x-bad", "a\r\nb: c"),
          option("host", "evil"),
          option(":path", "/evil"),
        ],
        headersToRemove: ["Authorization", "host", "transfer-encoding"],
        responseHeadersToAdd: [option("x-answer", "3")],
      },
    },
  });
  expect(grpcAnswer(200, "0", framed(toBinary(CheckResponseSchema, message)))).toEqual({
    kind: "allowed",
    changes: {
      set: [["x-set", "1"]],
      append: [["x-more", "2"]],
      remove: ["authorization"],
      response: [["x-answer", "3"]],
    },
  });
});

test("gRPC: an answer that refuses has a status of its own, or 403", () => {
  const denied = (code: number | undefined) =>
    framed(
      toBinary(
        CheckResponseSchema,
        create(CheckResponseSchema, {
          status: { code: 7 },
          ...(code === undefined
            ? {}
            : {
                httpResponse: {
                  case: "deniedResponse" as const,
                  value: { status: { code }, body: "no", headers: [] },
                },
              }),
        }),
      ),
    );
  for (const [code, expected] of [
    [401, 401],
    [undefined, 403],
    [7, 403],
    [100, 403],
  ] as const) {
    expect(grpcAnswer(200, "0", denied(code))).toMatchObject({
      kind: "denied",
      reply: { status: expected, flags: "UAEX" },
    });
  }
});

test.each([
  ["another status", 503, "0", framed(new Uint8Array())],
  ["an error", 200, "14", framed(new Uint8Array())],
  ["no status", 200, "", framed(new Uint8Array())],
  ["nothing", 200, "0", Buffer.alloc(0)],
  ["half a message", 200, "0", Buffer.from([0, 0, 0, 0, 9, 1])],
  ["a compressed message", 200, "0", Buffer.from([1, 0, 0, 0, 0])],
  ["no message", 200, "0", Buffer.from([0, 0, 0, 0, 2, 0xff, 0xff])],
])("gRPC: %s allows nothing", (_, status, grpcStatus, bytes) => {
  expect(grpcAnswer(status, grpcStatus, bytes).kind).toBe("failed");
});
