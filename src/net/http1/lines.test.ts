import fc from "fast-check";
import { expect, test } from "vitest";
import { endToEndLine, framingLine, hopLines } from "../../../test/support/http1-arbitraries.ts";
import { Http1Head, parseRequestHead } from "./head.ts";
import { H } from "./header-names.ts";

/** What a head says, or why it is refused. */
function read(head: Http1Head, text: string): unknown {
  const bytes = Buffer.from(text, "latin1");
  const problem = parseRequestHead(head, bytes, 0, bytes.length);
  if (problem !== undefined) return problem;
  const { method, target, authority, framing, contentLength, isPersistent, nominations } = head;
  const flags = [H.host, H.te, H.connection, H.cookie].map((id) => head.has(id));
  const said = { method, target, authority, framing, contentLength, isPersistent, nominations };
  return { ...said, flags, list: head.list() };
}

const lines = fc
  .tuple(fc.array(endToEndLine, { maxLength: 6 }), hopLines, framingLine, fc.string())
  .map(([own, hop, framing, junk]) => own.map((line) => line.text).concat(hop, framing, junk));

const heads = fc
  .tuple(lines, fc.constantFrom("h", "host.example:80", "other", "bad host"))
  .map(([text, host]) => `GET / HTTP/1.1\r\nHost: ${host}\r\n${text.join("")}\r\n`);

test("a head is read the same whatever was read before it", () => {
  fc.assert(
    fc.property(fc.array(heads, { minLength: 2, maxLength: 5 }), (texts) => {
      const reused = new Http1Head();
      for (const text of texts) expect(read(reused, text)).toEqual(read(new Http1Head(), text));
    }),
    { numRuns: 300 },
  );
});

test("a name that continues, or is cut, is not the name that stood there before", () => {
  const head = new Http1Head();
  const request = (name: string) => `GET / HTTP/1.1\r\nHost: h\r\n${name}: 1\r\n\r\n`;
  for (const name of ["x-name", "x-names", "x-nam", "X-NAME", "x-nbme", "x-name~"]) {
    read(head, request("x-name"));
    expect(read(head, request(name))).toMatchObject({
      list: ["host", "h", name.toLowerCase(), "1"],
    });
  }
  for (const name of ["x-name ", "x-n\x00me", "x-n\x01me", "x-\x0eame", " x-name"]) {
    read(head, request("x-name"));
    expect(read(head, request(name))).toMatchObject({ status: 400 });
  }
});

test("a head that is refused half-way shows nothing of the one before", () => {
  const head = new Http1Head();
  read(head, "PUT /secret?a HTTP/1.1\r\nHost: h\r\nCookie: c\r\nContent-Length: 3\r\n\r\n");
  expect(read(head, "GET / HTTP/1.1\r\nHost : h\r\nCooki\r\n\r\n")).toMatchObject({ status: 400 });
  expect(head).toMatchObject({ method: "GET", path: "", authority: "", framing: "none", count: 0 });
  expect([head.has(H.cookie), head.get(H.cookie), head.list()]).toEqual([false, undefined, []]);
  expect(read(head, "\r\n\r\n")).toMatchObject({ status: 400 });
  expect(head).toMatchObject({ method: "", target: "", query: "" });
});

test("limits are the head's own", () => {
  const head = new Http1Head({ headBytesMax: 60, headerLinesMax: 2 });
  const start = "GET / HTTP/1.1\r\nHost: h\r\n";
  expect(read(head, `${start}a: b\r\n\r\n`)).toMatchObject({ method: "GET" });
  expect(read(head, `${start}a: b\r\nc: d\r\n\r\n`)).toMatchObject({ status: 431 });
  expect(read(head, `${start}a: ${"b".repeat(60)}\r\n\r\n`)).toMatchObject({ status: 431 });
});

test("a name that was there before is no other name, not even by a control character", () => {
  for (const [before, after] of [
    ["Content-Length", "Content\rLength"],
    ["Content-Length", "content\rlength"],
    ["X-A.1", "X-A\x0e1"],
    ["X-A-1", "X-A-\x11"],
  ]) {
    const head = new Http1Head();
    const start = "GET / HTTP/1.1\r\nHost: h\r\n";
    expect(read(head, `${start}${before}: 3\r\n\r\n`)).not.toHaveProperty("detail");
    const refused = { status: 400, detail: "malformed header name" };
    expect(read(head, `${start}${after}: 3\r\n\r\n`)).toEqual(refused);
  }
});
