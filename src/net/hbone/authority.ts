/**
 * The `:authority` of a CONNECT, and addresses in logs: `10.0.0.1:80`, `[::1]:80`, `name:80`.
 *
 * The parse is strict: the authority decides where a connection goes, so whatever two readers could
 * read differently (a port with a sign, a name with a NUL, an unbracketed IPv6 address) is refused.
 */
import net from "node:net";

export interface Authority {
  /** An IPv4 address, an IPv6 address without brackets, or a lower-case host name. */
  readonly host: string;
  readonly port: number;
}

/** Names are at most 253 octets of letters, digits, hyphens and dots (RFC 1123 §2.1), and `_`. */
const NAME = /^(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/;
const PORT = /^[1-9][0-9]{0,4}$/;
const ALL_NUMERIC = /^[0-9.]+$/;

/** Host and port, or `undefined` when the text is not exactly an authority with a port. */
export function parseAuthority(text: string): Authority | undefined {
  const colon = text.lastIndexOf(":");
  if (colon <= 0 || text.length > 262) return undefined;
  const port = parsePort(text.slice(colon + 1));
  const host = parseHost(text.slice(0, colon));
  return port === undefined || host === undefined ? undefined : { host, port };
}

/** An IPv6 address gets brackets. */
export function formatAuthority(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function parsePort(text: string): number | undefined {
  if (!PORT.test(text)) return undefined;
  const port = Number(text);
  return port <= 65_535 ? port : undefined;
}

function parseHost(text: string): string | undefined {
  if (text.startsWith("[")) {
    const inner = text.slice(1, -1);
    // A zone (`%eth0`) means something on one machine only.
    return text.endsWith("]") && net.isIPv6(inner) && !inner.includes("%") ? inner : undefined;
  }
  if (net.isIPv4(text)) return text;
  const name = text.toLowerCase();
  // `1.2.3` and `0177.0.0.1` are addresses to some resolvers, so they are names to nobody.
  if (name.length > 253 || ALL_NUMERIC.test(name) || !NAME.test(name)) return undefined;
  return name;
}
