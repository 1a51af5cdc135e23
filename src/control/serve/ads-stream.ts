/**
 * One client's delta stream (protocols.md §1.5): its subscriptions, and the responses that are due.
 *
 * What is due is taken of all types at one moment and sent in the order below; then the revision of
 * that moment follows. So a client that reads slowly is behind, but never sees half a change. The
 * next responses are made when the last one has gone out: nothing queues here but what is due.
 */
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from "../../wire/gen/envoy/discovery_pb.ts";
import {
  type EncodedResource,
  RESOURCE_TYPES,
  type ResourceBatch,
  type ResourceSource,
  type ResourceType,
} from "../../wire/resource.ts";
import { encodeRevision } from "../../wire/revision.ts";
import { AdsSubscription, type Due } from "./ads-subscription.ts";
import type { ResponseTails, SharedLists } from "./response-tails.ts";
import type { ClientNode } from "./waypoint-scopes.ts";

/**
 * A policy is there before the workload that names it, and leaves after it: a ztunnel passes over a
 * name that it does not know. What else there is does not depend on the order.
 */
const SENDING_ORDER: readonly ResourceType[] = [
  RESOURCE_TYPES.authorization,
  RESOURCE_TYPES.settings,
  RESOURCE_TYPES.waypoint,
  RESOURCE_TYPES.policies,
  RESOURCE_TYPES.authentications,
  RESOURCE_TYPES.routes,
  RESOURCE_TYPES.address,
];

/** Of one response: both sides hold it whole, and with 500 clients at once that counts. */
const RESPONSE_BYTES_MAX = 256 * 1024;
/** Revisions whose answer is waited for; a client that never answers loses the oldest. */
const UNANSWERED_REVISIONS_MAX = 1000;
const UNKNOWN_TYPES_MAX = 100;
/** Of what a client says of itself, and of what it refuses, so much is kept. */
const TEXT_LENGTH_MAX = 1000;

export interface AdsClientStatus {
  readonly node: string;
  /** As the client says; "" where it does not. */
  readonly namespace: string;
  readonly clusterId: string;
  readonly istioVersion: string;
  /** `<ns>/<name>` of the Gateway that a waypoint is an instance of. */
  readonly gateway: string;
  /** Of Kubernetes. */
  readonly nodeName: string;
  /** Milliseconds since the epoch. */
  readonly connectedMs: number;
  readonly types: readonly {
    readonly type: string;
    readonly sentNonce: string;
    readonly ackedNonce: string;
    readonly refusal: string;
    /** When the last response went out; 0: none has yet. */
    readonly sentMs: number;
  }[];
  /**
   * The revision that the client has said to enforce. One that takes no revisions (Istio's ztunnel)
   * has said so when all that was sent up to that revision is acknowledged. Undefined: none yet.
   */
  readonly enforcedRevision: number | undefined;
}

export interface AdsStreamOptions {
  /** The whole mesh. */
  readonly source: ResourceSource;
  /** What a client is sent instead that says to be this. */
  readonly scopeOf?: ((node: ClientNode) => ResourceSource | undefined) | undefined;
  /** Where the resources of each response go, which itself has none. */
  readonly tails: ResponseTails;
  readonly lists: SharedLists;
  onRefusal(node: string, type: string, message: string): void;
  onSent(type: string, resources: number): void;
}

export class AdsStream {
  readonly #options: AdsStreamOptions;
  #source: ResourceSource;
  /** From the first request on, which says who asks. */
  #unsubscribe: (() => void) | undefined;
  readonly #subscriptions = new Map<string, AdsSubscription>();
  /** Types that are no type here: asked for, and owed one empty answer. */
  readonly #unknownTypes = new Set<string>();
  readonly #owedUnknown: string[] = [];
  readonly #connectedMs = Date.now();
  #node = "";
  #told = { namespace: "", clusterId: "", istioVersion: "", gateway: "", nodeName: "" };
  #nonce = 0;
  #revisionSent = -1;
  /** Revisions on their way, by nonce. */
  readonly #revisionByNonce = new Map<string, number>();
  #enforcedRevision: number | undefined;
  #wake: (() => void) | undefined;
  #isClosed = false;
  #failure: unknown;

  constructor(options: AdsStreamOptions) {
    this.#options = options;
    this.#source = options.source;
  }

  get status(): AdsClientStatus {
    return {
      node: this.node,
      ...this.#told,
      connectedMs: this.#connectedMs,
      types: [...this.#subscriptions.values()].map((one) => ({
        type: one.type,
        sentNonce: one.lastSentNonce,
        ackedNonce: one.lastAckedNonce,
        refusal: one.lastRefusal,
        sentMs: one.lastSentMs,
      })),
      enforcedRevision: this.enforcedRevision,
    };
  }

  /** What the client is sent: the mesh, or its scope of it. */
  get source(): ResourceSource {
    return this.#source;
  }

  get node(): string {
    return this.#node;
  }

  get enforcedRevision(): number | undefined {
    const settled = this.#settledRevision;
    if (settled !== undefined) return settled;
    // A scope's revision does not move with the mesh's while nothing in the scope is different.
    const isCurrent = this.#enforcedRevision === this.#source.revision.id;
    return isCurrent ? this.#options.source.revision.id : this.#enforcedRevision;
  }

  /** Of a client that takes no revisions: the mesh's, when all of it has been sent and taken. */
  get #settledRevision(): number | undefined {
    const isTaker = this.#subscriptions.has(RESOURCE_TYPES.revision);
    return !isTaker && this.#isSettled ? this.#options.source.revision.id : undefined;
  }

  get #isSettled(): boolean {
    if (this.#subscriptions.size === 0) return false;
    for (const {
      isDue,
      lastSentNonce,
      lastAckedNonce,
      lastRefusal,
    } of this.#subscriptions.values()) {
      if (isDue || lastSentNonce !== lastAckedNonce || lastRefusal !== "") return false;
    }
    return true;
  }

  /**
   * Something the client has sent: a subscription, an ACK, a NACK, or several of these at once.
   * Throws a ConnectError when it is more than a client may ask for.
   */
  onRequest(request: DeltaDiscoveryRequest): void {
    if (this.#unsubscribe === undefined) this.#begin(request.node);
    const { typeUrl: type, responseNonce } = request;
    if (!isKnown(type)) {
      this.#onUnknownType(type);
      return;
    }
    let subscription = this.#subscriptions.get(type);
    if (subscription === undefined) {
      subscription = new AdsSubscription(type);
      this.#subscriptions.set(type, subscription);
      if (type !== RESOURCE_TYPES.revision) {
        subscription.begin(request, this.#source.resources(type));
      }
      this.#ring();
      return;
    }
    if (responseNonce !== "") this.#onAnswer(subscription, request);
    if (type === RESOURCE_TYPES.revision) return;
    subscription.change(request, this.#source.resources(type));
    if (subscription.isDue) this.#ring();
  }

  #begin(node: ClientNode | undefined): void {
    if (this.#isClosed) return;
    const { source, scopeOf } = this.#options;
    if (node !== undefined) {
      this.#node = clipped(node.id);
      const text = (name: string) => clipped(String(node.metadata?.[name] ?? ""));
      this.#told = {
        namespace: text("NAMESPACE"),
        clusterId: text("CLUSTER_ID"),
        istioVersion: text("ISTIO_VERSION"),
        gateway: text("GATEWAY"),
        nodeName: text("NODE_NAME"),
      };
      this.#source = scopeOf?.(node) ?? source;
    }
    this.#unsubscribe = this.#source.subscribe((batch) => this.#onBatch(batch));
  }

  #onUnknownType(type: string): void {
    if (type.length > TEXT_LENGTH_MAX) {
      throw new ConnectError("the type's name is too long", Code.InvalidArgument);
    }
    if (this.#unknownTypes.has(type) || this.#unknownTypes.size >= UNKNOWN_TYPES_MAX) return;
    this.#unknownTypes.add(type);
    this.#owedUnknown.push(type);
    this.#ring();
  }

  #onAnswer(subscription: AdsSubscription, request: DeltaDiscoveryRequest): void {
    const { responseNonce: nonce, errorDetail } = request;
    if (errorDetail === undefined) {
      // Of an older response: newer ones are on their way.
      subscription.lastAckedNonce = nonce;
      if (nonce === subscription.lastSentNonce) subscription.lastRefusal = "";
      const enforced = this.#revisionByNonce.get(nonce) ?? this.#settledRevision;
      this.#enforcedRevision = enforced ?? this.#enforcedRevision;
    } else {
      subscription.lastRefusal = clipped(errorDetail.message);
      this.#options.onRefusal(this.#node, subscription.type, subscription.lastRefusal);
    }
    this.#revisionByNonce.delete(nonce);
  }

  #onBatch(batch: ResourceBatch): void {
    for (const resource of batch.upserted) {
      this.#subscriptions.get(resource.type)?.upsert(resource);
    }
    for (const { type, name } of batch.removed) this.#subscriptions.get(type)?.remove(name);
    this.#ring();
  }

  /** Ends the responses when the one on its way has gone out; badly, if there is a failure. */
  close(failure?: unknown): void {
    this.#failure ??= failure;
    this.#isClosed = true;
    this.#unsubscribe?.();
    this.#ring();
  }

  #ring(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  /** The responses, each made when the one before has been taken. Ends with `close`. */
  async *responses(): AsyncGenerator<DeltaDiscoveryResponse> {
    while (!this.#isClosed) {
      let isIdle = true;
      for (const response of this.#takeDue()) {
        isIdle = false;
        yield response;
        if (this.#isClosed) break;
      }
      if (!isIdle) continue;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        if (this.#isClosed) resolve();
      });
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** All that is due at this moment, and its revision. */
  *#takeDue(): Generator<DeltaDiscoveryResponse> {
    const { revision } = this.#source;
    // Of this moment too: what is subscribed to while this is sent is not part of it.
    const last = this.#subscriptions.get(RESOURCE_TYPES.revision);
    const taken: [AdsSubscription, Due][] = [];
    for (const type of SENDING_ORDER) {
      const subscription = this.#subscriptions.get(type);
      if (subscription?.isDue) taken.push([subscription, subscription.take()]);
    }
    const late: [AdsSubscription, Due][] = [];
    for (const [subscription, due] of taken) {
      const isPolicy = subscription.type === RESOURCE_TYPES.authorization;
      if (isPolicy && due.removed.length > 0 && due.upserted.length > 0) {
        late.push([subscription, { upserted: [], removed: due.removed.splice(0) }]);
      } else if (isPolicy && due.removed.length > 0 && taken.length > 1) {
        late.push([subscription, due]);
        continue;
      }
      yield* this.#split(subscription, due);
    }
    for (const [subscription, due] of late) yield* this.#split(subscription, due);
    for (const type of this.#owedUnknown.splice(0)) yield this.#response(type, [], []);
    if (last === undefined || this.#revisionSent === revision.id) return;
    this.#revisionSent = revision.id;
    const response = this.#response(last.type, [encodeRevision(revision)], []);
    last.sent(response.nonce);
    this.#revisionByNonce.set(response.nonce, revision.id);
    if (this.#revisionByNonce.size > UNANSWERED_REVISIONS_MAX) {
      const [oldest] = this.#revisionByNonce.keys();
      this.#revisionByNonce.delete(oldest!);
    }
    yield response;
  }

  *#split(subscription: AdsSubscription, due: Due): Generator<DeltaDiscoveryResponse> {
    let part: EncodedResource[] = [];
    let bytes = 0;
    let { removed } = due;
    for (const resource of due.upserted) {
      if (bytes > 0 && bytes + resource.bytes.length > RESPONSE_BYTES_MAX) {
        yield this.#send(subscription, part, removed);
        [part, bytes, removed] = [[], 0, []];
      }
      part.push(resource);
      bytes += resource.bytes.length;
    }
    yield this.#send(subscription, part, removed);
  }

  #send(
    subscription: AdsSubscription,
    upserted: readonly EncodedResource[],
    removed: readonly string[],
  ): DeltaDiscoveryResponse {
    const response = this.#response(subscription.type, upserted, removed);
    subscription.sent(response.nonce);
    return response;
  }

  #response(
    typeUrl: string,
    upserted: readonly EncodedResource[],
    removed: readonly string[],
  ): DeltaDiscoveryResponse {
    this.#options.onSent(typeUrl, upserted.length + removed.length);
    this.#options.tails.push(
      upserted.length === 0 ? undefined : this.#options.lists.encoded(upserted),
    );
    return create(DeltaDiscoveryResponseSchema, {
      typeUrl,
      nonce: String(++this.#nonce),
      systemVersionInfo: String(this.#source.revision.id),
      removedResources: [...removed],
    });
  }
}

function clipped(text: string): string {
  return text.slice(0, TEXT_LENGTH_MAX);
}

const KNOWN = new Set<string>(Object.values(RESOURCE_TYPES));

function isKnown(type: string): type is ResourceType {
  return KNOWN.has(type);
}
