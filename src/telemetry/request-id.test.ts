import { expect, test } from "vitest";
import { newRequestId } from "./request-id.ts";

test("newRequestId() gives version-4 UUIDs, each once, over many batches", () => {
  const ids = Array.from({ length: 1000 }, newRequestId);
  for (const id of ids) {
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  }
  expect(new Set(ids).size).toBe(ids.length);
});

test("newRequestId() uses all of its random bits", () => {
  // Of 122 random bits each is 0 and 1 somewhere in 400 ids, but for a chance of 2^-390.
  const ids = Array.from({ length: 400 }, newRequestId).map((id) =>
    BigInt(`0x${id.replaceAll("-", "")}`),
  );
  const always = ids.reduce((a, b) => a & b);
  const ever = ids.reduce((a, b) => a | b);
  const fixed = (0x4n << 76n) | (0x8n << 60n);
  expect(always).toBe(fixed);
  expect(ever).toBe(((1n << 128n) - 1n) & ~(0xbn << 76n) & ~(0x4n << 60n));
});
