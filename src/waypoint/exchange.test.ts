import { afterEach, expect, test } from "vitest";
import { settle, until } from "../../test/support/memory-stream.ts";
import { FakeWaypoint, meshWith, withRequestTimeout } from "../../test/support/waypoint-session.ts";

const GET = "GET /a HTTP/1.1\r\nhost: reviews\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

let waypoint = new FakeWaypoint();

function start(snapshot = meshWith(1)): FakeWaypoint {
  waypoint = new FakeWaypoint(snapshot);
  return waypoint;
}

/** Whatever a test does: in the end all is credited, and nothing counts as in flight. */
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

function statuses(text: string): string[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map((found) => found[1]!);
}

/** A client's request that has reached the backend. */
async function underWay(request = GET, snapshot = meshWith(1)) {
  start(snapshot);
  const opened = waypoint.open();
  opened.client.send(request);
  await settle();
  return { ...opened, backend: waypoint.backends.last };
}

test("the head is rewritten: claims go, the request's id comes", async () => {
  const { backend } = await underWay(
    "GET http://reviews/%61/../b?q HTTP/1.1\r\nhost: x\r\nx-forwarded-client-cert: me\r\n\r\n",
  );
  expect(backend.text).toMatch(
    /^GET \/b\?q HTTP\/1\.1\r\nx-request-id: [0-9a-f-]+\r\nx-forwarded-proto: http\r\nhost: rev/,
  );
  expect(backend.text).not.toContain("client-cert");
  backend.send(OK);
});

test("an empty query stays", async () => {
  const { backend } = await underWay("GET /a? HTTP/1.1\r\nhost: x\r\n\r\n");
  expect(backend.text).toContain("GET /a? HTTP/1.1\r\n");
  backend.send(OK);
});

test("an answer may come while the body is still coming", async () => {
  const { client, stream, backend } = await underWay(
    "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n01234",
  );
  backend.send(OK);
  await settle();
  expect(statuses(client.text)).toEqual(["200"]);
  // Not to be used again: the request on it was never finished.
  expect(backend.isClosed).toBe(true);
  client.send(`56789${GET}`);
  await settle();
  expect(waypoint.backends.connections).toHaveLength(2);
  waypoint.backends.last.send(OK);
  await settle();
  expect(statuses(client.text)).toEqual(["200", "200"]);
  expect(stream.heldBytes).toBe(0);
});

test("chunked bodies are framed anew, both ways, trailers kept downstream", async () => {
  const { client, backend, stream } = await underWay(
    "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" +
      "5;a=b\r\nhello\r\n0\r\nx-late: 1\r\nauthorization: no\r\n\r\n",
  );
  expect(backend.text).toMatch(/transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n$/);
  backend.send(
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" +
      "3;x\r\nabc\r\n0\r\nx-sum: 3\r\nset-cookie: a=b\r\n\r\n",
  );
  await settle();
  expect(client.text).toMatch(/\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 3\r\n\r\n$/);
  expect(client.text).not.toContain("cookie");
  expect(stream.heldBytes).toBe(0);
});

test.each([
  ["HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n", "content-length: 7"],
  ["HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", ""],
  ["GET", "HTTP/1.1 204 No Content\r\n\r\n", ""],
  ["GET", 'HTTP/1.1 304 Not Modified\r\netag: "x"\r\ncontent-length: 9\r\n\r\n', "etag"],
])("%s: an answer without a body ends with its head (%#)", async (method, answer, holds) => {
  const { client, backend } = await underWay(GET.replace("GET", method));
  backend.send(answer);
  await settle();
  expect(client.text).toContain(holds);
  expect(client.text.endsWith("\r\n\r\n")).toBe(true);
  client.send(GET);
  await settle();
  expect(waypoint.backends.connections).toHaveLength(1);
  backend.send(OK);
  await settle();
  expect(statuses(client.text)).toHaveLength(2);
});

test("an answer that ends with its connection is sent chunked", async () => {
  const { client, backend } = await underWay();
  backend.send("HTTP/1.1 200 OK\r\n\r\nabc");
  backend.stream.end();
  await settle();
  expect(client.text).toMatch(/transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n$/);
  expect(client.isEnded).toBe(false);
});

test.each(["end", "reset"])("a backend that goes before the head (%s): 503 UC", async (how) => {
  const { client, backend } = await underWay();
  if (how === "end") backend.stream.end();
  else backend.stream.reset("cancel");
  await settle();
  expect(statuses(client.text)).toEqual(["503"]);
  expect(waypoint.metrics()).toContain('response_flags="UC"');
  expect(waypoint.backends.dialed).toHaveLength(1);
});

test.each(["end", "reset"])(
  "one that goes in the middle breaks the answer off (%s)",
  async (how) => {
    for (const framing of ["content-length: 9", "transfer-encoding: chunked"]) {
      const { client, backend } = await underWay();
      backend.send(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n2\r\nab\r\n`);
      await settle();
      if (how === "end") backend.stream.end();
      else backend.stream.reset("cancel");
      await settle();
      expect(client.reset?.by).toBe("peer");
      expect(client.text.endsWith("0\r\n\r\n")).toBe(false);
      expect(waypoint.metrics()).toContain('response_flags="UC"');
    }
  },
);

test.each([
  ["a bare line feed", "HTTP/1.1 200 OK\ncontent-length: 0\n\n"],
  ["no HTTP", "SSH-2.0-OpenSSH_9.6\r\n\r\n"],
  ["two framings", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"],
  [
    "101 that nobody asked for",
    "HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
  ],
  ["a head without end", `HTTP/1.1 200 OK\r\nx: ${"y".repeat(70_000)}`],
])("a malformed answer: 502 UPE (%s)", async (_name, answer) => {
  const { client, backend } = await underWay();
  backend.send(answer);
  await settle();
  expect(statuses(client.text)).toEqual(["502"]);
  expect(waypoint.metrics()).toContain('response_flags="UPE"');
  expect(backend.isClosed).toBe(true);
});

test("a malformed chunk breaks the answer off", async () => {
  const { client, backend } = await underWay();
  backend.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n");
  await settle();
  expect(client.reset?.by).toBe("peer");
  expect(waypoint.metrics()).toContain('response_flags="UPE"');
});

test("bytes behind an answer are never the answer to the next request", async () => {
  const { client } = await underWay(GET + GET);
  waypoint.backends.last.send(`${OK}HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil`);
  await settle();
  expect(waypoint.backends.connections).toHaveLength(2);
  waypoint.backends.last.send(OK);
  await settle();
  expect(statuses(client.text)).toEqual(["200", "200"]);
  expect(client.text).not.toContain("evil");
  expect(waypoint.backends.connections[0]!.isClosed).toBe(true);
});

test("bytes on an idle connection end it", async () => {
  const { client, backend } = await underWay();
  backend.send(OK);
  await settle();
  backend.send("HTTP/1.1 408 Request Timeout\r\n\r\n");
  await settle();
  expect(backend.isClosed).toBe(true);
  client.send(GET);
  await settle();
  expect(waypoint.backends.connections).toHaveLength(2);
  waypoint.backends.last.send(OK);
});

test.each([
  ["GET", "", true],
  ["DELETE", "", true],
  ["POST", "", false],
  ["PUT", "content-length: 1\r\n", false],
])(
  "a reused connection that broke: %s is sent again or not (%j)",
  async (method, line, isReplayed) => {
    const { client, backend } = await underWay();
    backend.send(OK);
    await settle();
    client.send(`${method} /b HTTP/1.1\r\nhost: a\r\n${line}\r\n${line === "" ? "" : "x"}`);
    await settle();
    backend.stream.reset("cancel");
    await settle();
    expect(waypoint.backends.connections).toHaveLength(isReplayed ? 2 : 1);
    if (isReplayed) {
      expect(waypoint.backends.last.text).toContain(`${method} /b HTTP/1.1`);
      waypoint.backends.last.send(OK);
      await settle();
    }
    expect(statuses(client.text)).toEqual(["200", isReplayed ? "200" : "503"]);
  },
);

test("a replay does not go out on another connection that has rested", async () => {
  const { backends } = start();
  const clients = Array.from({ length: 4 }, () => waypoint.open().client);
  for (const client of clients) client.send(GET);
  await settle();
  for (const backend of backends.connections) backend.send(OK);
  await settle();
  // All four are stale: the server closes each when it is asked.
  for (const backend of backends.connections) {
    backend.onData = () => backend.stream.reset("cancel");
  }
  clients[0]!.send(GET);
  await settle();
  expect(backends.connections).toHaveLength(5);
  backends.last.send(OK);
  await settle();
  expect(statuses(clients[0]!.text)).toEqual(["200", "200"]);
});

test("a request that the backend's ztunnel did not look at is sent again, whatever it is", async () => {
  const { client, backend } = await underWay(GET.replace("GET", "POST"));
  backend.stream.reset("refused");
  await settle();
  expect(waypoint.backends.connections).toHaveLength(2);
  waypoint.backends.last.send(OK);
  await settle();
  expect(statuses(client.text)).toEqual(["200"]);
});

test("connect failures are tried elsewhere, then answered 503 UF,URX", async () => {
  const { backends } = start(meshWith(3));
  backends.outcome = () => "fail";
  const { client } = waypoint.open();
  client.send("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc");
  await until(() => client.text !== "", "an answer");
  expect(statuses(client.text)).toEqual(["503"]);
  expect(new Set(backends.dialed.map((endpoint) => endpoint.address)).size).toBe(3);
  expect(waypoint.metrics()).toContain('response_flags="UF,URX"');
  backends.outcome = (dial) => (dial < 6 ? "fail" : "accept");
  client.send("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc");
  await until(() => backends.connections.length > 0, "a connection");
  await settle();
  expect(backends.last.text.endsWith("\r\n\r\nabc")).toBe(true);
  backends.last.send(OK);
  await settle();
  expect(statuses(client.text)).toEqual(["503", "200"]);
});

test("too many wait for the endpoint: 503 UO at once, tried nowhere else", async () => {
  const { backends } = start(meshWith(3));
  backends.outcome = () => "overflow";
  const { client } = waypoint.open();
  client.send(GET);
  await until(() => client.text !== "", "an answer");
  expect(statuses(client.text)).toEqual(["503"]);
  expect(client.text).toMatch(/reset reason: overflow$/);
  expect(backends.dialed.length).toBe(1);
  expect(waypoint.metrics()).toContain('response_flags="UO"');
});

test("without endpoints: 503 UH", async () => {
  start(meshWith(0));
  const { client } = waypoint.open();
  client.send(GET);
  await settle();
  expect(statuses(client.text)).toEqual(["503"]);
  expect(client.text.endsWith("no healthy upstream")).toBe(true);
});

test.each(["while it is dialed", "while it is waited for", "in the middle"])(
  "a request that takes too long %s: 504, or broken off",
  async (when) => {
    const { backends } = start(withRequestTimeout(meshWith(1), 40));
    if (when === "while it is dialed") backends.outcome = () => "hang";
    const { client } = waypoint.open();
    client.send(GET);
    await settle();
    if (when === "in the middle")
      backends.last.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n");
    const isOver = () => (when === "in the middle" ? client.isClosed : client.text !== "");
    await until(isOver, "the time-out");
    expect(statuses(client.text)).toEqual([when === "in the middle" ? "200" : "504"]);
    expect(waypoint.metrics()).toContain('response_flags="UT"');
    if (when === "while it is dialed") expect(backends.aborted).toBe(1);
    else expect(backends.last.isClosed).toBe(true);
  },
);

test("a slow reader stops the backend; what is held stays within the windows", async () => {
  start();
  waypoint.backends.pair = { windowBytes: 32 * 1024 };
  const { client, stream } = waypoint.open({ windowBytes: 32 * 1024 });
  client.isReading = false;
  client.send(GET);
  await settle();
  const body = "z".repeat(4 << 20);
  waypoint.backends.last.send(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  await settle(200);
  expect(client.receivedBytes).toBeLessThanOrEqual(32 * 1024);
  expect(stream.queuedBytesMax).toBeLessThan(80 * 1024);
  expect(waypoint.backends.last.stream.queuedBytes).toBeGreaterThan(3 << 20);
  client.resume();
  await settle(2000);
  expect(client.text.length - client.text.indexOf("\r\n\r\n") - 4).toBe(body.length);
});

test("a slow backend stops the client", async () => {
  start();
  waypoint.backends.pair = { windowBytes: 32 * 1024 };
  waypoint.backends.onConnection = (peer) => {
    peer.isReading = false;
  };
  const { client, stream } = waypoint.open({ windowBytes: 32 * 1024 });
  const body = "z".repeat(1 << 20);
  client.send(`POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  await settle(200);
  expect(waypoint.backends.streams[0]!.queuedBytesMax).toBeLessThan(80 * 1024);
  expect(stream.heldBytes).toBe(32 * 1024);
  waypoint.backends.last.resume();
  await settle(1000);
  expect(waypoint.backends.last.text.endsWith(body)).toBe(true);
  expect(stream.heldBytes).toBe(0);
  waypoint.backends.last.send(OK);
});

test("interim answers to a client that does not read are not heaped up", async () => {
  const { client, stream, backend } = await underWay();
  client.isReading = false;
  for (let i = 0; i < 30; i++) {
    backend.send(`HTTP/1.1 103 Early Hints\r\nlink: <${"s".repeat(60_000)}>\r\n\r\n`);
    await settle(2);
  }
  expect(stream.queuedBytesMax).toBeLessThan(128 * 1024);
  backend.send(OK);
  await settle();
  client.resume();
  await settle();
  expect(client.text.endsWith("ok")).toBe(true);
});

test("a client that goes cancels what is under way", async () => {
  const { client, backend } = await underWay();
  client.stream.reset("cancel");
  await settle();
  expect(backend.isClosed).toBe(true);
  expect(waypoint.metrics()).toContain('response_flags="DC"');
  const { backends } = start();
  backends.outcome = () => "hang";
  const { client: other } = waypoint.open();
  other.send(GET);
  await settle();
  other.stream.reset("cancel");
  await settle();
  expect(backends.aborted).toBe(1);
});

const UPGRADE =
  "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
const SWITCHED =
  "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

test("after an upgrade both directions are bytes, up to the end of each", async () => {
  const { client, backend } = await underWay(`${UPGRADE}early`);
  expect(backend.text).toContain("connection: upgrade\r\nupgrade: websocket\r\n");
  backend.send(`${SWITCHED}first`);
  await settle();
  expect(client.text).toMatch(/^HTTP\/1\.1 101 [\s\S]*upgrade: websocket\r\n\r\nfirst$/);
  expect(backend.text.endsWith("\r\n\r\nearly")).toBe(true);
  client.send("ping");
  await settle();
  backend.send("pong");
  backend.stream.end();
  await settle();
  expect(client.text.endsWith("firstpong")).toBe(true);
  expect(client.isEnded).toBe(true);
  // The other half is still open.
  client.send("late");
  client.stream.end();
  await settle();
  expect(backend.text.endsWith("earlypinglate")).toBe(true);
  expect(backend.reset).toBeUndefined();
  expect(backend.isClosed && client.isClosed).toBe(true);
});

test("what a client sends last arrives also at a slow backend", async () => {
  const { client, backend } = await underWay(UPGRADE);
  backend.send(SWITCHED);
  await settle();
  backend.stream.end();
  backend.isReading = false;
  const bytes = "b".repeat(1_500_000);
  client.send(bytes);
  client.stream.end();
  await settle(100);
  backend.resume();
  await settle(200);
  expect(backend.text.endsWith(bytes)).toBe(true);
  expect(backend.reset).toBeUndefined();
});

test("an upgraded connection that is cut on one side is cut on the other", async () => {
  for (const side of ["client", "backend"] as const) {
    const { client, backend } = await underWay(UPGRADE);
    backend.send(SWITCHED);
    await settle();
    (side === "client" ? client : backend).stream.reset("cancel");
    await settle();
    expect(client.isClosed && backend.isClosed).toBe(true);
  }
});

test("an upgrade that is declined is an answer like any other", async () => {
  const { client, backend } = await underWay(UPGRADE + GET);
  backend.send(OK);
  await settle();
  backend.send(OK);
  await settle();
  expect(statuses(client.text)).toEqual(["200", "200"]);
});

test("other protocols, and upgrades with a body, are not asked for", async () => {
  const { backend } = await underWay(UPGRADE.replace("websocket", "h2c"));
  expect(backend.text).not.toContain("upgrade");
  backend.send(OK);
  await settle();
  const other = await underWay(UPGRADE.replace("\r\n\r\n", "\r\ncontent-length: 1\r\n\r\nx"));
  expect(other.backend.text).not.toContain("upgrade");
  other.backend.send(OK);
});
