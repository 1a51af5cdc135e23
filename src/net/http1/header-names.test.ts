import fc from "fast-check";
import { expect, test } from "vitest";
import { H, hashByte, headerId, headerName, internHeader, knownHeaderId } from "./header-names.ts";

function intern(text: string): number {
  const bytes = Buffer.from(`:${text}:`, "latin1");
  let hash = 0;
  for (const byte of bytes.subarray(1, -1)) hash = hashByte(hash, byte);
  return internHeader(bytes, 1, bytes.length - 1, hash);
}

test("a name has one number, in whatever case it comes", () => {
  for (const [name, id] of Object.entries(H)) {
    const text = headerName(id);
    expect(text.replaceAll("-", "")).toBe(name.toLowerCase());
    expect(intern(text)).toBe(id);
    expect(intern(text.toUpperCase())).toBe(id);
    expect(headerId(text)).toBe(id);
  }
});

test("names that differ have different numbers, also where the hash takes them for one", () => {
  expect(intern("x-^")).not.toBe(intern("x-~"));
  const tokens = fc.stringMatching(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}$/);
  fc.assert(
    fc.property(tokens, tokens, (a, b) => {
      const isSame = a.toLowerCase() === b.toLowerCase();
      const [first, second] = [intern(a), intern(b)];
      if (first >= 0 || second >= 0) expect(first === second).toBe(isSame);
      if (first >= 0) expect(headerName(first)).toBe(a.toLowerCase());
    }),
  );
});

test("the table is bounded; what does not fit has no number, and stays without", () => {
  const before = intern("x-before");
  for (let i = 0; i < 6000; i++) intern(`x-invented-${i}`);
  expect(intern("x-one-too-many")).toBe(-1);
  expect(headerId("x-one-too-many")).toBe(-1);
  expect(knownHeaderId("x-one-too-many")).toBe(-1);
  expect(intern("X-Before")).toBe(before);
  expect(intern("Host")).toBe(H.host);
});
