import { expect, test } from "vitest";
import { parseHostPort } from "./options.ts";
import { PROXY_OPTIONS, parseCapture, parseControlPlane, parseSeconds } from "./proxy-options.ts";

test("parseControlPlane() takes what XDS_ADDRESS holds", () => {
  const istiod = { host: "istiod.istio-system.svc", port: 15012 };
  expect(parseControlPlane("https://istiod.istio-system.svc:15012")).toEqual(istiod);
  expect(parseControlPlane("istiod.istio-system.svc:15012")).toEqual(istiod);
  expect(parseControlPlane("istiod.istio-system.svc")).toEqual(istiod);
  expect(parseControlPlane("https://[fd00::1]:443/")).toEqual({ host: "fd00::1", port: 443 });
  for (const text of ["http://istiod:15010", "", "a b", "istiod:99999", "istiod:15012/path"]) {
    expect(() => parseControlPlane(text), text).toThrow();
  }
});

test("parseHostPort() wants both", () => {
  expect(parseHostPort("localhost:15000")).toEqual({ host: "127.0.0.1", port: 15000 });
  expect(parseHostPort("[::1]:0")).toEqual({ host: "::1", port: 0 });
  for (const text of ["15000", "localhost", "::1:80", "a:b", ""]) {
    expect(() => parseHostPort(text), text).toThrow();
  }
});

test("parseSeconds() takes durations, and numbers of seconds as Istio's variables have them", () => {
  expect(parseSeconds("86400")).toBe(86_400_000);
  expect(parseSeconds("24h")).toBe(86_400_000);
  expect(() => parseSeconds("soon")).toThrow();
});

test("parseCapture() takes where and where to", () => {
  expect(parseCapture("127.0.0.9:80=10.0.0.1:8080")).toEqual({
    at: { host: "127.0.0.9", port: 80 },
    to: { host: "10.0.0.1", port: 8080 },
  });
  for (const text of ["127.0.0.9:80", "127.0.0.9:80=", "=10.0.0.1:80", "a:1=b:2=c:3"]) {
    expect(() => parseCapture(text), text).toThrow();
  }
});

test("a shutdown takes somewhat less than the grace period", () => {
  const before = process.env.TERMINATION_GRACE_PERIOD_SECONDS;
  for (const [grace, timeoutMs] of [
    ["60", 55_000],
    ["4", 2_000],
    ["nonsense", 25_000],
  ] as const) {
    process.env.TERMINATION_GRACE_PERIOD_SECONDS = grace;
    expect(PROXY_OPTIONS.drainTimeout().defaultValue).toBe(timeoutMs);
  }
  delete process.env.TERMINATION_GRACE_PERIOD_SECONDS;
  expect(PROXY_OPTIONS.drainTimeout().defaultValue).toBe(25_000);
  if (before !== undefined) process.env.TERMINATION_GRACE_PERIOD_SECONDS = before;
});
