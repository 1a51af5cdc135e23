import { afterEach, expect, test } from "vitest";
import { type MemoryPeer, settle, until } from "../../test/support/memory-stream.ts";
import {
  FakeWaypoint,
  meshWith,
  REVIEWS_HOST,
  withHttp2Backends,
  withRule,
} from "../../test/support/waypoint-session.ts";
import type { MirrorFilter, RouteFilter } from "../model/route.ts";

const OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const BACKEND = {
  weight: 1,
  service: `default/${REVIEWS_HOST}`,
  port: 80,
  problem: undefined,
  position: undefined,
};
const MIRROR: MirrorFilter = { type: "RequestMirror", backend: BACKEND, share: 1 };

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
  filters: readonly RouteFilter[] = [MIRROR],
  options: { base?: ReturnType<typeof meshWith>; prepare?: (w: FakeWaypoint) => void } = {},
) {
  const { base = meshWith(1), prepare } = options;
  waypoint = new FakeWaypoint(withRule(base, { filters }), { mirrorTimeoutMs: 50 });
  prepare?.(waypoint);
  const opened = waypoint.open();
  opened.client.send(request);
  await settle();
  const { connections } = waypoint.backends;
  const of = (isShadow: boolean) =>
    connections.filter(({ text }) => text.includes("-shadow") === isShadow);
  return { ...opened, mirrors: of(true), backends: of(false), connections };
}

const POST = "POST /a?q HTTP/1.1\r\nhost: reviews:80\r\ncontent-length: 5\r\n\r\n";

test("a mirror gets what the backend gets, and its answer goes nowhere", async () => {
  const { client, mirrors, backends } = await send(`${POST}he`);
  client.send("llo");
  await settle();
  const [mirror, backend] = [mirrors[0]!, backends[0]!];
  const lines = (text: string) => text.replace("-shadow", "").split("\r\n").sort();
  expect(lines(mirror.text)).toEqual(lines(backend.text));
  expect(mirror.text).toContain("host: reviews-shadow:80\r\n");
  expect(mirror.text.endsWith("\r\n\r\nhello")).toBe(true);
  mirror.send("HTTP/1.1 500 no\r\ncontent-length: 3\r\n\r\nbad");
  backend.send(OK);
  await settle();
  expect(client.text).toMatch(/^HTTP\/1\.1 200 /);
  expect(waypoint.mirrored).toEqual(["answered"]);
  expect(waypoint.metrics()).toContain("istio_requests_total");
});

test("filters of the rule are for its mirrors as well", async () => {
  const modifier: RouteFilter = {
    type: "RequestHeaderModifier",
    headers: { set: [{ name: "x-one", value: "1" }], add: [], remove: ["x-two"] },
  };
  const { mirrors, backends } = await send("GET /a HTTP/1.1\r\nhost: reviews\r\nx-two: 2\r\n\r\n", [
    modifier,
    MIRROR,
    MIRROR,
  ]);
  expect(mirrors).toHaveLength(2);
  for (const { text } of [...mirrors, ...backends]) {
    expect(text).toContain("x-one: 1\r\n");
    expect(text).not.toContain("x-two");
  }
  for (const peer of [...mirrors, ...backends]) peer.send(OK);
});

test.each([
  ["is not to be reached", "fail", "connect"],
  ["is never reached", "hang", "timeout"],
] as const)("a mirror that %s is given up", async (_, outcome, result) => {
  // The mirror is dialed before the backend.
  const { client, connections } = await send(`${POST}hello`, [MIRROR], {
    prepare: ({ backends }) => {
      backends.outcome = (dial) => (dial === 1 ? outcome : "accept");
    },
  });
  connections[0]!.send(OK);
  await until(() => waypoint.mirrored.length > 0);
  await settle();
  expect(waypoint.mirrored).toEqual([result]);
  expect(client.text).toMatch(/^HTTP\/1\.1 200 /);
});

test("a mirror that answers nothing is given up, after the client has its answer", async () => {
  const { client, backends } = await send(`${POST}hello`);
  backends[0]!.send(OK);
  await settle();
  expect(client.text).toMatch(/^HTTP\/1\.1 200 /);
  await until(() => waypoint.mirrored.length > 0);
  expect(waypoint.mirrored).toEqual(["timeout"]);
});

test("a mirror that does not read costs little, and the client nothing", async () => {
  const size = 4 << 20;
  const head = `POST /a HTTP/1.1\r\nhost: reviews\r\ncontent-length: ${size}\r\n\r\n`;
  const stalled: MemoryPeer[] = [];
  const { client, connections } = await send(head, [MIRROR], {
    prepare: ({ backends }) => {
      backends.pair = { windowBytes: 64 * 1024 };
      backends.onConnection = (peer) => {
        if (stalled.length > 0) return;
        stalled.push(peer);
        peer.isReading = false;
      };
    },
  });
  client.send(Buffer.alloc(size, "x"));
  await until(() => connections[1]!.receivedBytes > size);
  expect(waypoint.mirrored).toEqual(["overflow"]);
  connections[1]!.send(OK);
  await settle();
  expect(client.text).toMatch(/^HTTP\/1\.1 200 /);
});

test("a client that breaks off breaks its mirrors off", async () => {
  const { client, mirrors } = await send(`${POST}he`);
  client.stream.reset("cancel");
  await settle();
  expect(mirrors[0]!.isClosed).toBe(true);
  expect(waypoint.mirrored).toEqual([]);
});

test("none is mirrored with a share of nothing, nor to nobody, nor for an upgrade", async () => {
  const nothing = [
    { ...MIRROR, share: 0 },
    { ...MIRROR, backend: { ...BACKEND, service: undefined } },
  ];
  const { connections } = await send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n", nothing);
  expect(connections).toHaveLength(1);
  connections[0]!.send(OK);
  const upgrade = "GET /a HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
  const upgraded = await send(upgrade);
  expect(upgraded.connections).toHaveLength(1);
});

test("a mirror that speaks HTTP/2 gets HTTP/2", async () => {
  const { connections } = await send(`${POST}hello`, [MIRROR], {
    base: withHttp2Backends(),
  });
  // One connection carries both.
  expect(connections).toHaveLength(1);
  expect(connections[0]!.text).toContain("PRI * HTTP/2.0");
});
