import fc from "fast-check";
import { expect, test } from "vitest";
import { endpointTag, TokenCode } from "./session-token.ts";

const NONE = { absoluteTimeoutMs: 0, idleTimeoutMs: 0 };
const TAG = endpointTag("default/reviews", 80, "k//Pod/default/reviews-1", 8080);

test("what is written is read, by another waypoint's code too, and by no other rule's", () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), fc.string(), (uid, rule, other) => {
      const tag = endpointTag("default/reviews", 80, uid, 8080);
      const text = new TokenCode(rule, NONE).write(tag, 1, 2);
      expect(text).toMatch(/^[\w-]{22}$/);
      expect(new TokenCode(rule, NONE).read(text, 3)?.tag).toBe(tag);
      fc.pre(rule !== other);
      expect(new TokenCode(other, NONE).read(text, 3)?.tag).not.toBe(tag);
    }),
  );
});

test("anything may be sent for one", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const token = new TokenCode("rule", NONE).read(text, 0);
      if (token !== undefined) expect(token.tag).toHaveLength(16);
    }),
  );
  for (const text of ["", ".", "x".repeat(21), "x".repeat(23), `${"x".repeat(22)}.1`]) {
    expect(new TokenCode("rule", NONE).read(text, 0)).toBeUndefined();
  }
});

test.each([
  ["absolute", { absoluteTimeoutMs: 1000, idleTimeoutMs: 0 }, 5000, 5900, 5999, 6000],
  ["idle", { absoluteTimeoutMs: 0, idleTimeoutMs: 1000 }, 5000, 5900, 6899, 6900],
  ["both", { absoluteTimeoutMs: 5000, idleTimeoutMs: 1000 }, 5000, 9500, 9999, 10_000],
])("%s: in time and too late", (_name, timeouts, issuedMs, usedMs, inTimeMs, lateMs) => {
  const code = new TokenCode("rule", timeouts);
  const text = code.write(TAG, issuedMs, usedMs);
  expect(code.read(text, inTimeMs)).toEqual({ tag: TAG, issuedMs, usedMs });
  expect(code.read(text, lateMs)).toBeUndefined();
});

test("a token that says no time, or one to come, is none where times count", () => {
  const code = new TokenCode("rule", { absoluteTimeoutMs: 1000, idleTimeoutMs: 0 });
  expect(code.read(new TokenCode("rule", NONE).write(TAG, 0, 0), 1)).toBeUndefined();
  expect(code.read(code.write(TAG, 1e12, 1e12), 5000)).toBeUndefined();
});
