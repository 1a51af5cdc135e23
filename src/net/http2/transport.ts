/**
 * What an HTTP/2 connection reads from and writes to: a socket here; a CONNECT stream when HTTP/2
 * is spoken inside a tunnel.
 */
import type net from "node:net";
import { onSocketBytes } from "../socket-reads.ts";

export interface TransportReceiver {
  /** Valid during the call only. */
  onBytes(bytes: Buffer, start: number, end: number): void;
  onEnd(): void;
  onClosed(error: Error | undefined): void;
}

export interface Transport {
  /** What is written to it is written to a stream of another connection. */
  readonly isNested: boolean;
  /** Sends one buffer; it belongs to the transport until `done` is called. */
  write(bytes: Buffer, length: number, done: () => void): void;
  /** No more `onBytes` until `resumeReading`. */
  pauseReading(): void;
  resumeReading(): void;
  end(): void;
  destroy(): void;
  attach(receiver: TransportReceiver): void;
}

/** A TCP or TLS socket. */
export class SocketTransport implements Transport {
  readonly isNested = false;
  readonly #socket: net.Socket;

  constructor(socket: net.Socket) {
    this.#socket = socket;
  }

  write(bytes: Buffer, length: number, done: () => void): void {
    this.#socket.write(length === bytes.length ? bytes : bytes.subarray(0, length), done);
  }

  pauseReading(): void {
    this.#socket.pause();
  }

  resumeReading(): void {
    this.#socket.resume();
  }

  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  attach(receiver: TransportReceiver): void {
    const socket = this.#socket;
    let failure: Error | undefined;
    // What leaves together is gathered by the connection already.
    socket.setNoDelay(true);
    if (socket.destroyed) {
      setImmediate(() => receiver.onClosed(undefined));
      return;
    }
    onSocketBytes(socket, (bytes, start, end) => receiver.onBytes(bytes, start, end));
    socket.on("end", () => receiver.onEnd());
    socket.on("error", (error) => {
      failure = error;
    });
    socket.on("close", () => receiver.onClosed(failure));
    socket.resume();
  }
}
