/**
 * Header lists as they travel: flat (name, value, name, value …), names in lower case, pseudo
 * headers first. And what RFC 9113 §8 forbids in them.
 */
import { encodeBlock } from "./hpack/encoder.ts";

export type HeaderList = readonly string[];

/** The value of the first header of that name. */
export function header(list: HeaderList, name: string): string | undefined {
  for (let i = 0; i < list.length; i += 2) if (list[i] === name) return list[i + 1];
  return undefined;
}

/** An HPACK block that may be encoded once and sent on any connection. */
export function encodeStatelessBlock(list: HeaderList): Buffer {
  return Buffer.from(encodeBlock(list));
}

/** How our encoder begins the block of a CONNECT: a literal with the static name `:method`. */
const CONNECT_START = encodeStatelessBlock([":method", "CONNECT"]);
const HEAD_START = encodeStatelessBlock([":method", "HEAD"]);

/** A request's method, as far as framing depends on it. */
export function isMethod(method: "CONNECT" | "HEAD", request: Buffer | HeaderList): boolean {
  if (!Buffer.isBuffer(request)) return header(request, ":method") === method;
  const start = method === "CONNECT" ? CONNECT_START : HEAD_START;
  return request.length >= start.length && start.compare(request, 0, start.length) === 0;
}

const NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;
const VALUE_FORBIDDEN = /[\x00\x0a\x0d]|^[ \t]|[ \t]$/;
const METHOD = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const SCHEME = /^[A-Za-z][A-Za-z0-9+.-]*$/;
/** Neither space nor control; of an authority no user information (§8.3.1). */
const AUTHORITY = /^[^\x00-\x20\x7f@/?#\\]+$/;
const PATH = /^(?:\/[^\x00-\x20\x7f#]*|\*)$/;
const STATUS = /^[1-5][0-9][0-9]$/;
const LENGTH = /^[0-9]{1,15}$/;

/** A bit each, to see which have come. */
const PSEUDO = new Map([
  [":method", 1],
  [":scheme", 2],
  [":authority", 4],
  [":path", 8],
  [":protocol", 16],
  [":status", 32],
]);
const SCHEME_BIT = 2;
const PATH_BIT = 8;
const PROTOCOL_BIT = 16;

const ALLOWED = {
  request: 1 + 2 + 4 + 8,
  /** Where `:protocol` is allowed (RFC 8441 §4). */
  extendedRequest: 1 + 2 + 4 + 8 + 16,
  response: 32,
  trailers: 0,
} as const;
const CONNECTION_SPECIFIC = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

export type HeaderListKind = keyof typeof ALLOWED;

/** Why a list is malformed (RFC 9113 §8.1.1), or `undefined`. */
export function headerListProblem(list: HeaderList, kind: HeaderListKind): string | undefined {
  let seen = 0;
  let isPastPseudo = false;
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    const value = list[i + 1]!;
    if (VALUE_FORBIDDEN.test(value)) return "§8.2.1: a forbidden character in a value";
    if (name.charCodeAt(0) === 0x3a) {
      const bit = PSEUDO.get(name) ?? 0;
      if (isPastPseudo) return "§8.3: a pseudo header behind a regular one";
      if ((bit & ALLOWED[kind]) === 0) return "§8.3: a pseudo header that has no place here";
      if ((seen & bit) !== 0) return `§8.3: ${name} twice`;
      seen |= bit;
      continue;
    }
    isPastPseudo = true;
    if (!NAME.test(name)) return "§8.2.1: a malformed header name";
    if (CONNECTION_SPECIFIC.has(name)) return `§8.2.2: ${name}`;
    if (name === "te" && value !== "trailers") return "§8.2.2: te other than trailers";
  }
  if (kind === "trailers") return undefined;
  const problem = kind === "response" ? responseProblem(list) : requestProblem(list, seen);
  return problem ?? (contentLength(list) === -2 ? "§8.1.1: a malformed content-length" : undefined);
}

function requestProblem(list: HeaderList, seen: number): string | undefined {
  const method = header(list, ":method") ?? "";
  if (!METHOD.test(method)) return "§8.3.1: :method is missing or malformed";
  if ((seen & PROTOCOL_BIT) !== 0) {
    if (method !== "CONNECT") return "RFC 8441 §4: :protocol without CONNECT";
    if (!METHOD.test(header(list, ":protocol")!)) return "RFC 8441 §4: a malformed :protocol";
  }
  const authority = header(list, ":authority");
  if (method === "CONNECT" && (seen & PROTOCOL_BIT) === 0) {
    // RFC 9113 §8.5
    if ((seen & (SCHEME_BIT | PATH_BIT)) !== 0) return "§8.5: CONNECT with scheme or path";
    return authority ? undefined : "§8.5: CONNECT without authority";
  }
  if (authority !== undefined && !AUTHORITY.test(authority))
    return "§8.3.1: a malformed :authority";
  const host = header(list, "host");
  if (host !== undefined && authority !== undefined && !sameHost(host, authority)) {
    return "§8.3.1: host differs from :authority";
  }
  if (!SCHEME.test(header(list, ":scheme") ?? "")) return "§8.3.1: :scheme is missing or malformed";
  const path = header(list, ":path") ?? "";
  if (!PATH.test(path)) return "§8.3.1: :path is missing or malformed";
  return path === "*" && method !== "OPTIONS" ? "§8.3.1: :path of * without OPTIONS" : undefined;
}

function sameHost(host: string, authority: string): boolean {
  return host === authority || host.toLowerCase() === authority.toLowerCase();
}

function responseProblem(list: HeaderList): string | undefined {
  return STATUS.test(header(list, ":status") ?? "")
    ? undefined
    : "§8.3.2: :status is missing or malformed";
}

/** The declared length of the body; -1: none; -2: malformed, or several that differ. */
export function contentLength(list: HeaderList): number {
  let found: string | undefined;
  for (let i = 0; i < list.length; i += 2) {
    if (list[i] !== "content-length") continue;
    const value = list[i + 1]!;
    if (!LENGTH.test(value) || (found !== undefined && found !== value)) return -2;
    found = value;
  }
  return found === undefined ? -1 : Number(found);
}
