/**
 * WebSockets of the echo servers (RFC 6455): messages come back as they are; the text `whoami` is
 * answered with JSON that says what arrived.
 */
import { createHash } from "node:crypto";
import type { Duplex } from "node:stream";
import type { EchoAnswer } from "./echo-answer.ts";

/** RFC 6455 §1.3. */
const ACCEPT_SUFFIX = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const FRAME_BYTES_MAX = 1024 * 1024;

const OPCODE = { text: 1, close: 8, ping: 9, pong: 10 } as const;
const FIN = 0x80;
const LENGTH_16 = 126;
const LENGTH_64 = 127;
/** RFC 6455 §7.4.1. */
const TOO_BIG = 1009;

/** The value of `Sec-WebSocket-Accept`. */
export function webSocketAccept(key: string): string {
  return createHash("sha1").update(`${key}${ACCEPT_SUFFIX}`).digest("base64");
}

/** Echoes until either side is done. */
export function echoWebSocket(stream: Duplex, answer: EchoAnswer): void {
  let held: Buffer = Buffer.alloc(0);
  stream.on("error", () => stream.destroy());
  stream.on("end", () => stream.end());
  stream.on("data", (bytes: Buffer) => {
    held = held.length === 0 ? bytes : Buffer.concat([held, bytes]);
    for (let frame = readFrame(held); frame !== undefined; frame = readFrame(held)) {
      if (frame === "too big") {
        const code = Buffer.from([TOO_BIG >> 8, TOO_BIG & 255]);
        stream.end(frameOf(FIN | OPCODE.close, code));
        held = Buffer.alloc(0);
        return;
      }
      held = held.subarray(frame.size);
      reply(stream, frame, answer);
    }
  });
  stream.resume();
}

interface Frame {
  /** FIN and opcode. */
  readonly start: number;
  readonly payload: Buffer;
  /** Of the whole frame. */
  readonly size: number;
}

function reply(stream: Duplex, { start, payload }: Frame, answer: EchoAnswer): void {
  switch (start & 15) {
    case OPCODE.close:
      stream.end(frameOf(start, payload));
      return;
    case OPCODE.ping:
      stream.write(frameOf(FIN | OPCODE.pong, payload));
      return;
    case OPCODE.pong:
      return;
    default: {
      const isQuestion = start === (FIN | OPCODE.text) && payload.toString() === "whoami";
      const text = isQuestion ? Buffer.from(JSON.stringify(answer)) : payload;
      stream.write(frameOf(start, text));
    }
  }
}

/** Undefined: it is not all there. */
function readFrame(bytes: Buffer): Frame | "too big" | undefined {
  if (bytes.length < 2) return undefined;
  const isMasked = (bytes[1]! & 128) !== 0;
  const short = bytes[1]! & 127;
  const lengthEnd = short === LENGTH_16 ? 4 : short === LENGTH_64 ? 10 : 2;
  if (bytes.length < lengthEnd) return undefined;
  const length =
    short === LENGTH_16
      ? bytes.readUInt16BE(2)
      : short === LENGTH_64
        ? Number(bytes.readBigUInt64BE(2))
        : short;
  if (length > FRAME_BYTES_MAX) return "too big";
  const payloadStart = lengthEnd + (isMasked ? 4 : 0);
  const size = payloadStart + length;
  if (bytes.length < size) return undefined;
  const payload = Buffer.from(bytes.subarray(payloadStart, size));
  if (isMasked) {
    for (let i = 0; i < length; i++) payload[i]! ^= bytes[lengthEnd + (i & 3)]!;
  }
  return { start: bytes[0]!, payload, size };
}

/** Servers do not mask. */
function frameOf(start: number, payload: Buffer): Buffer {
  const { length } = payload;
  if (length < LENGTH_16) return Buffer.concat([Buffer.from([start, length]), payload]);
  if (length < 65_536) {
    return Buffer.concat([Buffer.from([start, LENGTH_16, length >> 8, length & 255]), payload]);
  }
  const head = Buffer.alloc(10);
  head[0] = start;
  head[1] = LENGTH_64;
  head.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([head, payload]);
}
