import { expect, test } from "vitest";
import { Http1Head, parseRequestHead } from "./head.ts";

function parse(line: string, headers = "Host: h\r\n", version = "1.1") {
  const bytes = Buffer.from(`${line} HTTP/${version}\r\n${headers}\r\n`, "latin1");
  const head = new Http1Head();
  return parseRequestHead(head, bytes, 0, bytes.length) ?? head;
}

test.each([
  ["GET /", { path: "/", query: "", authority: "h", isAbsoluteTarget: false }],
  ["GET /a/b?c=d?e", { path: "/a/b", query: "c=d?e" }],
  ["GET //x/y", { path: "//x/y", authority: "h", isAbsoluteTarget: false }],
  ["GET /a?", { path: "/a", query: "" }],
  ["OPTIONS *", { path: "*", query: "" }],
  ["GET http://x:81/p?q", { path: "/p", query: "q", authority: "x:81", isAbsoluteTarget: true }],
  ["GET HTTPS://x", { path: "/", query: "", authority: "x" }],
  ["GET http://x?q", { path: "/", query: "q", authority: "x" }],
  ["GET http://[::1]:8080/", { authority: "[::1]:8080" }],
])("%s", (line, expected) => {
  expect(parse(line)).toMatchObject(expected);
});

test.each([
  ["GET *", 400],
  ["GET a", 400],
  ["GET http://", 400],
  ["GET http:///p", 400],
  ["GET http://user@x/p", 400],
  ["GET http://x:y/p", 400],
  ["GET ftp://x/p", 400],
  ["GET /a#b", 400],
  ["GET /\xe9", 400],
  ["GET /a\x7f", 400],
  ["CONNECT h:80", 405],
])("%j is refused", (line, status) => {
  expect(parse(line)).toMatchObject({ status });
});

test.each([
  "Host: a\r\nHost: a\r\n",
  "Host: a b\r\n",
  "Host: a/b\r\n",
  "Host: u@a\r\n",
  "Host: a:65536\r\n",
  "Host: a:b\r\n",
  "Host: [::1\r\n",
  "Host: \xe9\r\n",
  "Host: a,b:1:2\r\n",
  "",
])("%j is no Host", (headers) => {
  expect(parse("GET /", headers)).toMatchObject({ status: 400 });
  // It must be there and right also where an absolute target comes first.
  expect(parse("GET http://x/", headers)).toMatchObject({ status: 400 });
});

test("HTTP/1.0 may do without Host; an empty one is one", () => {
  expect(parse("GET /", "", "1.0")).toMatchObject({ authority: "" });
  expect(parse("GET /", "Host:\r\n")).toMatchObject({ authority: "", path: "/" });
});
