/** Peers that make work and bring nothing: each is cut off with ENHANCE_YOUR_CALM, at its limit. */
import { describe, expect, test } from "vitest";
import { greeted, OK } from "../../../test/support/http2-sides.ts";
import {
  block,
  connect,
  END_HEADERS,
  ends,
  frame,
  GET_BLOCK,
  settings,
  T,
  words,
} from "../../../test/support/peer.ts";
import type { Http2Limits } from "./limits.ts";

const LIMITS: Partial<Http2Limits> = {
  maxControlFrames: 50,
  maxPrematureResets: 20,
  maxEmptyFrames: 10,
  maxUnreadReplies: 10,
  maxContinuationFrames: 4,
  maxHeaderBlockBytes: 1000,
  maxHeaderListBytes: 500,
};
const CALM = "GOAWAY 11";

const many = (count: number, make: (index: number) => Buffer) =>
  Array.from({ length: count }, (_, index) => make(index));
const rst = (id: number) => frame(T.rst, 0, id, words(8));

/** Repeated `count` times it is let pass, once more is too much. */
const CONTROL: readonly (readonly [string, Buffer])[] = [
  ["PING", frame(T.ping, 0, 0, Buffer.alloc(8))],
  ["PING answers", frame(T.ping, 1, 0, Buffer.alloc(8))],
  ["SETTINGS", settings()],
  ["PRIORITY", frame(T.priority, 0, 1, Buffer.alloc(5))],
  ["WINDOW_UPDATE", frame(T.windowUpdate, 0, 0, words(1))],
  ["RST_STREAM", rst(1)],
  ["unknown frames", frame(99, 0, 0)],
];

describe("a flood of", () => {
  test.each(CONTROL)("%s", async (_what, bytes) => {
    const { peer, owner } = await greeted("server", LIMITS);
    peer.send(connect(1));
    // Two have been the peer's SETTINGS and its answer to ours.
    for (let i = 0; i < 48; i++) peer.send(bytes);
    expect(ends(await peer.frames())).toEqual([]);
    peer.send(bytes);
    expect(ends(await peer.frames())).toEqual([CALM]);
    expect(peer.isEnded).toBe(true);
    expect(owner.log.at(-1)).toMatch(/^closed .HTTP2_FLOOD/);
  });

  test("control frames is none while data flows the other way", async () => {
    const { peer, owner } = await greeted("server", LIMITS);
    peer.send(connect(1));
    const { stream } = owner.streams[0]!;
    stream!.respond(OK, false);
    for (let i = 0; i < 100; i++) {
      stream!.write(Buffer.alloc(100), 0, 100, null);
      peer.send(frame(T.windowUpdate, 0, 0, words(100)), frame(T.windowUpdate, 0, 1, words(100)));
    }
    expect(ends(await peer.frames())).toEqual([]);
  });

  test("empty DATA", async () => {
    const { peer } = await greeted("server", LIMITS);
    const bytes = [frame(T.data, 0, 1), frame(T.data, 8, 1, Buffer.of(0))];
    peer.send(connect(1), ...many(10, () => bytes[0]!), frame(T.data, 0, 1, "x"));
    peer.send(...many(10, () => bytes[0]!));
    expect(ends(await peer.frames())).toEqual([]);
    peer.send(bytes[0]!);
    expect(ends(await peer.frames())).toEqual([CALM]);
  });

  test("streams that are reset at once (CVE-2023-44487)", async () => {
    const { peer, owner } = await greeted("server", LIMITS);
    peer.send(...many(20, (i) => Buffer.concat([connect(2 * i + 1), rst(2 * i + 1)])));
    expect(ends(await peer.frames())).toEqual([]);
    peer.send(connect(41), rst(41), connect(43));
    expect(ends(await peer.frames())).toEqual([CALM]);
    expect(owner.streams).toHaveLength(21);
  });

  test("streams that are answered, and reset at once", async () => {
    const { peer, owner } = await greeted("server", LIMITS);
    owner.onAccept = (stream) => stream.respond(OK, false);
    peer.send(...many(21, (i) => Buffer.concat([connect(2 * i + 1), rst(2 * i + 1)])));
    expect(ends(await peer.frames())).toEqual([CALM]);
  });

  test("short streams is none when they end, carry data both ways, or live a while", async () => {
    const { peer, owner, connection } = await greeted("server", {
      ...LIMITS,
      maxControlFrames: 10_000,
    });
    owner.onAccept = (stream) => stream.respond(OK, false);
    const end = (id: number) => frame(T.data, 1, id, "x");
    for (let id = 1; id < 200; id += 2) {
      peer.send(connect(id), end(id));
      owner.streams.at(-1)!.stream!.end();
    }
    for (let id = 201; id < 400; id += 2) {
      peer.send(connect(id), frame(T.data, 0, id, "x"));
      owner.streams.at(-1)!.stream!.write(Buffer.from("y"), 0, 1, null);
      peer.send(rst(id));
    }
    peer.send(...many(100, (i) => connect(401 + 2 * i)));
    for (const { stream } of owner.streams) stream!.openedAtMs -= 1_000;
    peer.send(...many(100, (i) => rst(401 + 2 * i)));
    expect(ends(await peer.frames())).toEqual([]);
    expect(connection.streamCount).toBe(0);
  });

  test("resets is none while most streams come to something", async () => {
    const { peer, owner } = await greeted("server", LIMITS);
    owner.onAccept = (stream) => stream.respond(OK, false);
    for (let id = 1; id < 400; id += 4) {
      peer.send(connect(id, 1));
      owner.streams.at(-1)!.stream!.end();
      if (id < 180) peer.send(connect(id + 2), rst(id + 2));
    }
    expect(ends(await peer.frames())).toEqual([]);
  });

  test("frames on a stream that we have reset", async () => {
    const { peer, owner } = await greeted("server", LIMITS);
    peer.send(connect(1));
    owner.streams[0]!.stream!.reset("cancel");
    peer.send(...many(49, () => frame(T.data, 0, 1, "x")));
    expect(ends(await peer.frames()).at(-1)).toBe(CALM);
  });

  test("window updates for a byte each (CVE-2019-9511)", async () => {
    const { peer, owner } = await greeted("server", LIMITS, [4, 0]);
    peer.send(connect(1));
    const { stream } = owner.streams[0]!;
    stream!.respond(OK, false);
    stream!.write(Buffer.alloc(10_000), 0, 10_000, null);
    for (let i = 0; i < 60; i++) peer.send(frame(T.windowUpdate, 0, 1, words(1)));
    expect(ends(await peer.frames())).toEqual([CALM]);
  });

  test("streams that make us reset them (CVE-2025-8671)", async () => {
    const { peer, owner } = await greeted("server", LIMITS);
    owner.onAccept = (stream) => stream.respond(OK, false);
    const provoke = (id: number) => frame(T.windowUpdate, 0, id, words(0));
    peer.send(...many(21, (i) => Buffer.concat([connect(2 * i + 1), provoke(2 * i + 1)])));
    expect(ends(await peer.frames()).at(-1)).toBe(CALM);
  });

  test("malformed requests", async () => {
    const { peer } = await greeted("server", LIMITS);
    const bad = block(":method", "CONNECT");
    peer.send(...many(21, (i) => frame(T.headers, END_HEADERS, 2 * i + 1, bad)));
    expect(ends(await peer.frames()).at(-1)).toBe(CALM);
  });

  test("streams above the limit", async () => {
    const { peer } = await greeted("server", { ...LIMITS, maxConcurrentStreams: 2 });
    peer.send(...many(22, (i) => connect(2 * i + 1)));
    const outcome = ends(await peer.frames());
    expect(outcome).toEqual(many2(20));
    peer.send(connect(45));
    expect(ends(await peer.frames())).toEqual(["RST 45 7", CALM]);
  });

  test("frames behind RST_STREAM", async () => {
    const { peer, owner } = await greeted("server", LIMITS);
    owner.onAccept = (stream) => stream.respond(OK, false);
    peer.send(connect(1), rst(1), ...many(21, () => frame(T.data, 0, 1, "x")));
    expect(ends(await peer.frames()).at(-1)).toBe(CALM);
  });

  test("frames that want an answer, from a peer that reads none", async () => {
    const { peer, owner } = await greeted("server", {
      ...LIMITS,
      maxControlFrames: 1_000_000,
      streamWindowBytes: 4_000_000,
    });
    peer.send(connect(1), frame(T.windowUpdate, 0, 0, words(10_000_000)));
    peer.send(frame(T.windowUpdate, 0, 1, words(10_000_000)));
    const ping = frame(T.ping, 0, 0, Buffer.alloc(8));
    for (let i = 0; i < 100; i++) peer.send(ping);
    peer.isStalled = true;
    const { stream } = owner.streams[0]!;
    for (let i = 0; i < 20; i++) stream!.write(Buffer.alloc(65_536), 0, 65_536, null);
    for (let i = 0; i < 10; i++) peer.send(ping);
    expect(peer.isEnded).toBe(false);
    peer.send(ping);
    expect(peer.isEnded).toBe(true);
    expect(owner.log.at(-1)).toMatch(/HTTP2_FLOOD.*answers unread/);
  });
});

function many2(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `RST ${2 * i + 5} 7`);
}

describe("header blocks", () => {
  test("with too many CONTINUATIONs (CVE-2024-27316)", async () => {
    const { peer } = await greeted("server", LIMITS);
    peer.send(frame(T.headers, 0, 1, GET_BLOCK), ...many(4, () => frame(T.continuation, 0, 1)));
    expect(ends(await peer.frames())).toEqual([]);
    peer.send(frame(T.continuation, 0, 1));
    expect(ends(await peer.frames())).toEqual([CALM]);
  });

  test("with as many as are allowed", async () => {
    const { peer, owner } = await greeted("server", LIMITS);
    peer.send(frame(T.headers, 0, 1, GET_BLOCK), ...many(3, () => frame(T.continuation, 0, 1)));
    peer.send(frame(T.continuation, END_HEADERS, 1));
    expect(owner.streams).toHaveLength(1);
  });

  test("too long together, or alone, before the bytes are stored", async () => {
    const piece = Buffer.alloc(400);
    const together = [frame(T.headers, 0, 1, piece), frame(T.continuation, 0, 1, piece)];
    const head = Buffer.from(frame(T.continuation, 0, 1, piece).subarray(0, 9));
    const alone = frame(T.headers, 0, 1, Buffer.alloc(1300)).subarray(0, 9);
    for (const bytes of [Buffer.concat([...together, head]), alone]) {
      const { peer } = await greeted("server", LIMITS);
      peer.send(bytes);
      expect(ends(await peer.frames())).toEqual([CALM]);
    }
  });

  test("whose list is too long refuse the stream alone, however short they are", async () => {
    const { peer, owner } = await greeted("server", LIMITS);
    // One entry of 132 bytes into the table, and then ten times out of it.
    const entry = Buffer.from(`4001787f65${"61".repeat(228)}`, "hex");
    const bomb = Buffer.concat([GET_BLOCK, entry, Buffer.alloc(10, 0xbe)]);
    peer.send(frame(T.headers, END_HEADERS, 1, bomb), connect(3));
    const frames = await peer.frames();
    expect(ends(frames)).toEqual(["RST 1 0"]);
    // RFC 9113 §10.5.1: the answer is 431.
    expect(frames[0]).toMatchObject({ type: T.headers, id: 1, flags: END_HEADERS | 1 });
    expect(frames[0]!.payload.toString("latin1")).toContain("431");
    expect(owner.streams.map(({ stream }) => stream!.id)).toEqual([3]);
  });
});

test("every mistake is told to the owner, with its code and section", async () => {
  const { peer, owner } = await greeted("server", LIMITS);
  peer.send(frame(T.headers, END_HEADERS, 1, block(":method", "CONNECT")));
  peer.send(connect(3), frame(T.windowUpdate, 0, 3, words(0)), frame(T.ping, 0, 1));
  expect(owner.errors).toEqual([
    { code: "PROTOCOL_ERROR", stream: 1, detail: "§8.5: CONNECT without authority" },
    { code: "PROTOCOL_ERROR", stream: 3, detail: "§6.9: WINDOW_UPDATE of 0" },
    { code: "PROTOCOL_ERROR", stream: 0, detail: "§6.7: PING on a stream" },
  ]);
});
