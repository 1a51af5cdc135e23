/**
 * What stands behind the waypoint lies: the destination's ztunnel, the HTTP/1.1 backend behind it,
 * the HTTP/2 backend. The client is honest and is owed an honest answer.
 */
import { afterAll, afterEach, beforeAll, describe, test } from "vitest";
import { TUNNEL_LIMITS } from "../../src/net/http2/limits.ts";
import {
  block,
  END_HEADERS,
  END_STREAM,
  frame,
  OK_BLOCK,
  settings,
  T,
  words,
} from "../support/peer.ts";
import type { Arrived, Lies } from "./destination.ts";
import { type Dialogue, many, perform } from "./dialogue.ts";
import { AUTHORITY, connectTo, Stage } from "./stage.ts";
import { type FramePeer, inside, sleep, upload } from "./wire.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.open();
});
afterEach(() => stage.clear());
afterAll(() => stage.close());

const GET = "GET / HTTP/1.1\r\nhost: liar\r\n\r\n";

/** Status and body of the answers to HTTP/1.1 requests, in one line; then how it ended. */
async function ask(at: Stage, text = GET, wait = 1): Promise<string> {
  const peer = await at.greeted();
  let isEnded = false;
  peer.onFrame = (f) => {
    if (f.id === 1 && f.type === T.data && (f.flags & END_STREAM) !== 0) isEnded = true;
  };
  await peer.tunnel(1, connectTo(AUTHORITY.liar1));
  peer.send(frame(T.data, 0, 1, text));
  const told = () => [...(peer.bodies.get(1) ?? "").matchAll(/HTTP\/1\.1 ([2-5]\d\d)/g)];
  const isCut = () => isEnded || peer.ends.length > 0;
  await peer.until(() => told().length >= wait || isCut(), "an answer");
  await sleep(60);
  await peer.settled();
  const codes = told().map((match) => match[1]!);
  return [...codes, ...(isEnded ? ["end"] : []), ...peer.ends].join(" ");
}

const lie =
  (lies: Lies, text?: string, wait?: number): Dialogue["play"] =>
  async (at) => {
    at.liar.lies = lies;
    return await ask(at, text, wait);
  };

/** The backend's answer to every request. */
const says = (text: string, isEnd = false): Lies => ({
  onRequest: (arrived) => {
    arrived.send(text, isEnd);
    return true;
  },
});

const ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

const BACKEND: Dialogue[] = [
  ["an answer that is no HTTP", says("SSH-2.0-OpenSSH\r\n\r\n"), "502"],
  ["HTTP/0.9", says("<html>hello</html>\r\n\r\n"), "502"],
  [
    "two lengths",
    says("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok"),
    "502",
  ],
  [
    "a length and chunks",
    says("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    "502",
  ],
  [
    "response splitting by a bare CR",
    says("HTTP/1.1 200 OK\r\nx: a\rset-cookie: b\r\ncontent-length: 0\r\n\r\n"),
    "502",
  ],
  ["obs-fold", says("HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 0\r\n\r\n"), /^(502|200)$/],
  ["NUL in a header", says("HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n"), "502"],
  ["status 099", says("HTTP/1.1 099 No\r\ncontent-length: 0\r\n\r\n"), "502"],
  ["status 2000", says("HTTP/1.1 2000 No\r\ncontent-length: 0\r\n\r\n"), "502"],
  [
    "101 that nobody asked for",
    says("HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nbytes"),
    "502",
  ],
  ["a head without end", says(`HTTP/1.1 200 OK\r\n${"x: y\r\n".repeat(60_000)}`), "502"],
  ["as many 1xx as are allowed", says("HTTP/1.1 102 Processing\r\n\r\n".repeat(32) + ok), "200"],
  ["one 1xx more", says("HTTP/1.1 102 Processing\r\n\r\n".repeat(33) + ok), "502"],
  ["a flood of 1xx", says("HTTP/1.1 102 Processing\r\n\r\n".repeat(20_000) + ok), "502"],
  [
    "a chunk size that overflows",
    says("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nx"),
    "200 RST 1 8",
  ],
  [
    "chunk extensions without end",
    says(
      `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;${"a=b;".repeat(50_000)}\r\nx\r\n0\r\n\r\n`,
    ),
    /^200( RST 1 8)?$/,
  ],
  [
    "the end before the length",
    says("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort", true),
    "200 RST 1 8",
  ],
  ["the end before the head", says("HTTP/1.1 200 OK\r\ncontent-le", true), "503"],
  ["the end instead of an answer", says("", true), "503"],
].map(([name, lies, outcome]) => ({
  name: name as string,
  play: lie(lies as Lies),
  outcome: outcome as string | RegExp,
}));

const QUEUES: Dialogue[] = [
  {
    name: "response queue poisoning: a second answer behind the first",
    play: async (at) => {
      const poison = "HTTP/1.1 200 OK\r\nx-poison: 1\r\ncontent-length: 6\r\n\r\npoison";
      let served = 0;
      at.liar.lies = {
        onRequest: (arrived) => {
          arrived.send(served++ === 0 ? ok + poison : ok);
          return true;
        },
      };
      const first = await ask(at);
      const second = await ask(at, GET + GET, 2);
      return [first, second, `${served}`];
    },
    outcome: ["200", "200 200", "3"],
  },
  {
    name: "response queue poisoning: an answer on an idle connection",
    play: async (at) => {
      const held: Arrived[] = [];
      at.liar.lies = {
        onRequest: (arrived) => {
          held.push(arrived);
          return false;
        },
      };
      const first = await ask(at);
      held[0]!.send("HTTP/1.1 500 Poison\r\ncontent-length: 0\r\n\r\n");
      await sleep(50);
      return [first, await ask(at), `${new Set(held.map((h) => h.id)).size}`];
    },
    outcome: ["200", "200", "2"],
  },
  {
    name: "an early 200 to an upload, then garbage",
    play: lie(
      says(`${ok}GARBAGE`),
      `POST / HTTP/1.1\r\nhost: liar\r\ncontent-length: 100000\r\n\r\n${"x".repeat(1_000)}`,
    ),
    outcome: /^200/,
  },
  {
    name: "an answer of 4 GiB in length and one byte, then silence",
    play: lie(says("HTTP/1.1 200 OK\r\ncontent-length: 4294967296\r\n\r\nx")),
    outcome: "200",
  },
  {
    name: "an answer by the byte",
    play: async (at) => {
      at.liar.lies = {
        onRequest: (arrived) => {
          void (async () => {
            for (const byte of ok) {
              arrived.send(byte);
              await sleep(5);
            }
          })();
          return true;
        },
      };
      return await ask(at);
    },
    outcome: "200",
  },
];

/** Lies of the destination's ztunnel. */
const tunnels = (onConnect: (arrived: Arrived) => void): Lies => ({
  onConnect: (arrived) => {
    onConnect(arrived);
    return true;
  },
});

const ZTUNNEL: Dialogue[] = [
  [
    "refuses every CONNECT",
    tunnels(({ outer, id }) => outer.send(frame(T.headers, 5, id, block(":status", "503")))),
    "503",
  ],
  [
    "answers CONNECT with 204",
    tunnels(({ outer, id }) => outer.send(frame(T.headers, 5, id, block(":status", "204")))),
    "503",
  ],
  [
    "answers without :status",
    tunnels(({ outer, id }) => outer.send(frame(T.headers, 4, id, block("x", "y")))),
    "503",
  ],
  [
    "sends DATA before HEADERS",
    tunnels(({ outer, id }) => outer.send(frame(T.data, 0, id, "x"))),
    "503",
  ],
  [
    "refuses every stream",
    tunnels(({ outer, id }) => outer.send(frame(T.rst, 0, id, words(7)))),
    "503",
  ],
  [
    "resets every stream",
    tunnels(({ outer, id }) => outer.send(frame(T.rst, 0, id, words(2)))),
    "503",
  ],
  [
    "answers 200 with END_STREAM",
    tunnels(({ outer, id }) => outer.send(frame(T.headers, 5, id, OK_BLOCK))),
    "503",
  ],
  [
    "says GOAWAY 0 to every CONNECT",
    tunnels(({ outer }) => outer.send(frame(T.goaway, 0, 0, words(0, 0)))),
    "503",
  ],
  [
    "opens a stream of its own",
    tunnels(({ outer }) => outer.send(frame(T.headers, 5, 2, OK_BLOCK))),
    "503",
  ],
  [
    "sends PUSH_PROMISE",
    tunnels(({ outer, id }) =>
      outer.send(frame(T.push, 4, id, Buffer.concat([words(2), OK_BLOCK]))),
    ),
    "503",
  ],
  [
    "sends CONTINUATION without end",
    tunnels(({ outer, id }) =>
      outer.send(
        frame(T.headers, 0, id, OK_BLOCK),
        ...many(2_000, () => frame(T.continuation, 0, id, block("x", "y"))),
      ),
    ),
    "503",
  ],
  [
    "sends an HPACK bomb",
    tunnels(({ outer, id }) =>
      outer.send(
        frame(
          T.headers,
          4,
          id,
          Buffer.concat([
            OK_BLOCK,
            Buffer.of(0x40),
            block("x", "y".repeat(4_000)).subarray(1),
            Buffer.alloc(16_000, 0xbe),
          ]),
        ),
      ),
    ),
    "503",
  ],
  ["cuts the connection at every CONNECT", tunnels(({ outer }) => outer.carrier.destroy()), "503"],
  [
    "floods with 1xx to CONNECT",
    tunnels(({ outer, id }) =>
      outer.send(...many(5_000, () => frame(T.headers, 4, id, block(":status", "103")))),
    ),
    "503",
  ],
  [
    "floods with PING",
    {
      onConnection: (outer: FramePeer) => {
        outer.send(settings(), ...many(30_000, () => frame(T.ping, 0, 0, Buffer.alloc(8))));
        return true;
      },
    },
    "503",
  ],
  [
    "allows no stream at all",
    {
      onConnection: (outer: FramePeer) => {
        outer.send(settings([3, 0]));
        return true;
      },
    },
    "503",
  ],
  [
    "speaks HTTP/1",
    {
      onConnection: (outer: FramePeer) => {
        outer.send(Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"));
        return true;
      },
    },
    "503",
  ],
].map(([name, lies, outcome]) => ({
  name: name as string,
  play: lie(lies as Lies),
  outcome: outcome as string,
  cpuMsMax: 2_500,
}));

const WINDOWS: Dialogue[] = [
  {
    name: "a GOAWAY whose last stream goes up",
    play: async (at) => {
      at.liar.lies = {
        onConnect: ({ outer }) => {
          outer.send(frame(T.goaway, 0, 0, words(0, 0)), frame(T.goaway, 0, 0, words(1_000, 0)));
          return false;
        },
      };
      return await ask(at);
    },
    outcome: /^(503|200)$/,
  },
  {
    name: "a window of 0 for an upload that fills the tunnel's window",
    play: async (at) => {
      at.liar.lies = { onConnection: (outer) => Boolean(outer.send(settings([4, 0]))) || true };
      const peer = await at.greeted();
      await peer.tunnel(1, connectTo(AUTHORITY.liar1));
      const head = "POST / HTTP/1.1\r\nhost: liar\r\ncontent-length: 4000000\r\n\r\n";
      const sent = await upload(peer, 1, head, 4_000_000);
      return [`${sent <= TUNNEL_LIMITS.streamWindowBytes}`, ...peer.ends];
    },
    outcome: ["true"],
  },
  {
    name: "more DATA than the tunnel's window",
    play: async (at) => {
      at.liar.lies = {
        onRequest: (arrived) => {
          arrived.send("HTTP/1.1 200 OK\r\ncontent-length: 40000000\r\n\r\n");
          arrived.send("x".repeat(6_000_000));
          return true;
        },
      };
      const peer = await at.greeted("waypoint", [4, 0]);
      await peer.tunnel(1, connectTo(AUTHORITY.liar1));
      peer.send(frame(T.data, 0, 1, GET));
      await sleep(400);
      peer.send(frame(T.windowUpdate, 0, 1, words(0x7fff0000)));
      await peer.until(() => peer.ends.length > 0, "the end of the answer");
      return peer.ends;
    },
    outcome: ["RST 1 8"],
    heldMiBMax: 9,
  },
];

/** One request over HTTP/2 to the liar. */
const ask2 =
  (onInnerFrame: (inner: FramePeer, id: number) => void): Dialogue["play"] =>
  async (at) => {
    at.liar.lies = {
      onInnerFrame: (inner, seen) => {
        if (seen.type === T.headers) onInnerFrame(inner, seen.id);
        return true;
      },
    };
    const outer = await at.greeted();
    await outer.tunnel(1, connectTo(AUTHORITY.liar2));
    const inner = inside(outer, 1);
    inner.greetAsClient();
    const get = block(...[":method", "GET", ":scheme", "http", ":authority", "liar", ":path", "/"]);
    inner.send(frame(T.headers, END_HEADERS | END_STREAM, 1, get));
    const isOver = () => inner.ends.length > 0 || inner.count(T.headers) > 0;
    await inner.until(isOver, "an answer");
    await sleep(60);
    const head = inner.seen.filter((f) => f.type === T.headers && f.id === 1).at(-1);
    const status =
      /[2-5]\d\d/.exec(head?.payload.toString("latin1") ?? "")?.[0] ?? indexed(head?.payload);
    return [...(status ? [status] : []), ...inner.ends].join(" ");
  };

/** Statuses of HPACK's static table. */
function indexed(payload: Buffer | undefined): string {
  const table: Record<number, string> = { 136: "200", 140: "400", 141: "404", 142: "500" };
  return table[payload?.[0] ?? 0] ?? "";
}

const ANSWERS: readonly (readonly [string, (i: FramePeer, id: number) => void])[] = [
  ["a response without :status", (i, id) => i.send(frame(T.headers, 5, id, block("x", "y")))],
  [
    "CR LF in a header",
    (i, id) => i.send(frame(T.headers, 5, id, block(":status", "200", "x", "a\r\nb: c"))),
  ],
  [
    "connection headers",
    (i, id) => i.send(frame(T.headers, 5, id, block(":status", "200", "connection", "close"))),
  ],
  ["101 in HTTP/2", (i, id) => i.send(frame(T.headers, 4, id, block(":status", "101")))],
  ["DATA before HEADERS", (i, id) => i.send(frame(T.data, 1, id, "x"))],
  ["END_STREAM with 1xx", (i, id) => i.send(frame(T.headers, 5, id, block(":status", "103")))],
  ["RST_STREAM instead of an answer", (i, id) => i.send(frame(T.rst, 0, id, words(2)))],
  ["a connection error", (i) => i.send(frame(T.data, 0, 0, "x"))],
  [
    "MAX_CONCURRENT_STREAMS of 0, too late",
    (i, id) => i.send(settings([3, 0]), frame(T.rst, 0, id, words(7))),
  ],
  [
    "CONTINUATION without end",
    (i, id) =>
      i.send(
        frame(T.headers, 0, id, block(":status", "200")),
        ...many(2_000, () => frame(T.continuation, 0, id, block("x", "y"))),
      ),
  ],
];

const HTTP2 = ANSWERS.map(
  ([name, answer]): Dialogue => ({ name, play: ask2(answer), outcome: /^50[23]/ }),
);

const CUT: Dialogue[] = [
  {
    name: "DATA beyond content-length in HTTP/2",
    play: ask2((i, id) =>
      i.send(
        frame(T.headers, END_HEADERS, id, block(":status", "200", "content-length", "2")),
        frame(T.data, END_STREAM, id, "longer"),
      ),
    ),
    outcome: /^200 RST 1 /,
  },
  {
    name: "END_STREAM short of content-length in HTTP/2",
    play: ask2((i, id) =>
      i.send(
        frame(T.headers, END_HEADERS, id, block(":status", "200", "content-length", "20")),
        frame(T.data, END_STREAM, id, "short"),
      ),
    ),
    outcome: /^200 RST 1 /,
  },
];

const ALL = { BACKEND, QUEUES, ZTUNNEL, WINDOWS, HTTP2, CUT };
for (const [what, dialogues] of Object.entries(ALL)) {
  describe(`behind the waypoint: ${what.toLowerCase()}`, () => {
    test.each(dialogues)("$name", (dialogue) => perform(stage, dialogue));
  });
}
