/**
 * What a parent and its workers say to one another, over the channel that `fork` makes. Plain data
 * by structured clone; a `connection` carries a socket besides.
 *
 * The channel keeps the order. Both rely on it: a worker that is told to drain has got before it
 * every connection that it was given.
 */
import type { ResourceType, RevisionStamp } from "../../wire/resource.ts";
import type { PackedResources } from "./packed-resources.ts";

/** What the parent chooses by. */
export interface WorkerLoad {
  /** Open streams, and connections that are yet to open their first. */
  readonly streams: number;
  readonly connections: number;
}

/** What a worker is asked; each question has one answer. */
export type Question =
  | {
      readonly about: "stage";
      readonly type: ResourceType;
      readonly upserted: PackedResources;
      readonly removed: readonly string[];
    }
  | { readonly about: "commit"; readonly revision: RevisionStamp }
  | { readonly about: "metrics" }
  | { readonly about: "decision"; readonly id: string }
  | { readonly about: "config" }
  | { readonly about: "life" };

/** A port that the program wants to be listened on. */
export interface WantedPort {
  readonly address: string;
  readonly port: number;
  /** What it is for, in words. */
  readonly purpose: string;
  /** What `accept` is told with each of its sockets. */
  readonly entry: unknown;
}

export interface KeyPair {
  readonly spiffeId: string;
  readonly certificatePem: string;
  readonly keyPem: string;
  readonly rootsPem: string;
}

export type ToWorker =
  | {
      readonly kind: "start";
      readonly index: number;
      readonly program: string;
      readonly options: unknown;
      readonly logLevel: string;
    }
  | {
      readonly kind: "connection";
      readonly id: number;
      readonly entry: unknown;
      /** The socket's; it is not passed with it. */
      readonly allowHalfOpen: boolean;
    }
  | { readonly kind: "question"; readonly id: number; readonly question: Question }
  | { readonly kind: "certificate"; readonly certificate: KeyPair }
  | { readonly kind: "no-certificate"; readonly spiffeId: string; readonly reason: string }
  | { readonly kind: "written"; readonly id: number; readonly error: string | undefined }
  | { readonly kind: "log-level"; readonly level: string }
  | { readonly kind: "drain"; readonly deadlineMs: number };

export type FromWorker =
  /** The connection is the worker's now; the parent lets go of it. */
  | { readonly kind: "taken"; readonly id: number }
  /** `upTo`: the last connection that the load knows of. */
  | { readonly kind: "load"; readonly load: WorkerLoad; readonly upTo: number }
  | { readonly kind: "answer"; readonly id: number; readonly answer: unknown }
  | { readonly kind: "readiness"; readonly isReady: boolean; readonly reasons: readonly string[] }
  | { readonly kind: "want-certificate"; readonly spiffeId: string }
  | { readonly kind: "release-certificate"; readonly spiffeId: string }
  | {
      readonly kind: "lines";
      readonly id: number;
      readonly file: string;
      readonly bytes: Uint8Array;
    }
  | { readonly kind: "ports"; readonly ports: readonly WantedPort[] }
  /** Somebody has asked this worker alone to end: give me nothing more, and tell me to drain. */
  | { readonly kind: "leaving" }
  /** The last word of a worker that has drained: what it has counted. */
  | { readonly kind: "farewell"; readonly metrics: unknown };
