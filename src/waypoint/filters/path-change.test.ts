import { expect, test } from "vitest";
import { routeOf } from "../../../test/policy/mesh.ts";
import type { HttpRouteRule } from "../../model/route.ts";
import { changedPath } from "./path-change.ts";
import { locationOf } from "./redirect.ts";

function ruleFor(prefix: string): HttpRouteRule {
  const path = { type: "PathPrefix" as const, value: prefix };
  const match = { path, headers: [], queryParams: [], method: undefined };
  return routeOf("r", [{ matches: [match] }]).rules[0]!;
}

test.each([
  // The table of the Gateway API (HTTPPathModifier.replacePrefixMatch) …
  ["/foo/bar", "/foo", "/xyz", "/xyz/bar"],
  ["/foo/bar", "/foo", "/xyz/", "/xyz/bar"],
  ["/foo/bar", "/foo/", "/xyz", "/xyz/bar"],
  ["/foo/bar", "/foo/", "/xyz/", "/xyz/bar"],
  ["/foo", "/foo", "/xyz", "/xyz"],
  ["/foo/", "/foo", "/xyz", "/xyz/"],
  ["/foo/bar", "/foo", "", "/bar"],
  ["/foo/", "/foo", "", "/"],
  ["/foo", "/foo", "", "/"],
  ["/foo/", "/foo", "/", "/"],
  ["/foo", "/foo", "/", "/"],
  // … and beyond it.
  ["/foo", "/foo", "/xyz/", "/xyz/"],
  ["/bar", "/", "/xyz", "/xyz/bar"],
  ["/bar", "/", "/", "/bar"],
])("%s, whose prefix %s becomes %s, is %s", (path, prefix, value, expected) => {
  const change = { type: "ReplacePrefixMatch" as const, value };
  expect(changedPath(path, change, ruleFor(prefix))).toBe(expected);
});

const REDIRECT = {
  type: "RequestRedirect" as const,
  scheme: undefined,
  hostname: undefined,
  path: undefined,
  port: undefined,
  statusCode: 302,
};

test.each([
  ["nothing", {}, "shop", 80, "http://shop/foo/bar?q=1"],
  ["nothing, on another port", {}, "shop:8080", 8080, "http://shop:8080/foo/bar?q=1"],
  ["nothing, where Host names no port", {}, "shop", 8080, "http://shop:8080/foo/bar?q=1"],
  ["a scheme", { scheme: "https" }, "shop:8080", 8080, "https://shop/foo/bar?q=1"],
  ["a host", { hostname: "other" }, "shop:8080", 8080, "http://other:8080/foo/bar?q=1"],
  ["a port", { port: 8443, scheme: "https" }, "shop", 80, "https://shop:8443/foo/bar?q=1"],
  ["the scheme's port", { port: 443, scheme: "https" }, "shop", 80, "https://shop/foo/bar?q=1"],
  ["the port of http", { port: 80 }, "shop:8080", 8080, "http://shop/foo/bar?q=1"],
  ["an address", { port: 81 }, "[::1]:80", 80, "http://[::1]:81/foo/bar?q=1"],
  [
    "a path",
    { path: { type: "ReplaceFullPath" as const, value: "/x" } },
    "shop",
    80,
    "http://shop/x?q=1",
  ],
  [
    "a prefix",
    { path: { type: "ReplacePrefixMatch" as const, value: "/x" } },
    "shop",
    80,
    "http://shop/x/bar?q=1",
  ],
])("a redirect that names %s", (_, parts, authority, destinationPort, expected) => {
  const request = { path: "/foo/bar", query: "q=1", authority, destinationPort };
  expect(locationOf({ ...REDIRECT, ...parts }, ruleFor("/foo"), request)).toBe(expected);
});
