/** IP addresses as the workload API has them: 4 or 16 bytes. */
import { isIPv4, isIPv6 } from "node:net";

/** The bytes of an address; undefined when the text is none. */
export function ipBytes(text: string): Uint8Array | undefined {
  if (isIPv4(text)) return Uint8Array.from(text.split("."), Number);
  if (!isIPv6(text) || text.includes("%")) return undefined;
  const [head = "", tail] = text.split("::");
  const [before, after] = [groupBytes(head), groupBytes(tail ?? "")];
  const bytes = new Uint8Array(16);
  bytes.set(before);
  bytes.set(after, 16 - after.length);
  return bytes;
}

function groupBytes(text: string): number[] {
  if (text === "") return [];
  return text.split(":").flatMap((group) => {
    if (group.includes(".")) return group.split(".").map(Number);
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}

/**
 * The address as the model has it: RFC 5952 without its §5, so that one that holds an IPv4 address
 * is in hexadecimal too. Undefined when there are not 4 or 16 bytes.
 */
export function ipText(bytes: Uint8Array): string | undefined {
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.length !== 16) return undefined;
  const hex = Buffer.from(bytes).toString("hex");
  return new URL(`http://[${hex.match(/.{4}/g)!.join(":")}]`).hostname.slice(1, -1);
}
