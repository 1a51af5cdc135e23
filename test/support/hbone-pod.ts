/**
 * A Pod of the mesh as a waypoint meets it: its ztunnel on port 15008, which wants a certificate
 * and takes CONNECT for the Pod's own address, and an application that tells its name. On Node's
 * own HTTP/2, so that it can judge ours.
 */
import { createServer, type Server } from "node:http";
import http2, { type Http2SecureServer } from "node:http2";
import net from "node:net";
import type { TLSSocket } from "node:tls";
import type { TlsIdentity } from "../../src/net/tls.ts";

const HBONE_PORT = 15008;
export const APPLICATION_PORT = 8080;

export class HbonePod {
  /** Who came through the tunnel, at each CONNECT: `<URI names> <authority>`. */
  readonly callers: string[] = [];
  readonly #application: Server;
  readonly #tunnels: Http2SecureServer;
  readonly #sockets = new Set<net.Socket>();

  private constructor(application: Server, tunnels: Http2SecureServer) {
    this.#application = application;
    this.#tunnels = tunnels;
  }

  static async start(name: string, address: string, identity: TlsIdentity): Promise<HbonePod> {
    const application = createServer((request, response) => {
      response.end(JSON.stringify({ pod: name, path: request.url }));
    });
    const tunnels = http2.createSecureServer({
      ...{ cert: identity.certificatePem, key: identity.keyPem, ca: identity.rootsPem },
      ...{ requestCert: true, rejectUnauthorized: true, minVersion: "TLSv1.3" },
    });
    const pod = new HbonePod(application, tunnels);
    pod.#serve(address);
    const listening = (server: net.Server, port: number) =>
      new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(port, address, resolve);
      });
    await listening(application, APPLICATION_PORT);
    await listening(tunnels, HBONE_PORT);
    return pod;
  }

  #serve(address: string): void {
    for (const server of [this.#application, this.#tunnels]) {
      server.on("connection", (socket: net.Socket) => {
        this.#sockets.add(socket);
        socket.on("close", () => this.#sockets.delete(socket));
      });
    }
    this.#tunnels.on("sessionError", () => {});
    this.#tunnels.on("stream", (stream, headers) => {
      const { subjectaltname = "" } = (stream.session!.socket as TLSSocket).getPeerCertificate();
      const authority = headers[":authority"]!;
      this.callers.push(`${subjectaltname} ${authority}`);
      stream.on("error", () => {});
      if (authority !== `${address}:${APPLICATION_PORT}`) {
        stream.respond({ ":status": 400 }, { endStream: true });
        return;
      }
      const socket = net.connect({ host: address, port: APPLICATION_PORT, allowHalfOpen: true });
      socket.on("error", () => stream.close());
      socket.once("connect", () => {
        stream.respond({ ":status": 200 });
        stream.pipe(socket).pipe(stream);
      });
    });
  }

  async stop(): Promise<void> {
    const closed = [this.#application, this.#tunnels].map(
      (server) => new Promise<void>((resolve) => server.close(() => resolve())),
    );
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(closed);
  }
}
