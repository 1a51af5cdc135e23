/**
 * Delta ADS: the mesh as resources, to every proxy that asks with a good token (protocols.md §1).
 *
 * A stream costs what its client wants and has not been sent yet (`AdsStream`); the resources
 * themselves are encoded once and shared by all. A client that does not read is not waited for: its
 * transport stops taking, and what changes meanwhile is kept as one state, not as a queue.
 */
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import type { Drainable } from "../../kit/drain.ts";
import { log } from "../../kit/log.ts";
import { LogLimit } from "../../kit/log-limit.ts";
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import {
  AggregatedDiscoveryService,
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  type DiscoveryRequest,
  type DiscoveryResponse,
} from "../../wire/gen/envoy/discovery_pb.ts";
import type { ResourceSource } from "../../wire/resource.ts";
import { type AdsClientStatus, AdsStream } from "./ads-stream.ts";
import {
  type Authenticator,
  bearerToken,
  type Caller,
  isUnauthenticated,
} from "./authenticator.ts";
import type { DebugService } from "./debug-service.ts";
import { LargeRequests } from "./large-requests.ts";
import { RESPONSE_TAILS, SharedLists, sendTails } from "./response-tails.ts";
import type { WaypointScopes } from "./waypoint-scopes.ts";

export interface AdsServerOptions {
  readonly source: ResourceSource;
  /** What some clients are sent instead of the whole. */
  readonly scopes?: Pick<WaypointScopes, "of">;
  readonly authenticator: Authenticator;
  /** What tools are answered by; may be what asks this server back. */
  readonly debug?: () => DebugService;
  readonly registry: MetricRegistry;
}

export class AdsServer implements Drainable {
  readonly #options: AdsServerOptions;
  readonly #log = log("ads");
  /** A client may refuse as often as it likes. */
  readonly #logLimit = new LogLimit({
    onLeftOut: (type, count) => this.#log.warn({ type, count }, "refusals left out of the log"),
  });
  readonly #lists = new SharedLists();
  readonly #largeRequests = new LargeRequests();
  readonly #streams = new Set<AdsStream>();
  readonly #metrics;
  #onEmpty: (() => void) | undefined;
  #isDraining = false;

  constructor(options: AdsServerOptions) {
    this.#options = options;
    this.#metrics = adsMetrics(options.registry);
  }

  routes(router: ConnectRouter): void {
    router.service(AggregatedDiscoveryService, {
      deltaAggregatedResources: (requests, context) => this.#serve(requests, context),
      streamAggregatedResources: (requests, context) => this.#debug(requests, context),
    });
    const { deltaAggregatedResources } = AggregatedDiscoveryService.method;
    sendTails(router, deltaAggregatedResources);
    this.#largeRequests.limit(router, deltaAggregatedResources);
  }

  /** Who is connected, and how far each one is. */
  get clients(): readonly AdsClientStatus[] {
    return [...this.#streams].map((stream) => stream.status);
  }

  /** What the client of that name is sent. */
  sentTo(node: string): ResourceSource | undefined {
    return [...this.#streams].find((stream) => stream.node === node)?.source;
  }

  async *#serve(
    requests: AsyncIterable<DeltaDiscoveryRequest>,
    context: HandlerContext,
  ): AsyncGenerator<DeltaDiscoveryResponse> {
    const caller = await this.#authenticate(context);
    const { source, scopes } = this.#options;
    const stream = new AdsStream({
      source,
      scopeOf: scopes && ((node) => scopes.of(node)),
      tails: context.values.get(RESPONSE_TAILS),
      lists: this.#lists,
      onRefusal: (node, type, reason) => this.#onRefusal(node, type, reason),
      onSent: (type, resources) => this.#metrics.sent.child([type]).add(resources),
    });
    if (this.#isDraining) throw closing();
    this.#streams.add(stream);
    this.#metrics.clients.add(1);
    const { namespace, serviceAccount } = caller;
    this.#log.info({ namespace, serviceAccount }, "proxy connected");
    void listen(stream, requests, ({ message: reason }) => {
      this.#metrics.refused.child(["request"]).add(1);
      if (!this.#logLimit.allows("request")) return;
      this.#log.warn({ namespace, serviceAccount, reason }, "stream ended for its request");
    });
    const onLeft = () => this.#left(stream, caller);
    // If a client that does not read is lost, nobody asks for the next response.
    context.signal.addEventListener("abort", onLeft);
    try {
      yield* stream.responses();
    } finally {
      onLeft();
    }
    // When the client has ended, so does the stream, and well.
    if (this.#isDraining) throw closing();
  }

  async *#debug(
    requests: AsyncIterable<DiscoveryRequest>,
    context: HandlerContext,
  ): AsyncGenerator<DiscoveryResponse> {
    const caller = await this.#authenticate(context);
    const { debug } = this.#options;
    if (debug === undefined) throw new ConnectError("not served here", Code.Unimplemented);
    yield* debug().answers(requests, caller);
  }

  async #authenticate(context: HandlerContext): Promise<Caller> {
    const token = bearerToken(context.requestHeader.get("authorization"));
    return await this.#options.authenticator.authenticate(token).catch((caught) => {
      throw this.#refusal(caught);
    });
  }

  #left(stream: AdsStream, { namespace, serviceAccount }: Caller): void {
    if (!this.#streams.delete(stream)) return;
    this.#metrics.clients.add(-1);
    stream.close();
    if (this.#streams.size === 0) this.#onEmpty?.();
    this.#log.info({ namespace, serviceAccount, node: stream.node }, "proxy left");
  }

  /** Why a stream is not begun, as its client is told. */
  #refusal(caught: unknown): ConnectError {
    const isStranger = isUnauthenticated(caught);
    const reason = isStranger ? "token" : "unavailable";
    this.#metrics.refused.child([reason]).add(1);
    if (isStranger) return new ConnectError("the token is not accepted", Code.Unauthenticated);
    if (this.#logLimit.allows(reason)) {
      this.#log.warn({ reason: (caught as Error).message }, "tokens cannot be judged");
    }
    return new ConnectError("tokens cannot be judged now", Code.Unavailable);
  }

  #onRefusal(node: string, type: string, reason: string): void {
    this.#metrics.refusals.child([type]).add(1);
    if (this.#logLimit.allows(type)) this.#log.warn({ node, type, reason }, "refused by client");
  }

  /** Ends every stream as a ztunnel likes it: it comes back at once, to another replica. */
  async drain(): Promise<void> {
    this.#isDraining = true;
    const empty = new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
    for (const stream of this.#streams) stream.close();
    if (this.#streams.size > 0) await empty;
  }

  destroy(): void {
    this.#isDraining = true;
    for (const stream of this.#streams) stream.close();
  }
}

/** A message is none, is too large, or asks for more than can be. */
const REQUEST_ERRORS: ReadonlySet<Code> = new Set([Code.ResourceExhausted, Code.InvalidArgument]);

/** Feeds the stream with requests until the client ends them, or is gone. */
async function listen(
  stream: AdsStream,
  requests: AsyncIterable<DeltaDiscoveryRequest>,
  onRefused: (error: ConnectError) => void,
): Promise<void> {
  try {
    for await (const request of requests) stream.onRequest(request);
    stream.close();
  } catch (caught) {
    // The connection broke, or the client sent what is no message or too much: it is told so.
    if (caught instanceof ConnectError && REQUEST_ERRORS.has(caught.code)) onRefused(caught);
    stream.close(caught);
  }
}

/** A code and text that a ztunnel takes for an ordinary goodbye (protocols.md §1.4). */
function closing(): ConnectError {
  return new ConnectError("transport is closing", Code.Unavailable);
}

/** The metrics of a control plane's configuration streams. */
export function adsMetrics(registry: MetricRegistry) {
  const one = registry.gauge("waystone_ads_clients", "Proxies connected to the control plane.", []);
  return {
    clients: one.child([]),
    refused: registry.counter(
      "waystone_ads_streams_refused_total",
      "Streams refused for their token (token) or because nobody could judge it (unavailable), or " +
        "ended for a request that is malformed or asks for more than a limit allows (request).",
      ["reason"],
    ),
    refusals: registry.counter(
      "waystone_ads_refusals_total",
      "Responses that a proxy refused (NACK), by type.",
      ["type"],
    ),
    sent: registry.counter(
      "waystone_ads_resources_sent_total",
      "Resources and removals sent to proxies, by type.",
      ["type"],
    ),
  };
}
