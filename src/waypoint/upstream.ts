/** What an exchange needs of a connection to a backend, whatever protocol that speaks. */

import type { Failure } from "../kit/failure.ts";
import type { ByteStream } from "../net/byte-stream.ts";
import type { HeaderList } from "../net/http2/headers.ts";
import type { UpstreamEndpoint } from "./cluster.ts";
import type { WaypointContext } from "./context.ts";
import type { Dial } from "./dial.ts";
import type { MessageHead } from "./message-head.ts";

/**
 * `reset`: its connection broke; `streamReset`: the peer cut this request alone; `upgrade`: it takes
 * no WebSockets, and was not asked.
 */
export type UpstreamFailure =
  | "reset"
  | "streamReset"
  | "refused"
  | "protocol"
  | "timeout"
  | "upgrade";

/** Names in lower case: name, value, name, value … */
export type Trailers = HeaderList;

/** A request, as a connection to a backend sees it: an exchange, or one of the waypoint's own. */
export interface UpstreamRequest {
  readonly context: WaypointContext;
  readonly endpoint: UpstreamEndpoint | undefined;
  readonly method: string;
  readonly hasRequestBody: boolean;
  /** A WebSocket is asked for. */
  readonly isUpgrade: boolean;
  /** The head, as bytes for HTTP/1.1 … */
  readonly requestHead: Buffer | null;
  readonly requestHeadBytes: number;
  /** … or as a list for HTTP/2. */
  readonly requestList: HeaderList | null;
  /** Who looks for a connection. */
  readonly attempts: {
    dial: Dial | null;
    attach(upstream: Upstream): void;
    onDialFailed(failure: Failure): void;
  };
  /** After an upgrade. */
  readonly relay: {
    down(bytes: Buffer, start: number, end: number, source: ByteStream): void;
    downEnd(): void;
    /** In order; what breaks is `onUpstreamFailed`. */
    closed(): void;
  };
  onInterimHead(head: MessageHead): void;
  onResponseHead(head: MessageHead): void;
  onResponseBody(bytes: Buffer, start: number, end: number, source: ByteStream): void;
  onResponseEnd(trailers: Trailers): void;
  /** 101, or 2xx to an extended CONNECT. False when nobody asked for it. */
  onUpgraded(head: MessageHead): boolean;
  /** The connection broke before the answer was complete. */
  onUpstreamFailed(kind: UpstreamFailure, wasReused: boolean): void;
}

export interface Upstream {
  /** Where relayed bytes go after an upgrade. */
  readonly stream: ByteStream;
  /** Takes a request and sends its head. */
  begin(request: UpstreamRequest): void;
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
