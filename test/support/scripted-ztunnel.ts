/**
 * The real ztunnel's side of a configuration stream, message by message (protocols.md §1.5): it
 * opens the stream with two requests at once, answers each response, and is ready when both types
 * have been taken once. It reads only when the test says so.
 */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { createClient, type Transport } from "@connectrpc/connect";
import {
  AggregatedDiscoveryService,
  type DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
} from "../../src/wire/gen/envoy/discovery_pb.ts";
import { RESOURCE_TYPES } from "../../src/wire/resource.ts";

type Request = MessageInitShape<typeof DeltaDiscoveryRequestSchema>;

const { address, authorization } = RESOURCE_TYPES;

export const NODE = {
  id: "ztunnel~10.0.0.9~ztunnel-7.istio-system~istio-system.svc.cluster.local",
  metadata: { NAME: "ztunnel-7", NAMESPACE: "istio-system", NODE_NAME: "node-1" },
};

export class ScriptedZtunnel {
  /** Type and name → version, of what it has taken. */
  readonly held = new Map<string, Map<string, string>>();
  readonly #requests: Request[] = [];
  readonly #ackedTypes = new Set<string>();
  readonly #ending = new AbortController();
  readonly #incoming: AsyncIterator<DeltaDiscoveryResponse>;
  #wake: (() => void) | undefined;
  #isEnded = false;

  constructor(transport: Transport, headers: Readonly<Record<string, string>>) {
    const client = createClient(AggregatedDiscoveryService, transport);
    const { signal } = this.#ending;
    this.#incoming = client
      .deltaAggregatedResources(this.#outgoing(), { headers, signal })
      [Symbol.asyncIterator]();
  }

  /** What it opens every stream with; after a loss with what it holds, as it remembers it. */
  begin(versions: "none" | "echoed" | "empty" = "none"): void {
    for (const typeUrl of [address, authorization]) {
      const held = versions === "none" ? [] : [...(this.held.get(typeUrl) ?? [])];
      const initial = held.map(([name, version]) => [name, versions === "empty" ? "" : version]);
      this.send({ node: NODE, typeUrl, initialResourceVersions: Object.fromEntries(initial) });
    }
  }

  /** Takes over what another one, whose stream is gone, has held. */
  resume(other: ScriptedZtunnel): this {
    for (const [type, held] of other.held) this.held.set(type, new Map(held));
    return this;
  }

  send(request: Request): void {
    this.#requests.push(request);
    this.#wake?.();
  }

  /** The next response, unanswered. Undefined: the stream has ended well; rejects otherwise. */
  async read(): Promise<DeltaDiscoveryResponse | undefined> {
    const { done, value } = await this.#incoming.next();
    return done ? undefined : value;
  }

  /** Takes the next response and ACKs it. */
  async take(): Promise<DeltaDiscoveryResponse> {
    const response = await this.read();
    if (response === undefined) throw new Error("the stream has ended");
    this.#apply(response);
    this.#ackedTypes.add(response.typeUrl);
    this.send({ typeUrl: response.typeUrl, responseNonce: response.nonce });
    return response;
  }

  /** Refuses it as a ztunnel does: code 0. What of it is good is held all the same. */
  refuse({ typeUrl, nonce }: DeltaDiscoveryResponse, message: string): void {
    this.send({ typeUrl, responseNonce: nonce, errorDetail: { code: 0, message } });
  }

  get isReady(): boolean {
    return this.#ackedTypes.has(address) && this.#ackedTypes.has(authorization);
  }

  names(type: string): readonly string[] {
    return [...(this.held.get(type)?.keys() ?? [])].sort();
  }

  /** Ends its side in order. */
  end(): void {
    this.#isEnded = true;
    this.#wake?.();
  }

  /** Breaks the stream off. */
  abort(): void {
    this.end();
    this.#ending.abort();
  }

  #apply({ typeUrl, resources, removedResources }: DeltaDiscoveryResponse): void {
    const held = this.held.get(typeUrl) ?? new Map<string, string>();
    this.held.set(typeUrl, held);
    for (const { name, version } of resources) held.set(name, version);
    for (const name of removedResources) held.delete(name);
  }

  async *#outgoing(): AsyncGenerator<Request> {
    while (true) {
      const next = this.#requests.shift();
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
