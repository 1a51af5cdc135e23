/**
 * A ztunnel between liars: peers at its tunnel port, applications behind it, clients in front of
 * it, and the ztunnel at the other end of its tunnels.
 */
import { afterAll, afterEach, beforeAll, describe, test } from "vitest";
import { block, END_HEADERS, END_STREAM, frame, settings, T, words } from "../support/peer.ts";
import type { Arrived, Lies } from "./destination.ts";
import { type Dialogue, many, perform } from "./dialogue.ts";
import { connectTo, Stage } from "./stage.ts";
import { type FramePeer, sleep, statusOf, upload } from "./wire.ts";

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.open();
});
afterEach(() => stage.clear());
afterAll(() => stage.close());

/** A port of no service: those of a service bound to a waypoint are the waypoint's alone. */
const APP = connectTo("127.0.0.2:7777");

/** A tunnel to the workload's application, and what comes back of it. */
async function tunnel(at: Stage, ...entries: readonly (readonly [number, number])[]) {
  const peer = await at.greeted("inbound", ...entries);
  await peer.tunnel(1, APP);
  return peer;
}

const INBOUND: Dialogue[] = [
  {
    name: "CONNECT to another workload, to the mesh's own ports, to nothing",
    play: async (at) => {
      const peer = await at.greeted("inbound");
      for (const [i, to] of ["127.0.0.3:8080", "127.0.0.2:15008", "127.0.0.2:15001"].entries()) {
        await peer.tunnel(2 * i + 1, connectTo(to));
      }
      await peer.tunnel(7, connectTo("nothing"));
      await peer.settled();
      return peer.seen.filter((f) => f.type === T.headers).map((f) => statusOf(f.payload));
    },
    // Of another workload, and nobody's: 400. The mesh's own ports of this one: 503.
    outcome: ["400", "503", "503", "400"],
  },
  {
    name: "CVE-2023-44487: rapid reset while the application is dialled",
    play: async (at) => {
      const peer = await at.greeted("inbound");
      for (let i = 0; i < 600; i++) {
        const [id, code] = [2 * i + 1, words(8)];
        peer.send(frame(T.headers, END_HEADERS, id, APP), frame(T.rst, 0, id, code));
      }
      await peer.until(() => peer.isClosed, "the end of the connection");
      return peer.ends.filter((end) => end.startsWith("GOAWAY"));
    },
    outcome: ["GOAWAY 11"],
    cpuMsMax: 3_000,
  },
  {
    name: "an application that reads nothing of an upload of 16 MiB",
    play: async (at) => {
      at.onApplicant = (socket) => socket.pause();
      const peer = await tunnel(at);
      const sent = await upload(peer, 1, "", 16_000_000);
      return [`${sent < 16_000_000}`, ...peer.ends];
    },
    outcome: ["true"],
    // A window, as far as it grew while the kernel took the bytes.
    heldMiBMax: 5,
  },
  {
    name: "more DATA than the window, to an application that reads nothing",
    play: async (at) => {
      at.onApplicant = (socket) => socket.pause();
      const peer = await tunnel(at);
      for (let i = 0; i < 1_100 && !peer.isClosed; i++) {
        peer.send(frame(T.data, 0, 1, Buffer.alloc(16_384)));
      }
      await peer.until(() => peer.ends.length > 0, "a complaint");
      return peer.ends[0]!;
    },
    outcome: /^(RST 1 3|GOAWAY 3)$/,
  },
  {
    name: "an application that floods a client with a window of 0",
    play: async (at) => {
      at.onApplicant = (socket) => {
        const write = () => {
          while (!socket.destroyed && socket.write(Buffer.alloc(65_536)));
        };
        socket.on("drain", write);
        write();
      };
      const peer = await tunnel(at, [4, 0]);
      await sleep(500);
      return peer.ends;
    },
    outcome: [],
    heldMiBMax: 5,
  },
  {
    name: "an application that resets at once",
    play: async (at) => {
      at.onApplicant = (socket) => socket.resetAndDestroy();
      const peer = await tunnel(at);
      await peer.until(() => peer.ends.length > 0, "an end");
      return peer.ends[0]!.slice(0, 5);
    },
    outcome: "RST 1",
  },
  {
    name: "half-closed both ways, one after the other",
    play: async (at) => {
      at.onApplicant = (socket) => {
        socket.allowHalfOpen = true;
        socket.on("end", () => socket.end("last words"));
        socket.resume();
      };
      const peer = await tunnel(at);
      peer.send(frame(T.data, END_STREAM, 1, "first words"));
      await peer.until(() => peer.bodies.get(1) === "last words", "the last words");
      return peer.ends;
    },
    outcome: [],
  },
  {
    name: "100 tunnels that say nothing",
    play: async (at) => {
      const peer = await at.greeted("inbound");
      peer.send(...many(100, (i) => frame(T.headers, END_HEADERS, 2 * i + 1, APP)));
      await peer.until(() => peer.count(T.headers) >= 100, "100 answers");
      return peer.ends;
    },
    outcome: [],
    heldMiBMax: 3,
  },
  {
    name: "an identity of the mesh, and garbage instead of HTTP/2",
    play: async (at) => {
      const peer = await at.dial("inbound");
      peer.carrier.write(Buffer.alloc(100_000, 0x41));
      await peer.until(() => peer.isClosed, "the end of the connection");
      return peer.ends[0]!;
    },
    outcome: "GOAWAY 1",
  },
  {
    name: "no TLS at all",
    play: async (at) => {
      const socket = at.plain("inbound");
      const isGone = new Promise((resolve) => socket.once("close", resolve));
      socket.resume();
      socket.end("GET / HTTP/1.1\r\n\r\n");
      await isGone;
      return "gone";
    },
    outcome: "gone",
    logs: /tunnel refused/,
  },
];

/** An application connects through the ztunnel, says something, and sees what comes of it. */
async function connect(at: Stage, isOver: (text: string) => boolean = () => false) {
  const socket = at.plain("outbound");
  let text = "";
  let end = "open";
  socket.on("data", (bytes) => {
    text += bytes.toString("latin1");
  });
  socket.on("error", (error: NodeJS.ErrnoException) => {
    end = error.code ?? "error";
  });
  socket.once("end", () => {
    if (end === "open") end = "end";
  });
  socket.write("hello");
  const deadlineMs = performance.now() + 8_000;
  while (end === "open" && !isOver(text)) {
    if (performance.now() > deadlineMs) throw new Error(`the application waits: ${text}`);
    await sleep(5);
  }
  return [text.slice(0, 20), end].join(" ").trim();
}

const lie =
  (lies: Lies, isOver?: (text: string) => boolean): Dialogue["play"] =>
  async (at) => {
    at.liar.lies = lies;
    return await connect(at, isOver);
  };
const tunnels = (onConnect: (arrived: Arrived) => void): Lies => ({
  onConnect: (arrived) => {
    onConnect(arrived);
    return true;
  },
});
const answers = (status: string) =>
  tunnels(({ outer, id }) => outer.send(frame(T.headers, 5, id, block(":status", status))));

const REFUSALS: readonly (readonly [string, Lies])[] = [
  ["refuses by policy", answers("401")],
  ["answers 302", answers("302")],
  ["refuses every stream", tunnels(({ outer, id }) => outer.send(frame(T.rst, 0, id, words(7))))],
  ["cuts the connection at CONNECT", tunnels(({ outer }) => outer.carrier.destroy())],
  [
    "sends a frame too large",
    tunnels(({ outer, id }) => outer.send(frame(T.data, 0, id, Buffer.alloc(1_100_000)))),
  ],
  [
    "sends HPACK of nothing",
    tunnels(({ outer, id }) => outer.send(frame(T.headers, 4, id, Buffer.of(0xff, 0xff, 0x7f)))),
  ],
  [
    "widens its window too far",
    tunnels(({ outer }) => outer.send(frame(T.windowUpdate, 0, 0, words(0x7fffffff)))),
  ],
  [
    "floods with SETTINGS",
    {
      onConnection: (outer: FramePeer) =>
        Boolean(outer.send(...many(20_000, () => settings()))) || true,
    },
  ],
];

const OUTBOUND: Dialogue[] = [
  ...REFUSALS.map(
    ([name, lies]): Dialogue => ({
      name: `the other ztunnel ${name}`,
      play: lie(lies),
      outcome: "ECONNRESET",
      logs: /error\taccess\tconnection complete\t.*error="/,
      cpuMsMax: 2_500,
    }),
  ),
];

describe("a ztunnel, inbound", () => {
  test.each(INBOUND)("$name", (dialogue) => perform(stage, dialogue));
});

describe("a ztunnel, outbound", () => {
  test.each(OUTBOUND)("$name", (dialogue) => perform(stage, dialogue));
});
