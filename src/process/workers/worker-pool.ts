/**
 * The workers of a process (DESIGN D13): forked here, given every connection by the fewest
 * streams, the resources in force and the certificates; replaced when they end.
 *
 *     listeners ─ accept ─ Dispatcher ──socket──> worker 0 … N-1
 *     control plane ─ ResourceRelay ──bytes────>     each with the whole state
 *     Certificates ─ CertificateRelay ──keys───>
 *     scrape, admin <─ WorkerMetrics, answers ──
 *
 * A worker that is asked to end (SIGTERM) says so, gets nothing new and drains while its
 * replacement starts. One that dies loses its connections, and nothing else: what was on its way
 * to it goes to another.
 */
import { fork } from "node:child_process";
import net from "node:net";
import type { CertificateSource } from "../../agent/certificates.ts";
import type { Readiness } from "../../agent/readiness.ts";
import type { Drainable } from "../../kit/drain.ts";
import { Failure } from "../../kit/failure.ts";
import { log, logLevel, setLogLevel } from "../../kit/log.ts";
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import { CertificateRelay } from "./certificate-relay.ts";
import { Dispatcher } from "./dispatcher.ts";
import { LineFiles } from "./line-relay.ts";
import type { FromWorker, WantedPort } from "./messages.ts";
import type { ResourceRelay } from "./resource-relay.ts";
import { WorkerMetrics } from "./worker-metrics.ts";
import { type Passenger, type WorkerOwner, WorkerProcess } from "./worker-process.ts";

export interface WorkerPoolOptions {
  readonly count: number;
  /** Which of the worker's programs runs (`runWorker`), and what it is told: plain data. */
  readonly program: string;
  readonly programOptions: unknown;
  /** What is forked; by default this binary, with its hidden command. */
  readonly command?: { readonly modulePath: string; readonly args: readonly string[] };
  readonly relay: ResourceRelay;
  readonly certificates: CertificateSource;
  readonly registry: MetricRegistry;
  /** Gets the condition `workers`. */
  readonly readiness: Readiness;
  /** For a worker that is asked to end by itself. */
  readonly drainTimeoutMs: number;
  /** The ports that the program wants, all of them; told by each worker. */
  readonly onPorts?: (ports: readonly WantedPort[]) => void;
}

/** One of the N places; its worker changes. */
interface Slot {
  readonly index: number;
  worker: WorkerProcess | undefined;
  /** Deaths in a row, soon after the start. */
  failures: number;
  timer: NodeJS.Timeout | undefined;
}

const RESTART_FIRST_MS = 100;
const RESTART_MAX_MS = 30_000;
/** A worker that lived so long was well. */
const WELL_AFTER_MS = 10_000;
const ANSWER_TIMEOUT_MS = 5_000;

export class WorkerPool implements Drainable, WorkerOwner {
  readonly #options: WorkerPoolOptions;
  readonly #log = log("workers");
  readonly #slots: readonly Slot[];
  /** All that live, also those that are leaving. */
  readonly #workers = new Set<WorkerProcess>();
  readonly #listeners = new Set<net.Server>();
  readonly #lines = new LineFiles();
  readonly #certificates: CertificateRelay;
  readonly #metrics: WorkerMetrics;
  readonly #dispatcher: Dispatcher;
  #isDraining = false;
  #hasBeenReady = false;
  #onEmpty: (() => void)[] = [];

  constructor(options: WorkerPoolOptions) {
    this.#options = options;
    this.#slots = Array.from({ length: options.count }, (_, index) => {
      return { index, worker: undefined, failures: 0, timer: undefined };
    });
    this.#certificates = new CertificateRelay(options.certificates);
    this.#metrics = new WorkerMetrics(options.registry, () => this.#workers);
    this.#dispatcher = new Dispatcher({
      workers: () => this.#workers,
      onPassed: (worker) => this.#metrics.countPassed(worker.index),
      onRefused: (reason) => this.#metrics.countRefused(reason),
    });
  }

  start(): void {
    this.#updateReadiness();
    for (const slot of this.#slots) this.#fork(slot);
  }

  /** Listens, and gives what comes to the workers' `accept(socket, entry)`. */
  async listen(host: string, port: number, entry: unknown): Promise<net.AddressInfo> {
    const listener = net.createServer({ pauseOnConnect: true, noDelay: true }, (socket) =>
      this.accept(socket, entry),
    );
    await new Promise<void>((resolve, reject) => {
      listener.once("error", (error) => {
        reject(new Failure("PORT_IN_USE", `${host}:${port}: ${error.message}`, { cause: error }));
      });
      listener.listen(port, host, resolve);
    });
    listener.on("error", (error) => this.#log.error({ reason: error.message }, "accept"));
    this.#listeners.add(listener);
    return listener.address() as net.AddressInfo;
  }

  /** A socket from any listener that makes them with `pauseOnConnect`. */
  accept(socket: net.Socket, entry: unknown): void {
    this.#dispatcher.accept(socket, entry);
  }

  /** Process ids by index, of those that take connections. */
  get pids(): readonly (number | undefined)[] {
    return this.#slots.map(({ worker }) => worker?.pid);
  }

  /** What a worker, any of them, has in force. */
  async configDump(): Promise<unknown> {
    for (const worker of this.#workers) {
      const answer = await worker.ask({ about: "config" }, ANSWER_TIMEOUT_MS);
      if (typeof answer === "string") return JSON.parse(answer);
    }
    return { error: "no worker has answered" };
  }

  /** From the worker that knows it; undefined when none does. */
  async decision(id: string): Promise<unknown> {
    const asked = [...this.#workers].map((worker) =>
      worker.ask({ about: "decision", id }, ANSWER_TIMEOUT_MS),
    );
    const found = (await Promise.all(asked)).find((answer) => typeof answer === "string");
    return found === undefined ? undefined : JSON.parse(found);
  }

  /** In this process and in all workers, those to come as well. */
  setLogLevel(level: string): void {
    setLogLevel(level);
    for (const worker of this.#workers) worker.send({ kind: "log-level", level });
  }

  /** This process's metrics and its workers', as one. */
  exposition(): Promise<Iterable<string>> {
    return this.#metrics.exposition();
  }

  /** After a rotation of the access log. */
  reopenLogs(): void {
    this.#lines.reopen();
  }

  /**
   * Resolves when every worker has finished what it had. Sockets are still passed: how long a late
   * connection is served is the program's to say, and when its listeners close their owner's.
   */
  async drain(deadlineMs = this.#options.drainTimeoutMs): Promise<void> {
    this.#isDraining = true;
    for (const listener of this.#listeners) listener.close();
    for (const slot of this.#slots) clearTimeout(slot.timer);
    for (const worker of this.#workers) if (!worker.isDraining) worker.drain(deadlineMs);
    if (this.#workers.size > 0) await new Promise<void>((resolve) => this.#onEmpty.push(resolve));
    this.#dispatcher.close();
  }

  /** After the drain. */
  async close(): Promise<void> {
    this.#certificates.close();
    await this.#lines.close();
  }

  destroy(): void {
    this.#isDraining = true;
    for (const listener of this.#listeners) listener.close();
    for (const slot of this.#slots) clearTimeout(slot.timer);
    this.#dispatcher.close();
    this.#certificates.close();
    for (const worker of this.#workers) worker.kill();
  }

  // ---- from the workers

  onMessage(worker: WorkerProcess, message: FromWorker): void {
    switch (message.kind) {
      case "readiness":
        worker.isReady = message.isReady;
        worker.reasons = message.reasons;
        this.#updateReadiness();
        this.#dispatcher.resume();
        return;
      case "want-certificate":
        void this.#certificates.want(worker, message.spiffeId);
        return;
      case "release-certificate":
        this.#certificates.release(worker, message.spiffeId);
        return;
      case "lines": {
        const { id, file, bytes } = message;
        this.#lines.write(file, bytes, (error) =>
          worker.send({ kind: "written", id, error: error?.message }),
        );
        return;
      }
      case "ports":
        this.#options.onPorts?.(message.ports);
        return;
      case "leaving":
        this.#onLeaving(worker);
    }
  }

  onTaken(): void {
    this.#dispatcher.resume();
  }

  onReturned(passengers: readonly Passenger[]): void {
    this.#dispatcher.return(passengers);
  }

  onGone(worker: WorkerProcess, how: string): void {
    const { index, pid, hasFinished, ageMs } = worker;
    this.#workers.delete(worker);
    this.#options.relay.leave(worker);
    this.#certificates.leave(worker);
    this.#metrics.retire(worker, hasFinished ? "drained" : "died");
    if (hasFinished) this.#log.info({ worker: index, pid }, "worker has drained");
    else this.#log.error({ worker: index, pid, how, ageMs: Math.round(ageMs) }, "worker died");
    const slot = this.#slots[index]!;
    if (slot.worker === worker) {
      slot.worker = undefined;
      this.#replace(slot, worker);
    }
    this.#updateReadiness();
    if (this.#workers.size > 0) return;
    for (const resolve of this.#onEmpty.splice(0)) resolve();
  }

  #onLeaving(worker: WorkerProcess): void {
    if (worker.isDraining) return;
    const { index, pid } = worker;
    this.#log.info({ worker: index, pid }, "worker drains");
    worker.isLeaving = true;
    worker.drain(this.#options.drainTimeoutMs);
    const slot = this.#slots[index]!;
    if (slot.worker !== worker) return;
    slot.worker = undefined;
    this.#replace(slot, worker);
    this.#updateReadiness();
  }

  // ----

  #fork(slot: Slot): void {
    const { modulePath, args } = this.#options.command ?? ownCommand();
    const child = fork(modulePath, args, {
      serialization: "advanced",
      stdio: ["ignore", "inherit", "inherit", "ipc"],
      env: { ...process.env, WAYSTONE_WORKER: String(slot.index) },
    });
    const worker = new WorkerProcess(slot.index, child, this);
    slot.worker = worker;
    this.#workers.add(worker);
    const { program, programOptions } = this.#options;
    worker.send({
      kind: "start",
      index: slot.index,
      program,
      options: programOptions,
      logLevel: logLevel(),
    });
    this.#certificates.join(worker);
    void this.#options.relay.join(worker);
  }

  /** At once after a good life; else later and later, so that a bad start costs little. */
  #replace(slot: Slot, worker: WorkerProcess): void {
    if (this.#isDraining) return;
    slot.failures = worker.isDraining || worker.ageMs >= WELL_AFTER_MS ? 0 : slot.failures + 1;
    if (slot.failures <= 1) {
      this.#fork(slot);
      return;
    }
    const delayMs = Math.min(RESTART_FIRST_MS * 2 ** (slot.failures - 2), RESTART_MAX_MS);
    this.#log.warn({ worker: slot.index, delayMs }, "worker starts again later");
    slot.timer = setTimeout(() => this.#fork(slot), delayMs);
  }

  /** At first all must be ready; later one is enough to serve. */
  #updateReadiness(): void {
    const { readiness, count } = this.#options;
    const open = [...this.#workers].filter((worker) => worker.isOpen).length;
    if (open === count) this.#hasBeenReady = true;
    if (open > 0 && this.#hasBeenReady) {
      readiness.meet("workers");
      return;
    }
    const waiting = this.#slots.find(({ worker }) => worker?.isOpen !== true);
    const reason = waiting?.worker?.reasons[0] ?? "it has died and starts again";
    const detail = `${open} of ${count} are ready; worker ${waiting?.index ?? 0}: ${reason}`;
    readiness.require("workers", detail);
  }
}

/** This binary's hidden command (cli/commands/worker.ts). */
function ownCommand() {
  return { modulePath: process.argv[1]!, args: ["worker"] };
}
