/**
 * A worker: the child process that `WorkerPool` forks. Runs one of the programs it is given, takes
 * the connections that the parent passes, and answers the parent's questions.
 *
 * SIGTERM to this process alone: it tells the parent, which stops passing and answers with
 * `drain`. SIGINT (Ctrl-C reaches the whole group) is the parent's business. When the parent is
 * gone there is nobody to pass connections: it drains and ends.
 */
import type net from "node:net";
import type { CertificateSource } from "../../agent/certificates.ts";
import { Readiness } from "../../agent/readiness.ts";
import { Drain } from "../../kit/drain.ts";
import { log, setLogLevel } from "../../kit/log.ts";
import type { LineSink } from "../../telemetry/line-queue.ts";
import { MetricRegistry } from "../../telemetry/metrics.ts";
import type { ResourceSink } from "../../wire/resource.ts";
import { RemoteLines } from "./line-relay.ts";
import type { FromWorker, Question, ToWorker, WantedPort, WorkerLoad } from "./messages.ts";
import { unpackResources } from "./packed-resources.ts";
import { RemoteCertificates } from "./remote-certificates.ts";

/** What a program finds in its worker. */
export interface WorkerContext {
  /** 0 to N-1; a replacement has its predecessor's. */
  readonly index: number;
  /** The parent's `programOptions`. */
  readonly options: unknown;
  readonly certificates: CertificateSource;
  readonly registry: MetricRegistry;
  readonly readiness: Readiness;
  readonly drain: Drain;
  /** A file that all workers write to: for `AccessLogOptions.sink`. */
  lineSink(file: string): LineSink;
  /** The ports that the parent is to listen on, all of them, as they are known here now. */
  wantPorts(ports: readonly WantedPort[]): void;
}

/** What a program is to its worker. */
export interface WorkerService {
  readonly state: ResourceSink;
  /** `entry` is the parent's word for the listener. The socket has not been read. */
  accept(socket: net.Socket, entry: unknown): void;
  readonly load: WorkerLoad;
  /** Plain data, as JSON shows it. */
  configDump(): unknown;
  /** The decision of that id, as plain data; undefined: not known here. */
  decision(id: string): unknown;
  /** After the drain: what is still to be written. */
  close(): Promise<void>;
}

export type WorkerProgram = (context: WorkerContext) => WorkerService | Promise<WorkerService>;

const LOAD_INTERVAL_MS = 50;
/** When nobody says how long: the parent is gone, or does not answer. */
const ORPHAN_DRAIN_MS = 30_000;
const PARENT_ANSWER_MS = 2_000;

/** Runs until the worker has drained. `programs`: by name, loaded when it is theirs to run. */
export async function runWorker(
  programs: Readonly<Record<string, () => Promise<WorkerProgram>>>,
): Promise<void> {
  await new Worker(programs).run();
}

class Worker {
  readonly #programs: Readonly<Record<string, () => Promise<WorkerProgram>>>;
  readonly #log = log("worker");
  readonly #registry = new MetricRegistry();
  readonly #readiness = new Readiness();
  readonly #drain = new Drain();
  readonly #certificates = new RemoteCertificates((message) => this.#send(message));
  readonly #lines = new RemoteLines((message) => this.#send(message));
  /** Messages that came before the program was there. */
  #early: { readonly message: ToWorker; readonly socket: net.Socket | undefined }[] | undefined =
    [];
  #service: WorkerService | undefined;
  #lastTaken = 0;
  #loadTold = "";
  #loadTimer: NodeJS.Timeout | undefined;
  #ended: (() => void) | undefined;
  #isEnding = false;

  constructor(programs: Readonly<Record<string, () => Promise<WorkerProgram>>>) {
    this.#programs = programs;
  }

  async run(): Promise<void> {
    const ended = new Promise<void>((resolve) => {
      this.#ended = resolve;
    });
    const onSigterm = () => this.#leave();
    const ignore = () => {};
    process.on("SIGTERM", onSigterm);
    process.on("SIGINT", ignore);
    process.on("SIGHUP", ignore);
    process.on("message", (message, socket) =>
      this.#onMessage(message as ToWorker, socket as net.Socket | undefined),
    );
    process.once("disconnect", () => void this.#end(ORPHAN_DRAIN_MS));
    await ended;
  }

  #send(message: FromWorker): void {
    if (process.connected) process.send?.(message, undefined, undefined, () => {});
  }

  #onMessage(message: ToWorker, socket: net.Socket | undefined): void {
    switch (message.kind) {
      case "start":
        this.#start(message).catch((caught: unknown) => {
          this.#log.fatal({ err: caught }, "cannot start");
          process.exitCode = 1;
          process.disconnect();
        });
        return;
      case "certificate":
        this.#certificates.onCertificate(message.certificate);
        return;
      case "no-certificate":
        this.#certificates.onFailure(message.spiffeId, message.reason);
        return;
      case "written":
        this.#lines.onWritten(message.id, message.error);
        return;
      case "log-level":
        setLogLevel(message.level);
        return;
      case "drain":
        void this.#end(message.deadlineMs);
        return;
      default:
        // The rest is the program's.
        if (this.#early !== undefined) this.#early.push({ message, socket });
        else this.#onWork(this.#service!, message, socket);
    }
  }

  async #start(start: Extract<ToWorker, { kind: "start" }>): Promise<void> {
    setLogLevel(start.logLevel);
    const program = await this.#programs[start.program]!();
    const service = await program({
      index: start.index,
      options: start.options,
      certificates: this.#certificates,
      registry: this.#registry,
      readiness: this.#readiness,
      drain: this.#drain,
      lineSink: (file) => this.#lines.sink(file),
      wantPorts: (ports) => this.#send({ kind: "ports", ports }),
    });
    this.#service = service;
    this.#readiness.subscribe(() => this.#tellReadiness());
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const { message, socket } of early) this.#onWork(service, message, socket);
    this.#loadTimer = setInterval(() => this.#tellLoad(service), LOAD_INTERVAL_MS);
    this.#loadTimer.unref();
    this.#tellReadiness();
  }

  #onWork(service: WorkerService, message: ToWorker, socket: net.Socket | undefined): void {
    if (message.kind === "connection") {
      this.#lastTaken = message.id;
      this.#send({ kind: "taken", id: message.id });
      // Undefined: it was closed on the way.
      if (socket === undefined) return;
      socket.allowHalfOpen = message.allowHalfOpen;
      service.accept(socket, message.entry);
    } else if (message.kind === "question") {
      void this.#answer(service, message.id, message.question);
    }
  }

  async #answer(service: WorkerService, id: number, question: Question): Promise<void> {
    let answer: unknown;
    try {
      // Not a tick later than it must be: steps of a batch rely on their order.
      const found = this.#find(service, question);
      answer = found instanceof Promise ? await found : found;
    } catch (caught) {
      this.#log.error({ err: caught, about: question.about }, "no answer");
      const reason = String(caught);
      if (question.about === "stage") answer = [reason];
      else if (question.about === "commit") answer = { refusal: reason };
    }
    this.#send({ kind: "answer", id, answer });
    if (question.about === "commit") this.#tellReadiness();
  }

  #find(service: WorkerService, question: Question): unknown {
    const { state } = service;
    switch (question.about) {
      case "stage": {
        const { type, upserted, removed } = question;
        return state.stage(type, unpackResources(type, upserted), removed);
      }
      case "commit": {
        const refusal = state.commit(question.revision);
        if (refusal instanceof Promise) return refusal.then((text) => ({ refusal: text }));
        return { refusal };
      }
      case "metrics":
        return this.#registry.snapshot();
      case "decision":
        return JSON.stringify(service.decision(question.id));
      case "config":
        return JSON.stringify(service.configDump());
      case "life":
        return true;
    }
  }

  #tellReadiness(): void {
    const { isReady, reasons } = this.#readiness;
    this.#send({ kind: "readiness", isReady, reasons });
  }

  #tellLoad(service: WorkerService): void {
    const { streams, connections } = service.load;
    const text = `${streams} ${connections} ${this.#lastTaken}`;
    if (text === this.#loadTold) return;
    this.#loadTold = text;
    this.#send({ kind: "load", load: { streams, connections }, upTo: this.#lastTaken });
  }

  /** SIGTERM to this process alone. */
  #leave(): void {
    this.#send({ kind: "leaving" });
    setTimeout(() => void this.#end(ORPHAN_DRAIN_MS), PARENT_ANSWER_MS).unref();
  }

  async #end(deadlineMs: number): Promise<void> {
    if (this.#isEnding) return;
    this.#isEnding = true;
    await this.#drain.start(deadlineMs);
    await this.#service?.close();
    clearInterval(this.#loadTimer);
    if (process.connected) {
      const metrics = this.#registry.snapshot();
      const message: FromWorker = { kind: "farewell", metrics };
      await new Promise<void>((resolve) => {
        process.send!(message, undefined, undefined, () => resolve());
      });
      if (process.connected) process.disconnect();
    }
    this.#ended?.();
  }
}
