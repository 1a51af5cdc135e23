/** The end of tunnels (skeleton). */
import type net from "node:net";
import type { Failure } from "../../kit/failure.ts";
import type { HeaderList } from "../http2/headers.ts";
import type { Http2Limits } from "../http2/limits.ts";
import type { Http2Stream } from "../http2/stream.ts";
import type { TlsIdentity } from "../tls.ts";

export interface TunnelConnection {
  /** SPIFFE id. */
  readonly peer: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;
  /** The owner's state per connection. */
  data: unknown;
}

export interface TunnelHandler {
  onConnect(
    stream: Http2Stream,
    request: { authority: string; headers: HeaderList },
    connection: TunnelConnection,
  ): void;
  onTlsFailure?(failure: Failure, remoteAddress: string): void;
}

export interface TunnelServerOptions {
  readonly identity: () => TlsIdentity | undefined;
  readonly trustDomains: () => readonly string[];
  readonly limits: Http2Limits;
  /** For the TLS handshake, and again for the HTTP/2 preface behind it. */
  readonly handshakeTimeoutMs: number;
  /** Default 20,000. */
  readonly maxConnections?: number;
  /** Default 1,000. */
  readonly maxHandshakes?: number;
}

export class TunnelServer {
  // biome-ignore lint/complexity/noUselessConstructor: skeleton
  constructor(_options: TunnelServerOptions, _handler: TunnelHandler) {}

  accept(_socket: net.Socket): void {}

  listen(_host: string, _port: number): Promise<void> {
    return Promise.resolve();
  }

  get connectionCount(): number {
    return 0;
  }

  drain(): Promise<void> {
    return Promise.resolve();
  }

  destroy(): void {}
}
