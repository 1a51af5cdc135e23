/**
 * The data path of a proxy as its process has it: something that takes configuration and sockets.
 * It runs in the process itself, or once in each worker.
 */
import type net from "node:net";
import type { CertificateSource } from "../agent/certificates.ts";
import type { Readiness } from "../agent/readiness.ts";
import type { Drain } from "../kit/drain.ts";
import type { SnapshotSource } from "../model/snapshot.ts";
import type { LineSink } from "../telemetry/line-queue.ts";
import type { MetricRegistry } from "../telemetry/metrics.ts";
import type { ResourceSink } from "../wire/resource.ts";
import type { WantedPort, WorkerLoad } from "./workers/messages.ts";

/** What a proxy holds of the mesh: fed by the control plane, read by the data path. */
export type ProxyState = ResourceSink & SnapshotSource;

/** What a program finds. */
export interface ProgramContext {
  readonly certificates: CertificateSource;
  readonly registry: MetricRegistry;
  readonly readiness: Readiness;
  readonly drain: Drain;
  /** Where access logs go to; undefined: the program opens the file. */
  lineSink?(file: string): LineSink;
  /** Says which ports the process is to listen on, all of them; at each change. */
  wantPorts?(ports: readonly WantedPort[]): void;
}

export interface Program {
  readonly state: ProxyState;
  /** `entry`: what the socket's listener is for. The socket has not been read. */
  accept(socket: net.Socket, entry: unknown): void;
  readonly load: WorkerLoad;
  /** Plain data, as JSON shows it. */
  configDump(): unknown;
  /** The decision of that id, explained; undefined: not known here. */
  decision(id: string): unknown;
  /** After the drain: what is still to be written. */
  close(): Promise<void>;
  /** Cuts every connection. */
  destroy(): void;
}

/** The data path of a process: a program in it, or one in each of its workers. */
export interface DataPath {
  /** Of a program that runs in workers the socket must not be read here either. */
  accept(socket: net.Socket, entry: unknown): void;
  configDump(): unknown;
  decision(id: string): unknown;
  close(): Promise<void>;
  destroy(): void;
}
