/**
 * Peers with a certificate of the mesh who attack a waypoint's port itself: TLS, preface, frames.
 */
import { afterAll, afterEach, beforeAll, describe, test } from "vitest";
import {
  ACK,
  block,
  CLIENT_PREFACE,
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
import { type Dialled, sleep, statusOf } from "./wire.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.open();
});
afterEach(() => stage.clear());
afterAll(() => stage.close());

const HTTP1 = connectTo(AUTHORITY.http1);
const open = (id: number, flags = 0) => frame(T.headers, END_HEADERS | flags, id, HTTP1);
const rst = (id: number) => frame(T.rst, 0, id, words(8));
const resetAtOnce = (id: number, authority: string) =>
  Buffer.concat([frame(T.headers, END_HEADERS, id, connectTo(authority)), rst(id)]);
const ping = frame(T.ping, 0, 0, Buffer.alloc(8));
const priority = (id: number, on: number) =>
  frame(T.priority, 0, id, Buffer.concat([words(on), Buffer.of(255)]));
const CALM = "GOAWAY 11";

/** The peer greets, sends all of it, and waits until it is cut off; the last word is told. */
function isCutOff(make: (peer: Dialled) => readonly Buffer[]): Dialogue["play"] {
  return async (at) => {
    const peer = await at.greeted();
    for (const part of make(peer)) peer.send(part);
    await peer.until(() => peer.isClosed, "the end of the connection");
    return peer.ends.filter((end) => !end.startsWith("RST"));
  };
}

/** The peer greets, sends all of it, and is let live; what was reset is told. */
function isLetLive(
  make: (peer: Dialled) => readonly Buffer[],
  tell = (peer: Dialled) => peer.ends,
): Dialogue["play"] {
  return async (at) => {
    const peer = await at.greeted();
    for (const part of make(peer)) peer.send(part);
    await peer.settled();
    return tell(peer);
  };
}

/** Each end with the status that came before it on its stream. */
function withStatus(peer: Dialled): string[] {
  const heads = peer.seen.filter((f) => f.type === T.headers);
  return peer.ends.map((end) => {
    const head = heads.find(({ id }) => end.startsWith(`RST ${id} `));
    return head === undefined ? end : `${statusOf(head.payload)} ${end}`;
  });
}

const FLOODS: Dialogue[] = [
  {
    name: "CVE-2019-9511: a 1-byte window, and data by the byte",
    play: async (at) => {
      const peer = await at.greeted("waypoint", [4, 1]);
      peer.isCrediting = false;
      await peer.tunnel(1, HTTP1);
      peer.send(frame(T.data, 0, 1, "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n"));
      for (let i = 0; i < 10; i++) {
        peer.send(frame(T.windowUpdate, 0, 1, words(1)));
        await sleep(10);
      }
      await peer.settled();
      return peer.bodies.get(1) ?? "";
    },
    outcome: /^HTTP\/1.1 20/,
  },
  {
    name: "CVE-2019-9512: a flood of PING, its answers unread",
    play: async (at) => {
      const peer = await at.greeted();
      peer.socket.pause();
      for (let i = 0; i < 40; i++) peer.send(...many(1_000, () => ping));
      await sleep(300);
      peer.socket.resume();
      await peer.until(() => peer.isClosed, "the end of the connection");
      return peer.ends;
    },
    outcome: [CALM, "closed"],
  },
  {
    name: "CVE-2019-9513: priorities in a loop",
    play: isCutOff(() =>
      many(12, () =>
        Buffer.concat(many(1_000, (i) => priority(2 * (i % 50) + 1, 2 * ((i + 1) % 50) + 1))),
      ),
    ),
    outcome: [CALM, "closed"],
  },
  {
    name: "CVE-2019-9514: streams that make us reset them",
    play: isCutOff(() =>
      many(600, (i) => frame(T.headers, END_HEADERS, 2 * i + 1, block(":method", "CONNECT"))),
    ),
    outcome: [CALM, "closed"],
  },
  {
    name: "CVE-2019-9515: a flood of SETTINGS, its acknowledgements unread",
    play: async (at) => {
      const peer = await at.greeted();
      peer.socket.pause();
      for (let i = 0; i < 12; i++) peer.send(...many(1_000, (j) => settings([4, 65_535 + j])));
      await sleep(300);
      peer.socket.resume();
      await peer.until(() => peer.isClosed, "the end of the connection");
      return peer.ends;
    },
    outcome: [CALM, "closed"],
  },
  {
    name: "CVE-2019-9516: headers without a name",
    play: isLetLive(() =>
      many(20, (i) =>
        frame(
          T.headers,
          END_HEADERS,
          2 * i + 1,
          Buffer.concat([HTTP1, ...many(200, () => Buffer.of(0, 0, 0))]),
        ),
      ),
    ),
    outcome: many(20, (i) => `RST ${2 * i + 1} 1`),
  },
  {
    name: "CVE-2019-9517: the window open, the socket unread",
    play: async (at) => {
      let asked = 0;
      at.calm.lies = {
        onRequest: (arrived, head) => {
          if (!head.startsWith("GET /x")) return false;
          asked++;
          arrived.send("HTTP/1.1 200 OK\r\ncontent-length: 20000000\r\n\r\n");
          arrived.send("x".repeat(900_000));
          return true;
        },
      };
      const peer = await at.greeted("waypoint", [4, 0x7fffffff]);
      peer.send(frame(T.windowUpdate, 0, 0, words(0x7fff0000)));
      peer.socket.pause();
      for (let i = 0; i < 8; i++) {
        peer.send(
          open(2 * i + 1),
          frame(T.data, 0, 2 * i + 1, "GET /x HTTP/1.1\r\nhost: a\r\n\r\n"),
        );
      }
      await peer.until(() => asked >= 8, "all requests at the backend");
      await sleep(300);
      at.calm.lies = {};
      return `${asked}`;
    },
    // Eight answers of 900 kB: within a window each, most of it in the kernel's buffers.
    outcome: "8",
    heldMiBMax: 9,
  },
  {
    name: "CVE-2019-9518: empty DATA without END_STREAM",
    play: isCutOff(() => [open(1), Buffer.concat(many(200, () => frame(T.data, 0, 1)))]),
    outcome: [CALM, "closed"],
  },
  {
    name: "CVE-2019-9518: padded DATA of nothing but padding",
    play: isCutOff(() => [
      open(1),
      Buffer.concat(many(12_000, () => frame(T.data, PADDED, 1, Buffer.of(2, 0, 0)))),
    ]),
    outcome: [CALM, "closed"],
  },
  {
    name: "CVE-2023-44487: rapid reset before the answer",
    play: isCutOff(() =>
      many(60, (i) =>
        Buffer.concat(many(10, (j) => resetAtOnce(2 * (10 * i + j) + 1, AUTHORITY.tcp))),
      ),
    ),
    outcome: [CALM, "closed"],
  },
  {
    name: "CVE-2023-44487: rapid reset after the answer, which comes before any backend's",
    play: async (at) => {
      const peer = await at.greeted();
      for (let i = 0; i < 60 && !peer.isClosed; i++) {
        const ids = many(10, (j) => 2 * (10 * i + j) + 1);
        peer.send(...ids.map((id) => open(id)));
        await peer.until(() => peer.isClosed || peer.count(T.headers) >= 10 * (i + 1), "answers");
        peer.send(...ids.map(rst));
      }
      await peer.until(() => peer.isClosed, "the end of the connection");
      return peer.ends;
    },
    outcome: [CALM, "closed"],
  },
  {
    name: "CVE-2023-44487: rapid reset in the middle of a request's body",
    play: isCutOff(() => {
      const half = "POST / HTTP/1.1\r\nhost: liar\r\ncontent-length: 200\r\n\r\nhalf";
      return many(60, (i) =>
        Buffer.concat(
          many(10, (j) => {
            const id = 2 * (10 * i + j) + 1;
            return Buffer.concat([open(id), frame(T.data, 0, id, half), rst(id)]);
          }),
        ),
      );
    }),
    outcome: [CALM, "closed"],
    cpuMsMax: 3_000,
  },
  {
    name: "1,520 first requests to one endpoint, all at once",
    play: async (at) => {
      const peers = await Promise.all(many(8, () => at.greeted()));
      const get = "GET / HTTP/1.1\r\nhost: calm\r\n\r\n";
      for (const peer of peers) {
        peer.send(
          ...many(190, (i) => Buffer.concat([open(i * 2 + 1), frame(T.data, 0, i * 2 + 1, get)])),
        );
      }
      const statuses = new Set<string>();
      for (const peer of peers) {
        await peer.until(() => peer.bodies.size >= 190, "190 answers");
        for (const body of peer.bodies.values()) statuses.add(body.slice(9, 12));
      }
      return [...statuses];
    },
    outcome: ["200"],
    heldMiBMax: 12,
    cpuMsMax: 4_000,
  },
  {
    name: "600 requests that are answered, each tunnel then reset",
    play: async (at) => {
      const peer = await at.greeted();
      for (let i = 0; i < 60 && !peer.isClosed; i++) {
        const ids = many(10, (j) => 2 * (10 * i + j) + 1);
        const get = "GET / HTTP/1.1\r\nhost: calm\r\n\r\n";
        peer.send(...ids.flatMap((id) => [open(id), frame(T.data, 0, id, get)]));
        const isAnswered = (id: number) => /\r\n\r\nok$/.test(peer.bodies.get(id) ?? "");
        await peer.until(() => peer.isClosed || ids.every(isAnswered), "the answers");
        peer.send(...ids.map(rst));
      }
      await peer.settled();
      return peer.ends;
    },
    outcome: [],
    cpuMsMax: 3_000,
  },
  {
    name: "CVE-2024-27316: CONTINUATION without end",
    play: isCutOff(() => [
      frame(T.headers, 0, 1, HTTP1),
      Buffer.concat(many(1_000, () => frame(T.continuation, 0, 1, block("x", "y")))),
    ]),
    outcome: [CALM, "closed"],
  },
  {
    name: "CVE-2024-27316: CONTINUATION without a byte",
    play: isCutOff(() => [
      frame(T.headers, 0, 1, HTTP1),
      Buffer.concat(many(1_000, () => frame(T.continuation, 0, 1))),
    ]),
    outcome: [CALM, "closed"],
  },
  {
    name: "CVE-2024-27316: blocks that end, of the largest size allowed",
    play: isLetLive(() =>
      many(30, (i) => {
        const big = many(13, (j) => block(`x-${j}`, "y".repeat(4_900))) as Buffer[];
        const [first, ...rest] = [HTTP1, ...big];
        return Buffer.concat([
          frame(T.headers, 0, 2 * i + 1, first),
          ...rest.map((part, j) =>
            frame(T.continuation, j === rest.length - 1 ? END_HEADERS : 0, 2 * i + 1, part),
          ),
          rst(2 * i + 1),
        ]);
      }),
    ),
    outcome: [],
  },
  {
    name: "CVE-2016-6581: an HPACK bomb of one indexed entry",
    play: isLetLive(() => {
      // One entry of 4,000 bytes, then named by its index again and again: 16 KB become 64 MB.
      const entry = Buffer.concat([Buffer.of(0x40), block("x", "y".repeat(4_000)).subarray(1)]);
      const bomb = Buffer.concat([HTTP1, entry, Buffer.alloc(16_000, 0x80 | 62)]);
      return many(50, (i) => frame(T.headers, END_HEADERS, 2 * i + 1, bomb));
    }, withStatus),
    // Behind 431 (RFC 9113 §8.1): the streams were open still.
    outcome: many(50, (i) => `431 RST ${2 * i + 1} 0`),
    cpuMsMax: 2_500,
  },
  {
    name: "CVE-2025-8671: WINDOW_UPDATE of 0 makes us reset an answered stream",
    play: isCutOff(() =>
      many(1_200, (i) =>
        Buffer.concat([open(2 * i + 1), frame(T.windowUpdate, 0, 2 * i + 1, words(0))]),
      ),
    ),
    outcome: [CALM, "closed"],
    cpuMsMax: 3_000,
  },
  {
    name: "CVE-2025-8671: more DATA behind END_STREAM",
    play: isCutOff(() =>
      many(1_200, (i) =>
        Buffer.concat([
          open(2 * i + 1, 0),
          frame(T.data, END_STREAM, 2 * i + 1),
          frame(T.data, 0, 2 * i + 1, "x"),
        ]),
      ),
    ),
    outcome: /^GOAWAY (5|11),closed$/,
    cpuMsMax: 3_000,
  },
];

const FRAMES: Dialogue[] = [
  ["DATA on a stream that was never opened", [frame(T.data, 0, 5, "x")], 1],
  ["RST_STREAM on an idle stream", [rst(9)], 1],
  ["WINDOW_UPDATE on an idle stream", [frame(T.windowUpdate, 0, 9, words(1))], 1],
  ["a stream id of the server's", [frame(T.headers, END_HEADERS, 2, HTTP1)], 1],
  ["stream ids going down", [open(7), open(5)], /1|5/],
  ["a frame larger than allowed", [frame(T.data, 0, 1, Buffer.alloc(1_100_000))], 6],
  ["padding longer than its frame", [open(1), frame(T.data, PADDED, 1, Buffer.of(200, 1))], 1],
  ["HEADERS in the middle of a block", [frame(T.headers, 0, 1, HTTP1), open(3)], 1],
  ["an HPACK index of nothing", [frame(T.headers, END_HEADERS, 1, Buffer.of(0xff, 0xff, 0x7f))], 9],
  ["an HPACK integer without end", [frame(T.headers, END_HEADERS, 1, Buffer.alloc(60, 0xff))], 9],
  [
    "an HPACK table larger than allowed",
    [frame(T.headers, END_HEADERS, 1, Buffer.of(0x3f, 0xff, 0xff, 0x7f))],
    9,
  ],
  ["the connection's window over 2^31-1", [frame(T.windowUpdate, 0, 0, words(0x7fffffff))], 3],
  [
    "SETTINGS that overflow a stream's window",
    [open(1), frame(T.windowUpdate, 0, 1, words(0x7fff0000)), settings([4, 0x7fffffff])],
    3,
  ],
  ["INITIAL_WINDOW_SIZE over 2^31-1", [settings([4, 0xffffffff])], 3],
  ["MAX_FRAME_SIZE below 16,384", [settings([5, 100])], 1],
  ["SETTINGS of 5 bytes", [frame(T.settings, 0, 0, Buffer.alloc(5))], 6],
  ["SETTINGS ACK with a payload", [frame(T.settings, ACK, 0, Buffer.alloc(6))], 6],
  ["PUSH_PROMISE from a client", [frame(T.push, END_HEADERS, 1, words(2))], 1],
  ["GOAWAY on a stream", [frame(T.goaway, 0, 1, words(0, 0))], 1],
].map(([name, parts, code]) => ({
  name: name as string,
  play: isCutOff(() => parts as Buffer[]),
  outcome: code instanceof RegExp ? code : [`GOAWAY ${code}`, "closed"],
}));

const STREAMS: Dialogue[] = [
  {
    name: "a stream's window over 2^31-1 costs that stream",
    play: isLetLive(() => [open(1), open(3), frame(T.windowUpdate, 0, 1, words(0x7fffffff))]),
    outcome: ["RST 1 3"],
  },
  {
    name: "GOAWAY with a last id going up, then streams",
    play: isLetLive(() => [
      frame(T.goaway, 0, 0, words(0, 0)),
      frame(T.goaway, 0, 0, words(100, 0)),
      open(1),
    ]),
    // A client's GOAWAY concerns what we would push; its own streams are its business.
    outcome: /^$|RST 1 7|closed/,
  },
  {
    name: "trailers on a CONNECT stream",
    play: isLetLive(() => [open(1), frame(T.headers, END_HEADERS, 1, block("x", "y"))]),
    outcome: ["RST 1 1"],
  },
  {
    name: "CONNECT with a path, a scheme, no authority, or another method",
    play: isLetLive(() => [
      frame(
        T.headers,
        END_HEADERS,
        1,
        block(":method", "CONNECT", ":authority", "127.10.0.1:80", ":path", "/"),
      ),
      frame(T.headers, END_HEADERS, 3, block(":method", "CONNECT")),
      frame(
        T.headers,
        END_HEADERS,
        5,
        block(":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a"),
      ),
    ]),
    outcome: ["RST 1 1", "RST 3 1", "RST 5 8"],
  },
  {
    name: "a thousand foreign authorities are refused",
    play: async (at) => {
      const peer = await at.greeted();
      const bad = connectTo("192.0.2.1:80");
      for (let i = 0; i < 1_000 && !peer.isClosed; i++) {
        peer.send(frame(T.headers, END_HEADERS, 2 * i + 1, bad));
      }
      await peer.settled();
      return `${peer.count(T.headers) > 100}`;
    },
    outcome: "true",
    counts: /tunnels_refused_total\{[^}]*status="404"\} [1-9]/,
    cpuMsMax: 3_000,
  },
  {
    name: "more streams than allowed",
    play: isLetLive(() => many(210, (i) => open(2 * i + 1))),
    outcome: many(10, (i) => `RST ${401 + 2 * i} 7`),
    heldMiBMax: 4,
  },
  {
    name: "SETTINGS that shrink a window below what was sent, then widen it",
    play: async (at) => {
      const peer = await at.greeted("waypoint", [4, 70]);
      peer.isCrediting = false;
      await peer.tunnel(1, HTTP1);
      peer.send(frame(T.data, 0, 1, "GET /a HTTP/1.1\r\nhost: a\r\n\r\n"));
      await peer.until(() => peer.dataBytes >= 70, "a window's worth");
      peer.send(settings([4, 0]), settings([4, 10]), settings([4, 0]));
      await peer.settled();
      const narrowed = peer.dataBytes;
      peer.send(frame(T.windowUpdate, 0, 1, words(5_000)));
      await peer.until(() => /ok$/.test(peer.bodies.get(1) ?? ""), "the rest of the answer");
      return `${narrowed}`;
    },
    outcome: "70",
  },
  {
    name: "unknown frames and settings are let pass",
    play: isLetLive(() => [
      settings([99, 1], [0xffff, 7]),
      frame(0xfa, 0xff, 0, Buffer.alloc(16_384)),
      frame(0x0c, 0, 12, "x"),
    ]),
    outcome: [],
  },
  {
    name: "half-closed TCP with a request under way",
    play: async (at) => {
      const peer = await at.greeted();
      await peer.tunnel(1, HTTP1);
      peer.send(frame(T.data, END_STREAM, 1, "GET /a HTTP/1.1\r\nhost: a\r\n\r\n"));
      peer.socket.end();
      await peer.until(() => peer.isClosed, "the end of the connection");
      return peer.ends.at(-1) ?? "";
    },
    outcome: "closed",
  },
];

const SLOW: Dialogue[] = [
  {
    name: "no HTTP/2 behind the TLS handshake but HTTP/1",
    play: async (at) => {
      const peer = await at.dial();
      peer.carrier.write(Buffer.from("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
      await peer.until(() => peer.isClosed, "the end of the connection");
      return peer.ends;
    },
    outcome: ["GOAWAY 1", "closed"],
  },
  {
    name: "the first frame is not SETTINGS",
    play: async (at) => {
      const peer = await at.dial();
      peer.send(CLIENT_PREFACE, ping);
      await peer.until(() => peer.isClosed, "the end of the connection");
      return peer.ends;
    },
    outcome: ["GOAWAY 1", "closed"],
  },
  {
    name: "slow loris: 300 clients between TCP and TLS",
    play: async (at) => {
      const sockets = many(300, () => at.plain("waypoint"));
      for (const socket of sockets) socket.write(Buffer.of(0x16, 0x03));
      await sleep(500);
      return `${sockets.filter((socket) => !socket.destroyed).length}`;
    },
    outcome: "300",
    // A TLS session in OpenSSL's memory each; ours is what hangs on it.
    heldMiBMax: 12,
    cpuMsMax: 4_000,
  },
  {
    name: "garbage and alerts instead of a TLS handshake",
    play: async (at) => {
      const sockets = many(50, () => at.plain("waypoint"));
      const isGone = sockets.map((s) => new Promise((resolve) => s.once("close", resolve)));
      for (const [i, socket] of sockets.entries()) {
        socket.resume();
        const alert = Buffer.from([0x15, 3, 3, 0, 2, 1, 0]);
        socket.end(i % 2 === 0 ? Buffer.alloc(5_000, i) : Buffer.concat(many(100, () => alert)));
      }
      await Promise.all(isGone);
      return "all gone";
    },
    outcome: "all gone",
    counts: /tunnels_refused_total\{[^}]*status="tls"\} [1-9]/,
  },
  {
    name: "a head by one byte a frame",
    play: async (at) => {
      const peer = await at.greeted();
      await peer.tunnel(1, HTTP1);
      const head = `GET /a HTTP/1.1\r\nhost: a\r\nx: ${"y".repeat(40_000)}\r\n\r\n`;
      const bytes = many(head.length, (i) => frame(T.data, 0, 1, head[i]!));
      for (let i = 0; i < bytes.length; i += 500) {
        peer.send(...bytes.slice(i, i + 500));
        await sleep(1);
      }
      await peer.until(() => (peer.bodies.get(1) ?? "") !== "", "an answer");
      return peer.bodies.get(1)!.slice(0, 12);
    },
    outcome: "HTTP/1.1 200",
    cpuMsMax: 3_000,
  },
];

for (const [what, dialogues] of Object.entries({ FLOODS, FRAMES, STREAMS, SLOW })) {
  describe(`the tunnel listener: ${what.toLowerCase()}`, () => {
    test.each(dialogues)("$name", (dialogue) => perform(stage, dialogue));
  });
}
