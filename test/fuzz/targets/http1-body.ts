/**
 * The body reader. Oracle: a second reader that takes the whole body at once by the grammar of RFC
 * 9112 §7.1 finds the same payload and end; pieces change nothing; a used reader shows nothing of
 * the body before; payload never lies outside of what was handed over.
 */
import { BodyReader } from "../../../src/net/http1/body.ts";
import { piecesOf } from "../random.ts";
import { check, checkSame, type Target } from "../target.ts";

interface Read {
  readonly payload: string;
  readonly isDone: boolean;
  readonly problem: string | undefined;
  readonly trailers: readonly (readonly [string, string])[];
  readonly leftBytes: number;
}

function readAll(reader: BodyReader, pieces: readonly Buffer[]): Read {
  let payload = "";
  let leftBytes = 0;
  for (const piece of pieces) {
    let at = 0;
    while (at < piece.length && !reader.isDone && reader.problem === undefined) {
      const next = reader.read(piece, at, piece.length);
      check(next > at && next <= piece.length, "no step forward");
      const { payloadStart, payloadEnd } = reader;
      check(payloadStart >= at && payloadEnd <= next, "payload outside of the piece");
      payload += piece.toString("latin1", payloadStart, payloadEnd);
      at = next;
    }
    leftBytes += piece.length - at;
  }
  const { isDone, problem, trailers } = reader;
  // How much is left behind a problem is nobody's business.
  return { payload, isDone, problem, trailers, leftBytes: problem === undefined ? leftBytes : 0 };
}

/** Chunks by the grammar, in one go: payload up to the first fault, and whether it is whole. */
function referenceChunks(text: string): { payload: string; isDone: boolean; isFaulty: boolean } {
  let payload = "";
  let at = 0;
  for (;;) {
    const rest = text.slice(at);
    const found = /^([0-9a-fA-F]{1,16})(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n/.exec(rest);
    if (found === null) {
      const isBegun = /^(?:[0-9a-fA-F]{1,16}(?:;[\t\x20-\x7e\x80-\xff]*)?\r?)?$/.test(rest);
      return { payload, isDone: false, isFaulty: !isBegun };
    }
    const size = Number.parseInt(found[1]!, 16);
    if (size > 2 ** 40) return { payload, isDone: false, isFaulty: true };
    at += found[0].length;
    if (size === 0) break;
    payload += text.slice(at, at + size);
    at += size;
    const end = text.slice(at, at + 2);
    if (end !== "\r\n") return { payload, isDone: false, isFaulty: end !== "" && end !== "\r" };
    at += 2;
  }
  const trailers = /^(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n/;
  return { payload, isDone: trailers.test(text.slice(at)), isFaulty: false };
}

function checkChunked(input: Buffer, read: Read): void {
  const expected = referenceChunks(input.toString("latin1"));
  // Limits of ours, which the grammar does not know.
  if (/too (?:long|large)/.test(read.problem ?? "")) return;
  checkSame(read.payload, expected.payload, "another payload");
  check(read.isDone === expected.isDone, `the end of a body (done: ${read.isDone})`);
  if (expected.isFaulty) check(read.problem !== undefined, "a fault was let through");
}

/** The first byte says how the body ends: by its length (below 64), close, none, or chunked. */
function runBody(whole: Buffer): string {
  const mode = whole[0] ?? 255;
  const input = whole.subarray(1);
  const framing = mode < 64 ? "length" : mode === 64 ? "close" : mode === 65 ? "none" : "chunked";
  const length = framing === "length" ? mode + 1 : 0;
  const reader = new BodyReader();
  reader.reset(framing, length);
  const read = readAll(reader, [input]);
  const used = new BodyReader();
  used.reset("chunked", 0);
  readAll(used, [Buffer.from("6;secret\r\nsecret\r\n0\r\nX-Secret: secret\r\n\r\n")]);
  used.reset("chunked", 0);
  readAll(used, [Buffer.from("5;secret\r\nsec")]);
  used.reset(framing, length);
  checkSame(readAll(used, piecesOf(input)), read, "in pieces, by a used reader");
  if (framing === "chunked") checkChunked(input, read);
  if (framing === "length") {
    checkSame(read.payload, input.toString("latin1", 0, length), "another payload");
    check(read.isDone === input.length >= length, "the end of a length");
  }
  const { payload, isDone, problem, trailers } = read;
  return `${framing} ${isDone} ${problem} ${trailers.length} ${Math.min(9, payload.length)}`;
}

export const http1Body: Target = {
  name: "http1-body",
  dictionary: [
    ...["\r\n", "\r", "\n", "0\r\n\r\n", "0\r\n", "5\r\nhello\r\n", ";a=b", ";", "0000000", "fff"],
    ...["ffffffffff", "10000000000", "10000000001", "+5", "-1", "0x5", " ", "\t", "X-A: b\r\n"],
    ...["Content-Length: 3\r\n", "\0", "\xff", "\r\r\n", "\n\n"],
  ],
  seeds: () => [
    "\xff5\r\nhello\r\n0\r\n\r\n",
    "\xff5;a=b\r\nhello\r\n00A\r\n0123456789\r\n0\r\nX-Sum: 7\r\nHost: evil\r\n\r\nGET / HTTP/1.1",
    "\xff0\r\n\r\n",
    "\xffFFFFFFFFFF\r\nabc",
    "\xff5\nhello\n0\n\n",
    "\xff5\r\nhello0\r\n\r\n",
    "\x04hello and more",
    "\x04hel",
    "\x40until the end",
    "\x41nothing",
  ],
  run: runBody,
};
