import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import {
  type MemoryPeer,
  type MemoryStream,
  settle,
  until,
} from "../../test/support/memory-stream.ts";
import { denyingAll, FakeWaypoint, meshWith } from "../../test/support/waypoint-session.ts";

const GET = "GET /a HTTP/1.1\r\nhost: reviews\r\n\r\n";
const POST = "POST /a HTTP/1.1\r\nhost: a\r\n";
const OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

let waypoint = new FakeWaypoint();

/** Whatever a test does, nothing counts as in flight when it is over. */
afterEach(async () => {
  await settle();
  for (const stream of waypoint.backends.streams) if (!stream.isClosed) stream.reset("cancel");
  await settle();
  expect(waypoint.active).toBe(0);
});

function start(snapshot = meshWith(1)): FakeWaypoint {
  waypoint = new FakeWaypoint(snapshot);
  return waypoint;
}

/** A backend that answers each complete request that has no body. */
function answering(answer: string): (peer: MemoryPeer) => void {
  return (peer) => {
    let answered = 0;
    const onData = peer.onData.bind(peer);
    peer.onData = (bytes, from, to) => {
      onData(bytes, from, to);
      const complete = peer.text.split("\r\n\r\n").length - 1;
      for (; answered < complete; answered++) peer.send(answer);
    };
  };
}

function statuses(text: string): string[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map((found) => found[1]!);
}

function expectCredited(stream: MemoryStream): void {
  if (!stream.isClosed) expect(stream.heldBytes).toBe(0);
}

test("a connection is kept for one request after the other, on both sides", async () => {
  const { backends } = start();
  backends.onConnection = answering(OK);
  const { client, stream, session } = waypoint.open();
  for (let i = 1; i <= 3; i++) {
    client.send(GET);
    await settle();
    expect(statuses(client.text)).toHaveLength(i);
  }
  expect(backends.connections).toHaveLength(1);
  expect(session.isIdle).toBe(true);
  expectCredited(stream);
  expectCredited(backends.streams[0]!);
  client.stream.end();
  await settle();
  expect(client.isEnded).toBe(true);
  expect(client.reset).toBeUndefined();
});

test("pipelined requests are answered in order, one at a time upstream", async () => {
  const { backends } = start();
  const { client, stream } = waypoint.open();
  client.send(["/1", "/2", "/3"].map((path) => GET.replace("/a", path)).join(""));
  await settle();
  for (const path of ["/1", "/2", "/3"]) {
    expect(backends.last.text.trimEnd().split("\r\n\r\n").at(-1)).toContain(`GET ${path} HTTP/1.1`);
    backends.last.send(OK.replace("ok", path));
    await settle();
  }
  expect(client.text.match(/\/\d$|\/\d(?=HTTP)/g)).toEqual(["/1", "/2", "/3"]);
  expectCredited(stream);
});

test("ten thousand pipelined requests that are denied do not exhaust the stack", async () => {
  start(denyingAll(meshWith(1)));
  const { client, stream } = waypoint.open({ windowBytes: 1 << 24 });
  client.send(GET.repeat(10_000));
  await settle();
  expect(statuses(client.text)).toEqual(Array(10_000).fill("403"));
  expectCredited(stream);
});

test("thousands of pipelined requests cost their number upstream, not its square", async () => {
  const { backends } = start();
  backends.onConnection = (peer) => {
    peer.onData = (_bytes, from, to) => {
      peer.stream.credit(to - from);
      peer.send(OK);
    };
  };
  const { client } = waypoint.open({ windowBytes: 1 << 24 });
  client.send(GET.repeat(4000));
  await settle(20_000);
  expect(statuses(client.text)).toHaveLength(4000);
});

test("what is held for a client that pipelines and does not read stays bounded", async () => {
  start(denyingAll(meshWith(1)));
  const { client, stream } = waypoint.open({ windowBytes: 64 * 1024 });
  client.isReading = false;
  for (let i = 0; i < 100; i++) {
    client.send(GET.repeat(1000));
    await settle(2);
  }
  // A window of requests, each with its answer, and no more.
  expect(stream.queuedBytesMax).toBeLessThan(1024 * 1024);
  expect(client.stream.queuedBytes).toBeGreaterThan(1_000_000);
  client.resume();
  await settle(2000);
  expect(statuses(client.text)).toHaveLength(100_000);
  expectCredited(stream);
});

const REQUESTS = [
  GET,
  "\r\n\r\nPOST /b?x=1 HTTP/1.1\r\nHost: reviews\r\nContent-Length: 5\r\n\r\nhello",
  "POST /c HTTP/1.1\r\nHost: reviews\r\nTransfer-Encoding: chunked\r\n\r\n" +
    "3\r\nabc\r\na;x=y\r\n0123456789\r\n0\r\nx-t: 1\r\n\r\n",
  "HEAD /d HTTP/1.1\r\nHost: reviews\r\n\r\n",
];

/** What a backend gets, chunk boundaries aside, and what the client gets. */
async function passThrough(pieceBytes: number): Promise<{ up: string; down: string }> {
  const { backends } = start();
  backends.pair = { pieceBytes };
  const { client, stream } = waypoint.open({ pieceBytes });
  for (const request of REQUESTS) {
    client.send(request);
    await settle();
    const isHead = request.startsWith("HEAD");
    if (isHead) backends.last.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n");
    else
      backends.last.send(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
      );
    await settle();
  }
  expectCredited(stream);
  const clean = (text: string) =>
    text
      .replace(/x-request-id: .*\r\n/g, "")
      .replace(/x-envoy-upstream-service-time: .*\r\n/g, "")
      .replace(/\r\n[0-9a-f]+\r\n|([a-z0-9])\r\n[0-9a-f]+\r\n/g, "$1");
  return {
    up: clean(backends.connections.map((peer) => peer.text).join("")),
    down: clean(client.text),
  };
}

test("any split into pieces gives the same", async () => {
  const whole = await passThrough(65_536);
  expect(whole.up).toContain("abc0123456789");
  expect(whole.down.match(/body/g)).toHaveLength(3);
  for (const pieceBytes of [1, 2, 3, 7, 50]) expect(await passThrough(pieceBytes)).toEqual(whole);
});

test("empty lines before a request are ignored, wherever they are cut", async () => {
  const { backends } = start();
  backends.onConnection = answering(OK);
  const { client, session } = waypoint.open();
  for (const piece of ["\r", "\n", "\r\n\r", `\n${GET}\r\n`, "\r\n"]) {
    client.send(piece);
    await settle();
  }
  expect(statuses(client.text)).toEqual(["200"]);
  expect(session.isIdle).toBe(true);
  // What is waited for is a request, and not the rest of one.
  session.onDeadline();
  await settle();
  expect(statuses(client.text)).toEqual(["200"]);
});

test.each([
  ["two spaces", "GET  /a HTTP/1.1\r\nhost: a\r\n\r\n", 400],
  ["no Host", "GET /a HTTP/1.1\r\n\r\n", 400],
  ["bare line feeds", "GET /a HTTP/1.1\nhost: a\n\n", 400],
  ["two framings", `${POST}content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n`, 400],
  ["a foreign coding", `${POST}transfer-encoding: gzip, chunked\r\n\r\n`, 501],
  ["HTTP/2.0", "GET /a HTTP/2.0\r\nhost: a\r\n\r\n", 505],
  ["a long line", `${POST}x: ${"y".repeat(70_000)}\r\n\r\n`, 431],
  ["a long line without end", `${POST}x: ${"y".repeat(70_000)}`, 431],
  ["too many lines", `${POST}${"x: y\r\n".repeat(300)}\r\n`, 431],
])("%s: the request is refused, and the connection ends", async (_name, head, status) => {
  start();
  const { client, stream, session } = waypoint.open();
  client.send(`${head}GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n`);
  await settle();
  expect(statuses(client.text)).toEqual([String(status)]);
  expect(client.text).toContain("connection: close");
  expect(client.isEnded).toBe(true);
  expect(waypoint.refused.map((reply) => reply.status)).toEqual([status]);
  expect(waypoint.backends.dialed).toEqual([]);
  client.send("more");
  await settle();
  expect(stream.heldBytes).toBe(0);
  expect(session.isIdle).toBe(false);
});

test("a head that stalls is answered 408", async () => {
  start();
  const { client, session, stream } = waypoint.open();
  client.send("GET /a HTT");
  await settle();
  expect(session.deadlineNext).not.toBeNull();
  session.onDeadline();
  await settle();
  expect(statuses(client.text)).toEqual(["408"]);
  expect(client.isEnded).toBe(true);
  expect(stream.heldBytes).toBe(0);
});

test("a client that ends in the middle of a head is not answered", async () => {
  start();
  const { client } = waypoint.open();
  client.send("GET /a HTT");
  client.stream.end();
  await settle();
  expect(client.isClosed).toBe(true);
  expect(client.text).toBe("");
});

test("a client that ends behind its requests gets all answers", async () => {
  const { backends } = start();
  backends.onConnection = answering(OK);
  const { client } = waypoint.open();
  client.send(`${GET}${GET}GET /unfin`);
  client.stream.end();
  await settle(40);
  expect(statuses(client.text)).toEqual(["200", "200"]);
  expect(client.isClosed).toBe(true);
  expect(client.reset).toBeUndefined();
});

test("100 Continue is passed on, without what is for one hop only", async () => {
  const { backends } = start();
  const { client, stream } = waypoint.open();
  client.send("PUT /a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n");
  await settle();
  expect(backends.last.text).toContain("expect: 100-continue");
  backends.last.send("HTTP/1.1 100 Continue\r\nconnection: close\r\nkeep-alive: x\r\n\r\n");
  await settle();
  expect(client.text).toBe("HTTP/1.1 100 Continue\r\n\r\n");
  client.send("abc");
  await settle();
  expect(backends.last.text.endsWith("\r\n\r\nabc")).toBe(true);
  backends.last.send(OK);
  await settle();
  expect(statuses(client.text)).toEqual(["100", "200"]);
  expect(client.text).not.toContain("connection: close");
  expectCredited(stream);
});

test.each([true, false])("without 100 the connection ends (denied: %s)", async (isDenied) => {
  const mesh = meshWith(1);
  const { backends } = start(isDenied ? denyingAll(mesh) : mesh);
  const { client, stream } = waypoint.open();
  client.send("PUT /a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 99\r\n\r\n");
  await settle();
  if (!isDenied) backends.last.send("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n");
  await settle();
  expect(statuses(client.text)).toEqual([isDenied ? "403" : "417"]);
  expect(client.text).toContain("connection: close");
  expect(client.isEnded).toBe(true);
  // Were it taken for a request, it would be answered.
  client.send(GET.repeat(5));
  await settle();
  expect(statuses(client.text)).toHaveLength(1);
  expect(stream.heldBytes).toBe(0);
});

test("an HTTP/1.0 client gets a chunked answer plain, up to the end of the connection", async () => {
  const { backends } = start();
  const { client } = waypoint.open();
  client.send("GET /a HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
  await settle();
  expect(backends.last.text).toContain("GET /a HTTP/1.1\r\n");
  backends.last.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
  await settle();
  expect(client.text).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*connection: close\r\n\r\nok$/);
  expect(client.text).not.toContain("chunked");
  expect(client.isEnded).toBe(true);
});

test("an HTTP/1.0 client that wants to stay is told that it may", async () => {
  const { backends } = start();
  backends.onConnection = answering(OK);
  const { client } = waypoint.open();
  for (let i = 0; i < 2; i++) {
    client.send("GET /a HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n");
    await settle();
  }
  expect(client.text.match(/connection: keep-alive\r\n/g)).toHaveLength(2);
  client.send("GET /a HTTP/1.0\r\nhost: a\r\n\r\n");
  await settle();
  expect(statuses(client.text)).toHaveLength(3);
  expect(client.isEnded).toBe(true);
});

test("a malformed body ends the request with 400, upstream too", async () => {
  const { backends } = start();
  const { client } = waypoint.open();
  client.send("POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n");
  await settle();
  client.send("x\r\n");
  await settle();
  expect(statuses(client.text)).toEqual(["400"]);
  expect(client.isEnded).toBe(true);
  expect(backends.last.isClosed).toBe(true);
});

test("an answer that is out survives what is wrong with the rest of the body", async () => {
  for (const rest of ["zz\r\n", undefined]) {
    start(denyingAll(meshWith(1)));
    const { client } = waypoint.open();
    client.send("POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n");
    if (rest === undefined) client.stream.end();
    else client.send(rest);
    await settle();
    expect(statuses(client.text)).toEqual(["403"]);
    expect(client.isEnded).toBe(true);
  }
});

test("drain() ends a busy connection with its answer", async () => {
  const { backends } = start();
  const { client, session } = waypoint.open();
  client.send(GET);
  await settle();
  session.drain(0);
  await settle();
  expect(client.isEnded).toBe(false);
  backends.last.send(OK);
  await settle();
  expect(client.text).toContain("connection: close");
  expect(client.isEnded).toBe(true);
});

test("drain() answers what was on its way to an idle connection, and says that it is the last", async () => {
  const { backends } = start();
  backends.onConnection = answering(OK);
  const { client, session } = waypoint.open();
  client.send(GET);
  await settle();
  session.drain(1000);
  client.send(GET);
  await settle();
  expect(statuses(client.text)).toEqual(["200", "200"]);
  expect(client.text.match(/connection: close/g)).toHaveLength(1);
  expect(client.isEnded).toBe(true);
});

test("drain() in mid-answer: who was told that the connection stays may use it", async () => {
  const { backends } = start();
  const { client, session } = waypoint.open();
  client.send(GET);
  await settle();
  backends.last.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n");
  await settle();
  session.drain(1000);
  backends.last.send("ok");
  await settle();
  expect(client.isEnded).toBe(false);
  client.send(GET);
  await settle();
  backends.last.send(OK);
  await settle();
  expect(statuses(client.text)).toEqual(["200", "200"]);
  expect(client.text).toContain("connection: close");
  expect(client.isEnded).toBe(true);
});

test("drain() ends an idle connection behind the grace", async () => {
  start();
  const { client, session } = waypoint.open();
  session.drain(20);
  await settle();
  expect(client.isEnded).toBe(false);
  await until(() => client.isEnded);
});

test("no bytes make a session throw or credit what it did not receive", async () => {
  const requests = fc.constantFrom(...REQUESTS);
  const mutation = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }));
  await fc.assert(
    fc.asyncProperty(
      fc.array(requests, { minLength: 1, maxLength: 3 }),
      fc.array(mutation, { maxLength: 4 }),
      fc.integer({ min: 1, max: 64 }),
      async (texts, mutations, pieceBytes) => {
        const { backends } = start();
        backends.onConnection = answering(OK);
        const { client, stream } = waypoint.open({ pieceBytes });
        const bytes = Buffer.from(texts.join(""), "latin1");
        for (const [at, byte] of mutations) bytes[at % bytes.length] = byte;
        client.send(bytes);
        client.stream.end();
        await settle();
        expect(stream.heldBytes).toBeGreaterThanOrEqual(0);
        client.stream.reset("cancel");
        await settle(3);
        expect(waypoint.active).toBe(0);
      },
    ),
    { numRuns: 150 },
  );
});
