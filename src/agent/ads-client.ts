/**
 * A proxy's side of delta ADS: keeps one stream to the control plane, feeds the sink with what
 * comes, and answers each response with an ACK, or a NACK that says what is wrong.
 *
 *     connect ─ subscribe (what is held) ─ response: stage, answer … revision: commit, answer
 *        ↑                                                              │
 *        └─ wait 10 ms, doubling to 15 s, with jitter ─ lost, refused ──┘
 *
 * Whatever happens here, the sink keeps what it has: a proxy serves from its last configuration.
 */
import { create, type JsonObject } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { type Logger, log } from "../kit/log.ts";
import type { MetricRegistry } from "../telemetry/metrics.ts";
import {
  AggregatedDiscoveryService,
  type DeltaDiscoveryRequest,
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
} from "../wire/gen/envoy/discovery_pb.ts";
import { RESOURCE_TYPES, type ResourceSink, type ResourceType } from "../wire/resource.ts";
import { decodeRevision } from "../wire/revision.ts";
import {
  AdsClientMetrics,
  type TerminationReason,
  terminationReason,
} from "./ads-client-metrics.ts";
import { callFailure } from "./grpc-channel.ts";

export interface AdsClientOptions {
  readonly channel: {
    transport(): Promise<Transport>;
    headers(): Promise<Readonly<Record<string, string>>>;
    failed(): void;
  };
  readonly node: { readonly id: string; readonly metadata: JsonObject };
  readonly sink: ResourceSink;
  readonly registry?: MetricRegistry | undefined;
  /** In the log; "the control plane" by default. */
  readonly serverName?: string;
  readonly log?: Logger;
  readonly firstResponseTimeoutMs?: number;
  readonly backoffMaxMs?: number;
}

const BACKOFF_FIRST_MS = 10;
const BACKOFF_MAX_MS = 15_000;
/** A stream that lived for so long was no failure: the next one is tried at once. */
const LASTED_MS = 1_000;
/** The server owes an answer to each type, also when there is nothing to say. */
const FIRST_RESPONSE_TIMEOUT_MS = 60_000;
/** Answers that wait for a server that does not read them, and for how long. */
const UNSENT_ANSWERS_MAX = 100;
const UNREAD_TIMEOUT_MS = 30_000;
/** For the server to take in why its revision is refused. */
const FAREWELL_MS = 1_000;
const PROBLEM_CHARACTERS_MAX = 4096;

export class AdsClient {
  readonly #options: AdsClientOptions;
  readonly #log: Logger;
  readonly #metrics: AdsClientMetrics | undefined;
  readonly #serverName: string;
  readonly #closing = new AbortController();
  #isConnected = false;
  /** The control plane has answered on the stream of now. */
  #hasBegun = false;
  /** Told once, then counted: a control plane that is away for hours is one line. */
  #isAwayTold = false;
  #revision = 0;
  /** The last revision that came was refused. */
  #isRefusing = false;

  constructor(options: AdsClientOptions) {
    this.#options = options;
    this.#log = options.log ?? log("ads");
    this.#serverName = options.serverName ?? "the control plane";
    this.#metrics = options.registry && new AdsClientMetrics(options.registry);
  }

  /** Whether the control plane answers at present. */
  get isConnected(): boolean {
    return this.#isConnected;
  }

  /** The revision that was taken last; 0: none yet. */
  get revision(): number {
    return this.#revision;
  }

  start(): void {
    this.#run().catch((caught: unknown) => this.#log.error({ caught }, "configuration stream"));
  }

  close(): void {
    this.#closing.abort();
  }

  async #run(): Promise<void> {
    const { backoffMaxMs = BACKOFF_MAX_MS } = this.#options;
    let delayMs = BACKOFF_FIRST_MS;
    while (!this.#closing.signal.aborted) {
      let why = `${this.#serverName} has ended the stream`;
      let reason: TerminationReason = "Complete";
      const startMs = performance.now();
      this.#hasBegun = false;
      try {
        await this.#stream();
      } catch (caught) {
        why = callFailure(caught);
        reason = terminationReason(caught, this.#hasBegun);
      }
      this.#options.channel.failed();
      if (this.#closing.signal.aborted) break;
      this.#metrics?.terminations.child([reason]).add(1);
      // A server that ends each stream, or sends what is refused, is not asked in a tight loop.
      const hasLasted = performance.now() - startMs > LASTED_MS;
      if (hasLasted && this.#isConnected && !this.#isRefusing) delayMs = BACKOFF_FIRST_MS;
      // Streams have an end (istiod's after half an hour): it is told when the next one fails.
      const isRoutine = hasLasted && (reason === "Reconnect" || reason === "Complete");
      if (isRoutine) this.#lose();
      else this.#setConnected(false, why);
      await sleep(delayMs * (0.5 + Math.random() / 2), this.#closing.signal);
      delayMs = Math.min(delayMs * 2, backoffMaxMs);
      this.#metrics?.reconnects.add(1);
    }
    this.#lose();
  }

  #lose(): void {
    this.#isConnected = false;
    this.#metrics?.connected.set(0);
  }

  /** One stream, to its end. Throws when it breaks, and when what it brought cannot be taken. */
  async #stream(): Promise<void> {
    const { channel, sink } = this.#options;
    const client = createClient(AggregatedDiscoveryService, await channel.transport());
    const headers = await channel.headers();
    // Ended with this stream, whichever way it ends: nothing of it outlives it.
    const ending = new AbortController();
    const end = () => ending.abort();
    this.#closing.signal.addEventListener("abort", end);
    const outgoing = new Outgoing();
    for (const type of sink.types) outgoing.push(this.#firstRequest(type));
    const { firstResponseTimeoutMs = FIRST_RESPONSE_TIMEOUT_MS } = this.#options;
    const silence = setTimeout(() => ending.abort(noResponse()), firstResponseTimeoutMs);
    let refusal: string | undefined;
    try {
      const { signal } = ending;
      const incoming = client.deltaAggregatedResources(outgoing, { headers, signal });
      for await (const response of incoming) {
        clearTimeout(silence);
        if (refusal !== undefined) continue;
        this.#hasBegun = true;
        this.#setConnected(true, "");
        refusal = await this.#answer(response, outgoing);
        if (refusal === undefined) continue;
        // What was staged does not amount to what the server means: only a new start mends that.
        outgoing.end();
        setTimeout(end, FAREWELL_MS).unref();
      }
    } catch (caught) {
      if (refusal === undefined) throw caught;
    } finally {
      clearTimeout(silence);
      outgoing.end();
      this.#closing.signal.removeEventListener("abort", end);
      ending.abort();
    }
    if (refusal !== undefined) throw new Error(`revision refused: ${refusal}`);
  }

  /** Takes a response and tells the server so. What it returns is why a revision is refused. */
  async #answer(response: DeltaDiscoveryResponse, outgoing: Outgoing): Promise<string | undefined> {
    const problem = await this.#take(response);
    outgoing.push(answerTo(response, problem));
    await outgoing.taken();
    if (problem !== undefined) this.#metrics?.refusals.child([response.typeUrl]).add(1);
    if (response.typeUrl !== RESOURCE_TYPES.revision) return undefined;
    this.#isRefusing = problem !== undefined;
    return problem;
  }

  #firstRequest(type: ResourceType): DeltaDiscoveryRequest {
    const { node, sink } = this.#options;
    return create(DeltaDiscoveryRequestSchema, {
      node,
      typeUrl: type,
      initialResourceVersions: Object.fromEntries(sink.versions(type)),
    });
  }

  /** What is wrong with it; undefined: all of it was taken. */
  async #take(response: DeltaDiscoveryResponse): Promise<string | undefined> {
    const { typeUrl } = response;
    const type = this.#options.sink.types.find((known) => known === typeUrl);
    this.#metrics?.message(response, type);
    // As a ztunnel does: what was not asked for is passed over.
    if (type === undefined) return undefined;
    if (type === RESOURCE_TYPES.revision) return await this.#commit(response);
    const { sink } = this.#options;
    const problems: string[] = [];
    // A name that is updated and removed in one response is gone (protocols.md §1.5).
    const removed = new Set(response.removedResources);
    const upserted = response.resources.flatMap(({ name, version, resource }) => {
      if (removed.has(name)) return [];
      if (resource !== undefined) return [{ type, name, version, bytes: resource.value }];
      problems.push(`${name}: no resource`);
      return [];
    });
    problems.push(...(await sink.stage(type, upserted, [...removed])));
    if (problems.length === 0) return undefined;
    const text = problems.slice(0, 100).join("; ").slice(0, PROBLEM_CHARACTERS_MAX);
    this.#log.warn({ type, count: problems.length, reason: text }, "resources refused");
    return text;
  }

  async #commit({ resources }: DeltaDiscoveryResponse): Promise<string | undefined> {
    const bytes = resources.at(-1)?.resource?.value;
    if (bytes === undefined) return undefined;
    let stamp: ReturnType<typeof decodeRevision>;
    try {
      stamp = decodeRevision(bytes);
    } catch (caught) {
      return `not a revision: ${callFailure(caught)}`;
    }
    const refusal = await this.#options.sink.commit(stamp);
    if (refusal !== undefined) {
      this.#log.warn({ revision: stamp.id, reason: refusal }, "revision refused");
      return refusal;
    }
    this.#revision = stamp.id;
    this.#metrics?.revision.set(stamp.id);
    return undefined;
  }

  /** What is in force, where the server says which revision that is. */
  get #serving(): { readonly serving?: string } {
    if (!this.#options.sink.types.includes(RESOURCE_TYPES.revision)) return {};
    return { serving: this.#revision === 0 ? "nothing yet" : `revision ${this.#revision}` };
  }

  #setConnected(isConnected: boolean, why: string): void {
    this.#metrics?.connected.set(isConnected ? 1 : 0);
    if (isConnected && this.#isAwayTold) {
      this.#isAwayTold = false;
      this.#log.info({}, `${this.#serverName} answers again`);
    }
    this.#isConnected = isConnected;
    if (isConnected || this.#isAwayTold) return;
    this.#isAwayTold = true;
    this.#log.warn(
      { reason: why, ...this.#serving },
      `no configuration from ${this.#serverName}; trying again`,
    );
  }
}

/** ACK, or NACK with what is wrong (code 0, as ztunnel's). */
function answerTo(
  { typeUrl, nonce }: DeltaDiscoveryResponse,
  problem: string | undefined,
): DeltaDiscoveryRequest {
  return create(DeltaDiscoveryRequestSchema, {
    typeUrl,
    responseNonce: nonce,
    ...(problem === undefined ? {} : { errorDetail: { code: 0, message: problem } }),
  });
}

function noResponse(): ConnectError {
  return new ConnectError("no response", Code.DeadlineExceeded);
}

/** Requests on their way out; whoever adds them waits when they are not taken. */
class Outgoing implements AsyncIterable<DeltaDiscoveryRequest> {
  readonly #waiting: DeltaDiscoveryRequest[] = [];
  #wake: (() => void) | undefined;
  #onTaken: (() => void) | undefined;
  #isEnded = false;

  push(request: DeltaDiscoveryRequest): void {
    this.#waiting.push(request);
    this.#wake?.();
  }

  /** Resolves when few enough wait, rejects when they go on waiting. */
  async taken(): Promise<void> {
    if (this.#waiting.length <= UNSENT_ANSWERS_MAX) return;
    await new Promise<void>((resolve, reject) => {
      const give = () => reject(new Error("the control plane does not read"));
      const timer = setTimeout(give, UNREAD_TIMEOUT_MS);
      this.#onTaken = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  end(): void {
    this.#isEnded = true;
    this.#wake?.();
    this.#onTaken?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<DeltaDiscoveryRequest> {
    while (true) {
      const next = this.#waiting.shift();
      this.#onTaken?.();
      if (next !== undefined) yield next;
      else if (this.#isEnded) return;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}

function sleep(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, delayMs);
    signal.addEventListener("abort", done);
  });
}
