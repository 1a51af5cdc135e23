/** h2spec's part "http2", sections 3 to 5: framing and stream states (RFC 9113, same sections). */
import { expect } from "vitest";
import {
  ACK,
  CLIENT_PREFACE,
  END_HEADERS,
  END_STREAM,
  ends,
  type Frame,
  frame,
  PRIORITY,
  settings,
  T,
  words,
} from "../../support/peer.ts";
import { type Case, HALF_CLOSED, isPong, LISTENERS, ping } from "./cases.ts";
import { open, type Side, whole } from "./sides.ts";

const data = (id: number, payload: string | Buffer = "test", flags = 0) =>
  frame(T.data, flags, id, payload);
const rst = (id: number) => frame(T.rst, 0, id, words(8));
const continuation = (side: Side, id: number) => frame(T.continuation, END_HEADERS, id, side.head);
/** HEADERS whose block goes on. */
const begun = (side: Side, id: number) =>
  frame(T.headers, END_STREAM, id, side.head.subarray(0, 1));
/** An id that neither side has used. */
const idle = (side: Side) => (side.isUpstream ? 7 : 1);
const NO_PRIORITY = Buffer.alloc(5);

/** What our SETTINGS say of one setting. */
function announced(frames: readonly Frame[], setting: number): number | undefined {
  const payload = frames.find((f) => f.type === T.settings && f.flags === 0)!.payload;
  for (let at = 0; at < payload.length; at += 6) {
    if (payload.readUInt16BE(at) === setting) return payload.readUInt32BE(at + 2);
  }
  return undefined;
}

/** The head of a frame one byte above our limit; no more of it is needed. */
async function tooLarge(side: Side, type: number, before: readonly Buffer[]): Promise<void> {
  const limit = announced(await side.frames(), 5)!;
  const head = Buffer.alloc(9);
  head.writeUIntBE(limit + 1, 0, 3);
  head[3] = type;
  head.writeUInt32BE(1, 5);
  side.send(...before, head);
  expect(ends(await side.frames())).toEqual(["GOAWAY 6"]);
  expect(side.isOver()).toBe(true);
}

/** A side that has been greeted, with the frames of its greeting still to be read. */
function greet(side: Side): void {
  if (!side.isUpstream) side.send(CLIENT_PREFACE);
  side.send(settings(), frame(T.settings, ACK, 0));
}

/** A stream that has ended in both directions, then `late`. */
const ended = (late: (side: Side) => Buffer, outcome: string) => async (side: Side) => {
  greet(side);
  side.send(whole(side, 1));
  await side.answer();
  await side.frames();
  side.send(late(side));
  expect(ends(await side.frames())).toEqual([outcome]);
};

async function concurrency(side: Side): Promise<void> {
  greet(side);
  const limit = announced(await side.frames(), 3)!;
  for (let i = 0; i < limit; i++) side.send(open(side, 2 * i + 1));
  expect(ends(await side.frames())).toEqual([]);
  side.send(open(side, 2 * limit + 1));
  expect(ends(await side.frames())).toEqual([`RST ${2 * limit + 1} 7`]);
  side.send(ping());
  expect((await side.frames()).some(isPong)).toBe(true);
}

export const FRAMES: readonly Case[] = [
  {
    id: "http2/3.5/1",
    rule: "9113 §3.4",
    async run(side) {
      greet(side);
      expect((await side.frames())[0]).toMatchObject({ type: T.settings, flags: 0, id: 0 });
    },
  },
  {
    id: "http2/3.5/2",
    rule: "9113 §3.4",
    async run(side) {
      side.send(side.isUpstream ? ping() : Buffer.from("INVALID CONNECTION PREFACE\r\n\r\n"));
      expect(ends(await side.frames())).toEqual(["GOAWAY 1"]);
      expect(side.isOver()).toBe(true);
    },
  },
  {
    id: "http2/4.1/1",
    outcome: "fine",
    send: () => [frame(22, 0, 0, Buffer.alloc(8)), ping()],
  },
  { id: "http2/4.1/2", outcome: "fine", send: () => [frame(T.ping, 22, 0, Buffer.alloc(8))] },
  {
    id: "http2/4.1/3",
    outcome: "fine",
    send: () => [frame(T.ping, 0, 2 ** 31, Buffer.alloc(8))],
  },
  {
    id: "http2/4.2/1",
    outcome: "answered 1",
    send: (s) => [open(s, 1), data(1, Buffer.alloc(16_384), END_STREAM)],
  },
  {
    id: "http2/4.2/2",
    async run(side) {
      greet(side);
      await tooLarge(side, T.data, [open(side, 1)]);
    },
  },
  {
    id: "http2/4.2/3",
    async run(side) {
      greet(side);
      await tooLarge(side, T.headers, []);
    },
  },
  {
    id: "http2/4.3/1",
    outcome: "GOAWAY 9",
    // A literal that ends within its name.
    send: () => [frame(T.headers, END_HEADERS | END_STREAM, 1, Buffer.of(0x40, 0x7f))],
  },
  {
    id: "http2/4.3/2",
    outcome: "GOAWAY 1",
    send: (s) => [begun(s, 1), frame(T.priority, 0, 1, NO_PRIORITY), continuation(s, 1)],
  },
  {
    id: "http2/4.3/3",
    outcome: "GOAWAY 1",
    send: (s) => [begun(s, 1), whole(s, 3), continuation(s, 1)],
  },
  { id: "http2/5.1/1", outcome: "GOAWAY 1", send: (s) => [data(idle(s))] },
  { id: "http2/5.1/2", outcome: "GOAWAY 1", send: (s) => [rst(idle(s))] },
  {
    id: "http2/5.1/3",
    outcome: "GOAWAY 1",
    send: (s) => [frame(T.windowUpdate, 0, idle(s), words(100))],
  },
  { id: "http2/5.1/4", outcome: "GOAWAY 1", send: (s) => [continuation(s, idle(s))] },
  {
    id: "http2/5.1/5",
    on: HALF_CLOSED,
    outcome: "RST 1 5",
    send: (s) => [whole(s, 1), data(1)],
  },
  {
    id: "http2/5.1/6",
    on: HALF_CLOSED,
    outcome: "RST 1 5",
    send: (s) => [whole(s, 1), whole(s, 1)],
  },
  {
    id: "http2/5.1/7",
    rule: "9113 §6.10: behind END_HEADERS it is the connection's error",
    on: HALF_CLOSED,
    outcome: "GOAWAY 1",
    send: (s) => [whole(s, 1), continuation(s, 1)],
  },
  { id: "http2/5.1/8", outcome: "RST 1 5", send: (s) => [open(s, 1), rst(1), data(1)] },
  { id: "http2/5.1/9", outcome: "RST 1 5", send: (s) => [open(s, 1), rst(1), whole(s, 1)] },
  {
    id: "http2/5.1/10",
    rule: "9113 §6.10",
    outcome: "GOAWAY 1",
    send: (s) => [open(s, 1), rst(1), continuation(s, 1)],
  },
  { id: "http2/5.1/11", run: ended(() => data(1), "GOAWAY 5") },
  { id: "http2/5.1/12", run: ended((side) => whole(side, 1), "GOAWAY 5") },
  { id: "http2/5.1/13", rule: "9113 §6.10", run: ended((s) => continuation(s, 1), "GOAWAY 1") },
  { id: "http2/5.1.1/1", outcome: "GOAWAY 1", send: (s) => [whole(s, 2)] },
  {
    id: "http2/5.1.1/2",
    on: LISTENERS,
    outcome: "GOAWAY 1",
    send: (s) => [open(s, 5), open(s, 3)],
  },
  { id: "http2/5.1.2/1", on: LISTENERS, run: concurrency },
  {
    id: "http2/5.3.1/1",
    rule: "7540 §5.3.1: 9113 has no priorities, and forbids nobody to keep to it",
    outcome: "RST 1 1",
    send: (s) => [
      frame(
        T.headers,
        END_HEADERS | END_STREAM | PRIORITY,
        1,
        Buffer.concat([words(1), Buffer.of(255), s.head]),
      ),
    ],
  },
  {
    id: "http2/5.3.1/2",
    rule: "7540 §5.3.1",
    outcome: "RST 1 1",
    send: (s) => [open(s, 1), frame(T.priority, 0, 1, Buffer.concat([words(1), Buffer.of(255)]))],
  },
  { id: "http2/5.4.1/1", outcome: "GOAWAY 6", send: () => [frame(T.ping, 0, 0, NO_PRIORITY)] },
  { id: "http2/5.4.1/2", outcome: "GOAWAY 6", send: () => [frame(T.ping, 0, 0, NO_PRIORITY)] },
  {
    id: "http2/5.5/1",
    outcome: "fine",
    send: () => [frame(22, 0, 0, Buffer.alloc(8)), frame(22, 0, 1, Buffer.alloc(8))],
  },
  {
    id: "http2/5.5/2",
    outcome: "GOAWAY 1",
    send: (s) => [begun(s, 1), frame(22, 0, 1, Buffer.alloc(8)), continuation(s, 1)],
  },
];
