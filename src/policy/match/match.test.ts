import { describe, expect, test } from "vitest";
import type { Cidr, StringMatch } from "../../model/rule.ts";
import { DEFAULT_SETTINGS } from "../../model/settings.ts";
import { IpRange, parseAddress } from "./cidr.ts";
import { authorities, matchesHostname, matchingHostnames } from "./host.ts";
import { Memo } from "./memo.ts";
import { PathTemplate } from "./path-template.ts";
import { peerOf } from "./peer.ts";
import { queryParameter } from "./query.ts";
import { compileRegex } from "./regex.ts";
import { matchesString, StringSet } from "./string.ts";
import { withAliases } from "./trust-domains.ts";

describe("strings", () => {
  const table: [StringMatch, string | undefined, boolean][] = [
    [{ type: "exact", value: "GET" }, "GET", true],
    [{ type: "exact", value: "GET" }, "get", false],
    [{ type: "exact", value: "" }, "", true],
    [{ type: "prefix", value: "/api/" }, "/api/x", true],
    [{ type: "prefix", value: "/api/" }, "/api", false],
    [{ type: "suffix", value: ".com" }, "a.com", true],
    [{ type: "suffix", value: ".com" }, ".com", true],
    [{ type: "suffix", value: ".com" }, "com", false],
    [{ type: "presence" }, "x", true],
    [{ type: "presence" }, "", false],
    [{ type: "presence" }, undefined, false],
    [{ type: "exact", value: "x" }, undefined, false],
    [{ type: "template", value: "/a/{*}" }, "/a/b", true],
    [{ type: "template", value: "/a/{*}" }, "/a/", false],
  ];
  test.each(table)("%o and %o", (match, value, expected) => {
    expect(matchesString(match, value)).toBe(expected);
    expect(new StringSet([match]).matches(value)).toBe(expected);
    expect(new StringSet([{ type: "exact", value: "other" }, match]).matches(value)).toBe(expected);
  });

  test("StringSet without matches holds nothing", () => {
    expect(new StringSet([]).matches("x")).toBe(false);
    expect(new StringSet([]).isEmpty).toBe(true);
  });
});

test.each([
  ["/{*}", "/x", true],
  ["/{*}", "/", false],
  ["/{*}", "/x/", false],
  ["/{*}", "/x/y", false],
  ["/a/{*}/c", "/a/b/c", true],
  ["/a/{*}/c", "/a//c", false],
  ["/a/{*}/c", "/a/b/c/d", false],
  ["/a/{*}/{*}", "/a/b/c", true],
  ["/a/{*}/{*}", "/a/b", false],
  ["/a/{**}", "/a/", true],
  ["/a/{**}", "/a", false],
  ["/a/{**}", "/a/b/c/", true],
  ["/{**}/d", "/x/y/d", true],
  ["/{**}/d", "//d", true],
  ["/{**}/d", "/d", false],
  ["/{*}/x/{**}/y", "/a/x/b/c/y", true],
  ["/{*}/x/{**}/y", "/a/x/y", false],
  ["/{*}/x/{**}", "/a/X/b", false],
])("PathTemplate %s and %s", (template, path, expected) => {
  expect(new PathTemplate(template).matches(path)).toBe(expected);
});

describe("CIDR", () => {
  const cidr = (bytes: string, prefixLength: number): Cidr => ({ bytes, prefixLength, text: "" });
  test.each([
    ["0a010203", 8, "10.200.0.1", true],
    ["0a010203", 8, "11.0.0.1", false],
    ["0a010203", 32, "10.1.2.3", true],
    ["0a010203", 31, "10.1.2.2", true],
    ["0a010203", 32, "10.1.2.2", false],
    ["00000000", 0, "255.255.255.255", true],
    ["00000000", 0, "2001:db8::1", false],
    ["0a010203", 32, "::ffff:10.1.2.3", true],
    ["0a010203", 32, "::ffff:a01:203", true],
    ["20010db8000000000000000000000000", 32, "2001:db8:ffff::1", true],
    ["20010db8000000000000000000000000", 33, "2001:db8:8000::1", false],
    ["20010db8000000000000000000000001", 128, "2001:db8::1", true],
    ["20010db8000000000000000000000001", 128, "2001:db8::2", false],
    ["00000000000000000000ffff0a000000", 104, "10.9.9.9", true],
    ["00000000000000000000ffff0a000000", 104, "::ffff:11.0.0.1", false],
    ["00000000000000000000000000000000", 0, "::1", true],
    ["00000000000000000000000000000000", 0, "10.0.0.1", false],
    ["fe800000000000000000000000000000", 10, "fe80::1%eth0", true],
  ])("%s/%i and %s", (bytes, prefixLength, address, expected) => {
    const range = new IpRange(cidr(bytes, prefixLength));
    expect(range.contains(parseAddress(address)!)).toBe(expected);
  });

  test("parseAddress() knows what is no address", () => {
    for (const text of ["", "10.0.0", "10.0.0.256", "x", "1.2.3.4/8", "2001:db8::1::2"]) {
      expect(parseAddress(text), text).toBeUndefined();
    }
  });
});

describe("hosts", () => {
  test.each([
    ["Example.COM", "example.com", "example.com"],
    ["example.com:8080", "example.com:8080", "example.com"],
    ["example.com.", "example.com.", "example.com"],
    ["[::1]:80", "[::1]:80", "[::1]"],
    ["[::1]", "[::1]", "[::1]"],
  ])("authority %s", (authority, text, hostname) => {
    expect(authorities.get(authority)).toEqual({ text, hostname });
  });

  test.each([
    ["a.example.com", "a.example.com", true],
    ["*.example.com", "a.example.com", true],
    ["*.example.com", "b.a.example.com", true],
    ["*.example.com", "example.com", false],
    ["*.example.com", ".example.com", false],
    ["*.example.com", "badexample.com", false],
    ["*", "anything", true],
  ])("%s and %s", (wanted, hostname, expected) => {
    expect(matchesHostname(wanted, hostname)).toBe(expected);
    expect(matchingHostnames.get(hostname).includes(wanted)).toBe(expected);
  });
});

describe("expressions", () => {
  test.each([
    ["/a", "/a", true],
    ["/a", "/ab", false],
    ["/a", "x/a", false],
    ["^/a$", "/a", true],
    ["/a.*", "/abc", true],
    ["/a.*", "/a", true],
    ["/a.+", "/a", false],
    ["/a.+", "/ab", true],
    [".*\\.png", "/x.png", true],
    [".*\\.png", "/xpng", false],
    ["/a/.*/b", "/a/x/b", true],
    ["/a/.*/b", "/a/b", false],
    ["v[0-9]+", "v12", true],
    ["v[0-9]+", "v12x", false],
    ["(?i)abc", "ABC", true],
    ["a|b", "b", true],
    ["a|b", "ab", false],
    ["a\\$", "a$", true],
    ["", "", true],
    ["", "x", false],
    ["a.*", "a\nb", false],
    [".*", "a\n", false],
    [".*b", "a\nb", false],
    ["\\\\.*", "\\x", true],
    ["\\..*", "x", false],
    ["x.*?", "xy", true],
  ])("%s and %j", (pattern, value, expected) => {
    expect(compileRegex(pattern)!.matches(value)).toBe(expected);
  });

  test("compileRegex() refuses what is not RE2", () => {
    for (const pattern of ["(", "a(?=b)", "(a)\\1", "[z-a]", "*"]) {
      expect(compileRegex(pattern), pattern).toBeUndefined();
    }
  });

  test("compileRegex() needs linear time where backtracking would not end", () => {
    const started = process.hrtime.bigint();
    expect(compileRegex("(a+)+b")!.matches("a".repeat(5_000))).toBe(false);
    expect(Number(process.hrtime.bigint() - started) / 1e6).toBeLessThan(5_000);
  });
});

test.each([
  ["a=1&b=2", "b", "2"],
  ["a=1&a=2", "a", "1"],
  ["a", "a", ""],
  ["a=", "a", ""],
  ["a&b=1", "b", "1"],
  ["ab=1", "a", undefined],
  ["a=1", "ab", undefined],
  ["", "a", undefined],
  ["a=x%20y+z", "a", "x y+z"],
  ["%61=1", "a", "1"],
  ["a=%zz", "a", "%zz"],
  ["a=b=c", "a", "b=c"],
  ["&&a=1", "a", "1"],
  ["a+b=1", "a b", undefined],
  ["a+b=1", "a+b", "1"],
])("queryParameter() of %s, %s", (query, name, expected) => {
  expect(queryParameter(query, name)).toBe(expected);
});

test("peerOf() splits the identity; plaintext and strangers have parts missing", () => {
  expect(peerOf("spiffe://td/ns/a/sa/b")).toEqual({
    principal: "td/ns/a/sa/b",
    trustDomain: "td",
    namespace: "a",
    serviceAccount: "a/b",
  });
  expect(peerOf(undefined).principal).toBeUndefined();
  expect(peerOf("spiffe://td/other")).toEqual({ principal: "td/other" });
});

describe("trust-domain aliases", () => {
  const settings = {
    ...DEFAULT_SETTINGS,
    trustDomain: "new-td",
    trustDomainAliases: ["old-td", "x"],
  };
  const values = (match: StringMatch) =>
    withAliases(match, settings).map((m) => ("value" in m ? `${m.type} ${m.value}` : m.type));

  test("withAliases() writes the mesh's own names for one another", () => {
    const all = ["exact new-td/ns/a/sa/b", "exact old-td/ns/a/sa/b", "exact x/ns/a/sa/b"];
    expect(values({ type: "exact", value: "new-td/ns/a/sa/b" })).toEqual(all);
    expect(values({ type: "exact", value: "old-td/ns/a/sa/b" })).toEqual(all);
    expect(values({ type: "exact", value: "cluster.local/ns/a/sa/b" })).toEqual(all);
    expect(values({ type: "prefix", value: "x/ns/a/sa/" })).toContain("prefix old-td/ns/a/sa/");
  });

  test("withAliases() keeps wildcard trust domains for the names they cover", () => {
    expect(values({ type: "suffix", value: "-td/ns/a/sa/b" })).toEqual([
      "suffix -td/ns/a/sa/b",
      "exact x/ns/a/sa/b",
    ]);
  });

  test("withAliases() leaves foreign names, short forms and any name alone", () => {
    expect(values({ type: "exact", value: "other/ns/a/sa/b" })).toEqual(["exact other/ns/a/sa/b"]);
    expect(values({ type: "prefix", value: "new-td/ns/a" })).toEqual(["prefix new-td/ns/a"]);
    expect(values({ type: "suffix", value: "/ns/a/sa/b" })).toEqual(["suffix /ns/a/sa/b"]);
    expect(values({ type: "presence" })).toEqual(["presence"]);
  });
});

test("Memo remembers, within its bounds", () => {
  let computed = 0;
  const memo = new Memo((key) => {
    computed++;
    return key === "none" ? undefined : key.length;
  });
  for (let i = 0; i < 3; i++) {
    expect([memo.get("abc"), memo.get("none"), memo.get("abc")]).toEqual([3, undefined, 3]);
  }
  expect(computed).toBe(2);
  for (let i = 0; i < 5_000; i++) memo.get(`key ${i}`);
  computed = 0;
  memo.get("abc");
  expect(computed).toBe(1);
  const long = "x".repeat(1_000);
  memo.get(long);
  memo.get(long);
  expect(computed).toBe(3);
});
