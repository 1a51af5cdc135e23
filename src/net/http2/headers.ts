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
  return encodeBlock(list);
}

const NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;
const VALUE_FORBIDDEN = /[\x00\x0a\x0d]|^[ \t]|[ \t]$/;
const REQUEST_PSEUDO = new Set([":method", ":scheme", ":authority", ":path", ":protocol"]);
const RESPONSE_PSEUDO = new Set([":status"]);
const NO_PSEUDO = new Set<string>();
const CONNECTION_SPECIFIC = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

export type HeaderListKind = "request" | "response" | "trailers";

/** Why a list is malformed (RFC 9113 §8.1.1), or `undefined`. */
export function headerListProblem(list: HeaderList, kind: HeaderListKind): string | undefined {
  const allowed =
    kind === "request" ? REQUEST_PSEUDO : kind === "response" ? RESPONSE_PSEUDO : NO_PSEUDO;
  const seen: string[] = [];
  let isPastPseudo = false;
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!;
    const value = list[i + 1]!;
    if (VALUE_FORBIDDEN.test(value)) return `forbidden character in the value of ${name}`;
    if (name.charCodeAt(0) === 0x3a) {
      if (isPastPseudo) return `${name} behind a regular header`;
      if (!allowed.has(name)) return `${name} has no place here`;
      if (seen.includes(name)) return `${name} twice`;
      seen.push(name);
      continue;
    }
    isPastPseudo = true;
    if (!NAME.test(name)) return "malformed header name";
    if (CONNECTION_SPECIFIC.has(name)) return `${name} is specific to a connection`;
    if (name === "te" && value !== "trailers") return "te other than trailers";
  }
  if (kind === "request") return requestProblem(list, seen);
  return kind === "response" ? responseProblem(list) : undefined;
}

function requestProblem(list: HeaderList, seen: readonly string[]): string | undefined {
  const method = header(list, ":method");
  if (method === undefined || method === "") return ":method is missing";
  if (method === "CONNECT" && !seen.includes(":protocol")) {
    // RFC 9113 §8.5
    if (seen.includes(":scheme") || seen.includes(":path")) return "CONNECT with scheme or path";
    return header(list, ":authority") ? undefined : "CONNECT without authority";
  }
  if (seen.includes(":protocol") && method !== "CONNECT") return ":protocol without CONNECT";
  if (!header(list, ":scheme")) return ":scheme is missing";
  return header(list, ":path") ? undefined : ":path is missing";
}

function responseProblem(list: HeaderList): string | undefined {
  return /^[1-5][0-9][0-9]$/.test(header(list, ":status") ?? "") ? undefined : "bad :status";
}
