/**
 * The mesh's own ports on 127.0.0.1 (and ::1, where the system has it): admin, metrics, readiness
 * and SOCKS5. A usual port that is taken is replaced by a free one, unless it was asked for.
 */
import net from "node:net";
import type { Drainable } from "../kit/drain.ts";
import { Failure } from "../kit/failure.ts";
import { canListen, type HostPort } from "../net/listeners.ts";
import { portOwner } from "../net/port-owner.ts";
import type { AdminServer } from "./admin-server.ts";

const LOOPBACK = "127.0.0.1";
const LOOPBACK6 = "::1";

/** `asked` undefined: the usual one, or a free one when that is taken. */
export async function listenAdmin(
  server: AdminServer,
  usual: number,
  asked: number | undefined,
): Promise<HostPort> {
  try {
    await server.listen(LOOPBACK, asked ?? usual);
  } catch (caught) {
    if (asked !== undefined) throw await named(caught, { host: LOOPBACK, port: asked });
    await server.listen(LOOPBACK, 0);
  }
  return { host: LOOPBACK, port: server.port };
}

/** The same port on ::1: a convenience that is left out when there is no ::1 or it is taken. */
export async function listenLoopback6(server: AdminServer, port: number): Promise<void> {
  if (await canListen(LOOPBACK6)) await server.listen(LOOPBACK6, port).catch(() => {});
}

/** Listens there and nowhere else. */
export async function listenAt(server: AdminServer, where: HostPort): Promise<void> {
  try {
    await server.listen(where.host, where.port);
  } catch (caught) {
    throw await named(caught, where);
  }
}

/** Names the owner of a port in use, and the way out. */
async function named(caught: unknown, { host, port }: HostPort): Promise<unknown> {
  if (!(caught instanceof Failure) || caught.code !== "PORT_IN_USE") return caught;
  const owner = await portOwner(host, port);
  const detail =
    `port ${port} is in use${owner ? ` by ${owner}` : ""}. ` +
    "End that process, or choose another port (0 takes a free one)";
  return new Failure("PORT_IN_USE", detail, { cause: caught });
}

async function opened(server: net.Server | Error, where: HostPort): Promise<number> {
  if (!(server instanceof Error)) return (server.address() as net.AddressInfo).port;
  throw await named(new Failure("PORT_IN_USE", server.message, { cause: server }), where);
}

export class SocksPort implements Drainable {
  readonly #servers: net.Server[] = [];
  readonly #accept: (socket: net.Socket) => void;
  readonly #pauseOnConnect: boolean;

  /** `pauseOnConnect`: nothing is read from a socket, so that it can be passed to a worker. */
  constructor(
    accept: (socket: net.Socket) => void,
    options: { readonly pauseOnConnect: boolean } = { pauseOnConnect: false },
  ) {
    this.#accept = accept;
    this.#pauseOnConnect = options.pauseOnConnect;
  }

  async listen(usual: number, asked: number | undefined): Promise<HostPort> {
    const where = { host: LOOPBACK, port: asked ?? usual };
    const first = await this.#listen(LOOPBACK, where.port);
    const isReplaced = first instanceof Error && asked === undefined;
    const server = isReplaced ? await this.#listen(LOOPBACK, 0) : first;
    const port = await opened(server, where);
    // The same port on ::1 is a convenience; somebody else may have it.
    if (await canListen(LOOPBACK6)) await this.#listen(LOOPBACK6, port);
    return { host: LOOPBACK, port };
  }

  /** There and nowhere else. */
  async listenAt(where: HostPort): Promise<HostPort> {
    const port = await opened(await this.#listen(where.host, where.port), where);
    return { host: where.host, port };
  }

  async drain(): Promise<void> {
    for (const server of this.#servers) server.close();
  }

  destroy(): void {
    for (const server of this.#servers) server.close();
  }

  #listen(host: string, port: number): Promise<net.Server | Error> {
    return new Promise((resolve) => {
      const pauseOnConnect = this.#pauseOnConnect;
      const options = { noDelay: true, allowHalfOpen: true, pauseOnConnect };
      const server = net.createServer(options, (socket) => {
        socket.on("error", () => {});
        this.#accept(socket);
      });
      server.once("error", resolve);
      server.listen({ host, port }, () => {
        server.off("error", resolve);
        server.on("error", () => {});
        this.#servers.push(server);
        resolve(server);
      });
    });
  }
}
