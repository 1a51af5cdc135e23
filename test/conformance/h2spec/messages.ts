/**
 * h2spec's part "http2", sections 8: malformed messages (RFC 9113 §8, sections as RFC 7540 counts
 * them). What is malformed in a request has its like in a response, so upstreams have most of them
 * too.
 */
import { block, END_HEADERS, END_STREAM, frame, T, words } from "../../support/peer.ts";
import { type Case, LISTENERS } from "./cases.ts";
import { open, type Side, whole } from "./sides.ts";

const MALFORMED = "RST 1 1";

const request =
  (...list: string[]) =>
  () => [frame(T.headers, END_HEADERS | END_STREAM, 1, block(...list))];

const withField = (name: string, value: string) => (side: Side) => [
  whole(side, 1, 0, block(name, value)),
];

const post = (side: Side, length: string) =>
  frame(
    T.headers,
    END_HEADERS,
    1,
    side.isUpstream
      ? block(":status", "503", "content-length", length)
      : block(
          ":method",
          "POST",
          ":scheme",
          "http",
          ":authority",
          "reviews",
          ":path",
          "/",
          "content-length",
          length,
        ),
  );

const data = (payload: string, flags = 0) => frame(T.data, flags, 1, payload);

const METHOD = [":method", "GET"];
const SCHEME = [":scheme", "http"];
const PATH = [":path", "/"];

export const MESSAGES: readonly Case[] = [
  {
    id: "http2/8.1/1",
    rule: "9113 §8.1",
    outcome: MALFORMED,
    send: (s) => [open(s, 1), frame(T.headers, END_HEADERS, 1, block("x-test", "ok"))],
  },
  { id: "http2/8.1.2/1", rule: "9113 §8.2.1", outcome: MALFORMED, send: withField("X-TEST", "ok") },
  { id: "http2/8.1.2.1/1", rule: "9113 §8.3", outcome: MALFORMED, send: withField(":test", "ok") },
  {
    id: "http2/8.1.2.1/2",
    rule: "9113 §8.3",
    outcome: MALFORMED,
    // A pseudo header of the other kind of message.
    send: (s) => [whole(s, 1, 0, s.isUpstream ? block(...METHOD) : block(":status", "200"))],
  },
  {
    id: "http2/8.1.2.1/3",
    rule: "9113 §8.1",
    outcome: MALFORMED,
    send: (s) => [
      open(s, 1),
      frame(
        T.headers,
        END_HEADERS | END_STREAM,
        1,
        block(...(s.isUpstream ? [":status", "200"] : METHOD)),
      ),
    ],
  },
  {
    id: "http2/8.1.2.1/4",
    rule: "9113 §8.3",
    outcome: MALFORMED,
    send: (s) => [
      frame(
        T.headers,
        END_HEADERS | END_STREAM,
        1,
        s.isUpstream
          ? block("x-test", "ok", ":status", "200")
          : block(...METHOD, ...SCHEME, "x-test", "ok", ...PATH),
      ),
    ],
  },
  {
    id: "http2/8.1.2.2/1",
    rule: "9113 §8.2.2",
    outcome: MALFORMED,
    send: withField("connection", "keep-alive"),
  },
  {
    id: "http2/8.1.2.2/2",
    rule: "9113 §8.2.2",
    outcome: MALFORMED,
    send: withField("te", "trailers, deflate"),
  },
  {
    id: "http2/8.1.2.3/1",
    rule: "9113 §8.3.1",
    on: LISTENERS,
    outcome: MALFORMED,
    send: request(...METHOD, ...SCHEME, ":path", ""),
  },
  {
    id: "http2/8.1.2.3/2",
    rule: "9113 §8.3.1, §8.3.2",
    outcome: MALFORMED,
    // Of a response :status is what it cannot do without.
    send: (s) => (s.isUpstream ? request("x-test", "ok")() : request(...SCHEME, ...PATH)()),
  },
  {
    id: "http2/8.1.2.3/3",
    rule: "9113 §8.3.1",
    on: LISTENERS,
    outcome: MALFORMED,
    send: request(...METHOD, ...PATH),
  },
  {
    id: "http2/8.1.2.3/4",
    rule: "9113 §8.3.1",
    on: LISTENERS,
    outcome: MALFORMED,
    send: request(...METHOD, ...SCHEME),
  },
  {
    id: "http2/8.1.2.3/5",
    rule: "9113 §8.3.1, §8.3.2",
    outcome: MALFORMED,
    send: (s) =>
      s.isUpstream
        ? request(":status", "200", ":status", "200")()
        : request(...METHOD, ...METHOD, ...SCHEME, ...PATH)(),
  },
  {
    id: "http2/8.1.2.3/6",
    rule: "9113 §8.3.1",
    on: LISTENERS,
    outcome: MALFORMED,
    send: request(...METHOD, ...SCHEME, ...SCHEME, ...PATH),
  },
  {
    id: "http2/8.1.2.3/7",
    rule: "9113 §8.3.1",
    on: LISTENERS,
    outcome: MALFORMED,
    send: request(...METHOD, ...SCHEME, ...PATH, ...PATH),
  },
  {
    id: "http2/8.1.2.6/1",
    rule: "9113 §8.1.1",
    outcome: MALFORMED,
    send: (s) => [post(s, "1"), data("test", END_STREAM)],
  },
  {
    id: "http2/8.1.2.6/2",
    rule: "9113 §8.1.1",
    outcome: MALFORMED,
    send: (s) => [post(s, "10"), data("test"), data("test", END_STREAM)],
  },
  {
    id: "http2/8.2/1",
    rule: "9113 §8.4: clients cannot push, and ours forbid servers to",
    outcome: "GOAWAY 1",
    send: (s) => [
      open(s, 1),
      frame(
        T.push,
        END_HEADERS,
        1,
        Buffer.concat([words(2), block(...METHOD, ...SCHEME, ...PATH)]),
      ),
    ],
  },
];
