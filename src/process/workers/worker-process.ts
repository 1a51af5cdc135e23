/**
 * One worker, as its parent sees it: a child process, what it has been given and not yet taken,
 * what it has been asked and not yet answered.
 *
 *     starting ──ready──> ready ──leaving──> leaving ──farewell──> gone
 *         └──────────────────┴─────── death ────┴───────────────────^
 *
 * A socket stays open here until the worker says that it has it, so a worker that dies with
 * sockets on their way to it loses none of them: they come back by `onGone`.
 */
import type { ChildProcess } from "node:child_process";
import type net from "node:net";
import { log } from "../../kit/log.ts";
import type { MetricsSnapshot } from "../../telemetry/metrics.ts";
import type { ResourceType, RevisionStamp } from "../../wire/resource.ts";
import type { FromWorker, Question, ToWorker, WorkerLoad } from "./messages.ts";
import type { PackedResources } from "./packed-resources.ts";
import type { RelayWorker } from "./resource-relay.ts";

export interface Passenger {
  readonly socket: net.Socket;
  readonly entry: unknown;
}

export interface WorkerOwner {
  /** Messages that concern others: certificates, lines, readiness, leaving. */
  onMessage(worker: WorkerProcess, message: FromWorker): void;
  /** It has taken a connection: there is room for another. */
  onTaken(worker: WorkerProcess): void;
  /** Connections that never reached it. */
  onReturned(passengers: readonly Passenger[]): void;
  onGone(worker: WorkerProcess, how: string): void;
}

/** How often a worker is asked whether it lives, and how many silences are its end. */
const LIFE_INTERVAL_MS = 5_000;
const SILENCES_MAX = 6;
/** For a process that has said farewell to end. */
const EXIT_GRACE_MS = 2_000;

export class WorkerProcess implements RelayWorker {
  readonly index: number;
  readonly #child: ChildProcess;
  readonly #owner: WorkerOwner;
  readonly #log = log("workers");
  /** By id, ascending: ids count up, and the channel keeps the order. */
  readonly #passengers = new Map<number, Passenger>();
  readonly #questions = new Map<number, (answer: unknown) => void>();
  readonly #startedMs = performance.now();
  readonly #lifeTimer: NodeJS.Timeout;
  #nextQuestion = 1;
  #lastPassed = 0;
  #load: WorkerLoad = { streams: 0, connections: 0 };
  #loadUpTo = 0;
  #silences = 0;
  #hasExited = false;
  #isGone = false;
  #killTimer: NodeJS.Timeout | undefined;
  isReady = false;
  /** It gets nothing new: others are there. */
  isLeaving = false;
  /** It has been told to end. */
  isDraining = false;
  /** It has finished all it had. */
  hasFinished = false;
  /** What it waits for before it is ready. */
  reasons: readonly string[] = ["starting"];
  /** The latest counts that it has told. */
  metrics: MetricsSnapshot | undefined;

  constructor(index: number, child: ChildProcess, owner: WorkerOwner) {
    this.index = index;
    this.#child = child;
    this.#owner = owner;
    child.on("message", (message) => this.#onMessage(message as FromWorker));
    child.on("error", (error) => this.#onError(error));
    child.on("disconnect", () => this.#onDisconnect());
    child.on("exit", () => this.#onExit());
    this.#lifeTimer = setInterval(() => this.#checkLife(), LIFE_INTERVAL_MS);
    this.#lifeTimer.unref();
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get ageMs(): number {
    return performance.now() - this.#startedMs;
  }

  get isOpen(): boolean {
    return this.isReady && !this.isLeaving && !this.#isGone && this.#child.connected;
  }

  /** What it has, as far as is known: what it said, and one stream for each connection since. */
  get streams(): number {
    return this.#load.streams + this.#lastPassed - this.#loadUpTo;
  }

  get connections(): number {
    return this.#load.connections + this.#lastPassed - this.#loadUpTo;
  }

  get passengerCount(): number {
    return this.#passengers.size;
  }

  send(message: ToWorker): void {
    if (this.#child.connected) this.#child.send(message, undefined, undefined, ignoreError);
  }

  /** `socket` must not have been read. */
  pass(socket: net.Socket, entry: unknown): void {
    const id = ++this.#lastPassed;
    this.#passengers.set(id, { socket, entry });
    const { allowHalfOpen } = socket;
    const message: ToWorker = { kind: "connection", id, entry, allowHalfOpen };
    // Kept open: Node's own way closes what is on its way to a worker that dies.
    this.#child.send(message, socket, { keepOpen: true }, ignoreError);
  }

  /** Undefined: it is gone, or it was too slow. */
  ask(question: Question, timeoutMs?: number): Promise<unknown> {
    if (this.#isGone || !this.#child.connected) return Promise.resolve(undefined);
    const id = this.#nextQuestion++;
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | undefined;
      if (timeoutMs !== undefined) timer = setTimeout(() => answered(undefined), timeoutMs);
      const answered = (answer: unknown) => {
        clearTimeout(timer);
        this.#questions.delete(id);
        resolve(answer);
      };
      this.#questions.set(id, answered);
      this.send({ kind: "question", id, question });
    });
  }

  stage(type: ResourceType, upserted: PackedResources, removed: readonly string[]) {
    const question: Question = { about: "stage", type, upserted, removed };
    return this.ask(question) as Promise<readonly string[] | undefined>;
  }

  commit(revision: RevisionStamp) {
    const question: Question = { about: "commit", revision };
    return this.ask(question) as Promise<{ refusal: string | undefined } | undefined>;
  }

  dismiss(why: string): void {
    this.#log.error({ worker: this.index, pid: this.pid, why }, "worker dismissed");
    this.kill();
  }

  /** It finishes what it has until the deadline, and ends. */
  drain(deadlineMs: number): void {
    this.isDraining = true;
    this.send({ kind: "drain", deadlineMs });
    clearTimeout(this.#killTimer);
    this.#killTimer = setTimeout(() => this.kill(), deadlineMs + EXIT_GRACE_MS);
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }

  #onMessage(message: FromWorker): void {
    switch (message.kind) {
      case "taken":
        this.#onTaken(message.id);
        return;
      case "load":
        this.#load = message.load;
        this.#loadUpTo = message.upTo;
        return;
      case "answer":
        this.#questions.get(message.id)?.(message.answer);
        return;
      case "farewell":
        this.metrics = message.metrics as MetricsSnapshot;
        this.hasFinished = true;
        return;
      default:
        this.#owner.onMessage(this, message);
    }
  }

  #onTaken(id: number): void {
    const passenger = this.#passengers.get(id);
    this.#passengers.delete(id);
    passenger?.socket.destroy();
    this.#owner.onTaken(this);
  }

  #checkLife(): void {
    if (this.#silences >= SILENCES_MAX) {
      this.dismiss(`silent for ${(SILENCES_MAX * LIFE_INTERVAL_MS) / 1000} s`);
      return;
    }
    this.#silences++;
    const passed = this.#lastPassed;
    void this.ask({ about: "life" }).then((answer) => {
      if (answer === undefined) return;
      this.#silences = 0;
      // It has seen all that was sent before: sockets among it that it did not take got lost,
      // since it had no descriptor left for them.
      this.#return((id) => id <= passed);
    });
  }

  #return(isLost: (id: number) => boolean): void {
    const lost = [...this.#passengers].filter(([id]) => isLost(id));
    for (const [id] of lost) this.#passengers.delete(id);
    if (lost.length > 0) this.#owner.onReturned(lost.map(([, passenger]) => passenger));
  }

  #onError(error: Error): void {
    this.#log.error({ worker: this.index, reason: error.message }, "worker");
    // It was never started: no other event will come.
    if (this.#child.pid === undefined) this.#onExit();
  }

  /** All that it said has been read. */
  #onDisconnect(): void {
    if (this.#hasExited) this.#end();
    else {
      this.#settle();
      clearTimeout(this.#killTimer);
      this.#killTimer = setTimeout(() => this.kill(), EXIT_GRACE_MS);
    }
  }

  #onExit(): void {
    this.#hasExited = true;
    if (!this.#child.connected) this.#end();
  }

  /** Nothing more is to be expected from it. */
  #settle(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    clearInterval(this.#lifeTimer);
    for (const answered of [...this.#questions.values()]) answered(undefined);
    this.#return(() => true);
  }

  #end(): void {
    this.#settle();
    clearTimeout(this.#killTimer);
    const { exitCode, signalCode } = this.#child;
    this.#owner.onGone(this, signalCode ?? `exit code ${exitCode}`);
  }
}

/** A channel that breaks tells so by `disconnect`. */
function ignoreError(): void {}
