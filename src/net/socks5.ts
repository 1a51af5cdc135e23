/**
 * The server side of SOCKS5 (RFC 1928) with user name and password (RFC 1929), CONNECT only.
 *
 *     greeting ──> authentication ──> request ──> accept() or refuse()
 *
 * It reads what a client must send and no more: at the request the socket is paused and the owner's
 * to answer. Who the user is and where the connection goes is the owner's business.
 */
import type net from "node:net";
import { Failure } from "../kit/failure.ts";

export type Socks5Reply =
  | "generalFailure"
  | "notAllowed"
  | "networkUnreachable"
  | "hostUnreachable"
  | "connectionRefused"
  | "ttlExpired";

export interface Socks5Request {
  readonly user: string;
  readonly password: string;
  /** A host name in lower case, or an IPv4 or IPv6 address. */
  readonly host: string;
  readonly port: number;
  /** What the client sent behind its request. */
  readonly rest: Buffer;
  /** Says yes; the socket (paused, without our listeners) is the caller's from now on. */
  accept(): net.Socket;
  /** Says no and closes. */
  refuse(reply: Socks5Reply): void;
}

export interface Socks5Options {
  /** Time for greeting, authentication and request together. */
  readonly timeoutMs: number;
  /** Asked before the request is read; false ends the connection (RFC 1929 §2). */
  authenticate(user: string, password: string): boolean;
  onRequest(request: Socks5Request): void;
  /** The client went away, was malformed, too slow, or not authenticated; the socket is closed. */
  onFailed(failure: Failure): void;
}

/** Reads one client's wish from a socket. Exactly one of `onRequest` and `onFailed` is called. */
export function acceptSocks5(socket: net.Socket, options: Socks5Options): void {
  new Socks5Handshake(socket, options);
}

const VERSION = 5;
const AUTHENTICATION_VERSION = 1;
const METHOD_USER_PASSWORD = 2;
const NO_ACCEPTABLE_METHOD = 0xff;
const COMMAND_CONNECT = 1;
const ADDRESS_IPV4 = 1;
const ADDRESS_NAME = 3;
const ADDRESS_IPV6 = 4;

const REPLY_SUCCEEDED = 0;
const REPLY_COMMAND_NOT_SUPPORTED = 7;
const REPLY_ADDRESS_NOT_SUPPORTED = 8;
/** RFC 1928 §6. */
const REPLIES: Record<Socks5Reply, number> = {
  generalFailure: 1,
  notAllowed: 2,
  networkUnreachable: 3,
  hostUnreachable: 4,
  connectionRefused: 5,
  ttlExpired: 6,
};

/** The longest message is the authentication: 3 octets and two texts of 255. */
const MESSAGE_BYTES_MAX = 513;
const HOST_NAME = /^[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_.])?$/;

type Stage = "greeting" | "authentication" | "request" | "over";

class Socks5Handshake {
  readonly #socket: net.Socket;
  readonly #options: Socks5Options;
  readonly #timer: NodeJS.Timeout;
  #stage: Stage = "greeting";
  #held: Buffer = Buffer.alloc(0);
  #user = "";
  #password = "";
  #isAnswered = false;

  constructor(socket: net.Socket, options: Socks5Options) {
    this.#socket = socket;
    this.#options = options;
    this.#timer = setTimeout(() => {
      this.#fail(new Failure("TIMEOUT", `SOCKS5: no request within ${options.timeoutMs} ms`));
    }, options.timeoutMs);
    socket.setNoDelay(true);
    socket.on("error", ignoreError);
    socket.on("data", this.#onData);
    socket.on("end", this.#onGone);
    socket.on("close", this.#onGone);
    if (socket.destroyed) setImmediate(this.#onGone);
    else socket.resume();
  }

  readonly #onGone = (): void => {
    this.#fail(new Failure("DOWNSTREAM_RESET", "SOCKS5: the client left before its request"));
  };

  readonly #onData = (bytes: Buffer): void => {
    this.#held = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes]);
    // A message is taken whole or not at all, so each step starts at a message.
    for (let used = this.#step(); used > 0 && this.#stage !== "over"; used = this.#step()) {
      this.#held = this.#held.subarray(used);
    }
    if (this.#stage !== "over" && this.#held.length > MESSAGE_BYTES_MAX) {
      this.#malformed("a message is too long");
    }
  };

  /** Takes one message. The bytes it used; 0 when it is not there yet. */
  #step(): number {
    switch (this.#stage) {
      case "greeting":
        return this.#greeting(this.#held);
      case "authentication":
        return this.#authentication(this.#held);
      case "request":
        return this.#request(this.#held);
      default:
        return 0;
    }
  }

  /** VER NMETHODS METHODS… (RFC 1928 §3). */
  #greeting(bytes: Buffer): number {
    if (bytes.length >= 1 && bytes[0] !== VERSION) return this.#malformed("not SOCKS version 5");
    if (bytes.length < 2) return 0;
    const end = 2 + bytes[1]!;
    if (bytes.length < end) return 0;
    if (!bytes.subarray(2, end).includes(METHOD_USER_PASSWORD)) {
      this.#fail(
        new Failure("SOCKS5_REFUSED", "SOCKS5: the client offers no user name and password"),
        Buffer.from([VERSION, NO_ACCEPTABLE_METHOD]),
      );
      return 0;
    }
    this.#stage = "authentication";
    this.#socket.write(Buffer.from([VERSION, METHOD_USER_PASSWORD]));
    return end;
  }

  /** VER ULEN UNAME PLEN PASSWD (RFC 1929 §2). */
  #authentication(bytes: Buffer): number {
    if (bytes.length >= 1 && bytes[0] !== AUTHENTICATION_VERSION) {
      return this.#malformed("not version 1 of the authentication");
    }
    const userEnd = 2 + (bytes[1] ?? 0);
    if (bytes.length < userEnd + 1) return 0;
    const end = userEnd + 1 + bytes[userEnd]!;
    if (bytes.length < end) return 0;
    this.#user = bytes.toString("utf8", 2, userEnd);
    this.#password = bytes.toString("utf8", userEnd + 1, end);
    if (!this.#options.authenticate(this.#user, this.#password)) {
      const detail = `SOCKS5: wrong password, or no such user: ${JSON.stringify(this.#user)}`;
      const reply = Buffer.from([AUTHENTICATION_VERSION, 1]);
      this.#fail(new Failure("SOCKS5_REFUSED", detail), reply);
      return 0;
    }
    this.#stage = "request";
    this.#socket.write(Buffer.from([AUTHENTICATION_VERSION, 0]));
    return end;
  }

  /** VER CMD RSV ATYP DST.ADDR DST.PORT (RFC 1928 §4). */
  #request(bytes: Buffer): number {
    if (bytes.length >= 1 && bytes[0] !== VERSION) return this.#malformed("not SOCKS version 5");
    if (bytes.length < 5) return 0;
    const kind = bytes[3]!;
    const addressStart = kind === ADDRESS_NAME ? 5 : 4;
    const addressLength = kind === ADDRESS_NAME ? bytes[4]! : kind === ADDRESS_IPV4 ? 4 : 16;
    const addressEnd = addressStart + addressLength;
    if (kind !== ADDRESS_IPV4 && kind !== ADDRESS_NAME && kind !== ADDRESS_IPV6) {
      return this.#malformed(`address type ${kind}`, REPLY_ADDRESS_NOT_SUPPORTED);
    }
    if (bytes.length < addressEnd + 2) return 0;
    if (bytes[1] !== COMMAND_CONNECT) {
      return this.#malformed(`command ${bytes[1]}`, REPLY_COMMAND_NOT_SUPPORTED);
    }
    const host = hostOf(kind, bytes.subarray(addressStart, addressEnd));
    const port = bytes.readUInt16BE(addressEnd);
    if (host === undefined || port === 0) {
      return this.#malformed("an impossible address", REPLIES.generalFailure);
    }
    this.#handOver(host, port, Buffer.from(bytes.subarray(addressEnd + 2)));
    return 0;
  }

  #handOver(host: string, port: number, rest: Buffer): void {
    this.#settle();
    const socket = this.#socket;
    socket.pause();
    this.#options.onRequest({
      user: this.#user,
      password: this.#password,
      host,
      port,
      rest,
      accept: () => {
        this.#isAnswered = true;
        socket.write(replyOf(REPLY_SUCCEEDED));
        return socket;
      },
      refuse: (reply) => {
        if (this.#isAnswered) return;
        this.#isAnswered = true;
        close(socket, replyOf(REPLIES[reply]));
      },
    });
  }

  #malformed(detail: string, reply?: number): number {
    const failure = new Failure("SOCKS5_REFUSED", `SOCKS5: ${detail}`);
    this.#fail(failure, reply === undefined ? undefined : replyOf(reply));
    return 0;
  }

  #fail(failure: Failure, lastWords?: Buffer): void {
    if (this.#stage === "over") return;
    this.#settle();
    if (lastWords === undefined) this.#socket.destroy();
    else close(this.#socket, lastWords);
    this.#options.onFailed(failure);
  }

  /** Everything but the error listener goes: errors come at any time. */
  #settle(): void {
    this.#stage = "over";
    clearTimeout(this.#timer);
    this.#socket.off("data", this.#onData);
    this.#socket.off("end", this.#onGone);
    this.#socket.off("close", this.#onGone);
    this.#held = Buffer.alloc(0);
  }
}

function ignoreError(): void {}

/** Says the last words, then closes without waiting for the client's. */
function close(socket: net.Socket, lastWords: Buffer): void {
  socket.write(lastWords);
  socket.destroySoon();
}

/** VER REP RSV ATYP BND.ADDR BND.PORT; the bound address is of no use to anyone: 0.0.0.0:0. */
function replyOf(code: number): Buffer {
  return Buffer.from([VERSION, code, 0, ADDRESS_IPV4, 0, 0, 0, 0, 0, 0]);
}

function hostOf(kind: number, address: Buffer): string | undefined {
  if (kind === ADDRESS_IPV4) return address.join(".");
  if (kind === ADDRESS_IPV6) return formatIPv6(address);
  const name = address.toString("latin1").toLowerCase();
  return HOST_NAME.test(name) ? name : undefined;
}

/** RFC 5952: no leading zeros, the longest run of two or more zero groups as `::`. */
function formatIPv6(address: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, index) => address.readUInt16BE(index * 2));
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return address.subarray(12).join(".");
  }
  let [bestStart, bestLength] = [0, 1];
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (groups[start + length] === 0) length++;
    if (length > bestLength) [bestStart, bestLength] = [start, length];
  }
  const text = groups.map((group) => group.toString(16));
  if (bestLength === 1) return text.join(":");
  const before = text.slice(0, bestStart).join(":");
  return `${before}::${text.slice(bestStart + bestLength).join(":")}`;
}
