/**
 * The SOCKS5 handshake over a socket in memory. Oracle: exactly one of its two answers at most,
 * never an exception, the same in pieces as in one go, what comes behind the request is handed over
 * to the byte, and the host has no character that a name or an address cannot have.
 */
import type net from "node:net";
import { Duplex } from "node:stream";
import { acceptSocks5 } from "../../../src/net/socks5.ts";
import { piecesOf } from "../random.ts";
import { check, checkSame, type Target } from "../target.ts";

class FakeSocket extends Duplex {
  readonly written: Buffer[] = [];

  setNoDelay(): this {
    return this;
  }

  destroySoon(): void {
    this.destroy();
  }

  override _read(): void {}

  override _write(bytes: Buffer, _encoding: string, done: () => void): void {
    this.written.push(bytes);
    done();
  }
}

interface Outcome {
  readonly answers: readonly string[];
  readonly written: string;
  readonly rest: string;
}

function play(pieces: readonly Buffer[]): Outcome {
  const socket = new FakeSocket();
  const answers: string[] = [];
  let rest: Buffer = Buffer.alloc(0);
  acceptSocks5(socket as unknown as net.Socket, {
    timeoutMs: 60_000,
    authenticate: (user) => user !== "nobody",
    onRequest: (request) => {
      check(/^[a-z0-9_.:-]+$/.test(request.host), "an impossible host");
      check(request.port > 0 && request.port < 65_536, "an impossible port");
      answers.push(`request ${request.user} ${request.password} ${request.host} ${request.port}`);
      rest = request.rest;
      request.accept();
    },
    onFailed: (failure) => answers.push(failure.message),
  });
  let later = "";
  for (const piece of pieces) {
    if (answers.length === 0) socket.emit("data", piece);
    else later += piece.toString("latin1");
  }
  const isAnswered = answers.length > 0;
  check(answers.length <= 1, "two answers");
  const written = Buffer.concat(socket.written).toString("hex");
  const tail = answers[0]?.startsWith("request") ? rest.toString("latin1") + later : "";
  // Ends the wait (and its timer) of a handshake that is not whole.
  if (!isAnswered) socket.emit("close");
  check(answers.length === 1, "no answer when the client has left");
  socket.destroy();
  return { answers, written, rest: tail };
}

function runSocks5(input: Buffer): string {
  const whole = play([Buffer.from(input)]);
  checkSame(play(piecesOf(input)), whole, "in pieces");
  const [answer = ""] = whole.answers;
  if (!answer.startsWith("request")) return answer.replace(/\d+|"[\s\S]*"/g, "#");
  check(input.toString("latin1").endsWith(whole.rest), "other bytes behind the request");
  return `request ${answer.includes("::")} ${whole.rest.length > 0}`;
}

const LOGIN = Buffer.from("\x05\x01\x02\x01\x01u\x01p", "latin1");

export const socks5: Target = {
  name: "socks5",
  dictionary: [LOGIN, Buffer.of(5, 1, 0, 3), Buffer.of(5, 1, 0, 1), Buffer.of(5, 1, 0, 4), "a.b"],
  seeds: () => [
    Buffer.concat([LOGIN, Buffer.of(5, 1, 0, 1, 10, 0, 0, 1, 0, 80), Buffer.from("GET")]),
    Buffer.concat([LOGIN, Buffer.of(5, 1, 0, 3, 3), Buffer.from("a.b"), Buffer.of(1, 187)]),
    Buffer.concat([LOGIN, Buffer.of(5, 1, 0, 4), Buffer.alloc(15), Buffer.of(1, 0, 80)]),
    Buffer.concat([LOGIN, Buffer.of(5, 2, 0, 1, 10, 0, 0, 1, 0, 80)]),
    Buffer.of(5, 2, 0, 1),
    Buffer.from("\x05\x01\x02\x01\x06nobody\x00", "latin1"),
    Buffer.from("\x04\x01\x00\x50", "latin1"),
  ],
  run: runSocks5,
};
