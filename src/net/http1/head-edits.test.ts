import { expect, test } from "vitest";
import { Http1Head, parseRequestHead } from "./head.ts";
import { H, headerId, ownHeaderId } from "./header-names.ts";
import { HeadEdits, headBytesMax, writeRequestHead } from "./rewrite.ts";

function rewritten(text: string, edits: HeadEdits): string {
  const bytes = Buffer.from(text, "latin1");
  const head = new Http1Head();
  expect(parseRequestHead(head, bytes, 0, bytes.length)).toBeUndefined();
  const out = Buffer.alloc(headBytesMax(head, edits));
  return out.toString("latin1", 0, writeRequestHead(head, edits, out, 0));
}

const START = "GET / HTTP/1.1\r\nHost: h\r\n";

test("set() and remove() hold for lines that were added before", () => {
  const edits = new HeadEdits();
  edits.set(H.date, "one");
  edits.set(H.date, "two");
  edits.add(H.cookie, "a");
  edits.add(H.server, "s");
  edits.remove(H.cookie);
  expect(rewritten(`${START}\r\n`, edits)).toBe(`${START}date: two\r\nserver: s\r\n\r\n`);
});

test("framing and the connection cannot be edited", () => {
  const edits = new HeadEdits();
  for (const id of [H.contentLength, H.transferEncoding, H.connection, H.upgrade, H.te]) {
    edits.set(id, "chunked");
    edits.add(id, "7");
  }
  const text = `${START}Content-Length: 3\r\n\r\n`;
  expect(rewritten(text, edits)).toBe(`${START}content-length: 3\r\n\r\n`);
});

test("an absolute target becomes origin form, with the one Host that was set", () => {
  const text = "GET http://real/p?q HTTP/1.1\r\nHost: other\r\n\r\n";
  const edits = new HeadEdits();
  expect(rewritten(text, edits)).toBe("GET /p?q HTTP/1.1\r\nhost: real\r\n\r\n");
  edits.replaceAuthority("chosen");
  expect(rewritten(text, edits)).toBe("GET /p?q HTTP/1.1\r\nhost: chosen\r\n\r\n");
});

test("a target with a blank or line break is never written", () => {
  for (const target of ["", "/a b", "/a\r\nx: y", "/\u0100", "/a#b"]) {
    expect(() => new HeadEdits().replaceTarget(target)).toThrow();
  }
});

test("a header filter works also when the table of names is full", () => {
  for (let i = 0; i < 6000; i++) headerId(`x-fill-${i}`);
  expect(headerId("x-secret")).toBe(-1);
  expect(() => new HeadEdits().add(headerId("x-secret"), "v")).toThrow();
  const secret = ownHeaderId("x-secret");
  expect(ownHeaderId("x-secret")).toBe(secret);
  const edits = new HeadEdits();
  edits.remove(secret);
  edits.add(ownHeaderId("x-new"), "v");
  const text = `${START}X-Secret: 1\r\nX-Other: 2\r\n\r\n`;
  expect(rewritten(text, edits)).toBe(`${START}X-Other: 2\r\nx-new: v\r\n\r\n`);
  const bytes = Buffer.from(text);
  const head = new Http1Head();
  parseRequestHead(head, bytes, 0, bytes.length);
  expect([head.has(secret), head.get(secret), head.getByName("x-secret")]).toEqual([
    true,
    "1",
    "1",
  ]);
  expect([head.getByName("x-none"), head.getByName("x-other")]).toEqual([undefined, "2"]);
});
