/**
 * A delta client that costs next to nothing: it takes gRPC messages apart as far as their type and
 * nonce, answers each, and counts bytes. Hundreds of them fit beside the server that is measured.
 *
 * `answers`: `ack`; `nack` refuses everything but the revision's type; `silent` does not even read.
 */
import { connect } from "node:http2";
import { create, toBinary } from "@bufbuild/protobuf";
import { DeltaDiscoveryRequestSchema } from "../../dist/wire/gen/envoy/discovery_pb.js";

const PATH = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const PREFIX_BYTES = 5;
/** As the product's own client. */
const WINDOW_BYTES = 2 * 1024 * 1024;

/** Fields of DeltaDiscoveryResponse and of Resource. */
const RESOURCES = 2;
const TYPE_URL = 4;
const NONCE = 5;
const REMOVED = 6;
const RESOURCE_VERSION = 1;
const RESOURCE_NAME = 3;

/** A first request is this, the client's own node before it: messages can be concatenated. */
export function subscription(typeUrl, versions = new Map()) {
  return encoded({ typeUrl, initialResourceVersions: Object.fromEntries(versions) });
}

function encoded(request) {
  return toBinary(DeltaDiscoveryRequestSchema, create(DeltaDiscoveryRequestSchema, request));
}

export class LightAdsClient {
  bytes = 0;
  resources = 0;
  revisions = 0;
  /** Type → name → version, when they are kept. */
  versions;
  #session;
  #stream;
  #answers;
  #chunks = [];
  #held = 0;

  constructor({ port, rootsPem, node, subscriptions, answers = "ack", keepsVersions = false }) {
    this.#answers = answers;
    if (keepsVersions) this.versions = new Map();
    this.#session = connect(`https://localhost:${port}`, {
      ca: rootsPem,
      settings: { initialWindowSize: WINDOW_BYTES, enablePush: false },
    });
    this.#session.on("error", () => {});
    this.#stream = this.#session.request({
      ":method": "POST",
      ":path": PATH,
      te: "trailers",
      "content-type": "application/grpc",
      authorization: "Bearer good",
    });
    this.#stream.on("error", () => {});
    const own = encoded({ node });
    for (const message of subscriptions) this.#send(own, message);
    if (answers !== "silent") this.#stream.on("data", (chunk) => this.#take(chunk));
  }

  #send(...parts) {
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    const prefix = Buffer.alloc(PREFIX_BYTES);
    prefix.writeUInt32BE(length, 1);
    // Not put together: hundreds of clients send the same first requests.
    for (const part of [prefix, ...parts]) this.#stream.write(part);
  }

  #take(chunk) {
    this.bytes += chunk.length;
    this.#chunks.push(chunk);
    this.#held += chunk.length;
    while (this.#held >= PREFIX_BYTES) {
      const first = this.#chunks[0];
      const isSplit = first.length < PREFIX_BYTES;
      const head = isSplit ? Buffer.concat(this.#chunks) : first;
      const end = PREFIX_BYTES + head.readUInt32BE(1);
      if (this.#held < end) return;
      const all = this.#chunks.length === 1 ? first : Buffer.concat(this.#chunks);
      this.#answer(all.subarray(PREFIX_BYTES, end));
      this.#chunks = all.length === end ? [] : [all.subarray(end)];
      this.#held -= end;
    }
  }

  #answer(message) {
    let typeUrl = "";
    let nonce = "";
    const resources = [];
    const removed = [];
    for (const [field, value] of fieldsOf(message)) {
      if (field === RESOURCES) resources.push(value);
      else if (field === TYPE_URL) typeUrl = value.toString();
      else if (field === NONCE) nonce = value.toString();
      else if (field === REMOVED) removed.push(value);
    }
    this.resources += resources.length;
    if (this.versions !== undefined) this.#keep(typeUrl, resources, removed);
    const isRevision = typeUrl.endsWith(".Revision");
    if (isRevision) this.revisions++;
    const isRefused = this.#answers === "nack";
    const refusal = isRefused ? { errorDetail: { code: 0, message: "not to my taste" } } : {};
    this.#send(encoded({ typeUrl, responseNonce: nonce, ...refusal }));
  }

  #keep(type, resources, removed) {
    let held = this.versions.get(type);
    if (held === undefined) {
      held = new Map();
      this.versions.set(type, held);
    }
    for (const resource of resources) {
      const fields = new Map(fieldsOf(resource));
      held.set(String(fields.get(RESOURCE_NAME)), String(fields.get(RESOURCE_VERSION)));
    }
    for (const name of removed) held.delete(name.toString());
  }

  close() {
    this.#session.destroy();
  }
}

/** The length-delimited fields of a message, by number. */
function* fieldsOf(message) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = message[at++];
      value += (byte & 127) * shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    if ((tag & 7) !== 2) {
      varint();
      continue;
    }
    const length = varint();
    yield [tag >>> 3, message.subarray(at, at + length)];
    at += length;
  }
}
