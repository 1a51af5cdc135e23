/**
 * A gRPC server over TLS with the control plane's certificate, and a client's transport to it, for
 * tests of one service at a time.
 */
import { createSecureServer, type Http2SecureServer, type ServerHttp2Session } from "node:http2";
import type { AddressInfo } from "node:net";
import type { ConnectRouter, Transport } from "@connectrpc/connect";
import { connectNodeAdapter, createGrpcTransport } from "@connectrpc/connect-node";

export class GrpcPeer {
  readonly #server: Http2SecureServer;
  readonly #sessions = new Set<ServerHttp2Session>();

  private constructor(server: Http2SecureServer) {
    this.#server = server;
    server.on("session", (session) => {
      this.#sessions.add(session);
      session.on("close", () => this.#sessions.delete(session));
    });
  }

  static async listen(
    routes: (router: ConnectRouter) => void,
    tls: { readonly certPem: string; readonly keyPem: string },
  ): Promise<GrpcPeer> {
    const handler = connectNodeAdapter({ routes });
    const server = createSecureServer({ cert: tls.certPem, key: tls.keyPem }, handler);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new GrpcPeer(server);
  }

  transport(rootsPem: string): Transport {
    const { port } = this.#server.address() as AddressInfo;
    const baseUrl = `https://localhost:${port}`;
    return createGrpcTransport({ baseUrl, nodeOptions: { ca: rootsPem } });
  }

  async close(): Promise<void> {
    for (const session of this.#sessions) session.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
