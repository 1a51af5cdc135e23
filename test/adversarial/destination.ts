/**
 * What stands behind the proxies: a destination's ztunnel by hand, and the backend inside it. By
 * default it is honest (CONNECT is answered 200, every HTTP/1.1 request `200 ok`, every stream of
 * HTTP/2 likewise, TCP is echoed); a dialogue says where it lies.
 */
import tls from "node:tls";
import { block, END_HEADERS, END_STREAM, frame, OK_BLOCK, settings, T } from "../support/peer.ts";
import { FramePeer, inside, type Seen } from "./wire.ts";

/** One CONNECT that arrived. */
export interface Arrived {
  readonly outer: FramePeer;
  readonly id: number;
  readonly authority: string;
  send(bytes: Buffer | string, isEnd?: boolean): void;
}

export interface Lies {
  /** A connection stands; true: nothing is done but what this does. */
  onConnection?(outer: FramePeer, socket: tls.TLSSocket): boolean;
  /** A CONNECT; true: it is not answered. */
  onConnect?(arrived: Arrived): boolean;
  /** Bytes of an HTTP/1.1 request, head by head; true: it is not answered. */
  onRequest?(arrived: Arrived, head: string): boolean;
  /** A frame of HTTP/2 inside; true: it is not answered. */
  onInnerFrame?(inner: FramePeer, seen: Seen): boolean;
}

export const HTTP_OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

export class Destination {
  readonly #server: tls.Server;
  readonly sockets = new Set<tls.TLSSocket>();
  lies: Lies = {};
  /** Request lines that reached an HTTP/1.1 backend. */
  readonly requests: string[] = [];
  readonly tunnels: string[] = [];

  constructor(identity: { key: string; cert: string; ca: string }) {
    this.#server = tls.createServer(
      { ...identity, ALPNProtocols: ["h2"], minVersion: "TLSv1.3", requestCert: true },
      (socket) => this.#accept(socket),
    );
    this.#server.on("tlsClientError", () => {});
  }

  listen(): Promise<number> {
    return new Promise((resolve) => {
      this.#server.listen(0, "127.0.0.1", () => {
        resolve((this.#server.address() as { port: number }).port);
      });
    });
  }

  close(): void {
    this.#server.close();
    for (const socket of this.sockets) socket.destroy();
  }

  /** Every connection is cut, so that the next dialogue has new ones. */
  forget(): void {
    this.lies = {};
    this.requests.length = 0;
    this.tunnels.length = 0;
    for (const socket of this.sockets) socket.destroy();
  }

  #accept(socket: tls.TLSSocket): void {
    this.sockets.add(socket);
    socket.setNoDelay(true);
    socket.on("error", () => {});
    const outer = new FramePeer({
      write: (bytes) => {
        if (!socket.destroyed) socket.write(bytes);
      },
      end: () => socket.end(),
      destroy: () => socket.destroy(),
    });
    socket.once("close", () => {
      outer.isClosed = true;
      this.sockets.delete(socket);
    });
    outer.onFrame = (seen) => {
      if (seen.type === T.headers) this.#onConnect(outer, seen);
    };
    const isLie = this.lies.onConnection?.(outer, socket) ?? false;
    socket.on("data", (bytes: Buffer) => outer.push(bytes));
    if (!isLie) outer.send(settings([3, 1000], [4, 1_048_576]));
  }

  #onConnect(outer: FramePeer, { id, payload }: Seen): void {
    // Literals or not, the authority's digits stand in the block somewhere; ports tell enough.
    const authority = /:(\d{4,5})/.exec(payload.toString("latin1"))?.[0] ?? "";
    this.tunnels.push(authority);
    const arrived: Arrived = {
      outer,
      id,
      authority,
      send: (bytes, isEnd = false) => {
        const body = Buffer.from(bytes as string, "latin1");
        for (let at = 0; at < body.length; at += 16_384) {
          outer.send(frame(T.data, 0, id, body.subarray(at, at + 16_384)));
        }
        if (isEnd) outer.send(frame(T.data, END_STREAM, id));
      },
    };
    if (this.lies.onConnect?.(arrived)) return;
    this.accept(arrived);
  }

  /** CONNECT is answered, and what comes is served by what it looks like. */
  accept(arrived: Arrived): void {
    const { outer, id } = arrived;
    outer.send(frame(T.headers, END_HEADERS, id, OK_BLOCK));
    let text = "";
    outer.takers.set(id, (bytes, isEnd) => {
      text += bytes.toString("latin1");
      if (text.startsWith("PRI * HTTP/2")) {
        const inner = inside(outer, id);
        inner.onFrame = (seen) => this.#onInnerFrame(inner, seen);
        inner.send(settings([3, 1000]));
        inner.push(Buffer.from(text, "latin1"));
        return;
      }
      for (let end = text.indexOf("\r\n\r\n"); end >= 0; end = text.indexOf("\r\n\r\n")) {
        const head = text.slice(0, end + 4);
        text = text.slice(end + 4);
        if (!/^[A-Z]+ \S+ HTTP/.test(head)) continue;
        this.requests.push(head.slice(0, head.indexOf("\r\n")));
        if (!this.lies.onRequest?.(arrived, head)) arrived.send(HTTP_OK);
      }
      if (isEnd) arrived.send("", true);
    });
  }

  #onInnerFrame(inner: FramePeer, seen: Seen): void {
    if (this.lies.onInnerFrame?.(inner, seen)) return;
    if (seen.type !== T.headers) return;
    inner.send(
      frame(T.headers, END_HEADERS, seen.id, block(":status", "200", "content-length", "2")),
      frame(T.data, END_STREAM, seen.id, "ok"),
    );
  }
}
