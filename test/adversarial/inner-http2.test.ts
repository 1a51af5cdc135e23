/**
 * Clients of the mesh who attack the HTTP/2 inside their tunnel. The tunnel around it is well
 * behaved, and must not be touched: its own PING is answered at the end.
 */
import { afterAll, afterEach, beforeAll, describe, test } from "vitest";
import {
  block,
  END_HEADERS,
  END_STREAM,
  frame,
  PADDED,
  settings,
  T,
  words,
} from "../support/peer.ts";
import { type Dialogue, many, perform } from "./dialogue.ts";
import { AUTHORITY, connectTo, Stage } from "./stage.ts";
import { type FramePeer, inside, sleep, statusOf } from "./wire.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.open();
});
afterEach(() => stage.clear());
afterAll(() => stage.close());

const GET = ["GET", "http", "calm", "/"] as const;
function request(
  [method, scheme, authority, path]: readonly [string, string, string, string],
  ...more: string[]
): Buffer {
  const list = [":method", method, ":scheme", scheme, ":authority", authority, ":path", path];
  return block(...list, ...more);
}
const POST = ["POST", "http", "calm", "/"] as const;
const get = (id: number) => frame(T.headers, END_HEADERS | END_STREAM, id, request(GET));
const rst = (id: number) => frame(T.rst, 0, id, words(8));

/** The calm backend answers at once, the liar's never does. */
type Backend = typeof AUTHORITY.http2 | typeof AUTHORITY.liar2;

/** An HTTP/2 connection in a tunnel; `parts` are sent, `until` is waited for, its ends are told. */
function speaks(
  parts: readonly Buffer[],
  until: (inner: FramePeer) => boolean,
  entries: readonly (readonly [number, number])[] = [],
  backend: Backend = AUTHORITY.http2,
): Dialogue["play"] {
  return async (at) => {
    at.liar.lies = { onInnerFrame: (_inner, seen) => seen.type === T.headers };
    const outer = await at.greeted();
    await outer.tunnel(1, connectTo(backend));
    const inner = inside(outer, 1);
    inner.greetAsClient(...entries);
    for (const part of parts) {
      inner.send(part);
      await sleep(0);
    }
    await inner.until(() => inner.isClosed || until(inner), "what was expected");
    const refusals = inner.seen.flatMap((f) => {
      const status = f.type === T.headers ? statusOf(f.payload) : "";
      return status.startsWith("4") ? [status] : [];
    });
    const told = [...refusals, ...inner.ends.filter((end) => end !== "closed")];
    await outer.settled();
    return outer.isClosed ? ["the tunnel's connection is gone"] : told;
  };
}

const isGone = (inner: FramePeer) => inner.ends.some((end) => end.startsWith("GOAWAY"));
const isAnswered = (id: number) => (inner: FramePeer) => inner.bodies.get(id) === "ok";
const isReset = (id: number) => (inner: FramePeer) =>
  inner.ends.some((end) => end.startsWith(`RST ${id} `));

const SMUGGLED: readonly (readonly [string, Buffer] | readonly [string, Buffer, RegExp])[] = [
  ["transfer-encoding", request(POST, "transfer-encoding", "chunked")],
  ["connection", request(GET, "connection", "keep-alive")],
  ["an upper-case name", request(GET, "X-Upper", "a")],
  ["CR LF in a value", request(GET, "x", "a\r\nhost: other")],
  ["LF in a name", request(GET, "x\ny", "a")],
  ["NUL in a value", request(GET, "x", "a\0b")],
  ["CR LF in the path", request(["GET", "http", "calm", "/ HTTP/1.1\r\nhost: other\r\n\r\n"])],
  ["a space in the method", request(["GET / HTTP/1.1", "http", "calm", "/"])],
  ["a space in the path", request(["GET", "http", "calm", "/a b"])],
  ["no path", request(["GET", "http", "calm", ""])],
  ["two paths", request(GET, ":path", "/other")],
  [
    "a pseudo-header behind a header",
    block("x", "y", ":method", "GET", ":scheme", "http", ":path", "/"),
  ],
  ["an unknown pseudo-header", request(GET, ":other", "x")],
  [":status in a request", request(GET, ":status", "200")],
  ["host that is not :authority", request(GET, "host", "other")],
  ["two lengths", request(POST, "content-length", "1", "content-length", "2")],
  ["a length that is no number", request(POST, "content-length", "1x")],
  ["te: chunked", request(GET, "te", "chunked")],
  // 405, and nobody reads what would have been the tunnel (RFC 9113 §8.1).
  ["CONNECT", block(":method", "CONNECT", ":authority", "other:443"), /^405(,RST 1 0)?$/],
];

describe("HTTP/2 inside a tunnel: refused, and nothing arrives", () => {
  test.each(SMUGGLED.map(([name, ...rest]) => ({ name, rest })))(
    "$name",
    async ({ name, rest }) => {
      const [list, outcome = /^(400|RST 1 1)$/] = rest;
      let reached = 0;
      stage.calm.lies = {
        onInnerFrame: (_inner, seen) => {
          if (seen.type === T.headers) reached++;
          return false;
        },
      };
      const send = frame(T.headers, END_HEADERS | END_STREAM, 1, list);
      const isJudged = (inner: FramePeer) => isReset(1)(inner) || inner.count(T.headers) > 0;
      const speak = speaks([send], isJudged);
      const play: Dialogue["play"] = async (at) => {
        const told = await speak(at);
        // The bystander's one request may have come in the meantime.
        return reached <= 1 ? told : "it reached the backend";
      };
      await perform(stage, { name, play, outcome });
    },
  );
});

const FLOODS: Dialogue[] = [
  {
    name: "CVE-2023-44487: rapid reset with bodies",
    play: speaks(
      many(60, (i) =>
        Buffer.concat(
          many(10, (j) => {
            const id = 2 * (10 * i + j) + 1;
            const head = frame(T.headers, END_HEADERS, id, request(POST));
            return Buffer.concat([head, frame(T.data, 0, id, "x".repeat(1_000)), rst(id)]);
          }),
        ),
      ),
      isGone,
    ),
    outcome: ["GOAWAY 11"],
    cpuMsMax: 3_000,
  },
  {
    name: "CVE-2024-27316: CONTINUATION without end",
    play: speaks(
      // In one piece: our own SETTINGS acknowledgement would interrupt the block.
      [
        Buffer.concat([
          frame(T.headers, 0, 1, request(GET)),
          ...many(2_000, (i) => frame(T.continuation, 0, 1, block(`x-${i}`, "y"))),
        ]),
      ],
      isGone,
    ),
    outcome: ["GOAWAY 11"],
  },
  {
    name: "CVE-2019-9512: a flood of PING, by a client that gives the tunnel no window",
    play: async (at) => {
      const outer = await at.greeted("waypoint", [4, 0]);
      await outer.tunnel(1, connectTo(AUTHORITY.http2));
      const inner = inside(outer, 1);
      inner.greetAsClient();
      const ping = Buffer.concat(many(500, () => frame(T.ping, 0, 0, Buffer.alloc(8))));
      for (let i = 0; i < 30 && !outer.ends.length; i++) inner.send(ping);
      await outer.settled();
      return `${outer.isClosed}`;
    },
    outcome: "false",
    heldMiBMax: 3,
  },
  {
    name: "an HPACK bomb",
    play: speaks(
      many(30, (i) => {
        const entry = Buffer.concat([Buffer.of(0x40), block("x", "y".repeat(4_000)).subarray(1)]);
        const bomb = Buffer.concat([request(GET), entry, Buffer.alloc(10_000, 0x80 | 62)]);
        return frame(T.headers, END_HEADERS | END_STREAM, 2 * i + 1, bomb);
      }),
      (inner) => inner.count(T.headers) >= 30,
    ),
    outcome: many(30, () => "431"),
    cpuMsMax: 2_500,
  },
  {
    name: "CVE-2019-9511: 100 answers through a 0 window",
    play: speaks(
      many(100, (i) => get(2 * i + 1)),
      (inner) => inner.count(T.headers) >= 100,
      [[4, 0]],
    ),
    outcome: [],
  },
  {
    name: "empty DATA and padding without END_STREAM",
    play: speaks(
      [
        frame(T.headers, END_HEADERS, 1, request(POST)),
        ...many(150, () => frame(T.data, PADDED, 1, Buffer.of(1, 0))),
      ],
      isGone,
      [],
      // After an answer the stream would be over, and its frames only ignored.
      AUTHORITY.liar2,
    ),
    outcome: ["GOAWAY 11"],
  },
  {
    name: "CVE-2019-9515: SETTINGS that change the table's size for ever",
    play: speaks(
      many(24, () => Buffer.concat(many(500, (i) => settings([1, i * 13])))),
      isGone,
    ),
    outcome: ["GOAWAY 11"],
  },
];

const BODIES: Dialogue[] = [
  {
    name: "DATA beyond content-length",
    play: speaks(
      [
        frame(T.headers, END_HEADERS, 1, request(POST, "content-length", "2")),
        frame(T.data, END_STREAM, 1, "longer"),
      ],
      isReset(1),
      [],
      AUTHORITY.liar2,
    ),
    outcome: ["RST 1 1"],
  },
  {
    name: "END_STREAM short of content-length",
    play: speaks(
      [
        frame(T.headers, END_HEADERS, 1, request(POST, "content-length", "20")),
        frame(T.data, END_STREAM, 1, "short"),
      ],
      isReset(1),
      [],
      AUTHORITY.liar2,
    ),
    outcome: ["RST 1 1"],
  },
  {
    name: "trailers without END_STREAM",
    play: speaks(
      [
        frame(T.headers, END_HEADERS, 1, request(POST)),
        frame(T.headers, END_HEADERS, 1, block("x", "y")),
      ],
      isReset(1),
      [],
      AUTHORITY.liar2,
    ),
    outcome: ["RST 1 1"],
  },
  {
    name: "trailers with a pseudo-header",
    play: speaks(
      [
        frame(T.headers, END_HEADERS, 1, request(POST)),
        frame(T.headers, END_HEADERS | END_STREAM, 1, block(":path", "/x")),
      ],
      isReset(1),
      [],
      AUTHORITY.liar2,
    ),
    outcome: ["RST 1 1"],
  },
  {
    name: "a window of 1 byte, opened by the byte",
    play: async (at) => {
      const outer = await at.greeted();
      await outer.tunnel(1, connectTo(AUTHORITY.http2));
      const inner = inside(outer, 1);
      inner.isCrediting = false;
      inner.greetAsClient([4, 1]);
      inner.send(get(1));
      await inner.until(() => inner.bodies.get(1) === "o", "the first byte");
      inner.send(frame(T.windowUpdate, 0, 1, words(1)));
      await inner.until(isAnswered(1).bind(null, inner), "the second");
      return "ok";
    },
    outcome: "ok",
  },
  {
    name: "bodies of 1 MiB to a backend that answers at once and reads nothing",
    play: async (at) => {
      at.calm.lies = {
        onInnerFrame: (inner, seen) => {
          if (seen.type !== T.headers) return false;
          inner.isCrediting = false;
          return false;
        },
      };
      const outer = await at.greeted();
      await outer.tunnel(1, connectTo(AUTHORITY.http2));
      const inner = inside(outer, 1);
      inner.greetAsClient();
      for (let i = 0; i < 10; i++) {
        const id = 2 * i + 1;
        inner.send(frame(T.headers, END_HEADERS, id, request(POST)));
        for (let j = 0; j < 4; j++) inner.send(frame(T.data, 0, id, Buffer.alloc(16_384)));
      }
      await inner.until(isAnswered(19).bind(null, inner), "the last answer");
      return "answered";
    },
    outcome: "answered",
    heldMiBMax: 4,
  },
  {
    name: "the tunnel is cut under 50 requests",
    play: async (at) => {
      at.liar.lies = { onInnerFrame: (_inner, seen) => seen.type === T.headers };
      const outer = await at.greeted();
      await outer.tunnel(1, connectTo(AUTHORITY.liar2));
      const inner = inside(outer, 1);
      inner.greetAsClient();
      inner.send(...many(50, (i) => get(2 * i + 1)));
      await sleep(100);
      outer.send(rst(1));
      await outer.settled();
      return outer.isClosed ? "gone" : "lives";
    },
    outcome: "lives",
    logs: /DC downstream_remote_disconnect/,
  },
];

describe("HTTP/2 inside a tunnel: floods", () => {
  test.each(FLOODS)("$name", (dialogue) => perform(stage, dialogue));
});

describe("HTTP/2 inside a tunnel: bodies", () => {
  test.each(BODIES)("$name", (dialogue) => perform(stage, dialogue));
});
