import fc from "fast-check";
import { expect, test } from "vitest";
import {
  endToEndLine,
  framingLine,
  method,
  target,
} from "../../../test/support/http1-arbitraries.ts";
import {
  findHeadEnd,
  HEADER_LINES_MAX,
  Http1Head,
  parseRequestHead,
  parseResponseHead,
} from "./head.ts";
import { H } from "./header-names.ts";

function request(text: string) {
  const bytes = Buffer.from(text, "latin1");
  const head = new Http1Head();
  return parseRequestHead(head, bytes, 0, bytes.length) ?? head;
}

function response(text: string) {
  const bytes = Buffer.from(text, "latin1");
  const head = new Http1Head();
  return parseResponseHead(head, bytes, 0, bytes.length, "GET") ?? head;
}

const START = "GET /a HTTP/1.1\r\nHost: h\r\n";

test("a request is read in place", () => {
  const head = request(`${START}X-A:1\r\nx-a:\t 2 \r\nX-B:\r\n\r\n`) as Http1Head;
  expect(head).toMatchObject({ method: "GET", target: "/a", authority: "h", minorVersion: 1 });
  expect(head.list()).toEqual(["host", "h", "x-a", "1", "x-a", "2", "x-b", ""]);
  expect(head.getByName("x-a")).toBe("1,2");
  expect(head.get(H.host)).toBe("h");
  expect(head.getByName("x-none")).toBeUndefined();
  expect(head.has(H.cookie)).toBe(false);
});

test.each([
  ["GET /a HTTP/1.1\r\nHost: h\r\n", "no empty line"],
  [`${START}X: a\nY: b\r\n\r\n`, "a bare line feed"],
  [`${START}X: a\rb\r\n\r\n`, "a bare carriage return"],
  [`${START}X: a\r\n b\r\n\r\n`, "a folded line"],
  [`${START} X: a\r\n\r\n`, "a line that begins with a blank"],
  [`${START}X : a\r\n\r\n`, "a blank before the colon"],
  [`${START}: a\r\n\r\n`, "no name"],
  [`${START}X\r\n\r\n`, "no colon"],
  [`${START}X: a\x00b\r\n\r\n`, "a NUL"],
  [`${START}X: a\x7f\r\n\r\n`, "a DEL"],
  [`${START}X(: a\r\n\r\n`, "a name that is no token"],
  [`${START}X: a\r\n\n`, "a bare line feed at the end"],
  [" GET /a HTTP/1.1\r\nHost: h\r\n\r\n", "a blank before the method"],
  ["GET\t/a HTTP/1.1\r\nHost: h\r\n\r\n", "a tab behind the method"],
  ["GET /a HTTP/1.1 \r\nHost: h\r\n\r\n", "a blank behind the version"],
  ["GET /a http/1.1\r\nHost: h\r\n\r\n", "a version in lower case"],
  ["GET /a HTTP/1.10\r\nHost: h\r\n\r\n", "a version of two digits"],
  ["GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", "a blank in the target"],
  ["GET /a\r\nHost: h\r\n\r\n", "no version"],
])("%j is refused: %s", (text) => {
  expect(request(text)).toMatchObject({ status: 400 });
});

test("other versions are 505, too many lines 431", () => {
  expect(request("GET /a HTTP/2.0\r\n\r\n")).toMatchObject({ status: 505 });
  expect(request("GET /a HTTP/1.2\r\n\r\n")).toMatchObject({ status: 505 });
  const lines = (count: number) => request(`${START}${"x: y\r\n".repeat(count - 1)}\r\n`);
  expect(lines(HEADER_LINES_MAX)).toBeInstanceOf(Http1Head);
  expect(lines(HEADER_LINES_MAX + 1)).toMatchObject({ status: 431 });
});

test("methods that look alike to a cache are told apart", () => {
  for (const name of ["GET", "GXT", "POST", "PQST", "PUT", "PAT", "GET"]) {
    expect(request(`${START.replace("GET", name)}\r\n`)).toMatchObject({ method: name });
  }
});

test("a response is read; its reason may be missing", () => {
  expect(response("HTTP/1.0 404 Not \xe9 Found\r\n\r\n")).toMatchObject({ status: 404 });
  expect(response("HTTP/1.1 200 \r\n\r\n")).toMatchObject({ status: 200, minorVersion: 1 });
  expect(response("HTTP/1.1 200\r\n\r\n")).toMatchObject({ status: 200 });
  for (const line of [
    "HTTP/1.1 20 OK",
    "HTTP/1.1 099 X",
    "HTTP/1.1  200 OK",
    "HTTP/1.1 200OK\x01",
  ]) {
    expect(response(`${line}\r\n\r\n`)).toMatchObject({ status: 400 });
  }
  expect(response("HTTP/2.0 200 OK\r\n\r\n")).toMatchObject({ status: 505 });
});

const requests = fc
  .tuple(method, target, fc.array(endToEndLine, { maxLength: 8 }), framingLine)
  .map(([name, path, lines, framing]) => ({
    name,
    path,
    lines,
    text: `${name} ${path} HTTP/1.1\r\nHost: h\r\n${lines.map((l) => l.text).join("")}${framing}\r\n`,
  }));

test("a well-formed request is read as it was written", () => {
  fc.assert(
    fc.property(requests, ({ name, path, lines, text }) => {
      const head = request(text) as Http1Head;
      expect(head).toMatchObject({ method: name, target: path });
      const pairs = lines.flatMap((line) => [line.name, line.value]);
      expect(head.list().slice(2, 2 + pairs.length)).toEqual(pairs);
    }),
  );
});

test("findHeadEnd() finds the same end wherever the head is cut", () => {
  fc.assert(
    fc.property(requests, fc.array(fc.nat({ max: 300 }), { maxLength: 6 }), ({ text }, cuts) => {
      const bytes = Buffer.from(`${text}body`, "latin1");
      const ends = [...new Set(cuts.map((cut) => cut % bytes.length)), bytes.length].sort(
        (a, b) => a - b,
      );
      let scanned = 0;
      for (const end of ends) {
        const found = findHeadEnd(bytes, 0, end, scanned);
        expect(found).toBe(end >= text.length ? text.length : -1);
        if (found >= 0) break;
        scanned = end;
      }
    }),
  );
});

test("no bytes make the parsers throw, nor look beyond the head", () => {
  const mutation = fc.tuple(fc.nat(), fc.nat({ max: 255 }));
  const head = new Http1Head();
  const check = (bytes: Buffer) => {
    const end = findHeadEnd(bytes, 0, bytes.length, 0);
    const padded = Buffer.concat([
      bytes.subarray(0, Math.max(end, 0)),
      Buffer.from("a: b\r\n\r\n"),
    ]);
    for (const one of end < 0 ? [bytes] : [bytes, padded]) {
      const stop = end < 0 ? one.length : end;
      if (parseRequestHead(head, one, 0, stop) === undefined) {
        expect(head.count === 0 || head.lineEnd(head.count - 1)).toBe(stop - 2);
        head.list();
      }
      parseResponseHead(head, one, 0, stop, "GET");
    }
  };
  fc.assert(
    fc.property(requests, fc.array(mutation, { maxLength: 5 }), ({ text }, mutations) => {
      const bytes = Buffer.from(text, "latin1");
      for (const [at, byte] of mutations) bytes[at % bytes.length] = byte;
      check(bytes);
      const answer = Buffer.from(text.replace(/^[^\r]*/, "HTTP/1.1 200 OK"), "latin1");
      for (const [at, byte] of mutations) answer[at % answer.length] = byte;
      check(answer);
    }),
    { numRuns: 1000 },
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => check(Buffer.from(bytes))));
});
