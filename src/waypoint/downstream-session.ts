/** What an exchange needs of its client's side, whatever protocol that speaks. */
import type { ByteStream } from "../net/byte-stream.ts";
import type { TunnelConnection } from "../net/hbone/tunnel-server.ts";
import type { HeadEdits } from "../net/http1/rewrite.ts";
import type { LocalReply } from "./local-replies.ts";
import type { MessageHead } from "./message-head.ts";
import type { Trailers } from "./upstream.ts";

export interface DownstreamSession {
  readonly isHttp2: boolean;
  /** Where the request's body comes from, and gets its credit. */
  readonly stream: ByteStream;
  readonly connection: TunnelConnection;
  /** The answer's head; `edits` are good for this call. */
  writeHead(head: MessageHead, edits: HeadEdits): void;
  writeInterim(head: MessageHead): void;
  /** The upgrade that was asked for has been made; from here on the stream is the relay's. */
  writeUpgrade(head: MessageHead, edits: HeadEdits): void;
  writeBody(bytes: Buffer, start: number, end: number, source: ByteStream): void;
  writeEnd(trailers: Trailers): void;
  writeLocal(reply: LocalReply, isHead: boolean, isGrpc: boolean): void;
  /** Breaks an answer off in the middle. */
  abort(): void;
  onExchangeEnd(): void;
}
