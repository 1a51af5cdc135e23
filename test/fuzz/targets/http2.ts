/**
 * A whole HTTP/2 connection, from frame reader to streams, in both roles.
 *
 * Oracle: nothing is thrown; in pieces the same happens as in one go; a walk over the frames, which
 * shares no code with the connection, says what must end it (padding beyond its frame, a header
 * block that is interrupted, a frame that is too large) and what payload a stream may see at most;
 * windows are given back for what has arrived and for no byte more.
 */
import { TUNNEL_LIMITS } from "../../../src/net/http2/limits.ts";
import { CONNECT, Recorder, scripted } from "../../support/http2-sides.ts";
import {
  ACK,
  block,
  CLIENT_PREFACE,
  CONNECT_BLOCK,
  ends,
  type Frame,
  frame,
  GET_BLOCK,
  OK_BLOCK,
  settings,
  T,
  words,
} from "../../support/peer.ts";
import { piecesOf } from "../random.ts";
import { check, checkSame, type Target } from "../target.ts";

type Role = "client" | "server";

const LIMITS = {
  maxFrameBytes: 16_384,
  maxHeaderBlockBytes: 2048,
  maxHeaderListBytes: 2048,
  maxContinuationFrames: 4,
  maxConcurrentStreams: 3,
  streamWindowBytes: 70_000,
  windowGrowthBytes: 30_000,
  connectionWindowBytes: 100_000,
  maxControlFrames: 40,
  maxEmptyFrames: 10,
  maxPrematureResets: 10,
};

/**
 * First byte odd: the rest is raw. Even: records of type, flags, stream, length and payload (the
 * last two as far as they are there), each made a frame that is at least as long as it says.
 */
function bytesOf(input: Buffer): Buffer {
  if (((input[0] ?? 0) & 1) === 1) return input.subarray(1);
  const frames: Buffer[] = [];
  for (let at = 1; at + 4 <= input.length; ) {
    const end = Math.min(input.length, at + 4 + input[at + 3]!);
    frames.push(
      frame(input[at]! % 12, input[at + 1]!, input[at + 2]!, input.subarray(at + 4, end)),
    );
    at = end;
  }
  return Buffer.concat(frames);
}

interface Judgement {
  /** Why the connection must have ended; empty: it need not. */
  readonly mustEnd: string;
  readonly payload: Map<number, Buffer>;
  readonly dataBytes: number;
}

function judge(bytes: Buffer): Judgement {
  const payload = new Map<number, Buffer>();
  let dataBytes = 0;
  let openBlock = -1;
  for (let at = 0; at + 9 <= bytes.length; ) {
    const length = bytes.readUIntBE(at, 3);
    const [type, flags] = [bytes[at + 3]!, bytes[at + 4]!];
    const id = bytes.readUInt32BE(at + 5) % 0x80000000;
    const body = bytes.subarray(at + 9, at + 9 + length);
    const verdict = (mustEnd: string) => ({ mustEnd, payload, dataBytes });
    if (length > LIMITS.maxFrameBytes) return verdict("a frame too large");
    if (openBlock >= 0 && (type !== T.continuation || id !== openBlock)) {
      return verdict("an interrupted header block");
    }
    if (openBlock < 0 && type === T.continuation) return verdict("CONTINUATION of nothing");
    if (type === T.push) return verdict("PUSH_PROMISE");
    const canPad = type === T.data || type === T.headers;
    const isPadded = canPad && (flags & 8) !== 0;
    const isThere = isPadded && body.length > 0 && (type === T.data || body.length === length);
    const before = type === T.headers && (flags & 32) !== 0 ? 6 : 1;
    if (isThere && body[0]! > length - before) return verdict("padding beyond its frame");
    if (type === T.data) {
      const padding = isPadded ? (body[0] ?? 0) : 0;
      const seen = body.subarray(isPadded ? 1 : 0, length - padding);
      payload.set(id, Buffer.concat([payload.get(id) ?? Buffer.alloc(0), seen]));
      dataBytes += length;
    }
    if (body.length === length && (type === T.headers || type === T.continuation)) {
      openBlock = (flags & 4) === 0 ? id : -1;
    }
    at += 9 + length;
  }
  return { mustEnd: "", payload, dataBytes };
}

interface Outcome {
  readonly owner: readonly string[];
  readonly streams: readonly (readonly [number, readonly string[], string])[];
  readonly ends: readonly string[];
  readonly isOver: boolean;
  readonly frames: readonly Frame[];
}

async function play(role: Role, pieces: readonly Buffer[]): Promise<Outcome> {
  const { peer, owner, connection } = scripted(role, { ...TUNNEL_LIMITS, ...LIMITS });
  peer.greet(role === "server" ? "client" : "server");
  const recorders = owner.streams;
  if (role === "client") {
    for (let i = 0; i < 2; i++) {
      const recorder = new Recorder();
      recorder.of(connection.open(CONNECT, false, recorder));
      recorders.push(recorder);
    }
  }
  for (const piece of pieces) if (!peer.isDestroyed) peer.send(piece);
  const frames = await peer.frames();
  const isOver = peer.isDestroyed || peer.isEnded || connection.isClosed;
  const outcome = {
    owner: [...owner.log],
    streams: recorders.map(
      ({ stream, log, bytes }) => [stream!.id, [...log], bytes.toString("latin1")] as const,
    ),
    ends: ends(frames),
    isOver,
    frames,
  };
  if (!connection.isClosed) connection.destroy();
  const areClosed = recorders.every(({ isClosed }) => isClosed);
  check(areClosed, "a stream outlives its connection");
  return outcome;
}

/** Windows given back: never more than has arrived, apart from what the connection starts with. */
function checkWindows({ frames }: Outcome, judged: Judgement): void {
  const given = new Map<number, number>();
  for (const { type, id, payload } of frames) {
    if (type !== T.windowUpdate) continue;
    check(payload.readUInt32BE(0) > 0, "a window update of nothing");
    given.set(id, (given.get(id) ?? 0) + payload.readUInt32BE(0));
  }
  const start = LIMITS.connectionWindowBytes - 65_535;
  check((given.get(0) ?? 0) <= start + judged.dataBytes, "more window than has arrived");
  given.delete(0);
  for (const count of given.values()) {
    check(count <= judged.dataBytes, "more window than its stream has seen");
  }
}

async function runConnection(role: Role, input: Buffer): Promise<string> {
  const bytes = bytesOf(input);
  const judged = judge(bytes);
  const whole = await play(role, [Buffer.from(bytes)]);
  const split = await play(role, piecesOf(bytes));
  const compared = ({ owner, streams, ends, isOver }: Outcome) => [owner, streams, ends, isOver];
  checkSame(compared(split), compared(whole), "in pieces");
  if (judged.mustEnd !== "") check(whole.isOver, `the connection goes on after ${judged.mustEnd}`);
  for (const [id, , text] of whole.streams) {
    const sent = judged.payload.get(id)?.toString("latin1") ?? "";
    check(sent.startsWith(text), "payload that was not sent on this stream");
  }
  checkWindows(whole, judged);
  const kinds = whole.streams.map(([, log]) => log.map((entry) => entry.split(" ")[0]).join("+"));
  return `${whole.owner.join("|").replace(/\d+/g, "#")} ${whole.ends.slice(0, 4)} ${kinds}`;
}

function records(...list: readonly (readonly [number, number, number, Buffer | string])[]): Buffer {
  const parts = list.map(([type, flags, id, payload]) => {
    const body = Buffer.from(payload as string, "latin1");
    return Buffer.concat([Buffer.of(type, flags, id, body.length), body]);
  });
  return Buffer.concat([Buffer.of(0), ...parts]);
}

const DICTIONARY = [
  ...[CLIENT_PREFACE, CONNECT_BLOCK, GET_BLOCK, OK_BLOCK, settings(), frame(T.settings, ACK, 0)],
  ...[frame(T.ping, 0, 0, "12345678"), frame(T.rst, 0, 1, words(8)), Buffer.of(0, 8, 1, 4)],
  ...[frame(T.windowUpdate, 0, 1, words(0x7fffffff)), Buffer.of(9, 4, 1, 0), Buffer.of(3, 0, 1, 4)],
  ...[frame(T.goaway, 0, 0, words(0, 0)), Buffer.of(1, 4, 3, 30), Buffer.of(0, 1, 1, 0)],
];

const seedsOf = (head: Buffer): Buffer[] => [
  records([T.headers, 4, 1, head], [T.data, 0, 1, "hello"], [T.data, 1, 1, "!"]),
  records([T.headers, 12, 1, Buffer.concat([Buffer.of(2), head, Buffer.alloc(2)])]),
  records([T.headers, 4, 1, head], [T.data, 9, 1, "\x03hello\0\0\0"]),
  records([T.headers, 0, 1, head.subarray(0, 9)], [T.continuation, 4, 1, head.subarray(9)]),
  records(
    [T.headers, 36, 1, Buffer.concat([words(3), Buffer.of(9), head])],
    [T.rst, 0, 1, words(8)],
  ),
  records([T.headers, 4, 1, head], [T.data, 0, 1, "a"], [T.headers, 5, 1, block("x-t", "1")]),
  records(
    [T.headers, 4, 1, head],
    [T.headers, 4, 3, head],
    [T.data, 1, 3, "b"],
    [T.data, 1, 1, ""],
  ),
  records([T.settings, 0, 0, Buffer.of(0, 4, 0, 0, 0, 9)], [T.ping, 0, 0, "12345678"]),
  records(
    [T.windowUpdate, 0, 0, words(1)],
    [T.goaway, 0, 0, words(0, 0)],
    [T.priority, 0, 1, "12345"],
  ),
  Buffer.concat([Buffer.of(1), frame(T.headers, 4, 1, head), frame(T.data, 1, 1, "raw")]),
];

export const http2Server: Target = {
  name: "http2-server",
  dictionary: DICTIONARY,
  seeds: () => [...seedsOf(CONNECT_BLOCK), ...seedsOf(GET_BLOCK).slice(0, 3)],
  run: (input) => runConnection("server", input),
};

export const http2Client: Target = {
  name: "http2-client",
  dictionary: DICTIONARY,
  seeds: () => seedsOf(OK_BLOCK),
  run: (input) => runConnection("client", input),
};
