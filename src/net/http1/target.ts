/**
 * The request target and Host (RFC 9112 §3.2): which path, and which authority.
 *
 * Hosts are names, IPv4 addresses and IPv6 addresses in brackets. User information, zones and
 * percent-encoding are refused: no client in a mesh needs them, and policies compare hosts as text.
 */
import { HEX, HOST } from "./characters.ts";
import type { HeadProblem, Http1Head } from "./head.ts";
import { H } from "./header-names.ts";
import { bad } from "./problem.ts";

export function splitTarget(head: Http1Head): HeadProblem | undefined {
  const problem = readHost(head);
  if (problem !== undefined) return problem;
  const { target } = head;
  if (head.method === "CONNECT") return bad("CONNECT inside a tunnel", 405);
  if (target.charCodeAt(0) === 0x2f) {
    splitQuery(head, target);
    return undefined;
  }
  if (target === "*") {
    head.path = "*";
    return head.method === "OPTIONS" ? undefined : bad("asterisk-form without OPTIONS");
  }
  return splitAbsolute(head, target);
}

function splitQuery(head: Http1Head, target: string): void {
  const mark = target.indexOf("?");
  head.path = mark < 0 ? target : target.slice(0, mark);
  head.query = mark < 0 ? "" : target.slice(mark + 1);
}

function splitAbsolute(head: Http1Head, target: string): HeadProblem | undefined {
  const found = /^https?:\/\/([^/?]+)(.*)$/i.exec(target);
  if (found === null) return bad("malformed target");
  const authority = found[1]!;
  if (!isHost(authority)) return bad("malformed authority");
  head.authority = authority;
  head.isAbsoluteTarget = true;
  const rest = found[2]!;
  // RFC 9112 §3.2.4: the server as a whole is meant.
  if (rest === "" && head.method === "OPTIONS") head.path = "*";
  else splitQuery(head, rest.startsWith("/") ? rest : `/${rest}`);
  return undefined;
}

/** The one Host line (RFC 9112 §3.2: more than one, or none in 1.1, is 400). */
function readHost(head: Http1Head): HeadProblem | undefined {
  const line = head.find(H.host, 0);
  if (line < 0) return head.minorVersion === 0 ? undefined : bad("no Host");
  if (head.find(H.host, line + 1) >= 0) return bad("more than one Host");
  if (!isCheckedHost(head, line)) {
    const host = head.value(line);
    if (host !== "" && !isHost(host)) return bad("malformed Host");
    head.checkedHost = host;
  }
  head.authority = head.checkedHost;
  return undefined;
}

/** A client's requests mostly go to one host, which was looked at for the one before. */
function isCheckedHost(head: Http1Head, line: number): boolean {
  const { checkedHost, bytes } = head;
  const start = head.valueStarts[line]!;
  if (head.valueEnds[line]! - start !== checkedHost.length) return false;
  for (let i = 0; i < checkedHost.length; i++) {
    if (checkedHost.charCodeAt(i) !== bytes[start + i]) return false;
  }
  return true;
}

/** uri-host [ ":" port ] */
export function isHost(text: string): boolean {
  const end = text.charCodeAt(0) === 0x5b ? endOfBrackets(text) : endOfName(text);
  if (end <= 0) return false;
  return end === text.length || (text[end] === ":" && isPort(text, end + 1));
}

function endOfName(text: string): number {
  let position = 0;
  while (HOST[text.charCodeAt(position)] === 1) position++;
  return position;
}

/** Behind `[` IPv6 address `]`, or -1. */
function endOfBrackets(text: string): number {
  const close = text.indexOf("]");
  if (close < 3) return -1;
  for (let i = 1; i < close; i++) {
    const code = text.charCodeAt(i);
    if (HEX[code] === 255 && code !== 0x3a && code !== 0x2e) return -1;
  }
  return close + 1;
}

/** Digits, perhaps none (RFC 3986 §3.2.3). */
function isPort(text: string, start: number): boolean {
  let port = 0;
  for (let i = start; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (!(digit >= 0 && digit <= 9)) return false;
    port = port * 10 + digit;
    if (port > 65_535) return false;
  }
  return true;
}
