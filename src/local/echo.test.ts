import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import { afterEach, expect, test } from "vitest";
import { EchoServer } from "./echo.ts";
import type { EchoAnswer } from "./echo-answer.ts";

const REVIEWS = { workload: "reviews-v1", namespace: "bookinfo", version: "v1" };
const servers: EchoServer[] = [];

afterEach(() => {
  for (const server of servers.splice(0)) server.destroy();
});

async function start(isPlainTcp = false): Promise<number> {
  const server = new EchoServer(REVIEWS, 9080, isPlainTcp);
  servers.push(server);
  return await server.listen();
}

/** Everything the server sends until it ends, for everything the client sends. */
function talk(port: number, pieces: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, "127.0.0.1");
    let text = "";
    socket.setEncoding("utf8");
    socket.on("data", (more) => {
      text += more;
    });
    socket.on("end", () => resolve(text));
    socket.on("error", reject);
    const send = (index: number) => {
      const piece = pieces[index];
      if (piece === undefined) socket.end();
      else socket.write(piece, () => setTimeout(send, 20, index + 1));
    };
    send(0);
  });
}

test("EchoServer answers who it is and what reached it", async () => {
  const port = await start();
  const response = await fetch(`http://127.0.0.1:${port}/reviews/1?a=b`, {
    method: "POST",
    headers: { "x-forwarded-client-cert": "By=x;URI=spiffe://cluster.local/ns/a/sa/b" },
    body: "hello",
  });
  const answer = (await response.json()) as EchoAnswer;
  expect(response.status).toBe(200);
  expect(response.headers.get("x-served-by")).toBe("reviews-v1");
  expect(answer).toMatchObject({
    ...REVIEWS,
    port: 9080,
    method: "POST",
    path: "/reviews/1?a=b",
    host: `127.0.0.1:${port}`,
    identity: "spiffe://cluster.local/ns/a/sa/b",
    body: "hello",
    bodyBytes: 5,
  });
  expect(answer.peer).toMatch(/^127\.0\.0\.1:\d+$/);
});

test("EchoServer shows the address that the client dials from", async () => {
  const port = await start();
  const body = await new Promise<string>((resolve, reject) => {
    const options = { host: "127.0.0.1", port, path: "/", localAddress: "127.0.0.1", agent: false };
    http
      .get(options, (response) => {
        let text = "";
        response.on("data", (more) => {
          text += more;
        });
        response.on("end", () => resolve(text));
      })
      .on("error", reject);
  });
  expect((JSON.parse(body) as EchoAnswer).peer.startsWith("127.0.0.1:")).toBe(true);
});

test("EchoServer does what the query parameters ask for", async () => {
  const port = await start();
  const base = `http://127.0.0.1:${port}`;
  expect((await fetch(`${base}/?status=503`)).status).toBe(503);
  expect((await fetch(`${base}/?status=99`)).status).toBe(400);
  expect((await (await fetch(`${base}/?size=300000`)).arrayBuffer()).byteLength).toBe(300_000);
  const startMs = performance.now();
  await (await fetch(`${base}/?delay=60ms`)).text();
  expect(performance.now() - startMs).toBeGreaterThanOrEqual(55);
});

test("EchoServer tells HTTP from other protocols by the first bytes", async () => {
  const port = await start();
  const get = ["G", "ET /a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"];
  expect(await talk(port, get)).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
  expect(await talk(port, ["\x00\x01", "binary"])).toBe("\x00\x01binary");
  expect(await talk(port, ["PING\r\n"])).toBe("PING\r\n");
});

test("EchoServer on a TCP port echoes what looks like HTTP, too", async () => {
  const port = await start(true);
  expect(await talk(port, ["GET / HTTP/1.1\r\n\r\n"])).toBe("GET / HTTP/1.1\r\n\r\n");
});

/** One exchange over HTTP/2 by prior knowledge. */
function exchange(
  port: number,
  headers: http2.OutgoingHttpHeaders,
  body: Buffer,
): Promise<{ head: http2.IncomingHttpHeaders; trailers: http2.IncomingHttpHeaders; body: Buffer }> {
  return new Promise((resolve, reject) => {
    const session = http2.connect(`http://127.0.0.1:${port}`);
    session.on("error", reject);
    const stream = session.request(headers);
    const pieces: Buffer[] = [];
    let head: http2.IncomingHttpHeaders = {};
    let trailers: http2.IncomingHttpHeaders = {};
    stream.on("response", (answer) => {
      head = answer;
    });
    stream.on("trailers", (answer) => {
      trailers = answer;
    });
    stream.on("data", (bytes: Buffer) => pieces.push(bytes));
    stream.on("error", reject);
    stream.on("close", () => {
      session.close();
      resolve({ head, trailers, body: Buffer.concat(pieces) });
    });
    stream.end(body);
  });
}

test("EchoServer answers HTTP/2, and says what arrived as it came", async () => {
  const port = await start();
  const asked = {
    ":method": "PUT",
    ":path": "//a/../b?x=1",
    ":authority": "shop",
    "x-twice": ["1", "2"],
  };
  const { head, body } = await exchange(port, asked, Buffer.from("hello"));
  const answer = JSON.parse(body.toString()) as EchoAnswer;
  expect(head[":status"]).toBe(200);
  expect(answer).toMatchObject({
    ...REVIEWS,
    ...{ protocol: "HTTP/2.0", method: "PUT", path: "//a/../b?x=1", host: "shop", body: "hello" },
  });
  expect(answer.headers["x-twice"]?.replace(" ", "")).toBe("1,2");
});

test("EchoServer gives a gRPC call its messages back, and what arrived in a trailer", async () => {
  const port = await start();
  const call = { ":method": "POST", ":path": "/shop.Cart/Add", "content-type": "application/grpc" };
  const message = Buffer.from([0, 0, 0, 0, 2, 8, 1]);
  const { head, trailers, body } = await exchange(port, { ...call, te: "trailers" }, message);
  expect(head[":status"]).toBe(200);
  expect(head["x-served-by"]).toBe("reviews-v1");
  expect(body).toEqual(message);
  expect(trailers["grpc-status"]).toBe("0");
  const echoed = Buffer.from(String(trailers["x-echo-bin"]), "base64").toString();
  expect(JSON.parse(echoed)).toMatchObject({ ...REVIEWS, path: "/shop.Cart/Add" });
  const failing = await exchange(port, { ...call, "x-echo-status": "14" }, message);
  expect(failing.head["grpc-status"]).toBe("14");
});

test("EchoServer fails the first requests with one uuid, with a status or without", async () => {
  const port = await start();
  const url = (query: string) => `http://127.0.0.1:${port}/?${query}`;
  const statuses: number[] = [];
  for (let i = 0; i < 3; i++) {
    statuses.push((await fetch(url("responseCode=503&succeedAfter=2&uuid=a"))).status);
  }
  expect(statuses).toEqual([503, 503, 200]);
  await expect(fetch(url("succeedAfter=1&uuid=b"))).rejects.toThrow();
  expect((await fetch(url("succeedAfter=1&uuid=b"))).status).toBe(200);
});

test("EchoServer says who it is where it echoes bytes", async () => {
  const port = await start(true);
  const [line, rest] = (await talk(port, ["whoami\nand so on"])).split("\n");
  expect(JSON.parse(line!)).toMatchObject({ ...REVIEWS, port: 9080 });
  expect(rest).toBe("and so on");
  expect(await talk(port, ["who\n"])).toBe("who\n");
});

/** A masked frame (RFC 6455 §5.3), as clients send it. */
function masked(opcode: number, text: string): Buffer {
  const mask = [1, 2, 3, 4];
  const payload = Buffer.from(text).map((byte, i) => byte ^ mask[i & 3]!);
  return Buffer.concat([Buffer.from([128 | opcode, 128 | payload.length, ...mask]), payload]);
}

test("EchoServer takes WebSockets: messages come back, whoami is answered", async () => {
  const port = await start();
  const socket = net.connect(port, "127.0.0.1");
  let received = Buffer.alloc(0);
  socket.on("data", (bytes) => {
    received = Buffer.concat([received, bytes]);
  });
  const ended = new Promise((resolve) => socket.once("close", resolve));
  // The key and its answer of RFC 6455 §1.3.
  socket.write(
    "GET /chat HTTP/1.1\r\nhost: shop\r\nupgrade: websocket\r\nconnection: upgrade\r\n" +
      "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
  );
  socket.write(Buffer.concat([masked(1, "hello"), masked(9, "p")]));
  const question = masked(1, "whoami");
  socket.write(question.subarray(0, 5));
  setTimeout(() => socket.write(Buffer.concat([question.subarray(5), masked(8, "")])), 20);
  await ended;
  const text = received.toString("latin1");
  expect(text).toMatch(/^HTTP\/1\.1 101 .*sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=/s);
  const frames = text.slice(text.indexOf("\r\n\r\n") + 4);
  expect(frames.slice(0, 10)).toBe("\x81\x05hello\x8a\x01p");
  expect(frames.charCodeAt(10)).toBe(0x81);
  expect(JSON.parse(frames.slice(frames.indexOf("{"), frames.lastIndexOf("}") + 1))).toMatchObject({
    ...REVIEWS,
    path: "/chat",
  });
  expect(frames.slice(-2)).toBe("\x88\x00");
});

test("EchoServer answers who offers another protocol in HTTP/1.1", async () => {
  const port = await start();
  const request = "GET /a HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";
  expect(await talk(port, [request])).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
});
