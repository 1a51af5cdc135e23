import { isIP } from "node:net";
import fc from "fast-check";
import { expect, test } from "vitest";
import { appProtocolOf } from "./app-protocol.ts";
import { canonicalAddress, parseCidr } from "./cidr.ts";
import { parseDurationMs } from "./duration.ts";
import { labelKeys, selectorKey, selects } from "./labels.ts";

test("parseCidr() reads what is an address or a range, and nothing else", () => {
  expect(parseCidr("10.1.2.3")).toMatchObject({ bytes: "0a010203", prefixLength: 32 });
  expect(parseCidr("10.1.2.3/8")).toMatchObject({ bytes: "0a010203", prefixLength: 8 });
  expect(parseCidr("fd00::1:0/112")).toMatchObject({
    bytes: "fd000000000000000000000000010000",
    prefixLength: 112,
  });
  expect(parseCidr("::ffff:10.0.0.1")?.bytes).toBe("00000000000000000000ffff0a000001");
  for (const text of [
    "",
    "10.1.2",
    "10.0.0.0/33",
    "::/129",
    "10.0.0.0/-1",
    "10.0.0.0/",
    "fe80::1%a",
  ]) {
    expect(parseCidr(text), text).toBeUndefined();
  }
});

test("canonicalAddress() writes one address in one way", () => {
  fc.assert(
    fc.property(fc.ipV6(), (text) => {
      const canonical = canonicalAddress(text);
      expect(isIP(canonical)).toBe(6);
      expect(parseCidr(canonical)?.bytes).toBe(parseCidr(text)?.bytes);
      expect(canonicalAddress(canonical)).toBe(canonical);
    }),
  );
});

test("parseDurationMs() follows GEP-2257", () => {
  expect(parseDurationMs("1h30m")).toBe(5_400_000);
  expect(parseDurationMs("10s500ms")).toBe(10_500);
  expect(parseDurationMs("0s")).toBe(0);
  for (const text of ["", "10", "1.5s", "-1s", "1d", "100000s"]) {
    expect(parseDurationMs(text), text).toBeUndefined();
  }
});

test("appProtocolOf() asks appProtocol, then the name, then the number", () => {
  expect(appProtocolOf(80, "tcp-x", "kubernetes.io/h2c")).toBe("HTTP2");
  expect(appProtocolOf(80, "http-x", "example.com/own")).toBe("UNKNOWN");
  expect(appProtocolOf(80, "grpc-web", undefined)).toBe("HTTP11");
  expect(appProtocolOf(80, "grpc-api", undefined)).toBe("GRPC");
  expect(appProtocolOf(443, "https", undefined)).toBe("TLS");
  expect(appProtocolOf(3306, "data", undefined)).toBe("TCP");
  expect(appProtocolOf(3306, "http", undefined)).toBe("HTTP11");
  expect(appProtocolOf(8080, undefined, undefined)).toBe("UNKNOWN");
});

test("every selector that selects an object stands under one of the object's keys", () => {
  const labels = fc.dictionary(
    fc.constantFrom("app", "version", "tier"),
    fc.constantFrom("a", "bb"),
  );
  fc.assert(
    fc.property(labels, labels, (wanted, own) => {
      if (!selects(wanted, own)) return;
      expect(labelKeys("ns", own)).toContain(selectorKey("ns", wanted));
    }),
  );
});
