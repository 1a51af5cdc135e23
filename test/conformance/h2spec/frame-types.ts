/** h2spec's part "http2", sections 6 and 7: each type of frame, and errors (RFC 9113, same ones). */
import { expect } from "vitest";
import {
  ACK,
  CLIENT_PREFACE,
  END_HEADERS,
  END_STREAM,
  type Frame,
  frame,
  PADDED,
  settings,
  T,
  words,
} from "../../support/peer.ts";
import { type Case, HALF_CLOSED, ping } from "./cases.ts";
import { open, type Side, whole } from "./sides.ts";

const PROTOCOL_ERROR = "GOAWAY 1";
const FLOW_CONTROL_ERROR = "GOAWAY 3";
const FRAME_SIZE_ERROR = "GOAWAY 6";

const data = (id: number, payload: string | Buffer, flags = 0) => frame(T.data, flags, id, payload);
const widen = (id: number, by: number) => frame(T.windowUpdate, 0, id, words(by));
const windowOf = (bytes: number) => settings([4, bytes]);
const begun = (side: Side, id: number) =>
  frame(T.headers, END_STREAM, id, side.head.subarray(0, 1));
const rest = (side: Side, id: number, flags = END_HEADERS) =>
  frame(T.continuation, flags, id, side.head.subarray(1));
/** An empty CONTINUATION, that ends its block or does not. */
const empty = (id: number, flags = 0) => frame(T.continuation, flags, id);

/** Lengths of the DATA frames on stream 1; the empty one that ends it left out. */
const lengths = (frames: readonly Frame[]) =>
  frames
    .filter((f) => f.type === T.data && f.id === 1)
    .map((f) => f.payload.length)
    .filter(Boolean);

/** Greets with that stream window, and has the side send five bytes on stream 1. */
async function sendFive(side: Side, ...first: readonly Buffer[]): Promise<number[]> {
  if (!side.isUpstream) side.send(CLIENT_PREFACE);
  side.send(...first, frame(T.settings, ACK, 0), whole(side, 1));
  await side.answer("hello");
  return lengths(await side.frames());
}

const SETTINGS: readonly Case[] = [
  {
    id: "http2/6.5/1",
    outcome: FRAME_SIZE_ERROR,
    send: () => [frame(T.settings, ACK, 0, Buffer.alloc(1))],
  },
  { id: "http2/6.5/2", outcome: PROTOCOL_ERROR, send: () => [frame(T.settings, 0, 1)] },
  {
    id: "http2/6.5/3",
    outcome: FRAME_SIZE_ERROR,
    send: () => [frame(T.settings, 0, 0, Buffer.alloc(3))],
  },
  { id: "http2/6.5.2/1", outcome: PROTOCOL_ERROR, send: () => [settings([2, 2])] },
  { id: "http2/6.5.2/2", outcome: FLOW_CONTROL_ERROR, send: () => [windowOf(2 ** 31)] },
  { id: "http2/6.5.2/3", outcome: PROTOCOL_ERROR, send: () => [settings([5, 16_383])] },
  { id: "http2/6.5.2/4", outcome: PROTOCOL_ERROR, send: () => [settings([5, 2 ** 24])] },
  { id: "http2/6.5.2/5", outcome: "fine", send: () => [settings([0xff, 0])] },
  {
    id: "http2/6.5.3/1",
    on: HALF_CLOSED,
    async run(side) {
      expect(await sendFive(side, settings([4, 100], [4, 1]))).toEqual([1]);
    },
  },
  {
    id: "http2/6.5.3/2",
    async run(side) {
      if (!side.isUpstream) side.send(CLIENT_PREFACE);
      side.send(settings());
      const frames = await side.frames();
      expect(frames.filter((f) => f.type === T.settings && f.flags === ACK)).toHaveLength(1);
    },
  },
];

const WINDOWS: readonly Case[] = [
  { id: "http2/6.9/1", outcome: PROTOCOL_ERROR, send: () => [widen(0, 0)] },
  {
    id: "http2/6.9/2",
    rule: "9113 §6.9: on a stream it is the stream's error",
    outcome: "RST 1 1",
    send: (s) => [open(s, 1), widen(1, 0)],
  },
  {
    id: "http2/6.9/3",
    outcome: FRAME_SIZE_ERROR,
    send: () => [frame(T.windowUpdate, 0, 0, Buffer.alloc(3))],
  },
  {
    id: "http2/6.9.1/1",
    on: HALF_CLOSED,
    async run(side) {
      expect(await sendFive(side, windowOf(1))).toEqual([1]);
    },
  },
  {
    id: "http2/6.9.1/2",
    outcome: FLOW_CONTROL_ERROR,
    send: () => [widen(0, 0x7fffffff), widen(0, 0x7fffffff)],
  },
  {
    id: "http2/6.9.1/3",
    outcome: "RST 1 3",
    send: (s) => [open(s, 1), widen(1, 0x7fffffff), widen(1, 0x7fffffff)],
  },
  {
    id: "http2/6.9.2/1",
    on: HALF_CLOSED,
    async run(side) {
      expect(await sendFive(side, windowOf(0))).toEqual([]);
      side.send(windowOf(1));
      expect(lengths(await side.frames())).toEqual([1]);
    },
  },
  {
    id: "http2/6.9.2/2",
    on: HALF_CLOSED,
    async run(side) {
      expect(await sendFive(side, windowOf(3))).toEqual([3]);
      side.send(windowOf(2));
      side.send(widen(1, 1));
      expect(lengths(await side.frames())).toEqual([]);
      side.send(widen(1, 1));
      expect(lengths(await side.frames())).toEqual([1]);
    },
  },
  { id: "http2/6.9.2/3", outcome: FLOW_CONTROL_ERROR, send: () => [windowOf(2 ** 31)] },
];

const CONTINUATION: readonly Case[] = [
  {
    id: "http2/6.10/1",
    outcome: "answered 1",
    send: (s) => [begun(s, 1), empty(1), empty(1), rest(s, 1)],
  },
  {
    id: "http2/6.10/2",
    outcome: PROTOCOL_ERROR,
    send: (s) => [begun(s, 1), empty(1), data(1, "test")],
  },
  {
    id: "http2/6.10/3",
    outcome: PROTOCOL_ERROR,
    send: (s) => [begun(s, 1), rest(s, 0)],
  },
  {
    id: "http2/6.10/4",
    outcome: PROTOCOL_ERROR,
    send: (s) => [open(s, 1), empty(1, END_HEADERS)],
  },
  {
    id: "http2/6.10/5",
    outcome: PROTOCOL_ERROR,
    send: (s) => [begun(s, 1), rest(s, 1), empty(1, END_HEADERS)],
  },
  {
    id: "http2/6.10/6",
    outcome: PROTOCOL_ERROR,
    send: (s) => [open(s, 1), data(1, "test"), empty(1, END_HEADERS)],
  },
];

export const FRAME_TYPES: readonly Case[] = [
  { id: "http2/6.1/1", outcome: PROTOCOL_ERROR, send: () => [data(0, "test")] },
  {
    id: "http2/6.1/2",
    on: HALF_CLOSED,
    outcome: "RST 1 5",
    send: (s) => [whole(s, 1), data(1, "test")],
  },
  {
    id: "http2/6.1/3",
    outcome: PROTOCOL_ERROR,
    send: (s) => [open(s, 1), data(1, Buffer.from("\x06test", "latin1"), PADDED | END_STREAM)],
  },
  {
    id: "http2/6.2/1",
    outcome: PROTOCOL_ERROR,
    send: (s) => [begun(s, 1), frame(T.priority, 0, 1, Buffer.alloc(5)), rest(s, 1)],
  },
  {
    id: "http2/6.2/2",
    outcome: PROTOCOL_ERROR,
    send: (s) => [begun(s, 1), whole(s, 3), rest(s, 1)],
  },
  { id: "http2/6.2/3", outcome: PROTOCOL_ERROR, send: (s) => [whole(s, 0)] },
  {
    id: "http2/6.2/4",
    outcome: PROTOCOL_ERROR,
    send: (s) => [
      frame(T.headers, END_HEADERS | PADDED, 1, Buffer.concat([Buffer.of(255), s.head])),
    ],
  },
  {
    id: "http2/6.3/1",
    outcome: PROTOCOL_ERROR,
    send: () => [frame(T.priority, 0, 0, Buffer.alloc(5))],
  },
  {
    id: "http2/6.3/2",
    outcome: "RST 1 6",
    send: (s) => [open(s, 1), frame(T.priority, 0, 1, Buffer.alloc(4))],
  },
  { id: "http2/6.4/1", outcome: PROTOCOL_ERROR, send: () => [frame(T.rst, 0, 0, words(8))] },
  { id: "http2/6.4/2", outcome: PROTOCOL_ERROR, send: () => [frame(T.rst, 0, 7, words(8))] },
  {
    id: "http2/6.4/3",
    outcome: FRAME_SIZE_ERROR,
    send: (s) => [open(s, 1), frame(T.rst, 0, 1, Buffer.alloc(3))],
  },
  ...SETTINGS,
  {
    id: "http2/6.7/1",
    async run(side) {
      if (!side.isUpstream) side.send(CLIENT_PREFACE);
      side.send(settings(), ping(Buffer.from("12345678")));
      const pongs = (await side.frames()).filter((f) => f.type === T.ping);
      expect(pongs.map((f) => `${f.flags} ${f.payload}`)).toEqual(["1 12345678"]);
    },
  },
  {
    id: "http2/6.7/2",
    async run(side) {
      if (!side.isUpstream) side.send(CLIENT_PREFACE);
      side.send(settings(), ping(Buffer.from("12345678"), ACK), ping());
      const pongs = (await side.frames()).filter((f) => f.type === T.ping);
      expect(pongs.map((f) => `${f.flags} ${f.payload}`)).toEqual(["1 h2-alive"]);
    },
  },
  {
    id: "http2/6.7/3",
    outcome: PROTOCOL_ERROR,
    send: () => [frame(T.ping, 0, 1, Buffer.alloc(8))],
  },
  {
    id: "http2/6.7/4",
    outcome: FRAME_SIZE_ERROR,
    send: () => [frame(T.ping, 0, 0, Buffer.alloc(6))],
  },
  { id: "http2/6.8/1", outcome: PROTOCOL_ERROR, send: () => [frame(T.goaway, 0, 1, words(0, 0))] },
  ...WINDOWS,
  ...CONTINUATION,
  {
    id: "http2/7/1",
    outcome: "answered 1",
    send: (s) => [
      open(s, 1),
      frame(T.goaway, 0, 0, words(s.isUpstream ? 5 : 0, 0xff)),
      data(1, "test", END_STREAM),
    ],
  },
  {
    id: "http2/7/2",
    outcome: "answered 3",
    send: (s) => [open(s, 1), frame(T.rst, 0, 1, words(0xff)), whole(s, 3)],
  },
];
