/** Heads and bodies together: whole messages, cut anywhere, and what is refused of them. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { endToEndLine, target } from "../../../test/support/http1-arbitraries.ts";
import { BodyReader } from "./body.ts";
import { findHeadEnd, Http1Head, parseRequestHead, parseResponseHead } from "./head.ts";
import { localResponse } from "./responses.ts";

/** Reads a connection that delivers `pieces`: one entry for each message, the last may be cut. */
function readAll(pieces: readonly Buffer[]): unknown[] {
  const found: unknown[] = [];
  const head = new Http1Head();
  const body = new BodyReader();
  let kept: Buffer = Buffer.alloc(0);
  let payload: string | undefined;
  for (const piece of pieces) {
    let scanned = payload === undefined ? kept.length : 0;
    const bytes = Buffer.concat([kept, piece]);
    let position = 0;
    while (position < bytes.length || (payload !== undefined && body.isDone)) {
      if (payload === undefined) {
        const end = findHeadEnd(bytes, position, bytes.length, scanned);
        scanned = 0;
        if (end < 0) break;
        const problem = parseRequestHead(head, bytes, position, end);
        if (problem !== undefined) return [...found, problem.status];
        position = end;
        body.reset(head.framing, head.contentLength);
        payload = "";
      }
      while (!body.isDone && body.problem === undefined && position < bytes.length) {
        position = body.read(bytes, position, bytes.length);
        payload += bytes.toString("latin1", body.payloadStart, body.payloadEnd);
      }
      if (body.problem !== undefined) return [...found, body.problem];
      if (!body.isDone) break;
      found.push([head.method, head.target, payload, body.trailers]);
      payload = undefined;
    }
    kept = bytes.subarray(position);
  }
  return [...found, payload ?? "between messages"];
}

const chunk = fc
  .tuple(fc.stringMatching(/^[a-z\r\n]{1,20}$/), fc.constantFrom("", ";a=b", ';a="b"'))
  .map(([data, extension]) => `${data.length.toString(16)}${extension}\r\n${data}\r\n`);

const bodies = fc.oneof(
  fc.constant("\r\n"),
  fc.string({ maxLength: 30, unit: "grapheme-ascii" }).map((text) => {
    return `Content-Length: ${text.length}\r\n\r\n${text}`;
  }),
  fc
    .tuple(fc.array(chunk, { maxLength: 4 }), fc.constantFrom("", "X-Sum: 1\r\n", "Host: x\r\n"))
    .map(([chunks, trailer]) => {
      return `Transfer-Encoding: chunked\r\n\r\n${chunks.join("")}0\r\n${trailer}\r\n`;
    }),
);

const messages = fc
  .tuple(target, fc.array(endToEndLine, { maxLength: 3 }), bodies)
  .map(([path, lines, body]) => {
    return `POST ${path} HTTP/1.1\r\nHost: h\r\n${lines.map((line) => line.text).join("")}${body}`;
  });

function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const places = at.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b);
  return [0, ...places].map((start, i) => bytes.subarray(start, places[i] ?? bytes.length));
}

test("pipelined messages are read the same wherever they are cut", () => {
  const inputs = fc.tuple(
    fc.array(messages, { minLength: 1, maxLength: 3 }),
    fc.array(fc.nat(), { maxLength: 12 }),
  );
  fc.assert(
    fc.property(inputs, ([texts, places]) => {
      const bytes = Buffer.from(texts.join(""), "latin1");
      const whole = readAll([bytes]);
      expect(whole).toHaveLength(texts.length + 1);
      expect(whole.at(-1)).toBe("between messages");
      expect(readAll(cut(bytes, places))).toEqual(whole);
      expect(readAll([...bytes].map((byte) => Buffer.from([byte])))).toEqual(whole);
    }),
    { numRuns: 300 },
  );
});

test("damaged messages are read or refused the same wherever they are cut", () => {
  const damage = fc.array(fc.tuple(fc.nat(), fc.constantFrom(0, 10, 13, 32, 48, 58, 200)), {
    minLength: 1,
    maxLength: 3,
  });
  fc.assert(
    fc.property(messages, damage, fc.array(fc.nat(), { maxLength: 6 }), (text, places, cuts) => {
      const bytes = Buffer.from(text + text, "latin1");
      for (const [at, byte] of places) bytes[at % bytes.length] = byte;
      expect(readAll(cut(bytes, cuts))).toEqual(readAll([bytes]));
    }),
    { numRuns: 1000 },
  );
});

function request(text: string): unknown {
  const bytes = Buffer.from(text, "latin1");
  const head = new Http1Head();
  return parseRequestHead(head, bytes, 0, bytes.length) ?? head;
}

test("a status has three digits, and a blank before what follows", () => {
  for (const line of ["HTTP/1.1 2000 OK", "HTTP/1.1 200OK", "HTTP/1.1 200\tOK", "HTTP/1.1 1e2 "]) {
    const bytes = Buffer.from(`${line}\r\n\r\n`);
    const problem = parseResponseHead(new Http1Head(), bytes, 0, bytes.length, "GET");
    expect(problem).toMatchObject({ status: 400 });
  }
});

test("HTTP/1.0: `close` beats `keep-alive`, and Expect is not heard", () => {
  const start = "POST / HTTP/1.0\r\nHost: h\r\nContent-Length: 1\r\n";
  expect(request(`${start}Connection: keep-alive, close\r\n\r\n`)).toMatchObject({
    isPersistent: false,
  });
  expect(request(`${start}Expect: 100-continue\r\n\r\n`)).toMatchObject({ expectsContinue: false });
});

test("Connection nominates a bounded number of headers", () => {
  const nominate = (count: number) => {
    const names = Array.from({ length: count }, (_, i) => `x-${i}`).join(",");
    return request(`GET / HTTP/1.1\r\nHost: h\r\nConnection: ${names}\r\n\r\n`);
  };
  expect(nominate(64)).toMatchObject({ count: 2 });
  expect(nominate(65)).toMatchObject({ status: 400 });
});

test("OPTIONS with an absolute target and no path means the server as a whole", () => {
  expect(request("OPTIONS http://h HTTP/1.1\r\nHost: h\r\n\r\n")).toMatchObject({ path: "*" });
  expect(request("GET http://h HTTP/1.1\r\nHost: h\r\n\r\n")).toMatchObject({ path: "/" });
});

test("hosts that two readers could take for different ones are refused", () => {
  for (const host of ["[zz]", "[::1", "[]", ":80", "h:", "a%2eb", "[::1]x", "h:65536", "h:8x"]) {
    const expected = host === "h:" ? { authority: "h:" } : { status: 400 };
    expect(request(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`)).toMatchObject(expected);
  }
});

test("extensions beyond the payload's own size are bounded over the whole body", () => {
  const read = (chunks: string) => {
    const body = new BodyReader();
    body.reset("chunked", 0);
    const bytes = Buffer.from(chunks);
    let position = 0;
    while (position < bytes.length && body.problem === undefined && !body.isDone) {
      position = body.read(bytes, position, bytes.length);
    }
    return body;
  };
  const wordy = `1;${"e".repeat(1000)}\r\na\r\n`;
  expect(read(`${wordy.repeat(10)}0\r\n\r\n`)).toMatchObject({ isDone: true, problem: undefined });
  expect(read(wordy.repeat(20)).problem).toBe("chunk extensions too long");
  const fair = `800;${"e".repeat(1000)}\r\n${"a".repeat(2048)}\r\n`;
  expect(read(`${fair.repeat(40)}0\r\n\r\n`)).toMatchObject({ isDone: true, problem: undefined });
});

test("local responses without a body say no length, and carry no line breaks", () => {
  for (const status of [204, 304]) {
    const text = localResponse(status, [], "", false, false).toString();
    expect(text).not.toMatch(/content-length/i);
  }
  expect(() => localResponse(302, [["location", "/a\r\nx: y"]], "", false, false)).toThrow();
});
