/**
 * The most recent decisions, so that the id in a log line or response header can be asked about.
 *
 * Bounded twice: by decisions (a ring; the oldest goes) and by snapshots, since a decision keeps
 * the whole mesh of its moment alive. A decision whose snapshot had to go is still found, without
 * it.
 * Recording is an array store; finding walks the ring, for only the admin port asks.
 */
import { assert } from "../kit/assert.ts";
import type { Snapshot } from "../model/snapshot.ts";
import { redactHeaders, redactQuery } from "./redact.ts";

const CAPACITY_DEFAULT = 1024;
const SNAPSHOTS_DEFAULT = 16;

interface RecordedToken {
  readonly principal: string | undefined;
  readonly claims: Readonly<Record<string, unknown>>;
}

export interface RecordedFacts {
  /** What authorizers have said, by name. */
  readonly providerAnswers?: Readonly<Record<string, boolean>> | undefined;
  readonly sourceIdentity: string | undefined;
  readonly sourceAddress: string;
  readonly destinationAddress: string;
  readonly destinationPort: number;
  /** Absent for TCP. */
  readonly method?: string;
  readonly path?: string;
  readonly query?: string;
  readonly authority?: string;
  /** As X-Forwarded-For says. */
  readonly remoteAddress?: string | undefined;
  /** Of a verified token. */
  readonly jwt?: RecordedToken | undefined;
  /** Flat: name, value, name, value. */
  readonly headers?: readonly string[];
}

export interface RecordedDecision<T> {
  readonly id: string;
  readonly proxy: "ztunnel" | "waypoint";
  /** Workload uid or service key. */
  readonly target: string;
  readonly atMs: number;
  /** Without secrets. */
  readonly facts: RecordedFacts;
  readonly revision: number;
  /** Undefined when it is no longer kept. */
  readonly snapshot: Snapshot | undefined;
  /** What the proxy wants to tell beyond that: hop, draw, verdict. */
  readonly payload: T;
}

export interface DecisionInput<T> {
  readonly id: string;
  /** Its `x-request-id`, by which it is found, too; clients may choose it. */
  readonly requestId?: string;
  readonly proxy: "ztunnel" | "waypoint";
  readonly target: string;
  readonly atMs: number;
  readonly facts: RecordedFacts;
  readonly snapshot: Snapshot;
  readonly payload: T;
}

/** Secrets are taken out here, so that no caller can forget to. */
function withoutSecrets(facts: RecordedFacts): RecordedFacts {
  const { query, headers } = facts;
  const safeQuery = query && redactQuery(query);
  const safeHeaders = headers && redactHeaders(headers);
  if (safeQuery === query && safeHeaders === headers) return facts;
  return {
    ...facts,
    ...(safeQuery !== undefined && { query: safeQuery }),
    ...(safeHeaders !== undefined && { headers: safeHeaders }),
  };
}

interface Entry<T> extends RecordedDecision<T> {
  readonly requestId: string | undefined;
  snapshot: Snapshot | undefined;
}

export class DecisionLog<T> {
  /** Every decision is recorded, and not only those that somebody asks for. */
  readonly recordsAll: boolean;
  readonly #ring: (Entry<T> | undefined)[];
  readonly #snapshotsMax: number;
  /** The snapshots kept, oldest first; the last one is almost always the one asked for. */
  readonly #snapshots: Snapshot[] = [];
  #next = 0;

  constructor(options: { capacity?: number; snapshotsMax?: number; recordsAll?: boolean } = {}) {
    const { capacity = CAPACITY_DEFAULT, snapshotsMax = SNAPSHOTS_DEFAULT } = options;
    this.recordsAll = options.recordsAll ?? false;
    assert(capacity >= 1 && snapshotsMax >= 1, "a decision log keeps at least one decision");
    this.#ring = new Array(capacity).fill(undefined);
    this.#snapshotsMax = snapshotsMax;
  }

  /** Keeps a decision; secrets in its facts are replaced first. */
  record(input: DecisionInput<T>): void {
    const { snapshot } = input;
    if (this.#snapshots.at(-1) !== snapshot) this.#keep(snapshot);
    this.#ring[this.#next] = {
      id: input.id,
      requestId: input.requestId,
      proxy: input.proxy,
      target: input.target,
      atMs: input.atMs,
      facts: withoutSecrets(input.facts),
      revision: snapshot.revision,
      snapshot,
      payload: input.payload,
    };
    this.#next = (this.#next + 1) % this.#ring.length;
  }

  /** The latest decision of that id, or else about a request of that id. */
  find(id: string): RecordedDecision<T> | undefined {
    let byRequest: RecordedDecision<T> | undefined;
    for (const entry of this.#newestFirst()) {
      if (entry.id === id) return entry;
      if (entry.requestId === id) byRequest ??= entry;
    }
    return byRequest;
  }

  /** The latest ones, newest first; all that are kept when no number is given. */
  recent(countMax = this.#ring.length): readonly RecordedDecision<T>[] {
    const found: RecordedDecision<T>[] = [];
    for (const entry of this.#newestFirst()) {
      if (found.length >= countMax) break;
      found.push(entry);
    }
    return found;
  }

  *#newestFirst(): Generator<Entry<T>> {
    const { length } = this.#ring;
    for (let i = 1; i <= length; i++) {
      const entry = this.#ring[(this.#next - i + length) % length];
      if (entry === undefined) return;
      yield entry;
    }
  }

  /** A snapshot that was not the latest one: a new one, or one that several proxies still share. */
  #keep(snapshot: Snapshot): void {
    if (this.#snapshots.includes(snapshot)) return;
    this.#snapshots.push(snapshot);
    if (this.#snapshots.length <= this.#snapshotsMax) return;
    const released = this.#snapshots.shift();
    for (const entry of this.#ring) {
      if (entry !== undefined && entry.snapshot === released) entry.snapshot = undefined;
    }
  }
}
