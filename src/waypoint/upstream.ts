/** What an exchange needs of a connection to a backend, whatever protocol that speaks. */
import type { ByteStream } from "../net/byte-stream.ts";
import type { HeaderList } from "../net/http2/headers.ts";
import type { Exchange } from "./exchange.ts";

/** `reset`: its connection broke; `streamReset`: the peer cut this request alone. */
export type UpstreamFailure = "reset" | "streamReset" | "refused" | "protocol" | "timeout";

/** Names in lower case: name, value, name, value … */
export type Trailers = HeaderList;

export interface Upstream {
  /** Where relayed bytes go after an upgrade. */
  readonly stream: ByteStream;
  /** Takes an exchange and sends its request's head. */
  begin(exchange: Exchange): void;
  /** `isChunked`: the body's length is not known. */
  sendBody(
    bytes: Buffer,
    start: number,
    end: number,
    source: ByteStream | null,
    isChunked: boolean,
  ): void;
  endRequest(trailers: Trailers, isChunked: boolean): void;
  /** The exchange has no more use for it, in the middle of things. */
  cancel(): void;
}
