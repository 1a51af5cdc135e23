/** What a peer may not do (RFC 9113), one mistake a row, and what comes of it. */
import { describe, expect, test } from "vitest";
import { CONNECT, greeted, OK, Recorder, scripted } from "../../../test/support/http2-sides.ts";
import {
  ACK,
  block,
  CONNECT_BLOCK,
  connect,
  END_HEADERS,
  END_STREAM,
  ends,
  frame,
  GET_BLOCK,
  OK_BLOCK,
  PADDED,
  PRIORITY,
  settings,
  T,
  words,
} from "../../../test/support/peer.ts";

const data = (id: number, bytes: string | Buffer = "x", flags = 0) =>
  frame(T.data, flags, id, bytes);
const rst = (id: number, code = 8) => frame(T.rst, 0, id, words(code));
const widen = (id: number, by: number) => frame(T.windowUpdate, 0, id, words(by));
const request = (id: number, ...list: string[]) =>
  frame(T.headers, END_HEADERS | END_STREAM, id, block(...list));
const get = (id: number, ...more: string[]) =>
  request(id, ":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/", ...more);
const post = (id: number, length: string) =>
  frame(
    T.headers,
    END_HEADERS,
    id,
    block(":method", "POST", ":scheme", "http", ":path", "/", "content-length", length),
  );

type Case = readonly [what: string, outcome: string, ...bytes: Buffer[]];

const CONNECTION: readonly Case[] = [
  ["4.2 a frame above our limit", "GOAWAY 6", Buffer.from("100001000100000001", "hex")],
  [
    "4.3 a header block that cannot be decoded",
    "GOAWAY 9",
    frame(T.headers, 5, 1, Buffer.of(0x80)),
  ],
  [
    "4.3 a block interrupted by DATA",
    "GOAWAY 1",
    connect(1),
    frame(T.headers, 0, 3, GET_BLOCK),
    data(1),
  ],
  [
    "4.3 a block interrupted by PRIORITY",
    "GOAWAY 1",
    frame(T.headers, 0, 1, CONNECT_BLOCK),
    frame(T.priority, 0, 1, Buffer.alloc(5)),
  ],
  [
    "4.3 a block interrupted by an unknown frame",
    "GOAWAY 1",
    frame(T.headers, 0, 1, CONNECT_BLOCK),
    frame(99, 0, 0),
  ],
  [
    "4.3 a block continued on another stream",
    "GOAWAY 1",
    frame(T.headers, 0, 1, CONNECT_BLOCK),
    frame(T.continuation, 4, 3),
  ],
  ["5.1 DATA on an idle stream", "GOAWAY 1", data(1)],
  ["5.1 RST_STREAM on an idle stream", "GOAWAY 1", rst(1)],
  ["5.1 WINDOW_UPDATE on an idle stream", "GOAWAY 1", widen(1, 1)],
  ["5.1 WINDOW_UPDATE on a stream of ours that is idle", "GOAWAY 1", widen(2, 1)],
  ["5.1.1 HEADERS on an even stream", "GOAWAY 1", connect(2)],
  ["5.1.1 HEADERS on a stream that was skipped", "GOAWAY 1", connect(5), connect(3)],
  ["5.1.1 DATA on a stream that was skipped", "GOAWAY 1", connect(5), data(1)],
  ["6.1 DATA on stream 0", "GOAWAY 1", data(0)],
  ["6.1 padding as long as its frame", "GOAWAY 1", connect(1), data(1, Buffer.of(2, 0), PADDED)],
  ["6.1 padded DATA without pad length", "GOAWAY 6", connect(1), data(1, "", PADDED)],
  ["6.2 HEADERS on stream 0", "GOAWAY 1", connect(0)],
  [
    "6.2 padding longer than the block",
    "GOAWAY 1",
    frame(T.headers, 4 | PADDED, 1, Buffer.of(9, 0)),
  ],
  ["6.2 padded HEADERS without pad length", "GOAWAY 6", frame(T.headers, 4 | PADDED, 1)],
  ["6.2 priority fields cut short", "GOAWAY 6", frame(T.headers, 4 | PRIORITY, 1, Buffer.alloc(4))],
  ["6.3 PRIORITY on stream 0", "GOAWAY 1", frame(T.priority, 0, 0, Buffer.alloc(5))],
  ["6.4 RST_STREAM on stream 0", "GOAWAY 1", rst(0)],
  ["6.4 RST_STREAM of 3 bytes", "GOAWAY 6", connect(1), frame(T.rst, 0, 1, Buffer.alloc(3))],
  ["6.5 SETTINGS on a stream", "GOAWAY 1", frame(T.settings, 0, 1)],
  ["6.5 SETTINGS of 5 bytes", "GOAWAY 6", frame(T.settings, 0, 0, Buffer.alloc(5))],
  ["6.5 SETTINGS ACK with a payload", "GOAWAY 6", frame(T.settings, ACK, 0, Buffer.alloc(6))],
  ["6.5.2 ENABLE_PUSH of 2", "GOAWAY 1", settings([2, 2])],
  ["6.5.2 INITIAL_WINDOW_SIZE above 2^31-1", "GOAWAY 3", settings([4, 0x80000000])],
  ["6.5.2 MAX_FRAME_SIZE below 2^14", "GOAWAY 1", settings([5, 16_383])],
  ["6.5.2 MAX_FRAME_SIZE above 2^24-1", "GOAWAY 1", settings([5, 0x1000000])],
  ["6.6 PUSH_PROMISE", "GOAWAY 1", connect(1), frame(T.push, 4, 1, Buffer.alloc(4))],
  ["6.7 PING on a stream", "GOAWAY 1", frame(T.ping, 0, 1, Buffer.alloc(8))],
  ["6.7 PING of 7 bytes", "GOAWAY 6", frame(T.ping, 0, 0, Buffer.alloc(7))],
  ["6.8 GOAWAY on a stream", "GOAWAY 1", frame(T.goaway, 0, 1, Buffer.alloc(8))],
  ["6.8 GOAWAY of 7 bytes", "GOAWAY 6", frame(T.goaway, 0, 0, Buffer.alloc(7))],
  ["6.9 WINDOW_UPDATE of 0 on the connection", "GOAWAY 1", widen(0, 0)],
  ["6.9 WINDOW_UPDATE of 3 bytes", "GOAWAY 6", frame(T.windowUpdate, 0, 0, Buffer.alloc(3))],
  ["6.9.1 a connection window above 2^31-1", "GOAWAY 3", widen(0, 0x7fffffff)],
  [
    "6.9.2 SETTINGS that overflow a stream's window",
    "GOAWAY 3",
    connect(1),
    widen(1, 0x7fff0000),
    settings([4, 0x7fffffff]),
  ],
  ["6.10 CONTINUATION without HEADERS", "GOAWAY 1", connect(1), frame(T.continuation, 4, 1)],
  ["6.10 CONTINUATION on stream 0", "GOAWAY 1", frame(T.continuation, 4, 0)],
];

const STREAM: readonly Case[] = [
  ["5.1 DATA on a half-closed stream", "RST 1 5", get(1), data(1)],
  ["5.1 HEADERS on a half-closed stream", "RST 1 5", get(1), get(1)],
  ["5.1 DATA behind RST_STREAM", "RST 1 5", connect(1), rst(1), data(1)],
  ["5.1 HEADERS behind RST_STREAM", "RST 1 5", connect(1), rst(1), connect(1)],
  [
    "5.3.1 a stream that depends on itself, by HEADERS",
    "RST 1 1",
    frame(T.headers, 5 | PRIORITY, 1, Buffer.concat([words(1), Buffer.of(0), GET_BLOCK])),
  ],
  [
    "5.3.1 a stream that depends on itself, by PRIORITY",
    "RST 1 1",
    connect(1),
    frame(T.priority, 0, 1, Buffer.concat([words(1), Buffer.of(0)])),
  ],
  ["6.3 PRIORITY of 4 bytes", "RST 1 6", connect(1), frame(T.priority, 0, 1, Buffer.alloc(4))],
  ["6.9 WINDOW_UPDATE of 0", "RST 1 1", connect(1), widen(1, 0)],
  ["6.9.1 a stream window above 2^31-1", "RST 1 3", connect(1), widen(1, 0x7fffffff)],
  [
    "8.1 a second HEADERS that ends nothing",
    "RST 1 1",
    frame(T.headers, 4, 1, GET_BLOCK),
    frame(T.headers, 4, 1, block("a", "b")),
  ],
  [
    "8.1 pseudo headers among trailers",
    "RST 1 1",
    frame(T.headers, 4, 1, GET_BLOCK),
    frame(T.headers, 5, 1, block(":path", "/")),
  ],
  ["8.1.1 a body longer than content-length", "RST 1 1", post(1, "1"), data(1, "xx", END_STREAM)],
  ["8.1.1 a body shorter than content-length", "RST 1 1", post(1, "3"), data(1, "xx", END_STREAM)],
  ["8.1.1 a body that is missing", "RST 1 1", get(1, "content-length", "3")],
  ["8.1.1 a content-length that is no number", "RST 1 1", post(1, "+1")],
  ["8.1.1 two content-lengths", "RST 1 1", get(1, "content-length", "0", "content-length", "00")],
  ["8.2.1 an upper-case name", "RST 1 1", get(1, "X-A", "b")],
  ["8.2.1 a name with a space", "RST 1 1", get(1, "x a", "b")],
  ["8.2.1 a name with a colon", "RST 1 1", get(1, "x:a", "b")],
  ["8.2.1 an empty name", "RST 1 1", get(1, "", "b")],
  ["8.2.1 CR LF in a value", "RST 1 1", get(1, "x", "a\r\nb: c")],
  ["8.2.1 NUL in a value", "RST 1 1", get(1, "x", "a\0")],
  ["8.2.1 a value that begins with a space", "RST 1 1", get(1, "x", " a")],
  ["8.2.1 a value that ends with a tab", "RST 1 1", get(1, "x", "a\t")],
  ["8.2.2 connection", "RST 1 1", get(1, "connection", "close")],
  ["8.2.2 keep-alive", "RST 1 1", get(1, "keep-alive", "1")],
  ["8.2.2 proxy-connection", "RST 1 1", get(1, "proxy-connection", "close")],
  ["8.2.2 transfer-encoding", "RST 1 1", get(1, "transfer-encoding", "chunked")],
  ["8.2.2 upgrade", "RST 1 1", get(1, "upgrade", "h2c")],
  ["8.2.2 te other than trailers", "RST 1 1", get(1, "te", "gzip")],
  [
    "8.3 an unknown pseudo header",
    "RST 1 1",
    request(1, ":method", "GET", ":scheme", "http", ":path", "/", ":x", "y"),
  ],
  [
    "8.3 a pseudo header of responses",
    "RST 1 1",
    request(1, ":method", "GET", ":scheme", "http", ":path", "/", ":status", "200"),
  ],
  [
    "8.3 a pseudo header twice",
    "RST 1 1",
    request(1, ":method", "GET", ":scheme", "http", ":path", "/", ":path", "/"),
  ],
  [
    "8.3 a pseudo header behind a regular one",
    "RST 1 1",
    request(1, ":method", "GET", ":scheme", "http", "a", "b", ":path", "/"),
  ],
  ["8.3.1 no :method", "RST 1 1", request(1, ":scheme", "http", ":path", "/")],
  ["8.3.1 no :scheme", "RST 1 1", request(1, ":method", "GET", ":path", "/")],
  ["8.3.1 no :path", "RST 1 1", request(1, ":method", "GET", ":scheme", "http")],
  ["8.3.1 an empty :path", "RST 1 1", request(1, ":method", "GET", ":scheme", "http", ":path", "")],
  [
    "8.3.1 a :path without slash",
    "RST 1 1",
    request(1, ":method", "GET", ":scheme", "http", ":path", "a"),
  ],
  [
    "8.3.1 a :path with a space",
    "RST 1 1",
    request(1, ":method", "GET", ":scheme", "http", ":path", "/ HTTP/1.1"),
  ],
  ["8.3.1 a host that differs", "RST 1 1", get(1, "host", "b")],
  [
    "8.3.1 user information",
    "RST 1 1",
    request(1, ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "u@a"),
  ],
  [
    "8.5 CONNECT with :path",
    "RST 1 1",
    request(1, ":method", "CONNECT", ":authority", "a:1", ":path", "/"),
  ],
  [
    "8.5 CONNECT with :scheme",
    "RST 1 1",
    request(1, ":method", "CONNECT", ":authority", "a:1", ":scheme", "http"),
  ],
  ["8.5 CONNECT without :authority", "RST 1 1", request(1, ":method", "CONNECT")],
  ["8.5 trailers in a tunnel", "RST 1 1", connect(1), frame(T.headers, 5, 1, block("a", "b"))],
];

const NO_ERROR: readonly Case[] = [
  ["4.1 an unknown frame type", "", frame(99, 0xff, 0, Buffer.alloc(100)), frame(99, 0xff, 1)],
  ["4.1 unknown flags", "", frame(T.ping, 0x7e, 0, Buffer.alloc(8))],
  ["4.1 the reserved bit", "", frame(T.headers, 4, 0x80000001, CONNECT_BLOCK)],
  ["5.1 PRIORITY on an idle stream", "", frame(T.priority, 0, 101, Buffer.alloc(5))],
  [
    "5.1 RST_STREAM and WINDOW_UPDATE on a closed stream",
    "",
    connect(1),
    rst(1),
    rst(1),
    widen(1, 1),
  ],
  ["6.5.2 an unknown setting", "", settings([99, 1])],
  ["6.9.2 a window that SETTINGS make negative", "", connect(1), settings([4, 0])],
  [
    "6.10 an empty CONTINUATION at the end",
    "",
    frame(T.headers, 0, 1, CONNECT_BLOCK),
    frame(T.continuation, 4, 1),
  ],
  ["8.2.2 te: trailers", "", get(1, "te", "trailers")],
  ["8.3.1 OPTIONS *", "", request(1, ":method", "OPTIONS", ":scheme", "http", ":path", "*")],
  [
    "an empty header block as trailers",
    "",
    frame(T.headers, 4, 1, GET_BLOCK),
    frame(T.headers, 5, 1),
  ],
];

function row([what, outcome, ...bytes]: Case): [string, string, Buffer] {
  return [what, outcome, Buffer.concat(bytes)];
}

describe("of a client, is a connection error:", () => {
  test.each(CONNECTION.map(row))("%s", async (_what, outcome, bytes) => {
    const { peer, owner, connection } = await greeted("server");
    peer.send(bytes);
    expect(ends(await peer.frames())).toEqual([outcome]);
    expect(peer.isEnded).toBe(true);
    expect(connection.isClosed).toBe(true);
    expect(owner.log.at(-1)).toMatch(/^closed .HTTP2_PROTOCOL_ERROR/);
    // Nothing behind the error counts.
    const before = owner.streams.length;
    peer.send(connect(99));
    expect(owner.streams).toHaveLength(before);
  });
});

describe("of a client, is a stream error:", () => {
  test.each(STREAM.map(row))("%s", async (_what, outcome, bytes) => {
    const { peer, owner, connection } = await greeted("server");
    peer.send(bytes);
    expect(ends(await peer.frames())).toEqual([outcome]);
    expect(connection.streamCount).toBe(0);
    // The connection and its other streams go on.
    peer.send(connect(9));
    expect(owner.streams.at(-1)!.stream!.id).toBe(9);
    expect(connection.isClosed).toBe(false);
  });
});

describe("of a client, is no error:", () => {
  test.each(NO_ERROR.map(row))("%s", async (_what, _outcome, bytes) => {
    const { peer, connection } = await greeted("server");
    peer.send(bytes);
    expect(ends(await peer.frames())).toEqual([]);
    expect(connection.isClosed).toBe(false);
  });
});

describe("at its beginning, a server refuses", () => {
  const cases: readonly (readonly [string, Buffer])[] = [
    ["HTTP/1.1", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
    ["a preface that is almost right", Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r")],
    [
      "a first frame other than SETTINGS",
      Buffer.concat([
        Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        frame(T.ping, 0, 0, Buffer.alloc(8)),
      ]),
    ],
    [
      "SETTINGS ACK as the first frame",
      Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(T.settings, ACK, 0)]),
    ],
  ];
  test.each(cases)("%s", async (_what, bytes) => {
    const { peer } = scripted("server");
    peer.send(bytes);
    expect(ends(await peer.frames())).toEqual(["GOAWAY 1"]);
    expect(peer.isEnded).toBe(true);
  });
});

describe("frames on closed streams", () => {
  const ended = async () => {
    const sides = await greeted("server");
    sides.peer.send(get(1));
    sides.owner.streams[0]!.stream!.respond(OK, true);
    await sides.peer.frames();
    return sides;
  };

  test("DATA and HEADERS behind END_STREAM of both sides end the connection", async () => {
    for (const late of [data(1), get(1)]) {
      const { peer } = await ended();
      peer.send(late);
      expect(ends(await peer.frames())).toEqual(["GOAWAY 5"]);
    }
  });

  test("RST_STREAM, WINDOW_UPDATE and PRIORITY behind the end are let pass", async () => {
    const { peer } = await ended();
    peer.send(rst(1), widen(1, 1), frame(T.priority, 0, 1, Buffer.alloc(5)));
    expect(ends(await peer.frames())).toEqual([]);
  });

  test("frames that crossed with our RST_STREAM are ignored, and their HPACK state is kept", async () => {
    const { peer, owner, connection } = await greeted("server");
    peer.send(frame(T.headers, END_HEADERS, 1, GET_BLOCK));
    owner.streams[0]!.stream!.reset("cancel");
    const trailers = Buffer.from("4003782d610162", "hex");
    peer.send(data(1), frame(T.headers, END_HEADERS | END_STREAM, 1, trailers), data(1));
    expect(ends(await peer.frames())).toEqual(["RST 1 8"]);
    peer.send(frame(T.headers, 5, 3, Buffer.concat([GET_BLOCK, Buffer.of(0xbe)])));
    expect(owner.streams[1]!.log[0]).toContain("x-a b");
    expect(connection.isClosed).toBe(false);
  });
});

describe("of a server, is an error:", () => {
  const response = (flags: number, ...list: string[]) =>
    frame(T.headers, END_HEADERS | flags, 1, block(...list));
  const cases: readonly Case[] = [
    ["DATA before HEADERS", "RST 1 1", data(1)],
    ["no :status", "RST 1 1", response(0, "a", "b")],
    ["a :status that is none", "RST 1 1", response(0, ":status", "2000")],
    ["a pseudo header of requests", "RST 1 1", response(0, ":status", "200", ":path", "/")],
    ["an interim response that ends the stream", "RST 1 1", response(END_STREAM, ":status", "103")],
    ["101", "RST 1 1", response(0, ":status", "101")],
    [
      "33 interim responses",
      "RST 1 1",
      ...Array.from({ length: 33 }, () => response(0, ":status", "103")),
    ],
    [
      "trailers in a tunnel",
      "RST 1 1",
      response(0, ":status", "200"),
      response(END_STREAM, "a", "b"),
    ],
    ["DATA behind the end", "RST 1 5", response(END_STREAM, ":status", "200"), data(1)],
    ["HEADERS on a stream never opened", "GOAWAY 1", frame(T.headers, 4, 3, OK_BLOCK)],
    ["HEADERS on a stream of its own", "GOAWAY 1", frame(T.headers, 4, 2, OK_BLOCK)],
    ["PUSH_PROMISE", "GOAWAY 1", frame(T.push, 4, 1, Buffer.concat([words(2), GET_BLOCK]))],
    ["ENABLE_PUSH of 1", "GOAWAY 1", settings([2, 1])],
  ];
  test.each(cases.map(row))("%s", async (_what, outcome, bytes) => {
    const { peer, connection } = await greeted("client");
    const near = new Recorder();
    near.of(connection.open(CONNECT, false, near));
    peer.send(bytes);
    expect(ends(await peer.frames())).toEqual([outcome]);
    expect(near.isClosed).toBe(true);
  });

  test("but not a refused CONNECT with a body and trailers", async () => {
    const { peer, connection } = await greeted("client");
    const near = new Recorder();
    near.of(connection.open(CONNECT, false, near));
    peer.send(response(0, ":status", "503", "content-length", "2"), data(1, "no"));
    peer.send(response(END_STREAM, "a", "b"));
    expect(near.log).toEqual([
      "headers :status 503 content-length 2 false",
      "trailers a b true",
      "end",
    ]);
    expect(ends(await peer.frames())).toEqual([]);
  });
});
