/**
 * IP addresses and ranges as people write them, to bytes.
 */
import { isIPv4, isIPv6 } from "node:net";
import type { Cidr } from "../model/rule.ts";

/** An address or a range; `undefined` when it is neither. */
export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf("/");
  const address = slash < 0 ? text : text.slice(0, slash);
  const bytes = addressBytes(address);
  if (bytes === undefined) return undefined;
  const bits = bytes.length * 4;
  if (slash < 0) return { bytes, prefixLength: bits, text };
  const length = text.slice(slash + 1);
  if (!/^\d{1,3}$/.test(length) || Number(length) > bits) return undefined;
  return { bytes, prefixLength: Number(length), text };
}

/** 4 or 16 bytes as hexadecimal text. */
function addressBytes(text: string): string | undefined {
  if (isIPv4(text))
    return text
      .split(".")
      .map((part) => hex(Number(part), 2))
      .join("");
  // A zone (`fe80::1%eth0`) means something on one machine only.
  if (!isIPv6(text) || text.includes("%")) return undefined;
  const [head = "", tail] = text.split("::");
  const before = groups(head);
  const after = groups(tail ?? "");
  const zeros = new Array<string>(8 - before.length - after.length).fill("0000");
  return [...before, ...zeros, ...after].join("");
}

function groups(text: string): string[] {
  if (text === "") return [];
  return text.split(":").flatMap((group) => {
    if (!group.includes(".")) return [group.padStart(4, "0").toLowerCase()];
    const bytes = group
      .split(".")
      .map((part) => hex(Number(part), 2))
      .join("");
    return [bytes.slice(0, 4), bytes.slice(4)];
  });
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}

/** Whether the text is one address, without a prefix length. */
export function isAddress(text: string): boolean {
  return isIPv4(text) || isIPv6(text);
}

/**
 * The address as everybody writes it, so that it can be compared as text: IPv6 in lower case with
 * its longest run of zeros left out (RFC 5952).
 */
export function canonicalAddress(text: string): string {
  if (!isIPv6(text)) return text;
  return new URL(`http://[${text.split("%")[0]}]`).hostname.slice(1, -1);
}
