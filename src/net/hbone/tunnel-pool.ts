/** Tunnels to others (skeleton). */
import type { Failure } from "../../kit/failure.ts";
import type { Http2Limits } from "../http2/limits.ts";
import type { HeaderList } from "../http2/headers.ts";
import type { Http2Stream } from "../http2/stream.ts";
import type { TlsIdentity } from "../tls.ts";

/** Where a tunnel leads, and as whom. */
export interface TunnelTarget {
  readonly host: string;
  readonly port: number;
  /** The SPIFFE ids of which the server must prove one. */
  readonly expected: readonly string[];
  /** Read at each new connection; undefined fails the tunnels that wait for it. */
  readonly identity: () => TlsIdentity | undefined;
  readonly sourceAddress: string | undefined;
  /** Tunnels of different keys never share a connection: the client's identity. */
  readonly poolKey: string;
}

export interface TunnelRequest {
  readonly authority: string;
  /** baggage, forwarded, … */
  readonly headers: HeaderList;
}

/** One of the two is called, once, unless the opening is aborted. */
export interface TunnelListener {
  onOpen(stream: Http2Stream, responseHeaders: HeaderList): void;
  /** `status` 0: there was no answer. */
  onRefused(failure: Failure, status: number): void;
}

export interface TunnelPoolOptions {
  readonly connectTimeoutMs: number;
  readonly maxStreamsPerConnection: number;
  readonly idleTimeoutMs: number;
  readonly limits: Http2Limits;
  /** Tunnels that may wait for connections of one target; default 1024. */
  readonly maxWaiting?: number;
}

export interface TunnelPoolStats {
  readonly connections: number;
  readonly connecting: number;
  readonly streams: number;
  readonly waiting: number;
}

export class TunnelPool {
  // biome-ignore lint/complexity/noUselessConstructor: skeleton
  constructor(_options: TunnelPoolOptions) {}

  open(_target: TunnelTarget, _request: TunnelRequest, _listener: TunnelListener): { abort(): void } {
    throw new Error("not written yet");
  }

  get stats(): TunnelPoolStats {
    return { connections: 0, connecting: 0, streams: 0, waiting: 0 };
  }

  drain(): Promise<void> {
    return Promise.resolve();
  }

  destroy(): void {}
}
