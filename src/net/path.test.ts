import fc from "fast-check";
import { expect, test } from "vitest";
import { normalizePath, type PathNormalization } from "./path.ts";

const MODES: PathNormalization[] = ["BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"];

/** Paths made of what matters here. */
const paths = fc
  .array(
    fc.constantFrom(
      ..."/ // . .. ; a b %2e %2E %2f %5C %61 %25 % %% \\ 2 e %32 %65 %6 ..;x .; %00 é".split(" "),
    ),
    { maxLength: 12 },
  )
  .map((parts) => `/${parts.join("")}`);

test("normalizePath() leaves plain paths alone", () => {
  for (const path of ["/", "/a/b.c/d-e_f~g", "*", "/a;b=c", "/%2F"]) {
    expect(normalizePath(path, "BASE")).toBe(path);
  }
  expect(normalizePath("/a/../%61", "NONE")).toBe("/a/../%61");
});

test.each([
  ["/%61%2e%7e", "/a.~"],
  ["/a/./b/../c", "/a/c"],
  ["/../../a", "/a"],
  ["/a/..", "/"],
  ["/a/.", "/a/"],
  ["/a/..;x=y/b", "/b"],
  ["/a\\..\\b", "/b"],
  ["/a%2f..%2fb", "/a%2f..%2fb"],
  ["/a//b", "/a//b"],
  // A backend decodes what is left once more.
  ["/a/%%32e%%32e/b", "/a/%252e%252e/b"],
  ["/a/%2%65/b", "/a/%252e/b"],
])("normalizePath(%j, BASE) is %j", (path, normal) => {
  expect(normalizePath(path, "BASE")).toBe(normal);
});

test("normalizePath() merges and decodes slashes when it is told to", () => {
  expect(normalizePath("/a//b///c", "MERGE_SLASHES")).toBe("/a/b/c");
  expect(normalizePath("/a%2f%2Fb%5c..%5Cc", "MERGE_SLASHES")).toBe("/a%2f%2Fb%5c..%5Cc");
  expect(normalizePath("/a%2f%2Fb%5c..%5Cc", "DECODE_AND_MERGE_SLASHES")).toBe("/a/c");
});

test("a path with a NUL is no path", () => {
  for (const mode of MODES) expect(normalizePath("/a%00b", mode)).toBeUndefined();
});

test("the normal form has no way up, is normal itself, and survives another decoding", () => {
  fc.assert(
    fc.property(paths, fc.constantFrom(...MODES), (path, mode) => {
      const normal = normalizePath(path, mode);
      if (normal === undefined) return;
      expect(normal.startsWith("/")).toBe(true);
      expect(normalizePath(normal, mode)).toBe(normal);
      expect(normal).not.toMatch(/\/\.\.?(;[^/]*)?(\/|$)|\\/);
      if (mode !== "BASE") expect(normal).not.toContain("//");
      // Unreserved characters are never left encoded: dots above all.
      expect(normal).not.toMatch(/%2e|%61/i);
    }),
    { numRuns: 3000 },
  );
});
