import { expect, test } from "vitest";
import type { HttpMatch } from "../model/route.ts";
import { CookiePaths } from "./cookie-path.ts";

type Path = [HttpMatch["path"]["type"], string];

test.each<[Path[], string, string]>([
  [[], "/any", "/"],
  [[["PathPrefix", "/"]], "/any", "/"],
  [[["PathPrefix", "/foo/"]], "/foo/bar", "/foo"],
  [
    [
      ["PathPrefix", "/a"],
      ["PathPrefix", "/a/b"],
    ],
    "/a/b/c",
    "/a/b",
  ],
  [
    [
      ["PathPrefix", "/a"],
      ["PathPrefix", "/a/b"],
    ],
    "/a/bc",
    "/a",
  ],
  [
    [
      ["PathPrefix", "/a"],
      ["Exact", "/a/login"],
    ],
    "/a/login",
    "/a/login",
  ],
  [[["RegularExpression", "/p1/p2/.*/p3"]], "/p1/p2/foo/p3", "/p1/p2"],
  [[["RegularExpression", "^/p1/v[12]$"]], "/p1/v2", "/p1"],
  [[["RegularExpression", "/one|/two"]], "/two", "/"],
  [[["RegularExpression", "/a/b?"]], "/a/", "/a"],
  [[["RegularExpression", "/plain/text"]], "/plain/text", "/plain/text"],
  [[["Exact", "/semi;colon"]], "/semi;colon", "/"],
  [[["Exact", "/a\r\nset-cookie: x"]], "/a\r\nset-cookie: x", "/"],
])("%j, asked for %s: %s", (paths, asked, path) => {
  const matches = paths.map(
    ([type, value]): HttpMatch => ({
      path: { type, value },
      headers: [],
      queryParams: [],
      method: undefined,
    }),
  );
  expect(new CookiePaths(matches).of(asked)).toBe(path);
});
