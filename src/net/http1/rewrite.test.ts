import fc from "fast-check";
import { expect, test } from "vitest";
import {
  endToEndLine,
  framingLine,
  hopLines,
  method,
  target,
} from "../../../test/support/http1-arbitraries.ts";
import { Http1Head, parseRequestHead, parseResponseHead } from "./head.ts";
import { H, headerId, headerName } from "./header-names.ts";
import {
  HeadEdits,
  headBytesMax,
  type ResponseHeadOptions,
  writeRequestHead,
  writeResponseHead,
} from "./rewrite.ts";

function parse(text: string): Http1Head {
  const bytes = Buffer.from(text, "latin1");
  const head = new Http1Head();
  expect(parseRequestHead(head, bytes, 0, bytes.length)).toBeUndefined();
  return head;
}

function write(head: Http1Head, edits = new HeadEdits()): string {
  const out = Buffer.alloc(headBytesMax(head, edits));
  return out.toString("latin1", 0, writeRequestHead(head, edits, out, 0));
}

function writeAnswer(text: string, options: Partial<ResponseHeadOptions> = {}): string {
  const bytes = Buffer.from(text, "latin1");
  const head = new Http1Head();
  expect(parseResponseHead(head, bytes, 0, bytes.length, "GET")).toBeUndefined();
  const edits = new HeadEdits();
  edits.set(H.server, "proxy");
  const out = Buffer.alloc(headBytesMax(head, edits));
  const all = { isChunked: false, isClosing: false, ...options };
  return out.toString("latin1", 0, writeResponseHead(head, edits, out, 0, all));
}

test("lines for one hop go, and what Connection nominates", () => {
  const head = parse(
    "GET / HTTP/1.1\r\nHost: h\r\nKeep-Alive: 5\r\nX-One: 1\r\nConnection: x-one, close\r\n" +
      "TE: gzip, trailers;q=1, trailers\r\nX-Two: 2\r\nProxy-Connection: x\r\nTrailer: y\r\n\r\n",
  );
  expect(write(head)).toBe("GET / HTTP/1.1\r\nHost: h\r\nX-Two: 2\r\nte: trailers\r\n\r\n");
});

test("a nominated name goes also when the table of names is full", () => {
  for (let i = 0; i < 6000; i++) headerId(`x-fill-${i}`);
  const head = parse("GET / HTTP/1.1\r\nHost: h\r\nX-Rare: 1\r\nConnection: x-RARE\r\n\r\n");
  expect(head.ids[1]).toBe(-1);
  expect(write(head)).toBe("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
});

test("Host is made to agree with an absolute target, and is there for HTTP/1.0", () => {
  const head = parse("GET http://real/p HTTP/1.1\r\nHost: other\r\n\r\n");
  const edits = new HeadEdits();
  edits.replaceTarget("/p");
  expect(write(head, edits)).toBe("GET /p HTTP/1.1\r\nhost: real\r\n\r\n");
  expect(write(parse("GET / HTTP/1.0\r\n\r\n"))).toBe("GET / HTTP/1.1\r\nhost: \r\n\r\n");
});

test("edits replace, add and remove whole headers, and forget when they are reset", () => {
  const text = "GET / HTTP/1.1\r\nHost: h\r\nCookie: a\r\ncookie: b\r\nServer: s\r\n\r\n";
  const edits = new HeadEdits();
  edits.set(H.cookie, "c");
  edits.remove(H.server);
  edits.add(H.date, "d");
  expect(write(parse(text), edits)).toBe(
    "GET / HTTP/1.1\r\nHost: h\r\ncookie: c\r\ndate: d\r\n\r\n",
  );
  edits.reset();
  expect(write(parse(text), edits)).toBe(text);
});

test("a value with a line break is never written", () => {
  for (const value of ["a\r\nb: c", "a\nb", "a\0", "\u0100"]) {
    expect(() => new HeadEdits().add(H.date, value)).toThrow();
  }
});

test("a response says what its connection does, and no length where none may be", () => {
  const ok = "HTTP/1.1 200 Fine\r\nConnection: close\r\nServer: x\r\nContent-Length: 2\r\n\r\n";
  const start = "HTTP/1.1 200 Fine\r\nserver: proxy\r\n";
  expect(writeAnswer(ok)).toBe(`${start}content-length: 2\r\n\r\n`);
  expect(writeAnswer(ok, { isClosing: true })).toContain("connection: close\r\n");
  expect(writeAnswer(ok, { isKeptAlive: true })).toContain("connection: keep-alive\r\n");
  expect(writeAnswer("HTTP/1.0 200 Fine\r\n\r\n", { isChunked: true })).toBe(
    `${start}transfer-encoding: chunked\r\n\r\n`,
  );
  expect(writeAnswer(ok.replace("200 Fine", "204 None"))).not.toContain("length");
  const upgrade = "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
  expect(writeAnswer(upgrade, { isUpgrade: true })).toContain(
    "connection: upgrade\r\nupgrade: websocket\r\n",
  );
});

const requests = fc.tuple(
  method,
  target,
  fc.array(endToEndLine, { maxLength: 8 }),
  hopLines,
  framingLine,
  fc.boolean(),
);

test("parse, write, parse keeps method, target, framing and every end-to-end header", () => {
  fc.assert(
    fc.property(requests, ([name, path, lines, hop, framing, isFirst]) => {
      const own = lines.map((line) => line.text).join("");
      const mixed = isFirst ? hop.join("") + own : own + hop.join("");
      const before = parse(`${name} ${path} HTTP/1.1\r\nHost: h\r\n${mixed}${framing}\r\n`);
      const after = parse(write(before));
      expect(after).toMatchObject({
        method: name,
        target: path,
        authority: "h",
        framing: before.framing,
        contentLength: before.contentLength,
        minorVersion: 1,
        isPersistent: true,
      });
      const pairs = lines.flatMap((line) => [line.name, line.value]);
      expect(after.list().slice(0, 2 + pairs.length)).toEqual(["host", "h", ...pairs]);
      expect(after.has(H.connection) || after.has(H.keepAlive)).toBe(false);
      // What is written is what would be written again.
      expect(write(after)).toBe(write(before));
    }),
    { numRuns: 500 },
  );
});

const PROTECTED = [
  H.authorization,
  H.contentType,
  H.cookie,
  H.date,
  H.expect,
  H.forwarded,
  H.host,
  H.server,
  H.traceparent,
  H.xForwardedClientCert,
  H.xForwardedFor,
  H.xForwardedProto,
  H.xRequestId,
].map(headerName);

test("no nomination takes out a header that carries meaning end to end", () => {
  const spellings = fc.tuple(
    fc.constantFrom(...PROTECTED),
    fc.boolean(),
    fc.constantFrom("", " ", "\t"),
  );
  fc.assert(
    fc.property(fc.array(spellings, { minLength: 1, maxLength: 6 }), (nominated) => {
      const list = nominated.map(([name, isUpper, blank]) => {
        return `${blank}${isUpper ? name.toUpperCase() : name}${blank}`;
      });
      const lines = PROTECTED.filter((name) => name !== "host").map((name) => `${name}: v\r\n`);
      const text = `GET / HTTP/1.1\r\nConnection: ${list.join(",")}\r\nhost: h\r\n${lines.join("")}\r\n`;
      const after = parse(write(parse(text)));
      for (const name of PROTECTED) expect(after.getByName(name)).toBe(name === "host" ? "h" : "v");
    }),
  );
});

test("framing is what was understood, whatever is nominated", () => {
  const text =
    "POST / HTTP/1.1\r\nHost: h\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\n";
  expect(parse(write(parse(text)))).toMatchObject({ framing: "length", contentLength: 3 });
  const chunked = text.replace("Content-Length: 3", "Transfer-Encoding: chunked");
  expect(parse(write(parse(chunked)))).toMatchObject({ framing: "chunked" });
});
