import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatAuthority, parseAuthority } from "./authority.ts";

describe("parseAuthority()", () => {
  test("takes addresses and names with a port", () => {
    const cases: readonly (readonly [string, string, number])[] = [
      ["10.0.0.1:80", "10.0.0.1", 80],
      ["[::1]:15008", "::1", 15008],
      ["[2001:db8::1]:65535", "2001:db8::1", 65535],
      ["reviews.default.svc.cluster.local:9080", "reviews.default.svc.cluster.local", 9080],
      ["Reviews:1", "reviews", 1],
      ["my_service.ns:80", "my_service.ns", 80],
    ];
    for (const [text, host, port] of cases) expect(parseAuthority(text)).toEqual({ host, port });
  });

  test("refuses everything that could be read differently", () => {
    for (const text of [
      "",
      ":80",
      "host",
      "host:",
      "host:0",
      "host:080",
      "host:+80",
      "host:80 ",
      " host:80",
      "host:65536",
      "host:99999999999",
      "host:8e1",
      "::1:80",
      "[::1]80",
      "[::1]",
      "[::1",
      "[::1%eth0]:80",
      "[10.0.0.1]:80",
      "[]:80",
      "user@host:80",
      "http://host:80",
      "host/path:80",
      "ho st:80",
      "host\0:80",
      "host\r\n:80",
      "héllo:80",
      "-host:80",
      ".host:80",
      "host..name:80",
      "host.:80",
      "1.2.3:80",
      "0177.0.0.1:80",
      "256.0.0.1:80",
      "1.2.3.4.5:80",
      `${"a".repeat(64)}:80`,
      `${"a.".repeat(127)}:80`,
    ]) {
      expect(parseAuthority(text), JSON.stringify(text)).toBeUndefined();
    }
  });

  test("undoes formatAuthority(), and never throws", () => {
    const host = fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain());
    fc.assert(
      fc.property(host, fc.integer({ min: 1, max: 65535 }), (name, port) => {
        const parsed = parseAuthority(formatAuthority(name, port));
        expect(parsed).toEqual({ host: name.includes(":") ? name : name.toLowerCase(), port });
      }),
    );
    fc.assert(
      fc.property(fc.string(), (text) => {
        const parsed = parseAuthority(text);
        if (parsed === undefined) return;
        expect(formatAuthority(parsed.host, parsed.port)).toBe(text.toLowerCase());
      }),
    );
  });
});
