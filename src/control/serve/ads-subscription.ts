/**
 * What one client wants of one type, and what it has not been sent yet.
 *
 * A change that has not gone out is replaced by the next change of the same name, so what a slow
 * client leaves behind is never more than the mesh itself.
 */
import { Code, ConnectError } from "@connectrpc/connect";
import type { EncodedResource, ResourceIndex, ResourceType } from "../../wire/resource.ts";

/** Subscribes to every resource of the type. */
const WILDCARD = "*";
/** Twice the mesh that we are made for; a name is a service's or a workload's. */
const NAMES_MAX = 100_000;
const NAME_LENGTH_MAX = 1024;

export interface SubscriptionRequest {
  readonly resourceNamesSubscribe: readonly string[];
  readonly resourceNamesUnsubscribe: readonly string[];
  readonly initialResourceVersions: Readonly<Record<string, string>>;
}

/** What is due to a client: in one response, or in several. */
export interface Due {
  readonly upserted: EncodedResource[];
  readonly removed: string[];
}

export class AdsSubscription {
  readonly type: ResourceType;
  /** A name without a resource: it is gone. */
  #due = new Map<string, EncodedResource | undefined>();
  readonly #names = new Set<string>();
  #isWildcard = false;
  /** The first answer is owed even when there is nothing to say. */
  #isAnswerOwed = true;
  lastSentNonce = "";
  lastSentMs = 0;
  lastAckedNonce = "";
  /** What the client said was wrong with the last response that it refused. */
  lastRefusal = "";

  constructor(type: ResourceType) {
    this.type = type;
  }

  /** A response goes out. */
  sent(nonce: string): void {
    this.lastSentNonce = nonce;
    this.lastSentMs = Date.now();
  }

  /** The first request for the type on this stream. An empty one is for everything. */
  begin(request: SubscriptionRequest, all: ResourceIndex): void {
    const { resourceNamesSubscribe, resourceNamesUnsubscribe } = request;
    this.#isWildcard = resourceNamesSubscribe.length === 0;
    // Tens of thousands of names in each reconnect: read where they are.
    const held = request.initialResourceVersions;
    this.#subscribe(resourceNamesSubscribe);
    this.#unsubscribe(resourceNamesUnsubscribe);
    const wanted = this.#isWildcard ? all.keys() : this.#names;
    for (const name of wanted) {
      const resource = all.get(name);
      // A client of old says "" for what it holds: that is no version.
      if (resource === undefined || held[name] !== resource.version) {
        this.#due.set(name, resource);
      }
    }
    for (const name in held) if (!all.has(name)) this.#due.set(name, undefined);
  }

  /** A later request: what it adds is due, also when it was sent before. */
  change(request: SubscriptionRequest, all: ResourceIndex): void {
    const { resourceNamesSubscribe, resourceNamesUnsubscribe } = request;
    if (resourceNamesSubscribe.length === 0 && resourceNamesUnsubscribe.length === 0) return;
    const wasWildcard = this.#isWildcard;
    this.#subscribe(resourceNamesSubscribe);
    this.#unsubscribe(resourceNamesUnsubscribe);
    const isAll = this.#isWildcard && !wasWildcard;
    const asked = isAll ? all.keys() : resourceNamesSubscribe.filter((name) => name !== WILDCARD);
    for (const name of asked) this.#due.set(name, all.get(name));
  }

  #subscribe(names: readonly string[]): void {
    for (const name of names) {
      if (name === WILDCARD) this.#isWildcard = true;
      else this.#names.add(name);
      if (this.#names.size > NAMES_MAX || name.length > NAME_LENGTH_MAX) {
        throw new ConnectError("more names than can be subscribed to", Code.ResourceExhausted);
      }
    }
  }

  #unsubscribe(names: readonly string[]): void {
    for (const name of names) {
      if (name === WILDCARD) this.#isWildcard = false;
      else this.#names.delete(name);
      if (!this.#wants(name)) this.#due.delete(name);
    }
  }

  #wants(name: string): boolean {
    return this.#isWildcard || this.#names.has(name);
  }

  upsert(resource: EncodedResource): void {
    if (this.#wants(resource.name)) this.#due.set(resource.name, resource);
  }

  remove(name: string): void {
    if (this.#wants(name)) this.#due.set(name, undefined);
  }

  get isDue(): boolean {
    return this.#isAnswerOwed || this.#due.size > 0;
  }

  /** All that is due, which then is so no longer. */
  take(): Due {
    const upserted: EncodedResource[] = [];
    const removed: string[] = [];
    for (const [name, resource] of this.#due) {
      if (resource === undefined) removed.push(name);
      else upserted.push(resource);
    }
    this.#due = new Map();
    this.#isAnswerOwed = false;
    return { upserted, removed };
  }
}
