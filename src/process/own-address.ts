/**
 * Whether an address is this machine's: only from such a one can be dialled, and on such a one be
 * listened. Loopback addresses are everybody's own.
 */
import { networkInterfaces } from "node:os";

/** How long an answer is believed: addresses come and go with interfaces. */
const BELIEVED_MS = 5_000;
/** An address that is not there may just have come. */
const MISSED_MS = 200;

let known = new Set<string>();
let knownAtMs = Number.NEGATIVE_INFINITY;

/** The address when it is this machine's; undefined leaves the choice to the system. */
export function ownAddress(address: string | undefined): string | undefined {
  if (address === undefined) return undefined;
  if (isLoopback(address)) return address;
  const nowMs = performance.now();
  if (nowMs - knownAtMs > (known.has(address) ? BELIEVED_MS : MISSED_MS)) {
    knownAtMs = nowMs;
    known = new Set(
      Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map((one) => one.address)),
    );
  }
  return known.has(address) ? address : undefined;
}

function isLoopback(address: string): boolean {
  return address.startsWith("127.") || address === "::1";
}
