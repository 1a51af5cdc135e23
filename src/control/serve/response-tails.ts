/**
 * Responses in two pieces: what is each client's own goes through the library, and the resources
 * follow as bytes that all clients share (a message may be concatenated from its parts).
 *
 *     handler ─ yields a message, and leaves its tail here ─> library ─ envelope ─┐
 *                                              length of both, message, tail <────┘
 *
 * With 50,000 workloads a first answer costs the server 0.3 s of CPU; encoded and copied for each
 * client it was 2.6 s, most of it the collector's, whom so many buffers make mark the whole mesh.
 */
import type { DescMethod } from "@bufbuild/protobuf";
import { type ConnectRouter, createContextKey, createContextValues } from "@connectrpc/connect";
import type { UniversalServerRequest, UniversalServerResponse } from "@connectrpc/connect/protocol";
import { assert } from "../../kit/assert.ts";
import type { EncodedResource } from "../../wire/resource.ts";
import { encodeResourceList } from "../../wire/resource-list.ts";

/** One for each message that the handler yields, in their order. */
export type ResponseTails = (Uint8Array | undefined)[];

export const RESPONSE_TAILS = createContextKey<ResponseTails>([]);

/** Flags, and the length of the message. */
const ENVELOPE_BYTES = 5;
/** A smaller list is not worth remembering. */
const SHARED_BYTES_MIN = 64 * 1024;
/** More than the first answer of any mesh we are made for. */
const SHARED_BYTES_MAX = 128 * 1024 * 1024;
/** Clients that start together ask within seconds. */
const SHARED_FOR_MS = 10_000;

/** Of one method of a router: sends with each message the tail that its handler left. */
export function sendTails({ handlers }: ConnectRouter, method: DescMethod): void {
  for (const [i, handler] of handlers.entries()) {
    if (handler.method !== method) continue;
    const withTails = async (request: UniversalServerRequest): Promise<UniversalServerResponse> => {
      const tails: ResponseTails = [];
      const contextValues = request.contextValues ?? createContextValues();
      contextValues.set(RESPONSE_TAILS, tails);
      const response = await handler({ ...request, contextValues });
      return response.body ? { ...response, body: joined(response.body, tails) } : response;
    };
    handlers[i] = Object.assign(withTails, handler);
  }
}

async function* joined(
  messages: AsyncIterable<Uint8Array>,
  tails: ResponseTails,
): AsyncGenerator<Uint8Array> {
  for await (const message of messages) {
    const tail = tails.shift();
    if (tail === undefined) {
      yield message;
      continue;
    }
    const envelope = new DataView(message.buffer, message.byteOffset, ENVELOPE_BYTES);
    assert(envelope.getUint8(0) === 0, "responses are not compressed");
    envelope.setUint32(1, message.length - ENVELOPE_BYTES + tail.length);
    yield message;
    yield tail;
  }
}

/** Encoded lists of resources, for the next client that is sent the very same ones. */
export class SharedLists {
  readonly #byFirst = new Map<
    EncodedResource,
    { readonly resources: readonly EncodedResource[]; readonly bytes: Uint8Array }
  >();
  #bytes = 0;
  #forgetting: NodeJS.Timeout | undefined;

  encoded(resources: readonly EncodedResource[]): Uint8Array {
    const first = resources[0]!;
    const known = this.#byFirst.get(first);
    if (known !== undefined && isSame(known.resources, resources)) return known.bytes;
    const bytes = encodeResourceList(resources);
    if (bytes.length >= SHARED_BYTES_MIN) this.#keep(first, resources, bytes);
    return bytes;
  }

  #keep(first: EncodedResource, resources: readonly EncodedResource[], bytes: Uint8Array): void {
    if (this.#bytes + bytes.length > SHARED_BYTES_MAX) this.#forget();
    this.#bytes += bytes.length - (this.#byFirst.get(first)?.bytes.length ?? 0);
    this.#byFirst.set(first, { resources, bytes });
    this.#forgetting ??= setTimeout(() => this.#forget(), SHARED_FOR_MS).unref();
  }

  #forget(): void {
    this.#byFirst.clear();
    this.#bytes = 0;
    clearTimeout(this.#forgetting);
    this.#forgetting = undefined;
  }
}

function isSame(a: readonly EncodedResource[], b: readonly EncodedResource[]): boolean {
  return a.length === b.length && a.every((resource, i) => resource === b[i]);
}
