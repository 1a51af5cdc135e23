/**
 * The resources of one response, as bytes that end its message: `DeltaDiscoveryResponse.resources`,
 * encoded by hand. What the library makes of them is objects and copies for each client, and those
 * make the collector go through the whole mesh again and again (docs/decisions/005).
 */
import type { EncodedResource } from "./resource.ts";

const LENGTH_DELIMITED = 2;
/** A field's number, and how long it is comes next. */
const tag = (field: number) => (field << 3) | LENGTH_DELIMITED;
/** Of DeltaDiscoveryResponse; the next three are Resource's, the last two Any's. */
const LIST_TAG = tag(2);
const VERSION_TAG = tag(1);
const ANY_TAG = tag(2);
const NAME_TAG = tag(3);
const TYPE_URL_TAG = tag(1);
const VALUE_TAG = tag(2);

interface Sizes {
  readonly name: number;
  readonly version: number;
  readonly any: number;
  readonly resource: number;
}

/** All of one type, and at least one. */
export function encodeResourceList(resources: readonly EncodedResource[]): Uint8Array {
  const typeUrl = Buffer.from(resources[0]!.type);
  const sizes = resources.map((resource) => sizesOf(resource, typeUrl.length));
  let total = 0;
  for (const { resource } of sizes) total += fieldSize(resource);
  const writer = new Writer(total);
  for (const [i, { name, version, bytes }] of resources.entries()) {
    const size = sizes[i]!;
    writer.head(LIST_TAG, size.resource);
    writer.head(VERSION_TAG, size.version);
    writer.text(version);
    writer.head(ANY_TAG, size.any);
    writer.head(TYPE_URL_TAG, typeUrl.length);
    writer.bytes(typeUrl);
    writer.head(VALUE_TAG, bytes.length);
    writer.bytes(bytes);
    writer.head(NAME_TAG, size.name);
    writer.text(name);
  }
  return writer.written;
}

function sizesOf({ name, version, bytes }: EncodedResource, typeUrlSize: number): Sizes {
  const any = fieldSize(typeUrlSize) + fieldSize(bytes.length);
  const sizes = { name: Buffer.byteLength(name), version: Buffer.byteLength(version), any };
  const resource = fieldSize(sizes.name) + fieldSize(sizes.version) + fieldSize(any);
  return { ...sizes, resource };
}

/** Of a field with so many bytes: its tag, its length, and the bytes. */
function fieldSize(length: number): number {
  return 1 + lengthSize(length) + length;
}

/** Of a length as a varint: seven bits a byte. */
function lengthSize(length: number): number {
  let size = 1;
  for (let rest = length >>> 7; rest > 0; rest >>>= 7) size++;
  return size;
}

class Writer {
  readonly written: Buffer;
  #at = 0;

  constructor(size: number) {
    this.written = Buffer.allocUnsafeSlow(size);
  }

  head(fieldTag: number, length: number): void {
    this.written[this.#at++] = fieldTag;
    let rest = length;
    for (; rest > 127; rest >>>= 7) this.written[this.#at++] = (rest & 127) | 128;
    this.written[this.#at++] = rest;
  }

  text(text: string): void {
    this.#at += this.written.write(text, this.#at);
  }

  bytes(bytes: Uint8Array): void {
    this.written.set(bytes, this.#at);
    this.#at += bytes.length;
  }
}
