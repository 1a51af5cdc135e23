/**
 * IP addresses and CIDR ranges, v4 and v6. A v4 address mapped into v6 (`::ffff:10.0.0.1`), which is
 * how a dual-stack socket reports a v4 peer, is the v4 address, in ranges as in addresses.
 *
 * An address is four 32-bit words; v4 has only the last, so that comparing costs a few masks.
 */
import { isIPv4, isIPv6 } from "node:net";
import type { Cidr } from "../../model/rule.ts";
import { Memo } from "./memo.ts";

export interface IpAddress {
  readonly isV4: boolean;
  readonly words: readonly [number, number, number, number];
}

/** Remembered: the same peers come again and again. */
export const addresses = new Memo<IpAddress | undefined>(parseAddress);

/** `undefined` for what is no address. A zone (`%eth0`) is left out. */
export function parseAddress(text: string): IpAddress | undefined {
  if (isIPv4(text)) return { isV4: true, words: [0, 0, 0, v4Word(text)] };
  const zone = text.indexOf("%");
  const bare = zone < 0 ? text : text.slice(0, zone);
  return isIPv6(bare) ? fromWords(v6Words(bare)) : undefined;
}

function v4Word(text: string): number {
  const parts = text.split(".");
  return parts.reduce((word, part) => (word << 8) | Number(part), 0) >>> 0;
}

function v6Words(text: string): [number, number, number, number] {
  const lastColon = text.lastIndexOf(":");
  let groups = text;
  if (text.includes(".")) {
    const v4 = v4Word(text.slice(lastColon + 1));
    groups = `${text.slice(0, lastColon + 1)}${(v4 >>> 16).toString(16)}:${(v4 & 0xffff).toString(16)}`;
  }
  const [head = "", tail] = groups.split("::");
  const before = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  const middle = new Array<string>(8 - before.length - after.length).fill("0");
  const all = [...before, ...middle, ...after].map((group) => Number.parseInt(group, 16));
  const word = (i: number) => ((all[i]! << 16) | all[i + 1]!) >>> 0;
  return [word(0), word(2), word(4), word(6)];
}

function fromWords(words: readonly [number, number, number, number]): IpAddress {
  const isMapped = words[0] === 0 && words[1] === 0 && words[2] === 0xffff;
  return isMapped ? { isV4: true, words: [0, 0, 0, words[3]] } : { isV4: false, words };
}

/** A range, ready to compare. */
export class IpRange {
  readonly #isV4: boolean;
  readonly #masks: readonly number[];
  readonly #words: readonly number[];

  constructor(cidr: Cidr) {
    const bytes = Buffer.from(cidr.bytes, "hex");
    let prefixLength = cidr.prefixLength;
    let words: readonly number[];
    if (bytes.length === 4) {
      this.#isV4 = true;
      words = [0, 0, 0, bytes.readUInt32BE(0)];
    } else {
      const raw = [0, 4, 8, 12].map((offset) => bytes.readUInt32BE(offset));
      const address = fromWords(raw as [number, number, number, number]);
      // A mapped range wider than its marker is one of v6, which no v4 address is in.
      this.#isV4 = address.isV4 && prefixLength >= 96;
      words = this.#isV4 ? address.words : raw;
      if (this.#isV4) prefixLength -= 96;
    }
    const skipped = this.#isV4 ? 96 : 0;
    this.#masks = [0, 32, 64, 96].map((bit) => maskOf(prefixLength + skipped - bit, bit < skipped));
    // Host bits may be set in what people write (`10.1.2.3/8`): they do not count.
    this.#words = words.map((word, i) => (word & this.#masks[i]!) >>> 0);
  }

  contains(address: IpAddress): boolean {
    if (address.isV4 !== this.#isV4) return false;
    for (let i = 0; i < 4; i++) {
      if ((address.words[i]! & this.#masks[i]!) >>> 0 !== this.#words[i]!) return false;
    }
    return true;
  }
}

/** The mask of one word of which the first `bits` count. */
function maskOf(bits: number, isSkipped: boolean): number {
  if (isSkipped || bits <= 0) return 0;
  return bits >= 32 ? 0xffffffff : ~(0xffffffff >>> bits) >>> 0;
}

export function inAnyRange(ranges: readonly IpRange[], address: IpAddress | undefined): boolean {
  if (address === undefined) return false;
  for (let i = 0; i < ranges.length; i++) {
    if (ranges[i]!.contains(address)) return true;
  }
  return false;
}
