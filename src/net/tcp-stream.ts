/** A TCP connection as a ByteStream (skeleton). */
import type net from "node:net";
import type { Failure } from "../kit/failure.ts";
import { ByteStream, type ResetReason } from "./byte-stream.ts";

export class TcpStream extends ByteStream {
  readonly isClosed: boolean = false;
  readonly queuedBytes: number = 0;

  // biome-ignore lint/complexity/noUselessConstructor: skeleton
  constructor(_socket: net.Socket, _highWaterBytes?: number) {
    super();
  }
  write(_bytes: Buffer, _start: number, _end: number, _source: ByteStream | null): void {}
  end(): void {}
  reset(_reason: ResetReason): void {}
  credit(_count: number): void {}
}

export interface ConnectTcpOptions {
  readonly host: string;
  readonly port: number;
  readonly localAddress?: string | undefined;
  readonly timeoutMs: number;
}

export function connectTcp(
  _options: ConnectTcpOptions,
  _done: (result: net.Socket | Failure) => void,
): { abort(): void } {
  throw new Error("not written yet");
}
