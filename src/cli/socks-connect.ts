/**
 * The client's side of SOCKS5 with user name and password (RFC 1928, RFC 1929), for `waystone
 * request` on systems where a source address cannot say who asks. Host names are not sent.
 */
import net from "node:net";
import type { HostPort } from "../net/listeners.ts";

const TIMEOUT_MS = 10_000;

const REPLIES: Readonly<Record<number, string>> = {
  1: "general failure",
  2: "not allowed",
  3: "network unreachable",
  4: "host unreachable",
  5: "connection refused",
  6: "timed out",
};

/** A connection to an IPv4 address through the proxy; paused, so that no byte is lost. */
export function connectSocks(
  proxy: HostPort,
  login: { readonly user: string; readonly password: string },
  address: string,
  port: number,
): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(proxy.port, proxy.host);
    const fail = (error: Error) => {
      socket.destroy();
      reject(error);
    };
    const steps = handshake(login, address, port);
    let waiting = steps.next().value;
    let received = Buffer.alloc(0);
    const onData = (bytes: Buffer) => {
      received = Buffer.concat([received, bytes]);
      while (waiting !== undefined && received.length >= waiting.wants) {
        const answer = received.subarray(0, waiting.wants);
        received = received.subarray(waiting.wants);
        const problem = waiting.check(answer);
        if (problem) return fail(new Error(`SOCKS5: ${problem}`));
        waiting = steps.next().value;
        if (waiting !== undefined) socket.write(waiting.send);
      }
      if (waiting !== undefined) return;
      // One by one: a socket has listeners of its own.
      socket.setTimeout(0).off("timeout", onTimeout).off("error", fail);
      socket.off("data", onData).off("end", onEnd).pause();
      if (received.length > 0) socket.unshift(received);
      resolve(socket);
    };
    const onEnd = () => fail(new Error("SOCKS5: closed by the proxy"));
    const onTimeout = () => fail(new Error("SOCKS5: no answer"));
    socket.setTimeout(TIMEOUT_MS, onTimeout);
    socket.once("error", fail);
    socket.once("end", onEnd);
    socket.once("connect", () => waiting && socket.write(waiting.send));
    socket.on("data", onData);
  });
}

interface Step {
  readonly send: Buffer;
  /** Bytes of the answer. */
  readonly wants: number;
  /** What is wrong with the answer; empty: nothing. */
  readonly check: (answer: Buffer) => string;
}

function* handshake(
  { user, password }: { readonly user: string; readonly password: string },
  address: string,
  port: number,
): Generator<Step, undefined> {
  yield {
    send: Buffer.from([5, 1, 2]),
    wants: 2,
    check: (answer) => (answer[1] === 2 ? "" : "the proxy does not take a user name"),
  };
  const name = Buffer.from(user);
  const word = Buffer.from(password);
  yield {
    send: Buffer.concat([Buffer.from([1, name.length]), name, Buffer.from([word.length]), word]),
    wants: 2,
    check: (answer) => (answer[1] === 0 ? "" : "the user name or password is not accepted"),
  };
  const target = Buffer.from([...address.split(".").map(Number), port >> 8, port & 255]);
  yield {
    send: Buffer.concat([Buffer.from([5, 1, 0, 1]), target]),
    wants: 10,
    check: (answer) => (answer[1] === 0 ? "" : (REPLIES[answer[1]!] ?? "refused")),
  };
  return undefined;
}
