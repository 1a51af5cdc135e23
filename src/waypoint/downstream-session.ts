/** What an exchange needs of its client's side, whatever protocol that speaks. */
import type { ByteStream } from "../net/byte-stream.ts";
import type { TunnelConnection } from "../net/hbone/tunnel-server.ts";
import type { Http1Head } from "../net/http1/head.ts";
import type { LocalReply } from "./local-replies.ts";
import type { MessageHead } from "./message-head.ts";
import type { Trailers } from "./upstream.ts";

export interface DownstreamSession {
  readonly isHttp2: boolean;
  /** Where the request's body comes from, and gets its credit. */
  readonly stream: ByteStream;
  readonly connection: TunnelConnection;
  writeHead(head: MessageHead, upstreamServiceTimeMs: number): void;
  writeInterim(head: MessageHead): void;
  writeUpgrade(head: Http1Head): void;
  writeBody(bytes: Buffer, start: number, end: number, source: ByteStream): void;
  writeEnd(trailers: Trailers): void;
  writeLocal(reply: LocalReply, isHead: boolean, isGrpc: boolean): void;
  /** Breaks an answer off in the middle. */
  abort(): void;
  onExchangeEnd(): void;
}
