/**
 * X-Forwarded-For: each proxy adds whom it was called by, so the entries at the right are the ones
 * to believe. As many of them as there are trusted proxies are those proxies' own callers.
 */
import { isIP } from "node:net";

/** `undefined`: it does not say, or what it says is no address. */
export function forwardedAddress(
  header: string | undefined,
  numTrustedProxies: number,
): string | undefined {
  if (header === undefined) return undefined;
  const entry =
    header
      .split(",")
      .at(-1 - numTrustedProxies)
      ?.trim() ?? "";
  return isIP(entry) === 0 ? undefined : entry;
}
