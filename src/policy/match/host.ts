/**
 * Hosts: the authority of a request, without regard to case (RFC 9110 §4.2.3), and Gateway API host
 * names with a leading wildcard.
 *
 * AuthorizationPolicy `hosts` compare the authority as it was sent, port included, as Istio's do
 * (`example.com` is not `example.com:8080`; write `example.com:*` beside it). Host names of routes
 * never see the port.
 */
import { Memo } from "./memo.ts";

export interface Authority {
  /** Lower case, port included. */
  readonly text: string;
  /** Lower case, without port and trailing dot. */
  readonly hostname: string;
}

/** Remembered: clients use few authorities. */
export const authorities = new Memo<Authority>((authority) => {
  const text = authority.toLowerCase();
  return { text, hostname: hostnameOf(text) };
});

function hostnameOf(authority: string): string {
  const colon = authority.lastIndexOf(":");
  const isPort = colon >= 0 && /^\d*$/.test(authority.slice(colon + 1));
  // In "[::1]" the last colon belongs to the address, and its text behind is no number ("1]").
  const host = isPort ? authority.slice(0, colon) : authority;
  return host.endsWith(".") ? host.slice(0, -1) : host;
}

/** `*.example.com` stands for one or more labels before `.example.com`; `*` alone for any name. */
export function matchesHostname(wanted: string, hostname: string): boolean {
  if (wanted === "*") return true;
  if (!wanted.startsWith("*.")) return wanted === hostname;
  return hostname.length >= wanted.length && hostname.endsWith(wanted.slice(1));
}

/**
 * How specific the best of the names is that match, to compare: an exact one, then the longest
 * wildcard, then `*` or no names at all. `undefined`: none matches.
 */
export function hostnameSpecificity(
  hostnames: readonly string[],
  hostname: string,
): number | undefined {
  if (hostnames.length === 0) return 0;
  let best: number | undefined;
  for (const wanted of hostnames) {
    if (!matchesHostname(wanted, hostname)) continue;
    let rank = Number.MAX_SAFE_INTEGER;
    if (wanted.startsWith("*")) rank = wanted === "*" ? 0 : wanted.length;
    if (best === undefined || rank > best) best = rank;
  }
  return best;
}

/** `a.b.c` → `a.b.c`, `*.b.c`, `*.c`, `*`: the names that match it, the most specific first. */
export const matchingHostnames = new Memo<readonly string[]>((hostname) => {
  const names = [hostname];
  let dot = hostname.indexOf(".");
  while (dot >= 0 && dot < hostname.length - 1) {
    if (dot > 0) names.push(`*${hostname.slice(dot)}`);
    dot = hostname.indexOf(".", dot + 1);
  }
  return [...names, "*"];
});
