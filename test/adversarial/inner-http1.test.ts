/**
 * Clients of the mesh who attack the HTTP/1.1 inside their tunnel: smuggling above all. Besides the
 * answers it is told which requests reached the backend: an attack that is answered 400 and arrives
 * nevertheless has succeeded.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { END_STREAM, frame, T } from "../support/peer.ts";
import { type Dialogue, perform } from "./dialogue.ts";
import { AUTHORITY, connectTo, Stage } from "./stage.ts";
import { type Dialled, sleep } from "./wire.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.open();
});
afterEach(() => stage.clear());
afterAll(() => stage.close());

const HOST = "host: calm\r\n";

/** A tunnel to the calm service. */
async function tunnel(at: Stage): Promise<Dialled> {
  const peer = await at.greeted();
  await peer.tunnel(1, connectTo(AUTHORITY.http1));
  return peer;
}

function write(peer: Dialled, text: string, isEnd = false): void {
  const bytes = Buffer.from(text, "latin1");
  for (let i = 0; i < bytes.length; i += 16_384) {
    peer.send(frame(T.data, 0, 1, bytes.subarray(i, i + 16_384)));
  }
  if (isEnd) peer.send(frame(T.data, END_STREAM, 1));
}

/** Status codes of the answers, and what else happened: `400 end`, `200 200`. */
function answers(peer: Dialled, isEnded: boolean): string {
  const text = peer.bodies.get(1) ?? "";
  const codes = [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map((match) => match[1]!);
  return [...codes, ...(isEnded ? ["end"] : []), ...peer.ends].join(" ");
}

/** What came to the backend, the bystander's requests apart. */
function arrived(at: Stage): string[] {
  return at.calm.requests.filter((line) => !line.includes("/bystander"));
}

/** Sends the text and ends; tells the answers and which requests came to the backend. */
function says(text: string): Dialogue["play"] {
  return async (at) => {
    const peer = await tunnel(at);
    let isEnded = false;
    peer.onFrame = (f) => {
      if (f.type === T.data && f.id === 1 && (f.flags & END_STREAM) !== 0) isEnded = true;
    };
    write(peer, text);
    await sleep(30);
    await peer.settled();
    if (!isEnded) write(peer, "", true);
    const isOver = () => isEnded || peer.isClosed || peer.ends.length > 0;
    await peer.until(isOver, `an end; ${peer.bodies.get(1)}`);
    return [answers(peer, false), ...arrived(at)];
  };
}

const SMUGGLED = "GET /smuggled HTTP/1.1\r\nhost: calm\r\n\r\n";

/** Each is refused with the status, and nothing of it reaches the backend. */
const REFUSED: readonly (readonly [name: string, text: string, status?: number])[] = [
  [
    "CL.TE",
    `POST / HTTP/1.1\r\n${HOST}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`,
  ],
  [
    "TE.CL",
    `POST / HTTP/1.1\r\n${HOST}transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n29\r\n${SMUGGLED}\r\n0\r\n\r\n`,
  ],
  [
    "TE.TE, the second one unknown",
    `POST / HTTP/1.1\r\n${HOST}transfer-encoding: chunked\r\ntransfer-encoding: cow\r\n\r\n0\r\n\r\n${SMUGGLED}`,
  ],
  [
    "TE with a tab",
    `POST / HTTP/1.1\r\n${HOST}transfer-encoding:\tchunked, identity\r\n\r\n0\r\n\r\n`,
  ],
  [
    "TE with a space before the colon",
    `POST / HTTP/1.1\r\n${HOST}transfer-encoding : chunked\r\n\r\n0\r\n\r\n`,
  ],
  ["TE xchunked", `POST / HTTP/1.1\r\n${HOST}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n`],
  [
    "two lengths",
    `POST / HTTP/1.1\r\n${HOST}content-length: 0\r\ncontent-length: 41\r\n\r\n${SMUGGLED}`,
  ],
  ["a list of lengths", `POST / HTTP/1.1\r\n${HOST}content-length: 0, 41\r\n\r\n${SMUGGLED}`],
  ["a length with a sign", `POST / HTTP/1.1\r\n${HOST}content-length: +41\r\n\r\n${SMUGGLED}`],
  ["a length in hexadecimal", `POST / HTTP/1.1\r\n${HOST}content-length: 0x29\r\n\r\n${SMUGGLED}`],
  ["a length above 2^63", `POST / HTTP/1.1\r\n${HOST}content-length: 9223372036854775808\r\n\r\n`],
  ["obs-fold", `GET / HTTP/1.1\r\n${HOST}x: a\r\n transfer-encoding: chunked\r\n\r\n`],
  [
    "a bare LF between headers",
    `GET / HTTP/1.1\r\n${HOST}x: a\ntransfer-encoding: chunked\r\n\r\n`,
  ],
  ["a bare CR in a value", `GET / HTTP/1.1\r\n${HOST}x: a\rb\r\n\r\n`],
  ["NUL in a value", `GET / HTTP/1.1\r\n${HOST}x: a\0b\r\n\r\n`],
  ["a name of nothing", `GET / HTTP/1.1\r\n${HOST}: a\r\n\r\n`],
  ["a name with a space", `GET / HTTP/1.1\r\n${HOST}x y: a\r\n\r\n`],
  ["no host", "GET / HTTP/1.1\r\n\r\n"],
  ["two hosts", `GET / HTTP/1.1\r\n${HOST}host: other\r\n\r\n`],
  ["a space in the target", `GET /a b HTTP/1.1\r\n${HOST}\r\n`],
  ["version 2.0 that is no preface", `GET / HTTP/2.0\r\n${HOST}\r\n`, 505],
  [
    "more header bytes than allowed",
    `GET / HTTP/1.1\r\n${HOST}x: ${"y".repeat(200_000)}\r\n\r\n`,
    431,
  ],
  ["thousands of headers", `GET / HTTP/1.1\r\n${HOST}${"x: y\r\n".repeat(20_000)}\r\n`, 431],
  ["a head without end", `GET / HTTP/1.1\r\n${HOST}${"x: y\r\n".repeat(60_000)}`, 431],
];

/** The body is broken: the request has begun, and must not look complete to anybody. */
const BROKEN: readonly (readonly [string, string])[] = [
  ["a chunk size that overflows", "fffffffffffffffff\r\nx"],
  ["a chunk size of nothing", "\r\nx"],
  ["a chunk size with a sign", "-1\r\nx"],
  ["a chunk that is longer than its size", "1\r\nxyz\r\n0\r\n\r\n"],
  ["a chunk ended by a bare LF", "1\nx\n0\n\n"],
  ["a flood of chunk extensions", `1;${"a=b;".repeat(50_000)}\r\nx\r\n0\r\n\r\n`],
  ["trailers without end", `0\r\n${"x: y\r\n".repeat(50_000)}`],
];

describe("HTTP/1.1 inside a tunnel: refused, and nothing arrives", () => {
  test.each(REFUSED.map(([name, text, status = 400]) => ({ name, text, status })))(
    "$name",
    async ({ name, text, status }) => {
      const play = says(text);
      await perform(stage, {
        name,
        play,
        outcome: [`${status}`],
        counts: /malformed_requests_total\{[^}]*\} [1-9]/,
      });
      expect(arrived(stage)).toEqual([]);
    },
  );

  test.each(BROKEN)("%s", async (name, body) => {
    const head = `POST /broken HTTP/1.1\r\n${HOST}transfer-encoding: chunked\r\n\r\n`;
    await perform(stage, {
      name,
      play: says(head + body),
      outcome: /^(400|RST 1 8|200)?,?(POST \/broken HTTP\/1.1)?$/,
    });
    expect(arrived(stage).filter((line) => line !== "POST /broken HTTP/1.1")).toEqual([]);
  });
});

const OTHERS: Dialogue[] = [
  {
    name: "1,000 requests in one go",
    play: async (at) => {
      const peer = await tunnel(at);
      write(peer, `GET /many HTTP/1.1\r\n${HOST}\r\n`.repeat(1_000));
      const done = () => (peer.bodies.get(1)?.match(/HTTP\/1\.1 200/g)?.length ?? 0) >= 200;
      await peer.until(() => arrived(at).length >= 1_000 && done(), "1,000 requests");
      return `${arrived(at).length}`;
    },
    outcome: "1000",
    cpuMsMax: 3_000,
  },
  {
    name: "10,000 requests from a client that reads no answer",
    play: async (at) => {
      const peer = await at.greeted("waypoint", [4, 0]);
      await peer.tunnel(1, connectTo(AUTHORITY.http1));
      write(peer, `GET /many HTTP/1.1\r\n${HOST}\r\n`.repeat(10_000));
      await sleep(1_000);
      return `${arrived(at).length < 10_000}`;
    },
    // The window, and 64 KiB of answers.
    outcome: "true",
    heldMiBMax: 5,
    cpuMsMax: 3_000,
  },
  {
    name: "DATA beyond content-length is the next request, or nothing",
    play: says(`POST /a HTTP/1.1\r\n${HOST}content-length: 2\r\n\r\nxyGARBAGE\r\n\r\n`),
    outcome: ["200 400", "POST /a HTTP/1.1"],
  },
  {
    name: "the client ends in the middle of a body",
    play: says(`POST /a HTTP/1.1\r\n${HOST}content-length: 200\r\n\r\nhalf`),
    // On a busy machine the client is gone before there is a connection to the backend.
    outcome: /^(RST 1 8|(|200|RST 1 8|200 RST 1 8),POST \/a HTTP\/1.1)$/,
  },
  {
    name: "a request line by the byte",
    play: async (at) => {
      const peer = await tunnel(at);
      for (const byte of `GET /slow HTTP/1.1\r\n${HOST}\r\n`) {
        write(peer, byte);
        await sleep(5);
      }
      await peer.until(() => /ok$/.test(peer.bodies.get(1) ?? ""), "the answer");
      return answers(peer, false);
    },
    outcome: "200",
  },
  {
    name: "a body that trickles, while the answer is out",
    play: async (at) => {
      const peer = await tunnel(at);
      write(peer, `POST /trickle HTTP/1.1\r\n${HOST}content-length: 1000\r\n\r\n`);
      for (let i = 0; i < 10; i++) {
        write(peer, "x");
        await sleep(20);
      }
      return answers(peer, false);
    },
    outcome: /^200/,
  },
  {
    name: "Expect: 100-continue, and never a body",
    play: async (at) => {
      const peer = await tunnel(at);
      write(peer, `POST /e HTTP/1.1\r\n${HOST}content-length: 10\r\nexpect: 100-continue\r\n\r\n`);
      await peer.until(() => /HTTP\/1\.1 \d/.test(peer.bodies.get(1) ?? ""), "an answer");
      return answers(peer, false);
    },
    outcome: /^(100|200)/,
  },
  {
    name: "an upgrade that nobody answers with 101, and bytes behind it",
    play: says(
      `GET /up HTTP/1.1\r\n${HOST}connection: upgrade\r\nupgrade: websocket\r\n\r\n\x81\x85\0\0`,
    ),
    outcome: /^200( 400)?( RST 1 8)?,GET \/up HTTP\/1.1$/,
  },
  {
    name: "empty lines for ever",
    play: async (at) => {
      const peer = await tunnel(at);
      for (let i = 0; i < 50; i++) write(peer, "\r\n".repeat(8_000));
      await peer.settled();
      return answers(peer, false);
    },
    outcome: /^(400)?/,
  },
  {
    name: "a preface of HTTP/2 on a port that is HTTP/1.1, then garbage",
    play: says("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGARBAGE THAT IS NO FRAME AT ALL"),
    outcome: [""],
  },
];

describe("HTTP/1.1 inside a tunnel", () => {
  test.each(OTHERS)("$name", (dialogue) => perform(stage, dialogue));
});
