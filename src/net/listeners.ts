/**
 * Open ports: a wanted set, kept open. `sync` opens what is new and closes what is no longer
 * wanted; connections that are open stay with whoever took them.
 *
 * A port that somebody else has costs that port and nothing more: it is reported with its owner,
 * and tried again every few seconds.
 */
import net from "node:net";
import type { Drainable } from "../kit/drain.ts";
import { Failure } from "../kit/failure.ts";
import { portOwner } from "./port-owner.ts";

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Where the system listens for an address and port of the mesh. */
export interface ListenPlan {
  listenAddress(address: string, port: number): HostPort;
  /** It is listened on now, at that port of the host that `listenAddress` gave. */
  bound(address: string, port: number, actualPort: number): void;
  /** Where to dial to reach it. */
  dialAddress(address: string, port: number): HostPort;
}

/** The mesh's addresses are the machine's own. */
export const OWN_ADDRESSES: ListenPlan = {
  listenAddress: (host, port) => ({ host, port }),
  bound() {},
  dialAddress: (host, port) => ({ host, port }),
};

export interface WantedListener {
  /** The mesh's address; where that is listened on is the plan's matter. */
  readonly address: string;
  readonly port: number;
  /** What it is for, in words: `service default/reviews`. */
  readonly purpose: string;
  readonly accept: (socket: net.Socket) => void;
}

export interface ListenerProblem {
  readonly address: string;
  readonly port: number;
  readonly purpose: string;
  readonly message: string;
}

const RETRY_MS = 5_000;

interface Open {
  readonly server: net.Server;
  wanted: WantedListener;
}

export class Listeners implements Drainable {
  readonly #addresses: ListenPlan;
  #wanted: readonly WantedListener[] = [];
  #retry: NodeJS.Timeout | undefined;
  readonly #open = new Map<string, Open>();
  readonly #problems = new Map<string, ListenerProblem>();
  readonly #onProblem: (problem: ListenerProblem) => void;
  readonly #pauseOnConnect: boolean;
  #turn: Promise<void> = Promise.resolve();
  #isDraining = false;

  /** `pauseOnConnect`: nothing is read from a socket, so that it can be passed to a worker. */
  constructor(
    addresses: ListenPlan,
    onProblem: (problem: ListenerProblem) => void,
    options: { readonly pauseOnConnect: boolean } = { pauseOnConnect: false },
  ) {
    this.#addresses = addresses;
    this.#onProblem = onProblem;
    this.#pauseOnConnect = options.pauseOnConnect;
  }

  /** Resolves when every wanted port is open or has been reported. Calls take their turn. */
  sync(wanted: readonly WantedListener[]): Promise<void> {
    this.#wanted = wanted;
    this.#turn = this.#turn.then(() => this.#sync(wanted));
    return this.#turn;
  }

  get problems(): readonly ListenerProblem[] {
    return [...this.#problems.values()];
  }

  get size(): number {
    return this.#open.size;
  }

  /** Where a wanted port is listened on; undefined when it is not. */
  where(address: string, port: number): HostPort | undefined {
    if (!this.#open.has(`${address}:${port}`)) return undefined;
    return this.#addresses.dialAddress(address, port);
  }

  async #sync(wanted: readonly WantedListener[]): Promise<void> {
    if (this.#isDraining) return;
    const keys = new Map(wanted.map((listener) => [keyOf(listener), listener]));
    for (const [key, open] of this.#open) {
      if (keys.has(key)) continue;
      open.server.close();
      this.#open.delete(key);
    }
    for (const key of this.#problems.keys()) if (!keys.has(key)) this.#problems.delete(key);
    const opening: Promise<void>[] = [];
    for (const [key, listener] of keys) {
      const open = this.#open.get(key);
      if (open === undefined) opening.push(this.#listen(key, listener));
      else open.wanted = listener;
    }
    await Promise.all(opening);
    if (this.#problems.size === 0 || this.#retry !== undefined || this.#isDraining) return;
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      void this.sync(this.#wanted);
    }, RETRY_MS).unref();
  }

  async #listen(key: string, wanted: WantedListener): Promise<void> {
    const { address, port } = wanted;
    const where = this.#addresses.listenAddress(address, port);
    const pauseOnConnect = this.#pauseOnConnect;
    const options = { noDelay: true, allowHalfOpen: true, pauseOnConnect };
    const server = net.createServer(options, (socket) => {
      // Until somebody takes it: a client that is gone already is no error of ours.
      socket.on("error", () => {});
      open.wanted.accept(socket);
    });
    const open: Open = { server, wanted };
    const error = await listen(server, where);
    if (error !== undefined) {
      await this.#report(key, wanted, where, error);
      return;
    }
    this.#problems.delete(key);
    this.#addresses.bound(address, port, (server.address() as net.AddressInfo).port);
    if (this.#isDraining) server.close();
    else this.#open.set(key, open);
  }

  async #report(
    key: string,
    { address, port, purpose }: WantedListener,
    where: HostPort,
    error: NodeJS.ErrnoException,
  ): Promise<void> {
    const isNew = !this.#problems.has(key);
    const place = `${where.host}:${where.port}`;
    let message = `${place} for ${purpose} cannot be listened on: ${error.message}`;
    if (error.code === "EADDRINUSE") {
      const owner = await portOwner(where.host, where.port);
      message =
        `${place} for ${purpose} is in use${owner ? ` by ${owner}` : ""}. ` +
        "End that process, or give it another address; until then this port is not served.";
    } else if (error.code === "EACCES") {
      message =
        `${place} for ${purpose} needs a privilege that this process lacks. ` +
        "Allow low ports (sysctl net.ipv4.ip_unprivileged_port_start), or use a higher one.";
    }
    const problem = { address, port, purpose, message };
    this.#problems.set(key, problem);
    if (isNew) this.#onProblem(problem);
  }

  /** No new connections from now on. */
  async drain(): Promise<void> {
    this.#isDraining = true;
    clearTimeout(this.#retry);
    for (const { server } of this.#open.values()) server.close();
    this.#open.clear();
  }

  destroy(): void {
    void this.drain();
  }
}

/** A problem as the end of a process that cannot do without the port. */
export function portFailure({ message }: ListenerProblem): Failure {
  return new Failure("PORT_IN_USE", message);
}

function listen(server: net.Server, where: HostPort): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((resolve) => {
    server.once("error", resolve);
    server.listen({ host: where.host, port: where.port, backlog: 1024 }, () => {
      server.off("error", resolve);
      server.on("error", () => {});
      resolve(undefined);
    });
  });
}

function keyOf(wanted: { address: string; port: number }): string {
  return `${wanted.address}:${wanted.port}`;
}

/** Whether the system lets this process listen on an address. */
export function canListen(host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once("error", () => resolve(false));
    server.listen({ host, port: 0 }, () => server.close(() => resolve(true)));
  });
}
