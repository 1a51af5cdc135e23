/**
 * The model's values as JSON, for Waystone's own resources: written as they are, and on arrival
 * checked against a shape (JSON Type Definition, RFC 8927), so that nothing malformed gets further.
 * Fields that a shape does not name are let through: a newer control plane may send them.
 */
import { Ajv } from "ajv/dist/jtd.js";

export type Shape = Readonly<Record<string, unknown>>;
type Fields = Readonly<Record<string, Shape>>;

export const text: Shape = { type: "string" };
export const flag: Shape = { type: "boolean" };
export const number: Shape = { type: "float64" };
/** Whole, and not below zero. */
export const count: Shape = { type: "uint32" };
export const port: Shape = { type: "uint16" };

export function list(elements: Shape): Shape {
  return { elements };
}

export function oneOf(...values: readonly string[]): Shape {
  return { enum: values };
}

/** `optional`: those that may be undefined in the model, which JSON leaves out. */
export function record(properties: Fields, optionalProperties: Fields = {}): Shape {
  return { properties, optionalProperties, additionalProperties: true };
}

/** Values told apart by a field. */
export function union(discriminator: string, mapping: Fields): Shape {
  return { discriminator, mapping };
}

export const objectRef = record({ kind: text, namespace: text, name: text });
export const position = record({ file: text, line: count, column: count });

/**
 * The shapes are ours and tested: to check them as well took 200 ms of CPU for each, in every proxy
 * that starts; to optimise what is made of them took longer than it saved.
 */
const ajv = new Ajv({ meta: false, validateSchema: false, code: { optimize: false } });

/** Field 1, length-delimited. */
const JSON_TAG = 0x0a;

/**
 * A message of ours around the value: `string json = 1`, written by hand, for the library's writer
 * takes three times the text's size for a moment. Of its own memory, not of Node's shared pool: a
 * resource that stays would keep alive what was beside it there.
 */
export function jsonMessage(value: unknown): Uint8Array {
  const json = JSON.stringify(value);
  const size = Buffer.byteLength(json);
  let start = 2;
  for (let rest = size >>> 7; rest > 0; rest >>>= 7) start++;
  const bytes = Buffer.allocUnsafeSlow(start + size);
  bytes[0] = JSON_TAG;
  for (let at = 1, rest = size; at < start; at++, rest >>>= 7) {
    bytes[at] = (rest & 0x7f) | (at === start - 1 ? 0 : 0x80);
  }
  bytes.write(json, start, "utf8");
  return bytes;
}

/** Reads values of one shape. */
export class JsonReader<T> {
  readonly #shape: Shape;
  #check: ReturnType<Ajv["compile"]> | undefined;

  constructor(shape: Shape) {
    this.#shape = shape;
  }

  /** Throws with what is wrong and where. */
  read(json: string): T {
    // Made when first needed: a process that reads none should not wait for it.
    this.#check ??= ajv.compile(this.#shape);
    let value: unknown;
    try {
      value = JSON.parse(json);
    } catch {
      throw new Error("not JSON");
    }
    if (this.#check(value)) return value as T;
    const [error] = this.#check.errors ?? [];
    throw new Error(`${error?.instancePath || "it"}: ${error?.message}`);
  }
}
