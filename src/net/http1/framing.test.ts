import { expect, test } from "vitest";
import { Http1Head, parseRequestHead, parseResponseHead } from "./head.ts";

function request(lines: string, version = "1.1", method = "POST") {
  const bytes = Buffer.from(`${method} / HTTP/${version}\r\nHost: a\r\n${lines}\r\n`, "latin1");
  const head = new Http1Head();
  const problem = parseRequestHead(head, bytes, 0, bytes.length);
  return problem ? problem.status : head;
}

function response(status: number, lines: string, method = "GET", version = "1.1") {
  const bytes = Buffer.from(`HTTP/${version} ${status} X\r\n${lines}\r\n`, "latin1");
  const head = new Http1Head();
  const problem = parseResponseHead(head, bytes, 0, bytes.length, method);
  return problem ? problem.status : head;
}

test.each([
  ["", "none", 0],
  ["Content-Length: 0\r\n", "none", 0],
  ["Content-Length: 007\r\n", "length", 7],
  ["Transfer-Encoding: Chunked\r\n", "chunked", 0],
])("a request with %j has a body of framing %s", (lines, framing, contentLength) => {
  expect(request(lines)).toMatchObject({ framing, contentLength });
});

test.each([
  ["Content-Length: 5\r\nContent-Length: 5\r\n", 400],
  ["Content-Length: 5, 5\r\n", 400],
  ["Content-Length: +5\r\n", 400],
  ["Content-Length: 5a\r\n", 400],
  ["Content-Length: 0x5\r\n", 400],
  ["Content-Length:\r\n", 400],
  ["Content-Length: 9999999999999999\r\n", 400],
  ["Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400],
  ["Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400],
  ["Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400],
  ["Transfer-Encoding: chunked, chunked\r\n", 400],
  ["Transfer-Encoding: chunked, gzip\r\n", 400],
  ["Transfer-Encoding: xchunked\r\n", 400],
  ["Transfer-Encoding:\r\n", 400],
  ["Transfer-Encoding: \x0bchunked\r\n", 400],
  ["Transfer-Encoding: \xa0chunked\r\n", 400],
  ["Transfer-Encoding: gzip, chunked\r\n", 501],
])("a request with %j is refused", (lines, status) => {
  expect(request(lines)).toBe(status);
});

test("Transfer-Encoding in HTTP/1.0 is refused", () => {
  expect(request("Transfer-Encoding: chunked\r\n", "1.0")).toBe(400);
  expect(response(200, "Transfer-Encoding: chunked\r\n", "GET", "1.0")).toBe(400);
});

test.each([
  [200, "", "GET", "close"],
  [200, "Content-Length: 3\r\n", "GET", "length"],
  [200, "Content-Length: 0\r\n", "GET", "none"],
  [200, "Transfer-Encoding: chunked\r\n", "GET", "chunked"],
  [200, "Content-Length: 3\r\n", "HEAD", "none"],
  [200, "Transfer-Encoding: chunked\r\n", "HEAD", "none"],
  [200, "", "HEAD", "none"],
  [103, "", "GET", "none"],
  [204, "Content-Length: 3\r\n", "GET", "none"],
  [304, "Transfer-Encoding: chunked\r\n", "GET", "none"],
])("a %i with %j to %s has framing %s", (status, lines, method, framing) => {
  expect(response(status, lines, method)).toMatchObject({ framing });
});

test.each([
  ["1.1", "", true],
  ["1.1", "Connection: Close\r\n", false],
  ["1.1", "Connection: x, close ,y\r\n", false],
  ["1.1", "Connection: keep-alive\r\nConnection: close\r\n", false],
  ["1.1", "Connection: closed\r\n", true],
  ["1.0", "", false],
  ["1.0", "Connection: Keep-Alive\r\n", true],
])("HTTP/%s with %j: persistent %s", (version, lines, isPersistent) => {
  expect(request(lines, version)).toMatchObject({ isPersistent });
});

test("only WebSocket, by GET, asked for in Connection, in HTTP/1.1, without a body, is an upgrade", () => {
  const ask = "Connection: upgrade\r\nUpgrade: WebSocket\r\n";
  const get = (lines: string, version = "1.1") => request(lines, version, "GET");
  expect(get(ask)).toMatchObject({ upgrade: "WebSocket" });
  expect(get("Upgrade: websocket\r\n")).toMatchObject({ upgrade: "" });
  expect(get("Connection: upgrade\r\n")).toMatchObject({ upgrade: "" });
  expect(get(ask.replace("WebSocket", "h2c"))).toMatchObject({ upgrade: "" });
  expect(get(ask.replace("WebSocket", "websocket, h2c"))).toMatchObject({ upgrade: "" });
  expect(get(ask, "1.0")).toMatchObject({ upgrade: "" });
  expect(get(`${ask}Content-Length: 1\r\n`)).toMatchObject({ upgrade: "" });
  expect(request(ask)).toMatchObject({ upgrade: "" });
});

test("expectsContinue is that of this head, not of the one before", () => {
  const head = new Http1Head();
  for (const isExpecting of [true, false]) {
    const line = isExpecting ? "Expect: 100-Continue\r\n" : "";
    const bytes = Buffer.from(`PUT / HTTP/1.1\r\nHost: a\r\n${line}\r\n`);
    expect(parseRequestHead(head, bytes, 0, bytes.length)).toBeUndefined();
    expect(head.expectsContinue).toBe(isExpecting);
  }
});
