/**
 * What a set of resources amounts to, kept up to date as they come and go: the sum of one hash for
 * each, so neither order nor history matters, and both sides can compare in a line.
 */
import { hash } from "node:crypto";
import type { ResourceType } from "./resource.ts";

const LANES = 4;
const HEX_OF_LANE = 8;

/** The version of a content: the same for the same bytes, wherever they are encoded. */
export function contentVersion(bytes: Uint8Array): string {
  return hash("sha1", bytes).slice(0, 16);
}

export class ResourceDigest {
  readonly #lanes = new Uint32Array(LANES);

  add(type: ResourceType, name: string, version: string): void {
    this.#sum(type, name, version, 1);
  }

  remove(type: ResourceType, name: string, version: string): void {
    this.#sum(type, name, version, -1);
  }

  copy(): ResourceDigest {
    const copied = new ResourceDigest();
    copied.#lanes.set(this.#lanes);
    return copied;
  }

  /** What both sets amount to together. */
  plus(other: ResourceDigest): ResourceDigest {
    const sum = this.copy();
    for (let i = 0; i < LANES; i++) sum.#lanes[i] = sum.#lanes[i]! + other.#lanes[i]!;
    return sum;
  }

  toString(): string {
    return [...this.#lanes].map((lane) => lane.toString(16).padStart(HEX_OF_LANE, "0")).join("");
  }

  #sum(type: ResourceType, name: string, version: string, sign: number): void {
    const text = hash("sha1", `${type}\n${name}\n${version}`);
    for (let i = 0; i < LANES; i++) {
      const lane = Number.parseInt(text.slice(i * HEX_OF_LANE, (i + 1) * HEX_OF_LANE), 16);
      // Modulo 2^32, which a Uint32Array does by itself.
      this.#lanes[i] = this.#lanes[i]! + sign * lane;
    }
  }
}
