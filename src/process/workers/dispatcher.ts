/**
 * Gives each new connection to the worker with the fewest streams. Connections for which no worker
 * is open wait a while: the last worker may have died a moment ago.
 */
import type net from "node:net";
import type { Passenger, WorkerProcess } from "./worker-process.ts";

/** What is looked at of a worker. */
export type Candidate = Pick<
  WorkerProcess,
  "index" | "isOpen" | "streams" | "connections" | "passengerCount" | "pass"
>;

export type RefusalReason = "no_worker" | "queue_full";

export interface DispatcherOptions {
  /** The workers that may be chosen. */
  readonly workers: () => Iterable<Candidate>;
  readonly onPassed: (worker: Candidate) => void;
  readonly onRefused: (reason: RefusalReason) => void;
}

/** On their way to one worker: the channel passes one socket at a time. */
const PASSENGERS_MAX = 256;
const WAITING_MAX = 1024;
/** A client gives up on a handshake about then, too. */
const WAIT_MS = 10_000;

export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #waiting: { readonly passenger: Passenger; readonly untilMs: number }[] = [];
  #timer: NodeJS.Timeout | undefined;
  #lastIndex = -1;
  #isClosed = false;

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  accept(socket: net.Socket, entry: unknown): void {
    // Nobody reads here: an error is the worker's to see.
    socket.on("error", () => {});
    this.#dispatch({ socket, entry });
  }

  /** Back from a worker that never got it. */
  return(passengers: readonly Passenger[]): void {
    for (const passenger of passengers) this.#dispatch(passenger);
  }

  /** A worker has room, or a new one is ready. */
  resume(): void {
    while (this.#waiting.length > 0) {
      const worker = this.#choose();
      if (worker === undefined) return;
      this.#pass(worker, this.#waiting.shift()!.passenger);
    }
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    for (const { passenger } of this.#waiting.splice(0)) this.#refuse(passenger, "no_worker");
  }

  #dispatch(passenger: Passenger): void {
    const worker = this.#waiting.length > 0 ? undefined : this.#choose();
    if (worker !== undefined) this.#pass(worker, passenger);
    else if (this.#isClosed) this.#refuse(passenger, "no_worker");
    else if (this.#waiting.length >= WAITING_MAX) this.#refuse(passenger, "queue_full");
    else {
      this.#waiting.push({ passenger, untilMs: performance.now() + WAIT_MS });
      this.#timer ??= setTimeout(() => this.#expire(), WAIT_MS);
    }
  }

  #pass(worker: Candidate, { socket, entry }: Passenger): void {
    this.#lastIndex = worker.index;
    worker.pass(socket, entry);
    this.#options.onPassed(worker);
  }

  /** Fewest streams; then fewest connections; then the next in turn. */
  #choose(): Candidate | undefined {
    let best: Candidate | undefined;
    for (const worker of this.#options.workers()) {
      if (!worker.isOpen || worker.passengerCount >= PASSENGERS_MAX) continue;
      if (best === undefined || this.#isBetter(worker, best)) best = worker;
    }
    return best;
  }

  #isBetter(worker: Candidate, best: Candidate): boolean {
    if (worker.streams !== best.streams) return worker.streams < best.streams;
    if (worker.connections !== best.connections) return worker.connections < best.connections;
    return worker.index > this.#lastIndex && best.index <= this.#lastIndex;
  }

  #expire(): void {
    this.#timer = undefined;
    const nowMs = performance.now();
    while (this.#waiting.length > 0 && this.#waiting[0]!.untilMs <= nowMs) {
      this.#refuse(this.#waiting.shift()!.passenger, "no_worker");
    }
    const [next] = this.#waiting;
    if (next) this.#timer = setTimeout(() => this.#expire(), next.untilMs - nowMs);
  }

  #refuse({ socket }: Passenger, reason: RefusalReason): void {
    socket.destroy();
    this.#options.onRefused(reason);
  }
}
