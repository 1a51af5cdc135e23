/** The judge itself: of every expectation, that what does not meet it is said. */
import { expect, test } from "vitest";
import type { EchoAnswer } from "../../../src/local/echo-answer.ts";
import type { Expected } from "./cases.ts";
import type { Seen } from "./clients.ts";
import { judgeHttp, judgeTcp } from "./judge.ts";

const BACKEND: EchoAnswer = {
  ...{ workload: "alpha-1", namespace: "shop", version: "", port: 80, protocol: "HTTP/1.1" },
  ...{ method: "GET", path: "/a?b=c", host: "web", peer: "", identity: undefined },
  ...{ headers: { "x-one": "1,2" }, body: "", bodyBytes: 0 },
};
const SEEN: Seen = {
  ...{ status: 200, grpcStatus: 0, cookies: [], failure: "" },
  headers: { location: "https://example.org:8443/p?q", "x-answer": "a, b" },
  backend: BACKEND,
};

test.each<[string, Expected, Expected]>([
  ["status", { statusCodes: [404, 200] }, { statusCodes: [404] }],
  ["gRPC status", { grpcStatus: 0 }, { grpcStatus: 12 }],
  ["denied", { allowed: true }, { denied: true }],
  ["backend", { backend: "alpha" }, { backend: "beta" }],
  ["namespace", { namespace: "shop" }, { namespace: "other" }],
  ["method", { backendRequest: { method: "GET" } }, { backendRequest: { method: "PUT" } }],
  ["path", { backendRequest: { path: "/a" } }, { backendRequest: { path: "/b" } }],
  [
    "path and query",
    { backendRequest: { path: "/a?b=c" } },
    { backendRequest: { path: "/a?b=d" } },
  ],
  [
    "whole path",
    { backendRequest: { pathAndQuery: "/a?b=c" } },
    { backendRequest: { pathAndQuery: "/a" } },
  ],
  ["host", { backendRequest: { host: "web" } }, { backendRequest: { host: "shop" } }],
  [
    "protocol",
    { backendRequest: { protocol: "HTTP/1.1" } },
    { backendRequest: { protocol: "HTTP/2.0" } },
  ],
  [
    "header",
    { backendRequest: { headers: { "X-One": "1,2" } } },
    { backendRequest: { headers: { "x-one": "1" } } },
  ],
  [
    "present header",
    { backendRequest: { presentHeaders: ["X-One"] } },
    { backendRequest: { presentHeaders: ["x"] } },
  ],
  [
    "absent header",
    { backendRequest: { absentHeaders: ["x"] } },
    { backendRequest: { absentHeaders: ["X-ONE"] } },
  ],
  [
    "answer's header",
    { responseHeaders: { "X-Answer": "a, b" } },
    { responseHeaders: { "x-answer": "a,b" } },
  ],
  [
    "answer's header, without spaces",
    { ignoreWhitespaceInHeaderValues: true, responseHeaders: { "x-answer": "a,b" } },
    { ignoreWhitespaceInHeaderValues: true, responseHeaders: { "x-answer": "a;b" } },
  ],
  [
    "one of several values",
    { responseHeadersOneOf: { "x-answer": ["c", "a, b"] } },
    { responseHeadersOneOf: { "x-answer": ["c"] } },
  ],
  [
    "absent in the answer",
    { absentResponseHeaders: ["x"] },
    { absentResponseHeaders: ["X-Answer"] },
  ],
  [
    "scheme",
    { redirect: { scheme: "https", port: "8443" } },
    { redirect: { scheme: "http", port: "8443" } },
  ],
  ["redirect's port", { redirect: { port: "8443" } }, { redirect: {} }],
  [
    "redirect's host",
    { redirect: { host: "example.org", port: "8443" } },
    { redirect: { host: "x", port: "8443" } },
  ],
  [
    "redirect's path",
    { redirect: { path: "/p", port: "8443" } },
    { redirect: { path: "/", port: "8443" } },
  ],
])("%s", (_, right, wrong) => {
  expect(judgeHttp(right, SEEN)).toEqual([]);
  expect(judgeHttp(wrong, SEEN)).toHaveLength(1);
});

test("an answer of a proxy is not a backend's", () => {
  expect(judgeHttp({ answeredByProxy: true }, SEEN)).toHaveLength(1);
  const local = { ...SEEN, backend: undefined };
  expect(judgeHttp({ answeredByProxy: true }, local)).toEqual([]);
  expect(judgeHttp({ backend: "alpha" }, local)).toHaveLength(1);
});

test("504 and 408 stand for one another, and no answer for none", () => {
  expect(judgeHttp({ statusCodes: [504] }, { ...SEEN, status: 408 })).toEqual([]);
  const failed = { ...SEEN, status: 0, failure: "reset" };
  expect(judgeHttp({ statusCodes: [200] }, failed)).toEqual(["reset"]);
  expect(judgeHttp({ denied: true }, failed)).toEqual([]);
});

test("connections", () => {
  const seen = { backend: BACKEND, isServerFirst: false, failure: "" };
  const closed = { backend: undefined, isServerFirst: false, failure: "closed" };
  expect(judgeTcp({ connected: true, backend: "alpha" }, seen)).toEqual([]);
  expect(judgeTcp({ backend: "beta" }, seen)).toHaveLength(1);
  expect(judgeTcp({ serverFirst: true }, seen)).toHaveLength(1);
  expect(judgeTcp({ connected: true }, closed)).toEqual(["closed"]);
  expect(judgeTcp({ connected: false }, closed)).toEqual([]);
  expect(judgeTcp({ denied: true }, seen)).toHaveLength(1);
});
