/**
 * The one whose connection is carried: captured on its way, or asking by SOCKS5.
 */
import type { Failure } from "../kit/failure.ts";
import { EarlyBytes } from "../net/early-bytes.ts";
import type { Relay } from "../net/relay.ts";
import type { Socks5Reply, Socks5Request } from "../net/socks5.ts";
import { TcpStream } from "../net/tcp-stream.ts";

export interface OutboundClient {
  /** Keeps what the client sends until the connection stands. `onGone`: it went away meanwhile. */
  hold(onGone: () => void): void;
  /** The connection stands: the client's stream. Called once, and not after `refuse`. */
  take(): TcpStream;
  /** Hands over what was kept. */
  pourInto(relay: Relay): void;
  refuse(failure: Failure): void;
}

export class CapturedClient implements OutboundClient {
  readonly #stream: TcpStream;
  #early: EarlyBytes | undefined;

  constructor(stream: TcpStream) {
    this.#stream = stream;
  }

  hold(onGone: () => void): void {
    this.#early = new EarlyBytes(this.#stream, onGone);
  }

  take(): TcpStream {
    return this.#stream;
  }

  pourInto(relay: Relay): void {
    this.#early?.pourInto(relay);
  }

  /** The application sees its connection reset; why stands in the log. */
  refuse(): void {
    this.#stream.reset("refused");
  }
}

export class SocksClient implements OutboundClient {
  readonly #request: Socks5Request;

  constructor(request: Socks5Request) {
    this.#request = request;
  }

  /** Its socket is not read before it is accepted. */
  hold(): void {}

  take(): TcpStream {
    return new TcpStream(this.#request.accept());
  }

  pourInto(relay: Relay): void {
    if (this.#request.rest.length > 0) relay.pushEarly(this.#request.rest);
  }

  refuse(failure: Failure): void {
    this.#request.refuse(replyTo(failure));
  }
}

function replyTo(failure: Failure): Socks5Reply {
  switch (failure.code) {
    case "UPSTREAM_REFUSED":
      return "notAllowed";
    case "UPSTREAM_CONNECT_TIMEOUT":
      return "ttlExpired";
    case "UPSTREAM_CONNECT_FAILED":
      return "connectionRefused";
    default:
      return "generalFailure";
  }
}
