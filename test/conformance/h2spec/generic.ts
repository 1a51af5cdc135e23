/** h2spec's part "generic": what every endpoint takes (RFC 9113 and 7541, as each row says). */
import { END_HEADERS, END_STREAM, frame, PADDED, PRIORITY, T, words } from "../../support/peer.ts";
import { type Case, HALF_CLOSED, LISTENERS, ping } from "./cases.ts";
import { open, type Side, whole } from "./sides.ts";

const priority = (id: number, on = 0, weight = 0, isExclusive = false) =>
  frame(
    T.priority,
    0,
    id,
    Buffer.concat([words(isExclusive ? on + 2 ** 31 : on), Buffer.of(weight)]),
  );

/** A message in HEADERS and `count` CONTINUATIONs. */
function continued(side: Side, count: number): Buffer[] {
  const { head } = side;
  const parts = [frame(T.headers, END_STREAM, 1, head.subarray(0, 1))];
  for (let i = 1; i < count; i++) {
    parts.push(frame(T.continuation, 0, 1, head.subarray(i, i + 1)));
  }
  parts.push(frame(T.continuation, END_HEADERS, 1, head.subarray(count)));
  return parts;
}

/** A message whose block goes on with this, in hex. */
const withField = (hex: string) => (side: Side) => [whole(side, 1, 0, Buffer.from(hex, "hex"))];

/** A message whose block begins with this. */
const behind = (hex: string) => (side: Side) => [
  frame(
    T.headers,
    END_HEADERS | END_STREAM,
    1,
    Buffer.concat([Buffer.from(hex, "hex"), side.head]),
  ),
];

const data = (flags: number, payload: string | Buffer) => frame(T.data, flags, 1, payload);

/** RFC 7541 C.2 and C.4: `custom-key: custom-value`, `cache-control: no-cache`, both plain and Huffman. */
const NO_CACHE = "086e6f2d6361636865";
const NO_CACHE_HUFFMAN = "86a8eb10649cbf";
const CUSTOM = "0a637573746f6d2d6b65790c637573746f6d2d76616c7565";
const CUSTOM_HUFFMAN = "8825a849e95ba97d7f8925a849e95bb8e8b4bf";

const HPACK: readonly (readonly [string, (side: Side) => Buffer[]])[] = [
  ["generic/5/1", withField("90")],
  ["generic/5/2", withField(`58${NO_CACHE}`)],
  ["generic/5/3", withField(`58${NO_CACHE_HUFFMAN}`)],
  ["generic/5/4", withField(`40${CUSTOM}`)],
  ["generic/5/5", withField(`40${CUSTOM_HUFFMAN}`)],
  ["generic/5/6", withField(`0f09${NO_CACHE}`)],
  ["generic/5/7", withField(`0f09${NO_CACHE_HUFFMAN}`)],
  ["generic/5/8", withField(`00${CUSTOM}`)],
  ["generic/5/9", withField(`00${CUSTOM_HUFFMAN}`)],
  ["generic/5/10", withField(`1f09${NO_CACHE}`)],
  ["generic/5/11", withField(`1f09${NO_CACHE_HUFFMAN}`)],
  ["generic/5/12", withField(`10${CUSTOM}`)],
  ["generic/5/13", withField(`10${CUSTOM_HUFFMAN}`)],
  ["generic/5/14", behind("20")],
  // Down to nothing and up to 4,096 again.
  ["generic/5/15", behind("203fe11f")],
];

/** `method` of the static table or as a literal, http, `/`, authority `reviews`. */
const request = (method: string) => Buffer.from(`${method}8684410772657669657773`, "hex");
const POST = "83";
const HEAD = "020448454144";

export const GENERIC: readonly Case[] = [
  {
    id: "generic/1/1",
    rule: "9113 §3.4",
    outcome: "answered 1",
    send: (s) => [whole(s, 1)],
  },
  {
    id: "generic/2/1",
    rule: "9113 §5.1",
    outcome: "answered 1",
    send: (s) => [priority(s.isUpstream ? 7 : 1), whole(s, 1)],
  },
  {
    id: "generic/2/2",
    rule: "9113 §5.1",
    on: HALF_CLOSED,
    outcome: "answered 1",
    send: (s) => [whole(s, 1), frame(T.windowUpdate, 0, 1, words(100))],
  },
  {
    id: "generic/2/3",
    rule: "9113 §5.1",
    outcome: "answered 1",
    send: (s) => [whole(s, 1), priority(1)],
  },
  {
    id: "generic/2/4",
    rule: "9113 §5.1",
    outcome: "fine",
    send: (s) => [whole(s, 1), frame(T.rst, 0, 1, words(8))],
  },
  {
    id: "generic/2/5",
    rule: "9113 §5.1",
    outcome: "fine",
    send: (s) => [whole(s, 1), frame(T.rst, 0, 1, words(8)), priority(1)],
  },
  {
    id: "generic/3.1/1",
    rule: "9113 §6.1",
    outcome: "answered 1",
    send: (s) => [open(s, 1), data(END_STREAM, "test")],
  },
  {
    id: "generic/3.1/2",
    rule: "9113 §6.1",
    outcome: "answered 1",
    send: (s) => [open(s, 1), data(0, "test"), data(END_STREAM, "test")],
  },
  {
    id: "generic/3.1/3",
    rule: "9113 §6.1",
    outcome: "answered 1",
    send: (s) => [open(s, 1), data(END_STREAM | PADDED, Buffer.from("\x02test\0\0", "latin1"))],
  },
  { id: "generic/3.2/1", rule: "9113 §6.2", outcome: "answered 1", send: (s) => [whole(s, 1)] },
  {
    id: "generic/3.2/2",
    rule: "9113 §6.2",
    outcome: "answered 1",
    send: (s) => [
      frame(
        T.headers,
        END_HEADERS | END_STREAM | PADDED,
        1,
        Buffer.concat([Buffer.of(6), s.head, Buffer.alloc(6)]),
      ),
    ],
  },
  {
    id: "generic/3.2/3",
    rule: "9113 §6.2",
    outcome: "answered 1",
    send: (s) => [
      frame(
        T.headers,
        END_HEADERS | END_STREAM | PRIORITY,
        1,
        Buffer.concat([Buffer.of(0, 0, 0, 0, 255), s.head]),
      ),
    ],
  },
  {
    id: "generic/3.3/1",
    rule: "9113 §5.3.2: taken and ignored",
    outcome: "answered 1",
    send: (s) => [priority(1, 0, 0), whole(s, 1)],
  },
  {
    id: "generic/3.3/2",
    rule: "9113 §5.3.2",
    outcome: "answered 1",
    send: (s) => [priority(1, 0, 255), whole(s, 1)],
  },
  {
    id: "generic/3.3/3",
    rule: "9113 §5.3.2",
    outcome: "answered 3",
    send: (s) => [priority(1), priority(3, 1), whole(s, 3)],
  },
  {
    id: "generic/3.3/4",
    rule: "9113 §5.3.2",
    outcome: "answered 3",
    send: (s) => [priority(1), priority(3, 1, 255, true), whole(s, 3)],
  },
  {
    id: "generic/3.3/5",
    rule: "9113 §5.1.1: PRIORITY opens nothing",
    outcome: "answered 3",
    send: (s) => [priority(s.isUpstream ? 9 : 5), whole(s, 3)],
  },
  {
    id: "generic/3.4/1",
    rule: "9113 §6.4",
    outcome: "answered 3",
    send: (s) => [open(s, 1), frame(T.rst, 0, 1, words(8)), whole(s, 3)],
  },
  {
    id: "generic/3.5/1",
    rule: "9113 §6.5",
    outcome: "answered 1",
    send: (s) => [frame(T.settings, 0, 0, Buffer.from("000300000064", "hex")), whole(s, 1)],
  },
  { id: "generic/3.7/1", rule: "9113 §6.7", outcome: "fine", send: () => [ping()] },
  {
    id: "generic/3.8/1",
    rule: "9113 §6.8: streams up to its last id go on",
    outcome: "answered 1",
    send: (s) => [
      open(s, 1),
      frame(T.goaway, 0, 0, words(s.isUpstream ? 5 : 0, 0)),
      data(END_STREAM, "test"),
    ],
  },
  {
    id: "generic/3.9/1",
    rule: "9113 §6.9",
    outcome: "answered 1",
    send: (s) => [frame(T.windowUpdate, 0, 0, words(100)), whole(s, 1)],
  },
  {
    id: "generic/3.9/2",
    rule: "9113 §6.9",
    outcome: "answered 1",
    send: (s) => [open(s, 1), frame(T.windowUpdate, 0, 1, words(100)), data(END_STREAM, "test")],
  },
  { id: "generic/3.10/1", rule: "9113 §6.10", outcome: "answered 1", send: (s) => continued(s, 1) },
  {
    id: "generic/3.10/2",
    rule: "9113 §6.10",
    outcome: "answered 1",
    send: (s) => continued(s, 3),
  },
  {
    id: "generic/4/1",
    rule: "9113 §8.1",
    on: LISTENERS,
    outcome: "answered 1",
    send: () => [frame(T.headers, END_HEADERS | END_STREAM, 1, request("82"))],
  },
  {
    id: "generic/4/2",
    rule: "9113 §8.1",
    on: LISTENERS,
    outcome: "answered 1",
    send: () => [frame(T.headers, END_HEADERS | END_STREAM, 1, request(HEAD))],
  },
  {
    id: "generic/4/3",
    rule: "9113 §8.1",
    on: LISTENERS,
    outcome: "answered 1",
    send: () => [frame(T.headers, END_HEADERS, 1, request(POST)), data(END_STREAM, "test")],
  },
  {
    id: "generic/4/4",
    rule: "9113 §8.1",
    on: LISTENERS,
    outcome: "answered 1",
    send: () => [
      frame(T.headers, END_HEADERS, 1, request(POST)),
      data(0, "test"),
      frame(T.headers, END_HEADERS | END_STREAM, 1, Buffer.from(`00${CUSTOM}`, "hex")),
    ],
  },
  ...HPACK.map(([id, send]): Case => ({ id, rule: "7541 §6", outcome: "answered 1", send })),
];
