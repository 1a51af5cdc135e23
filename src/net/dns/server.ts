/**
 * Takes DNS queries over UDP and TCP (RFC 1035 §4.2, RFC 7766) and hands them on; what cannot be
 * read is answered here.
 *
 * Bounded: connections, the queries of one connection that are under way, the time that one may be
 * silent; a client that does not read its answers is not read either.
 */
import dgram from "node:dgram";
import net from "node:net";
import { Failure } from "../../kit/failure.ts";
import { type DnsQuery, parseQuery, refusalOf } from "./message.ts";

export type DnsProtocol = "udp" | "tcp";

export interface DnsRequest {
  readonly query: DnsQuery;
  /** As it came. */
  readonly bytes: Buffer;
  readonly protocol: DnsProtocol;
  readonly remoteAddress: string;
}

export interface DnsHandler {
  /** `answer` is called once. */
  onQuery(request: DnsRequest, answer: (bytes: Buffer) => void): void;
  /** Not a query. */
  onMalformed(protocol: DnsProtocol, remoteAddress: string): void;
  /** There are as many TCP connections as may be. */
  onConnectionRefused(): void;
}

export interface DnsServerOptions {
  /** TCP connections; default 256. */
  readonly maxConnections?: number;
  /** Default 10,000. */
  readonly idleTimeoutMs?: number;
}

const CONNECTIONS_MAX = 256;
const IDLE_TIMEOUT_MS = 10_000;
/** Queries of one TCP connection that wait for their answers. */
const PIPELINED_MAX = 64;
/** A query is a name and a few options. */
const QUERY_BYTES_MAX = 4_096;
/** Answers that wait for a client to read them. */
const UNREAD_BYTES_MAX = 65_536;

export class DnsServer {
  readonly #handler: DnsHandler;
  readonly #maxConnections: number;
  readonly #idleTimeoutMs: number;
  readonly #connections = new Set<Connection>();
  #udp: dgram.Socket | undefined;
  #tcp: net.Server | undefined;

  constructor(handler: DnsHandler, options: DnsServerOptions = {}) {
    this.#handler = handler;
    this.#maxConnections = options.maxConnections ?? CONNECTIONS_MAX;
    this.#idleTimeoutMs = options.idleTimeoutMs ?? IDLE_TIMEOUT_MS;
  }

  /** One port for both; 0: a free one. Resolves with it; rejects with PORT_IN_USE. */
  async listen(host: string, port: number): Promise<number> {
    const tcp = net.createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
    this.#tcp = tcp;
    const refused = (error: Error) =>
      new Failure("PORT_IN_USE", `${host}:${port}: ${error.message}`, { cause: error });
    await new Promise<void>((resolve, reject) => {
      tcp.once("error", (error) => reject(refused(error)));
      tcp.listen(port, host, resolve);
    });
    const bound = (tcp.address() as net.AddressInfo).port;
    const udp = dgram.createSocket(net.isIPv6(host) ? "udp6" : "udp4");
    this.#udp = udp;
    await new Promise<void>((resolve, reject) => {
      udp.once("error", (error) => reject(refused(error)));
      udp.bind(bound, host, resolve);
    });
    udp.removeAllListeners("error");
    // An answer that could not be sent concerns nobody else.
    udp.on("error", () => {});
    udp.on("message", (bytes, remote) => this.#onDatagram(udp, bytes, remote));
    return bound;
  }

  #onDatagram(udp: dgram.Socket, bytes: Buffer, remote: dgram.RemoteInfo): void {
    serve(this.#handler, bytes, "udp", remote.address, (answer) => {
      if (this.#udp === udp && answer !== undefined) {
        udp.send(answer, remote.port, remote.address, () => {});
      }
    });
  }

  #accept(socket: net.Socket): void {
    socket.on("error", () => {});
    if (this.#connections.size >= this.#maxConnections) {
      socket.destroy();
      this.#handler.onConnectionRefused();
      return;
    }
    const connection = new Connection(socket, this.#handler, this.#idleTimeoutMs);
    this.#connections.add(connection);
    socket.once("close", () => this.#connections.delete(connection));
  }

  close(): void {
    this.#udp?.close();
    this.#udp = undefined;
    this.#tcp?.close();
    for (const connection of [...this.#connections]) connection.close();
  }
}

function serve(
  handler: DnsHandler,
  bytes: Buffer,
  protocol: DnsProtocol,
  remoteAddress: string,
  answer: (bytes: Buffer | undefined) => void,
): void {
  const query = parseQuery(bytes);
  if ("rcode" in query) {
    handler.onMalformed(protocol, remoteAddress);
    const { id, rcode } = query;
    answer(rcode === undefined ? undefined : refusalOf({ id, rcode }));
  } else handler.onQuery({ query, bytes, protocol, remoteAddress }, answer);
}

class Connection {
  readonly #socket: net.Socket;
  readonly #handler: DnsHandler;
  readonly #remoteAddress: string;
  #received: Buffer = Buffer.alloc(0);
  #underWay = 0;
  #isEnded = false;

  constructor(socket: net.Socket, handler: DnsHandler, idleTimeoutMs: number) {
    this.#socket = socket;
    this.#handler = handler;
    this.#remoteAddress = socket.remoteAddress ?? "";
    socket.setTimeout(idleTimeoutMs, () => socket.destroy());
    socket.on("data", (chunk) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      this.#read();
    });
    socket.on("drain", () => this.#read());
    socket.on("end", () => {
      this.#isEnded = true;
      this.#read();
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(): void {
    while (!this.#isFull() && !this.#socket.destroyed) {
      const length = this.#received.length < 2 ? 0 : 2 + this.#received.readUInt16BE(0);
      if (length > 2 + QUERY_BYTES_MAX) {
        this.#handler.onMalformed("tcp", this.#remoteAddress);
        this.#socket.destroy();
        return;
      }
      if (length === 0 || this.#received.length < length) break;
      const message = this.#received.subarray(2, length);
      this.#received = this.#received.subarray(length);
      this.#underWay++;
      serve(this.#handler, message, "tcp", this.#remoteAddress, (answer) => this.#answer(answer));
    }
    if (this.#isFull()) this.#socket.pause();
    else this.#socket.resume();
    if (this.#isEnded && this.#underWay === 0) this.#socket.end();
  }

  #isFull(): boolean {
    return this.#underWay >= PIPELINED_MAX || this.#socket.writableLength > UNREAD_BYTES_MAX;
  }

  #answer(bytes: Buffer | undefined): void {
    this.#underWay--;
    if (this.#socket.destroyed) return;
    if (bytes === undefined) {
      // It sent an answer: whatever it is, it is not a client.
      this.#socket.destroy();
      return;
    }
    const length = Buffer.alloc(2);
    length.writeUInt16BE(bytes.length);
    this.#socket.write(Buffer.concat([length, bytes]));
    // Not at once: answers that are ready would nest as deep as there are queries.
    setImmediate(() => {
      if (!this.#socket.destroyed) this.#read();
    });
  }
}
