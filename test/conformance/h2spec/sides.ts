/**
 * The four places where we speak HTTP/2, each with its peer by hand: the end of tunnels and a
 * waypoint's session inside one (listeners), a tunnel pool's connection and a waypoint's to a
 * backend (upstreams). A case says what the peer sends; a side says what a sound message is there.
 *
 * An upstream has asked already, on streams 1, 3 and 5; its peer's HEADERS are responses.
 */
import type { Http2Connection } from "../../../src/net/http2/connection.ts";
import { Http2Session } from "../../../src/waypoint/http2-session.ts";
import { CONNECT, OK, Recorder, scripted } from "../../support/http2-sides.ts";
import { MemoryPeer, MemoryStream, settle } from "../../support/memory-stream.ts";
import {
  ACK,
  block,
  CLIENT_PREFACE,
  CONNECT_BLOCK,
  END_HEADERS,
  END_STREAM,
  type Frame,
  frame,
  framesOf,
  OK_BLOCK,
  settings,
  T,
} from "../../support/peer.ts";
import { FakeWaypoint, withHttp2Backends } from "../../support/waypoint-session.ts";

export interface Side {
  readonly isUpstream: boolean;
  /** The block of a sound message's HEADERS. */
  readonly head: Buffer;
  send(...parts: readonly Buffer[]): void;
  /** What came back since the last call. */
  frames(): Promise<Frame[]>;
  /** The connection has been ended by our end. */
  isOver(): boolean;
  /** Ends every stream there is on our part: with a response, or with the request's end. */
  answer(body?: string): Promise<void>;
  /** The message on that stream has arrived; only asked behind `answer`. */
  hasArrived(id: number, frames: readonly Frame[]): boolean;
}

export type SideName = "tunnel listener" | "waypoint" | "tunnel upstream" | "waypoint upstream";

const GET = block(":method", "GET", ":scheme", "http", ":authority", "reviews", ":path", "/");
const UPSTREAM_STREAMS = 3;

function hasResponse(id: number, frames: readonly Frame[]): boolean {
  // 0x88: `:status 200`, the static table's eighth.
  return frames.some((f) => f.type === T.headers && f.id === id && f.payload[0] === 0x88);
}

function tunnelListener(): Side {
  const { peer, owner } = scripted("server");
  return {
    isUpstream: false,
    head: CONNECT_BLOCK,
    send: (...parts) => peer.send(...parts),
    frames: () => peer.frames(),
    isOver: () => peer.isEnded,
    async answer(body = "") {
      for (const { stream } of owner.streams) {
        stream!.respond(OK, body === "");
        stream!.write(Buffer.from(body), 0, body.length, null);
        stream!.end();
      }
    },
    hasArrived: hasResponse,
  };
}

function waypoint(): Side {
  const waypoint = new FakeWaypoint();
  const [stream, remote] = MemoryStream.pair({ windowBytes: 1 << 24 });
  new Http2Session(stream, waypoint.connection, waypoint.context, waypoint.target());
  const peer = new MemoryPeer(remote);
  let seen = 0;
  return {
    isUpstream: false,
    head: GET,
    send: (...parts) => peer.send(Buffer.concat(parts)),
    async frames() {
      await settle();
      const bytes = Buffer.from(peer.text.slice(seen), "latin1");
      seen += bytes.length;
      return framesOf(bytes);
    },
    isOver: () => peer.isEnded || peer.isClosed,
    async answer(body = "") {
      await settle();
      for (const backend of waypoint.backends.connections) {
        backend.send(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
      }
      await settle();
    },
    hasArrived: hasResponse,
  };
}

function opened(connection: Http2Connection): Recorder[] {
  return Array.from({ length: UPSTREAM_STREAMS }, () => {
    const recorder = new Recorder();
    return recorder.of(connection.open(CONNECT, false, recorder));
  });
}

function tunnelUpstream(): Side {
  const { peer, connection } = scripted("client");
  const streams = opened(connection);
  return {
    isUpstream: true,
    head: OK_BLOCK,
    send: (...parts) => peer.send(...parts),
    frames: () => peer.frames(),
    isOver: () => peer.isEnded,
    async answer(body = "") {
      for (const { stream } of streams) {
        stream!.write(Buffer.from(body), 0, body.length, null);
        stream!.end();
      }
    },
    hasArrived: (id) => streams[(id - 1) / 2]!.log.some((l) => l.startsWith("headers :status 200")),
  };
}

async function waypointUpstream(): Promise<Side> {
  const waypoint = new FakeWaypoint(withHttp2Backends());
  const clients = Array.from({ length: UPSTREAM_STREAMS }, () => waypoint.open().client);
  for (const client of clients) client.send("GET / HTTP/1.1\r\nhost: reviews\r\n\r\n");
  await settle();
  const peer = waypoint.backends.connections[0]!;
  let seen = CLIENT_PREFACE.length;
  return {
    isUpstream: true,
    head: OK_BLOCK,
    send: (...parts) => peer.send(Buffer.concat(parts)),
    async frames() {
      await settle();
      const bytes = Buffer.from(peer.text.slice(seen), "latin1");
      seen += bytes.length;
      return framesOf(bytes);
    },
    isOver: () => peer.isEnded || peer.isClosed,
    answer: () => settle(),
    hasArrived: (id) => clients[(id - 1) / 2]!.text.startsWith("HTTP/1.1 200 "),
  };
}

const SIDES: Readonly<Record<SideName, () => Side | Promise<Side>>> = {
  "tunnel listener": tunnelListener,
  waypoint,
  "tunnel upstream": tunnelUpstream,
  "waypoint upstream": waypointUpstream,
};

export const SIDE_NAMES = Object.keys(SIDES) as SideName[];

/** A side to which nothing has been said yet. */
export async function fresh(name: SideName): Promise<Side> {
  return SIDES[name]();
}

/** The same, after the preface and both sides' SETTINGS. */
export async function greeted(name: SideName): Promise<Side> {
  const side = await fresh(name);
  if (!side.isUpstream) side.send(CLIENT_PREFACE);
  side.send(settings(), frame(T.settings, ACK, 0));
  await side.frames();
  return side;
}

// ---- what a peer sends

/** HEADERS of a sound message that goes on. */
export function open(side: Side, id: number): Buffer {
  return frame(T.headers, END_HEADERS, id, side.head);
}

/** The same, with its end. */
export function whole(side: Side, id: number, flags = 0, ...more: readonly Buffer[]): Buffer {
  const payload = Buffer.concat([side.head, ...more]);
  return frame(T.headers, END_HEADERS | END_STREAM | flags, id, payload);
}
